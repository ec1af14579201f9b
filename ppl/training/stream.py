"""Endless shuffled batches of the images to train on, weakly augmented.

Images are kept decoded, on the GPU or in memory, if they fit; else processes beside the training
take what the next batches show from the disk, or decode it. All give the same batches.

Axes: B batch, C channels (1 of grey images, else 3), H height, W width.
"""

import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ppl.core.errors import InputError
from ppl.training.decoded import Kept
from ppl.training.machine import gpu_cache_bytes, read_workers
from ppl.training.weak_augment import DRAWS, Region, Size, View, cut, draw_view, show, stack


class Batch(NamedTuple):
    """What a training step looks at."""

    images: Tensor
    """(B, C, H, W) float32 in [0, 1]; C is 1 where all are grey."""
    masks: Tensor
    """(B, H, W) int64: classes, 255 where nothing is known."""
    shown: Sequence[Region]
    """Where each view shows its image; beyond it is black and ignored."""


class BatchStream:
    """Endless weakly augmented batches: reshuffled at each pass, every image as often as asked.

    A batch may span passes, so that no image is dropped and all batches are of one size: with
    fewer images than a batch holds, it shows an image several times, each augmented for itself.

    Args:
        kept: the images, and where they are decoded.
        batch: images of a batch.
        positions: which of them to compute, for where each process has its own; all unless given.
        order, augment: what is drawn from, always for the whole batch.
        repeats: how often a pass shows each image, on average: 2.3 is twice, and in three of ten
            passes once more. None: once.
    """

    def __init__(
        self,
        kept: Kept,
        batch: int,
        *,
        order: Generator,
        augment: Generator,
        positions: Sequence[int] | None = None,
        repeats: Sequence[float] | None = None,
        device: torch.device,
    ) -> None:
        assert len(kept.data) > 0 or batch == 0, "no batch comes from no images"
        self._data = kept.data
        self._batch = batch
        self._positions = range(batch) if positions is None else positions
        self._order = order
        self._repeats = None if repeats is None else torch.tensor(repeats)
        self._augment = augment
        self._device = device
        self._waiting: deque[int] = deque()
        self._drawn: deque[tuple[list[int], Tensor]] = deque()
        """Batches that were drawn and not taken yet: those that are being read."""
        self._sizes = kept.data.sizes()
        self.waited = 0.0
        """Seconds that `next` took to have a batch's bytes on the device."""
        self.bytes_kept = kept.bytes
        """Memory that decoded images take."""
        self._kept = kept
        self._loading: Iterator[Any] | None = None
        if kept.pairs is not None and self.bytes_kept <= gpu_cache_bytes(device):
            kept.pairs = [(image.to(device), mask.to(device)) for image, mask in kept.pairs]

    @property
    def streams(self) -> bool:
        """Whether images are read again and again, since the memory does not hold them."""
        return self._kept.pairs is None

    def next(self) -> Batch:
        """The next batch, on the device."""
        began = time.perf_counter()
        size = self._data.image.size
        pairs = self._kept.pairs
        if pairs is None:
            images, masks = self._loaded()
            chosen = self._views(*self._drawn.popleft())
        else:
            # after an interruption, first what was being read then, with less memory
            chosen = self._views(*(self._drawn.popleft() if self._drawn else self._draw()))
            images, masks = stack([cut(*pairs[k], view, size) for k, view in chosen], size)
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
        if self._loading is None:
            workers = read_workers(self._data.largest())
            # in a ring of references the workers would outlive it, and be waited for 5 s each
            drawn_ahead = BatchStream._drawn_ahead(weakref.proxy(self))
            self._loading = iter(
                DataLoader(
                    _Views(self._kept),
                    batch_sampler=drawn_ahead,
                    num_workers=workers,
                    collate_fn=_Collate(self._data.image.size),
                    pin_memory=self._device.type == "cuda",
                    # PyTorch would draw a seed from the generator of the dropout layers
                    generator=torch.Generator(),
                )
            )
        try:
            with lost_readers_told():
                found = next(self._loading)
        except (ConnectionError, EOFError) as error:
            # one killed while its batch is fetched is seen as a connection that ends
            raise _lost_reader(error) from None
        if isinstance(found, InputError):
            raise found
        images, masks = found
        return images, masks

    def state_dict(self) -> dict[str, Any]:
        """What was drawn and not taken yet; where its generators stand, their owner knows."""
        return {"drawn": list(self._drawn), "waiting": list(self._waiting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a stream over the same images stood; before the first batch is taken."""
        self._drawn = deque(state["drawn"])
        self._waiting = deque(state["waiting"])


@contextmanager
def lost_readers_told() -> Iterator[None]:
    """Around all that goes on while processes read images: the end of one may be seen anywhere.

    PyTorch raises it from a signal, between any two lines of the program.

    Raises:
        InputError: one of them has died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _lost_reader(error) from None


def _lost_reader(error: Exception) -> InputError:
    return InputError(
        f"a process that reads images has died ({error or type(error).__name__}). Most often the "
        f"machine ran out of memory: set PPL_WORKERS below {read_workers()}. `dvc repro` goes on "
        "from the last checkpoint"
    )


@dataclass(frozen=True)
class _Views(Dataset[Any]):
    """What a worker reads: the parts of images that views are computed from."""

    kept: Kept

    def __getitem__(self, item: tuple[int, View]) -> Any:
        index, view = item
        try:
            return cut(*self.kept.read(index), view, self.kept.data.image.size)
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
