"""One run of a stage at a time in a workspace, and none without the `dvc` that started it.

A killed `dvc` leaves its stage working. The next `dvc repro` would start a second copy of it, and
both would write the same outputs.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import filelock
import psutil

from ppl.core.declared import SCRATCH
from ppl.core.errors import InputError

LOOK_EVERY = 1.0
"""Seconds between two looks at whether `dvc` is still there."""

WAIT = 15.0
"""Seconds in which an orphan is expected to have stopped, and the processes that read for it."""


@contextmanager
def only_run(stage: str) -> Iterator[None]:
    """Hold the lock of `stage` in this workspace inside.

    Raises:
        InputError: another process works on this stage in this workspace.
    """
    SCRATCH.mkdir(exist_ok=True)
    lock = filelock.FileLock(SCRATCH / f"{stage}.lock")
    holder = SCRATCH / f"{stage}.pid"
    try:
        lock.acquire(timeout=WAIT)
    except filelock.Timeout:
        process = holder.read_text(encoding="utf-8").strip() if holder.exists() else "unknown"
        raise InputError(
            f"another run of this stage is at work in this workspace (process {process}): let it "
            "end, or stop it, and run `dvc repro` again"
        ) from None
    try:
        holder.write_text(f"{os.getpid()}\n", encoding="utf-8", newline="\n")
        if "DVC_STAGE" in os.environ:
            threading.Thread(target=_stop_when_orphaned, args=[_parents()], daemon=True).start()
        yield
    finally:
        lock.release()


def _parents() -> list[int]:
    """This process's parent and so on, up to `dvc`: torchrun and the launcher may lie between."""
    parents = [os.getppid()]
    with contextlib.suppress(psutil.Error):
        if "LOCAL_RANK" in os.environ:
            parents.append(psutil.Process(parents[-1]).ppid())
            # of several machines, the launcher waits for the others
            if "," in os.environ.get("PPL_HOSTS", ""):
                parents.append(psutil.Process(parents[-1]).ppid())
    return parents


def _stop_when_orphaned(parents: list[int]) -> None:
    while _parents() == parents:
        time.sleep(LOOK_EVERY)
    # at once, as if killed: whatever is written from now on, nobody would record
    os._exit(1)
