"""Predict a set of images: batched at the network's size, returned at each image's own size.

Axes: B batch, C classes, H height, W width.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ppl.image_set import Entry, ImageSet
from ppl.network import SegmentationNetwork
from ppl.resize import resize_image, scaled_size
from ppl.settings import Settings

BATCH = 8
"""Images in one forward pass; it bounds memory and changes no result beyond float rounding."""

DECODERS = 4
"""Threads that decode the next batch while this one is predicted."""


class TestTimeSettings(Settings):
    """Test-time augmentation: the softmax is averaged over all scales, each plain and flipped."""

    __test__ = False  # a settings class, not a test case

    scales: Annotated[
        list[Annotated[float, Field(ge=0.25, le=4)]], Field(min_length=1, max_length=8)
    ]
    flip: bool


PLAIN = TestTimeSettings(scales=[1.0], flip=False)
"""One forward pass at the network's size."""


def predict(
    networks: Sequence[SegmentationNetwork],
    image_set: ImageSet,
    size: tuple[int, int],
    test_time: TestTimeSettings = PLAIN,
    *,
    what: str,
) -> Iterator[tuple[Entry, list[Tensor]]]:
    """For each image, in the set's order, one (C, H, W) softmax at its own size per network.

    All networks see the images in one pass over the files; memory does not grow with their
    number. The networks are used in the mode they are in: pass them in eval mode.

    Args:
        size: (height, width) in pixels of the networks' input.
        what: names the work on the progress bar.

    Yields:
        entry and the probabilities, float32 on the networks' device, in the networks' order.
    """
    device = next(networks[0].parameters()).device
    batches = [
        image_set.entries[start : start + BATCH] for start in range(0, len(image_set), BATCH)
    ]
    with (
        ThreadPoolExecutor(DECODERS) as pool,
        tqdm(total=len(image_set), desc=what, unit="image") as progress,
    ):
        # one batch is decoded ahead, no more: a million images must not pile up in memory
        waiting = [pool.submit(image_set.image, entry) for entry in (batches or [()])[0]]
        for number, batch in enumerate(batches):
            following = batches[number + 1] if number + 1 < len(batches) else ()
            images = [future.result() for future in waiting]
            waiting = [pool.submit(image_set.image, entry) for entry in following]
            probabilities = [
                average_softmax(network, images, size, test_time, device) for network in networks
            ]
            for index, entry in enumerate(batch):
                own = (entry.height, entry.width)
                yield entry, [at_own_size(prob[index], own) for prob in probabilities]
            progress.update(len(batch))


@torch.no_grad()
def average_softmax(
    network: SegmentationNetwork,
    images: Sequence[Tensor],
    size: tuple[int, int],
    test_time: TestTimeSettings,
    device: torch.device,
) -> Tensor:
    """(B, C, *size) softmax, averaged over `test_time`, of images (3, H, W) uint8 of any sizes."""
    views = []
    for scale in test_time.scales:
        scaled = scaled_size(size, scale)
        image_BCHW = torch.stack([resize_image(image, scaled) for image in images]).to(device)
        image_BCHW = image_BCHW.float() / 255
        for flipped in (False, True) if test_time.flip else (False,):
            logits = network(image_BCHW.flip(-1) if flipped else image_BCHW)
            prob = logits.softmax(dim=1)
            prob = prob.flip(-1) if flipped else prob
            views.append(at_own_size(prob, size))
    return torch.stack(views).mean(dim=0)


def at_own_size(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (C, H, W) or (B, C, H, W) at `size`, bilinear; they still sum to one."""
    if tuple(prob.shape[-2:]) == size:
        return prob
    batched = prob if prob.ndim == 4 else prob[None]
    resized = F.interpolate(batched, size=size, mode="bilinear", align_corners=False)
    return resized if prob.ndim == 4 else resized[0]
