"""Decoded images in a file of the disk, mapped into memory: a part of one costs its own bytes.

Each image has a slot in a sparse file, as large as it needs in colour. Whoever decodes an image
first, of all processes of a machine, fills its slot; from then on all slice from it. A byte for
each image says how many channels its slot holds, 0 while it is empty. It is written last, so that
a slot is read whole or not at all.

FILE   N bytes of channels, a byte of `WHOLE`, slots at multiples of `PAGE` bytes
SLOT   (C, H, W) of the image, (H, W) of the mask
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl.training.images import Pair
from ppl.training.weak_augment import Size

COLOUR = 3
"""Channels, at most."""

PAGE = mmap.ALLOCATIONGRANULARITY
"""Bytes; what is mapped of one slot holds nothing of another."""

WHOLE = 165
"""Ends the bytes of channels: who finds it sees through the map what was written to the file."""


def bytes_in_colour(sizes: Sequence[Size]) -> int:
    """That images of these sizes and their masks take, if none is grey."""
    return sum((COLOUR + 1) * height * width for height, width in sizes)


class Slots:
    """The slots of images of these sizes in `file`, which is made unless it is there.

    It can be handed to other processes: each maps the file for itself.

    Args:
        sizes: height and width at which each image is kept.
        room: bytes that may be written by this process and those it hands the slots to, together;
            who writes at the same moment may take an image more.

    Raises:
        OSError: the file cannot be made, written or mapped, or shows something else in the map.
    """

    def __init__(self, file: Path, sizes: Sequence[Size], room: int) -> None:
        self.file = file
        # seen by processes to which it is handed
        self._room = torch.tensor([room])
        self._room.share_memory_()  # type: ignore[no-untyped-call]
        self._sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        pages = -(-(self._sizes.prod(axis=1) * (COLOUR + 1)) // PAGE)
        ends = (pages.cumsum() + len(sizes) // PAGE + 1) * PAGE
        self._starts = ends - pages * PAGE
        self._bytes: Tensor | None = None
        if not file.exists():
            self._make(int(ends[-1]))
        if file.stat().st_size != ends[-1]:
            raise OSError("it has not the size of these images")
        self._write(len(sizes), bytes([WHOLE]))
        if self._mapped()[len(sizes)] != WHOLE:
            raise OSError("what is written to it does not show when it is mapped")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_bytes": None}

    @property
    def room(self) -> int:
        """Bytes that may still be written."""
        return int(self._room)

    @room.setter
    def room(self, room: int) -> None:
        self._room.fill_(room)

    def _make(self, size: int) -> None:
        try:
            with self.file.open("xb") as stream:
                stream.truncate(size)
        except OSError:
            # a disk that takes no file so large leaves an empty one
            self.file.unlink(missing_ok=True)
            raise

    def filled(self, index: int) -> bool:
        """Whether somebody has put the image there.

        Raises:
            OSError: the file cannot be mapped.
        """
        return bool(self._mapped()[index])

    def pair(self, index: int) -> Pair | None:
        """An image and its mask as they lie in the file; None unless somebody has put them there.

        They are not to be changed: all processes would see it.

        Raises:
            OSError: as `filled`.
        """
        whole = self._mapped()
        channels, start = int(whole[index]), int(self._starts[index])
        if channels == 0:
            return None
        height, width = map(int, self._sizes[index])
        middle, end = (start + count * height * width for count in (channels, channels + 1))
        image = whole[start:middle].view(channels, height, width)
        return image, whole[middle:end].view(height, width)

    def put(self, index: int, pair: Pair) -> bool:
        """Whether an image and its mask are there now: what was there, stays.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        if self.filled(index):
            return True
        image, mask = pair
        if image.nbytes + mask.nbytes > self.room:
            return False
        assert tuple(self._sizes[index]) == mask.shape == image.shape[1:]
        self.room -= image.nbytes + mask.nbytes
        start = int(self._starts[index])
        self._write(start, image.contiguous().numpy())
        self._write(start + image.nbytes, mask.contiguous().numpy())
        self._write(index, bytes([len(image)]))
        return True

    def _write(self, start: int, content: Any) -> None:
        # not through the map: of a full disk that would learn by a signal that ends the process
        with self.file.open("r+b", buffering=0) as stream:
            stream.seek(start)
            left = memoryview(content).cast("B")
            while left:
                left = left[stream.write(left) :]

    def _mapped(self) -> Tensor:
        """All bytes of the file, as they are now."""
        if self._bytes is None:
            self._bytes = torch.from_numpy(np.memmap(self.file, dtype=np.uint8, mode="r+"))
        return self._bytes
