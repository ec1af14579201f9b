"""Where the disk keeps a training's decoded images, and who deletes them.

.scratch/decoded.lock                held while folders below come and go
.scratch/decoded-MACHINE-RUN/        of one training; deleted when it ends
.scratch/decoded-MACHINE-RUN/N.lock  held by a process of it as long as it lives
.scratch/decoded-MACHINE-RUN/NAME.bytes `Slots`, shared by all processes of this machine

A folder without a living process is what a killed run has left. The next training on that machine
deletes it, and takes nothing from it.
"""

import contextlib
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from ppl.core import processes
from ppl.core.declared import scratch_folder
from ppl.training.machine import disk_cache_bytes
from ppl.training.slots import Slots, bytes_in_colour
from ppl.training.weak_augment import Size

PATIENCE = 60.0
"""Seconds for which one waits while others' folders come and go; then it goes without the disk."""


class Disk:
    """What decoded images of one training may take of the disk.

    Args:
        folder: of this training on this machine; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: filelock.FileLock | None = None
        self._left: int | None = None
        """Bytes that this process may write, beside what `slots` has handed out."""

    def slots(self, name: str, sizes: Sequence[Size]) -> Slots | None:
        """For images kept at these sizes; None where PPL_DISK_CACHE_GIB is 0.

        Args:
            name: of the images: not every process needs to ask for all that others ask for.

        Raises:
            InputError: PPL_DISK_CACHE_GIB is no number.
            OSError: the disk does not take them, or may not be written.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self._left is None:
            self._left = disk_cache_bytes(self.folder.parent)
        if self._left == 0:
            return None
        room = min(self._left, bytes_in_colour(sizes))
        with _folders_locked(self.folder.parent):
            self.folder.mkdir(exist_ok=True)
            if self._held is None:
                held = filelock.FileLock(
                    # a thread that decodes may take it, and the main one ends it
                    self.folder / f"{processes.rank()}.lock",
                    thread_local=False,
                )
                held.acquire()
                self._held = held
            slots = Slots(self.folder / f"{name}.bytes", sizes, room)
        self._left -= room
        return slots

    def take_back(self, slots: Slots) -> None:
        """What is left of their room: no more images will be put there."""
        assert self._left is not None
        self._left += slots.room
        slots.room = 0

    def release(self) -> None:
        """The training has ended here."""
        if self._held is not None:
            self._held.release()


@contextmanager
def decoded_on_disk() -> Iterator[Disk]:
    """The disk for the decoded images of one training, inside; all its processes come here.

    What killed runs have left is deleted first. Nothing is made unless it is needed.
    """
    scratch, run = scratch_folder(), processes.from_first(secrets.token_hex(8))
    disk = Disk(scratch / f"{_of_this_machine()}{run}")
    _delete_without_owner(scratch)
    try:
        yield disk
    finally:
        disk.release()
        _delete_without_owner(scratch)


def _of_this_machine() -> str:
    return f"decoded-{re.sub(r'[^a-zA-Z0-9.]', '_', platform.node())}-"


def _folders_locked(scratch: Path) -> filelock.BaseFileLock:
    # where the system keeps no locks, one that a killed run has left must not stop all others
    return filelock.FileLock(scratch / "decoded.lock", timeout=PATIENCE)


def _delete_without_owner(scratch: Path) -> None:
    """Delete the folders of this machine that no living process holds, as far as that is allowed.

    Those of other machines that share the project are left: locks may not be seen over a network.
    """
    # a folder that cannot be deleted takes no other bytes and stops nothing
    with contextlib.suppress(OSError):
        if not any(scratch.glob(f"{_of_this_machine()}*")):
            return
        with _folders_locked(scratch):
            for folder in sorted(scratch.glob(f"{_of_this_machine()}*")):
                if not _held(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _held(folder: Path) -> bool:
    with ExitStack() as stack:
        try:
            for file in sorted(folder.glob("*.lock")):
                stack.enter_context(filelock.FileLock(file, timeout=0))
        except filelock.Timeout:
            return True
    return False
