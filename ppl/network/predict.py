"""Predict a set of images: batched at the network's size, returned at each image's own size.

Or, with `image.fit: windows`, at its own resolution by overlapping windows.

Axes: B batch, C classes, H height, W width.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ppl.core.progress import bar
from ppl.core.settings import Settings
from ppl.images.sets import Entry, ImageSet
from ppl.network.network import SegmentationNetwork
from ppl.network.resize import ImageSettings, resize_image
from ppl.network.windows import blended_windows

BATCH = {"cpu": 8, "cuda": 32}
"""Images in one forward pass; it bounds memory and changes no result beyond float rounding."""

DECODERS = 8
"""Threads that decode and resize the next batch while this one is predicted."""


class TestTimeSettings(Settings):
    """Test-time augmentation: the softmax is averaged over all scales, each plain and flipped.

    With both flips each scale is seen four times: plain, mirrored, upside down, and both.
    """

    __test__ = False  # a settings class, not a test case

    scales: Annotated[
        list[Annotated[float, Field(ge=0.25, le=4)]], Field(min_length=1, max_length=8)
    ]
    flip: bool
    vertical_flip: bool = False
    """Where parts have no upper side; false in models of before there was a choice."""

    def described(self) -> dict[str, Any]:
        """As a model's description has it: what is not used is not in it, nor in its digest."""
        above = {"vertical_flip": True} if self.vertical_flip else {}
        return {"scales": list(self.scales), "flip": self.flip, **above}

    @property
    def flips(self) -> list[list[int]]:
        """Of each look at a scale, the axes that are reversed: -1 is left to right."""
        sideways: list[list[int]] = [[], [-1]] if self.flip else [[]]
        return [*sideways, *([-2, *axes] for axes in sideways if self.vertical_flip)]


PLAIN = TestTimeSettings(scales=[1.0], flip=False)
"""One forward pass at the network's size."""


def predict(
    networks: Sequence[SegmentationNetwork],
    image_set: ImageSet,
    image: ImageSettings,
    test_time: TestTimeSettings = PLAIN,
    *,
    what: str,
) -> Iterator[tuple[Entry, list[Tensor]]]:
    """For each image, in the set's order, one (C, H, W) softmax at its own size per network.

    All networks see the images in one pass over the files; memory does not grow with their
    number. The networks are used in the mode they are in: pass them in eval mode.

    Args:
        image: the size of the networks' input and how an image gets there.
        what: names the work on the progress bar.

    Yields:
        entry and the probabilities, float32 on the networks' device, in the networks' order.
    """
    device = next(networks[0].parameters()).device
    # a large image is a batch of windows by itself
    step = 1 if image.fit == "windows" else at_once(device)
    batches = [image_set.entries[start : start + step] for start in range(0, len(image_set), step)]

    def load(entry: Entry) -> list[Tensor]:
        return views_of(image_set.image(entry), image, test_time)

    with (
        ThreadPoolExecutor(DECODERS) as pool,
        bar(total=len(image_set), desc=what, unit="image") as progress,
    ):
        # one batch is decoded ahead, no more: a million images must not pile up in memory
        waiting = [pool.submit(load, entry) for entry in (batches or [()])[0]]
        for number, batch in enumerate(batches):
            following = batches[number + 1] if number + 1 < len(batches) else ()
            views = [future.result() for future in waiting]
            waiting = [pool.submit(load, entry) for entry in following]
            sizes = [(entry.height, entry.width) for entry in batch]
            found = [batch_softmax(network, views, sizes, image, test_time) for network in networks]
            for entry, *probabilities in zip(batch, *found, strict=True):
                yield entry, probabilities
            progress.update(len(batch))


def at_once(device: torch.device) -> int:
    """How many images of the network's size are predicted together."""
    return BATCH.get(device.type, BATCH["cpu"])


def views_of(image_CHW: Tensor, image: ImageSettings, test_time: TestTimeSettings) -> list[Tensor]:
    """An image (3, H, W) uint8 at each scale at which it is predicted."""
    own = (image_CHW.shape[1], image_CHW.shape[2])
    return [resize_image(image_CHW, image.at_scale(own, scale)) for scale in test_time.scales]


def batch_softmax(
    network: SegmentationNetwork,
    views: Sequence[Sequence[Tensor]],
    sizes: Sequence[tuple[int, int]],
    image: ImageSettings,
    test_time: TestTimeSettings,
) -> Iterator[Tensor]:
    """The (C, *size) softmax of each image, averaged over `test_time`, at its own size.

    Args:
        views: of each image, as `views_of` gives them.
        sizes: (height, width) in pixels of each image itself.
    """
    if image.fit == "windows":
        for scales, size in zip(views, sizes, strict=True):
            yield _windowed_softmax(network, scales, size, image, test_time)
        return
    prob_BCHW = average_softmax(network, views, image.size, test_time)
    for prob, size in zip(prob_BCHW, sizes, strict=True):
        yield at_own_size(prob, size)


@torch.no_grad()
def average_softmax(
    network: SegmentationNetwork,
    views: Sequence[Sequence[Tensor]],
    size: tuple[int, int],
    test_time: TestTimeSettings,
) -> Tensor:
    """(B, C, *size) softmax, averaged over `test_time`, of images that `views_of` has resized."""
    device = next(network.parameters()).device
    probabilities = []
    for scale in zip(*views, strict=True):
        batch = torch.stack(scale).to(device, non_blocking=True)
        probabilities += [at_own_size(prob, size) for prob in _softmaxes(network, batch, test_time)]
    return torch.stack(probabilities).mean(dim=0)


@torch.no_grad()
def _windowed_softmax(
    network: SegmentationNetwork,
    scales: Sequence[Tensor],
    own: tuple[int, int],
    image: ImageSettings,
    test_time: TestTimeSettings,
) -> Tensor:
    device = next(network.parameters()).device

    def softmax(windows: Tensor) -> Tensor:
        views = list(_softmaxes(network, windows.to(device, non_blocking=True), test_time))
        return torch.stack(views).mean(dim=0)

    found = [
        at_own_size(
            blended_windows(softmax, scale, image.size, image.overlap, at_once(device)), own
        )
        for scale in scales
    ]
    return torch.stack(found).mean(dim=0)


def _softmaxes(
    network: SegmentationNetwork, batch_BCHW: Tensor, test_time: TestTimeSettings
) -> Iterator[Tensor]:
    """Softmax (B, C, H, W) of a batch of bytes, plain and, if so set, by its mirror images."""
    images = batch_BCHW.float() / 255
    for axes in test_time.flips:
        prob = network(images.flip(axes) if axes else images).softmax(dim=1)
        yield prob.flip(axes) if axes else prob


def at_own_size(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (C, H, W) or (B, C, H, W) at `size`, bilinear; they still sum to one."""
    if tuple(prob.shape[-2:]) == size:
        return prob
    batched = prob if prob.ndim == 4 else prob[None]
    resized = F.interpolate(batched, size=size, mode="bilinear", align_corners=False)
    return resized if prob.ndim == 4 else resized[0]
