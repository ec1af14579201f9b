"""Images and masks to train on, and endless shuffled batches of them.

They are decoded once and kept as bytes, on the GPU or in memory, as far as they fit; else processes
beside the training read what the next batches show. Both give the same batches.

Axes: N images, B batch, C channels (1 of grey images, else 3), H height, W width.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.images.files import class_values
from ppl.images.sets import Entry, ImageSet
from ppl.network.resize import ImageSettings, resize_image, resize_mask
from ppl.training.machine import cache_bytes, gpu_cache_bytes, read_workers
from ppl.training.weak_augment import (
    DRAWS,
    Region,
    Size,
    View,
    WeakAugmentSettings,
    cut,
    draw_view,
    show,
    stack,
)

DECODERS = 8
"""Threads that decode images; they change the time, never the order."""

Pair = tuple[Tensor, Tensor]
"""An image (C, H, W) and its mask (H, W), both uint8."""


class Batch(NamedTuple):
    """What a training step looks at."""

    images: Tensor
    """(B, C, H, W) float32 in [0, 1]; C is 1 where all are grey."""
    masks: Tensor
    """(B, H, W) int64: classes, 255 where nothing is known."""
    shown: Sequence[Region]
    """Where each view shows its image; beyond it is black and ignored."""


@dataclass(frozen=True)
class Masked:
    """Images of one folder, each with a mask."""

    images: ImageSet
    read_mask: Callable[[Entry], Tensor]
    """The (H, W) uint8 mask of an entry: its label or its pseudo-mask."""
    what: str
    """Names them to the user."""


@dataclass(frozen=True)
class TrainingImages:
    """Images in a row, each at the size at which it is kept.

    Args:
        parts: where they come from, one after the other.
        image, weak: decide at which size an image is kept.
        classes: a mask holds 0 .. classes - 1 and 255 (ignore).
    """

    parts: Sequence[Masked]
    image: ImageSettings
    weak: WeakAugmentSettings
    classes: int

    def __len__(self) -> int:
        return sum(len(part.images) for part in self.parts)

    def sizes(self) -> list[tuple[Size, Size]]:
        """Of each image, height and width in pixels: as it is kept, and at scale 1."""
        entries = chain.from_iterable(part.images.entries for part in self.parts)
        own = [(entry.height, entry.width) for entry in entries]
        return [(self._kept_size(size), self.image.at_scale(size, 1)) for size in own]

    def _kept_size(self, own: Size) -> Size:
        """What training needs at most; an image at its own resolution has no more to give."""
        largest = max(1.0, self.weak.scale_max) if self.image.fit == "whole" else 1.0
        return self.image.at_scale(own, largest)

    def find(self, index: int) -> tuple[Masked, Entry]:
        """The image at `index` of all."""
        for part in self.parts:
            if index < len(part.images):
                return part, part.images.entries[index]
            index -= len(part.images)
        raise IndexError(index)

    def read(self, index: int, *, scale: float | None = None) -> Pair:
        """An image and its mask from their files, at the size at which they are kept.

        Args:
            scale: of the size to read them at instead, see `ImageSettings.at_scale`.

        Raises:
            InputError: an unreadable image or mask, a mask of another size than its image, or a
                value that is no class: pseudo-masks may have been corrected by hand.
        """
        part, entry = self.find(index)
        image, mask = part.images.image(entry), part.read_mask(entry)
        if mask.shape != image.shape[1:]:
            raise InputError(
                f"mask of {entry.id} is {mask.shape[1]} x {mask.shape[0]} pixels, its image "
                f"{image.shape[2]} x {image.shape[1]}: give the mask the image's own size"
            )
        class_values(mask, self.classes, f"of {entry.id} ({part.what})")
        own = entry.height, entry.width
        size = self._kept_size(own) if scale is None else self.image.at_scale(own, scale)
        image, mask = resize_image(image, size), resize_mask(mask, size)
        grey = torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
        return image[:1].clone() if grey else image, mask


def keep(data: TrainingImages, *, memory: int) -> list[Pair] | None:
    """All images and masks, decoded, if they take at most `memory` bytes; else None.

    Raises:
        InputError: as `TrainingImages.read`.
    """
    if not len(data):
        return []
    # a grey image and its mask; colour shows when it is read
    if sum(2 * height * width for (height, width), _ in data.sizes()) > memory:
        return None
    kept, taken = [], 0
    what = ", ".join(dict.fromkeys(part.what for part in data.parts))
    with ThreadPoolExecutor(DECODERS) as pool:
        loaded = pool.map(data.read, range(len(data)))
        for pair in bar(loaded, total=len(data), desc=f"read {what}", unit="image"):
            taken += sum(tensor.nbytes for tensor in pair)
            if taken > memory:
                pool.shutdown(wait=False, cancel_futures=True)
                return None
            kept.append(pair)
    return kept


class BatchStream:
    """Endless weakly augmented batches: reshuffled at each pass, every image as often as asked.

    A batch may span passes, so that no image is dropped and all batches are of one size: with
    fewer images than a batch holds, it shows an image several times, each augmented for itself.

    Args:
        batch: images of a batch.
        positions: which of them to compute, for where each process has its own; all unless given.
        order, augment: what is drawn from, always for the whole batch.
        repeats: how often a pass shows each image, on average: 2.3 is twice, and in three of ten
            passes once more. None: once.
        memory: bytes that decoded images may take here.
    """

    def __init__(
        self,
        data: TrainingImages,
        batch: int,
        *,
        order: Generator,
        augment: Generator,
        positions: Sequence[int] | None = None,
        repeats: Sequence[float] | None = None,
        memory: int | None = None,
        device: torch.device,
    ) -> None:
        assert len(data) > 0 or batch == 0, "no batch comes from no images"
        self._data = data
        self._batch = batch
        self._positions = range(batch) if positions is None else positions
        self._order = order
        self._repeats = None if repeats is None else torch.tensor(repeats)
        self._augment = augment
        self._device = device
        self._waiting: deque[int] = deque()
        self._drawn: deque[tuple[list[int], Tensor]] = deque()
        """Batches that were drawn and not taken yet: those that are being read."""
        self._sizes = data.sizes()
        self.waited = 0.0
        """Seconds that `next` took to have a batch's bytes on the device."""
        self.bytes_kept = 0
        """Memory that decoded images take."""
        self._kept = keep(data, memory=cache_bytes() if memory is None else memory)
        self._loading: Iterator[Any] | None = None
        if self._kept is not None:
            self.bytes_kept = sum(tensor.nbytes for pair in self._kept for tensor in pair)
            if self.bytes_kept <= gpu_cache_bytes(device):
                self._kept = [(image.to(device), mask.to(device)) for image, mask in self._kept]

    @property
    def streams(self) -> bool:
        """Whether images are read again and again, since the memory does not hold them."""
        return self._kept is None

    def next(self) -> Batch:
        """The next batch, on the device."""
        began = time.perf_counter()
        size = self._data.image.size
        if self._kept is None:
            images, masks = self._loaded()
            chosen = self._views(*self._drawn.popleft())
        else:
            # after an interruption, first what was being read then, with less memory
            chosen = self._views(*(self._drawn.popleft() if self._drawn else self._draw()))
            images, masks = stack([cut(*self._kept[k], view, size) for k, view in chosen], size)
        images = images.to(self._device, non_blocking=True)
        masks = masks.to(self._device, non_blocking=True)
        self.waited += time.perf_counter() - began
        views = [view for _, view in chosen]
        return Batch(*show(images, masks, views, size), [view.shown(size) for view in views])

    def _draw(self) -> tuple[list[int], Tensor]:
        """The next batch: which images, and the numbers (B, `DRAWS`) that their views take."""
        while len(self._waiting) < self._batch:
            self._waiting += self._pass()
        chosen = [self._waiting.popleft() for _ in range(self._batch)]
        return chosen, torch.rand(self._batch, DRAWS, generator=self._augment)

    def _pass(self) -> list[int]:
        """The images of a pass in random order."""
        if self._repeats is None:
            return torch.randperm(len(self._data), generator=self._order).tolist()
        luck = torch.rand(len(self._data), generator=self._order)
        times = (self._repeats + luck).floor().long()
        images = torch.arange(len(self._data)).repeat_interleave(times)
        chosen: list[int] = images[torch.randperm(len(images), generator=self._order)].tolist()
        return chosen

    def _views(self, images: Sequence[int], draws: Tensor) -> list[tuple[int, View]]:
        size, weak = self._data.image.size, self._data.weak
        return [
            (k, draw_view(*self._sizes[k], size, weak, draws[at].tolist()))
            for at, k in ((at, images[at]) for at in self._positions)
        ]

    def _drawn_ahead(self) -> Iterator[list[tuple[int, View]]]:
        """What the workers are to read: first what was drawn before an interruption."""
        for drawn in list(self._drawn):
            yield self._views(*drawn)
        while True:
            self._drawn.append(self._draw())
            yield self._views(*self._drawn[-1])

    def _loaded(self) -> tuple[Tensor, Tensor]:
        workers = read_workers()
        if self._loading is None:
            self._loading = iter(
                DataLoader(
                    _Views(self._data),
                    batch_sampler=self._drawn_ahead(),
                    num_workers=workers,
                    collate_fn=_Collate(self._data.image.size),
                    pin_memory=self._device.type == "cuda",
                    # PyTorch would draw a seed from the generator of the dropout layers
                    generator=torch.Generator(),
                )
            )
        try:
            found = next(self._loading)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # one killed while its batch is fetched is seen as a connection that ends
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise InputError(
                f"a process that reads images has died ({error}). Most often the machine ran out "
                f"of memory: set PPL_WORKERS below {workers}. `dvc repro` goes on from the last "
                "checkpoint"
            ) from None
        if isinstance(found, InputError):
            raise found
        images, masks = found
        return images, masks

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, for a checkpoint."""
        return {
            "drawn": list(self._drawn),
            "waiting": list(self._waiting),
            "order": self._order.get_state(),
            "augment": self._augment.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a stream over the same images stood; before the first batch is taken."""
        self._drawn = deque(state["drawn"])
        self._waiting = deque(state["waiting"])
        self._order.set_state(state["order"])
        self._augment.set_state(state["augment"])


@dataclass(frozen=True)
class _Views(Dataset[Any]):
    """What a worker reads: the parts of images that views are computed from."""

    data: TrainingImages

    def __getitem__(self, item: tuple[int, View]) -> Any:
        index, view = item
        try:
            return cut(*self.data.read(index), view, self.data.image.size)
        except InputError as error:
            # raised here, it would reach the user inside a traceback
            return error


@dataclass(frozen=True)
class _Collate:
    size: Size

    def __call__(self, parts: list[Any]) -> Any:
        wrong = [part for part in parts if isinstance(part, InputError)]
        return wrong[0] if wrong else stack(parts, self.size)


def join(*batches: Tensor) -> Tensor:
    """One batch of several, (B, C, H, W); where colour meets grey, grey gets three channels."""
    channels = max(batch.shape[1] for batch in batches)
    return torch.cat([batch.expand(-1, channels, -1, -1) for batch in batches])
