"""Class maps that wait on the disk until those of all images are known.

A million of them would not fit into memory, and to predict every image again takes as long as the
first time.
"""

import tempfile
import zlib
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from ppl.core.declared import scratch_folder
from ppl.images.sets import Entry


class Waiting:
    """(entry, mask, step) in the order in which they were added; the file is gone afterwards.

    mask and step are (H, W), of `entry`'s size: uint8 and int16.
    """

    def __init__(self) -> None:
        # a folder of temporary files may be in memory
        scratch = scratch_folder()
        scratch.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        self._entries: list[tuple[Entry, int, int]] = []

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Entry, mask: Tensor, step: Tensor) -> None:
        """Let one wait.

        Raises:
            OSError: the disk is full.
        """
        parts = [zlib.compress(part.numpy().tobytes(), level=1) for part in (mask, step)]
        self._file.write(b"".join(parts))
        self._entries.append((entry, len(parts[0]), len(parts[1])))

    def __iter__(self) -> Iterator[tuple[Entry, Tensor, Tensor]]:
        """All of them, one at a time."""
        self._file.seek(0)
        for entry, of_mask, of_step in self._entries:
            yield (
                entry,
                self._read(of_mask, np.uint8, entry),
                self._read(of_step, np.int16, entry),
            )

    def _read(self, length: int, kind: type, entry: Entry) -> Tensor:
        content = bytearray(zlib.decompress(self._file.read(length)))
        return torch.from_numpy(np.frombuffer(content, kind).reshape(entry.height, entry.width))
