"""Where an interrupted training goes on: one file, bound to all that decides its result.

A checkpoint is no artifact of the pipeline: nobody declares it, neither Git nor DVC sees it, and a
finished training deletes it. Resumed or not, a training leaves the same bytes.
"""

import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import torch

from ppl.core import processes
from ppl.core.declared import declared, digest, scratch_folder
from ppl.training.machine import cpu_model, environment_number

SHARE = 0.02
"""Checkpoints take about this share of a training's time, at most."""

LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pillow")
"""Libraries whose version may change a training's bytes."""


class Checkpoint:
    """The newest state of one training, in one file that is whole or absent.

    A line with the digest of all that follows goes first: a flipped bit of a weight is read as
    another weight, and a training would go on from it.

    Args:
        file: the checkpoint; its folder exists.
        seconds: between two checkpoints, at least; a slow disk makes it longer.
    """

    def __init__(self, file: Path, *, seconds: float) -> None:
        self._file = file
        self._seconds = seconds
        self._wait = seconds
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state; None where there is none. No code is run from the file.

        None also for all but the first of several processes, and for a file that is damaged, which
        a message says.
        """
        if not processes.is_first() or not self._file.is_file():
            return None
        try:
            return self._state()
        except MemoryError:
            # of a state that is whole: to begin anew would lose it
            raise
        except Exception as error:  # a damaged file leads its reader to whatever there is
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"checkpoint {self._file} is damaged, the training starts anew: {reason}")
            return None

    def _state(self) -> dict[str, Any]:
        with self._file.open("rb") as stream:
            written_for = stream.read(len(_first_line(b"")))
            content = stream.read()
        if written_for != _first_line(content):
            raise ValueError("its content is not what was written")
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
        return state

    @property
    def due(self) -> bool:
        """Whether it is time for the next one, for the one process that writes it."""
        return processes.is_first() and time.monotonic() - self._last >= self._wait

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file: after a power loss the old or the new state is there, never half."""
        began = time.monotonic()
        half = self._file.with_suffix(".half")
        # into memory first: of a full disk torch.save says no more than "unexpected pos"
        content = io.BytesIO()
        torch.save(state, content)
        with half.open("wb") as stream:
            stream.write(_first_line(content.getbuffer()))
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())
        half.replace(self._file)
        self._last = time.monotonic()
        self._wait = max(self._seconds, (self._last - began) / SHARE)


def _first_line(content: bytes | memoryview) -> bytes:
    """The digest of a checkpoint's content, as its file has it, of one length for all."""
    return hashlib.blake2b(content, digest_size=32).hexdigest().encode() + b"\n"


@contextmanager
def checkpoint_of(stage: str) -> Iterator[Checkpoint]:
    """The checkpoint of `stage` with the code, settings and inputs that dvc.yaml declares for it.

    The environment's PPL_CHECKPOINT_SECONDS (10) is the least time between two of its states.
    Inside, no other run with the same fingerprint goes on: a second one waits. After success the
    checkpoint is deleted, after anything else it stays. Of several processes at work together the
    first one reads and writes it.

    Raises:
        InputError: PPL_CHECKPOINT_SECONDS is no number.
    """
    scratch = scratch_folder()
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"{stage}-{fingerprint(stage)}.pt"
    checkpoint = Checkpoint(file, seconds=environment_number("PPL_CHECKPOINT_SECONDS", 10))
    if not processes.is_first():
        yield checkpoint
        return
    with filelock.FileLock(file.with_suffix(".lock")):
        yield checkpoint
        file.unlink(missing_ok=True)
        file.with_suffix(".half").unlink(missing_ok=True)


def fingerprint(stage: str) -> str:
    """A hash of what decides a stage's bytes: settings, code, inputs, libraries, machine."""
    parts = declared(stage)
    facts = {
        "settings": parts.params,
        "files": {str(file): digest(file) for file in [*parts.code_files, *parts.input_files]},
        "libraries": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_model(),
        # sums are split over threads, and a sum's last bits depend on the order of its terms
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
