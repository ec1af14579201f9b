"""Whether a run is going on in this workspace, found out without a lock that could disturb it.

DVC notes in .dvc/tmp/lock who held the project last, and in .dvc/tmp/rwlock which paths whom are
written by; both notes outlive a kill. A stage leaves its number in .scratch/STAGE.pid.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ppl.core.declared import SCRATCH
from ppl.tools.unlock import DVC_FILES

_READ_BYTES = 1 << 20

_ELSEWHERE = ("queue-worker", "exec-run")
"""Subcommands of `dvc exp` that work in copies of the project."""


@dataclass(frozen=True)
class Work:
    """What goes on."""

    command: str
    """Of DVC: repro, say."""
    process: int
    stage: str | None
    """The one that is running; None between two stages."""
    since: float | None
    """When that began, in seconds since 1970."""


def at_work() -> Work | None:
    """The run that goes on here, if any; nothing is locked or written."""
    for pid in dict.fromkeys(_noted()):
        command = _dvc_command(pid)
        if command:
            stage, since = _stage_at_work() or (None, None)
            return Work(command, pid, stage, since)
    return None


def locks_are_broken() -> bool:
    """Whether a kill left DVC's list of locks empty: DVC refuses to run then."""
    file = DVC_FILES / "rwlock"
    return file.is_file() and file.stat().st_size == 0


def _noted() -> Iterator[int]:
    """The processes that DVC noted down, dead ones among them."""
    with contextlib.suppress(OSError, ValueError):
        yield int(_text(DVC_FILES / "lock"))
    with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        for holder in json.loads(_text(DVC_FILES / "rwlock")).get("write", {}).values():
            yield int(holder["pid"])


def _text(file: Path) -> str:
    with file.open(encoding="utf-8") as stream:
        return stream.read(_READ_BYTES)


def _dvc_command(pid: int) -> str:
    """What `dvc` was told, if the process lives and is one; its number may be another's by now."""
    try:
        words = psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError, OverflowError):
        return ""
    names = [Path(word).name.lower().removesuffix(".exe") for word in words]
    if "dvc" not in names or set(_ELSEWHERE) & set(words):
        return ""
    after = words[names.index("dvc") + 1 :]
    return " ".join(["dvc", *after[: 2 if after[:1] == ["exp"] else 1]])


def _stage_at_work() -> tuple[str, float] | None:
    """The stage whose process lives, and when that began."""
    for file in sorted(SCRATCH.glob("*.pid")):
        with contextlib.suppress(OSError, ValueError, OverflowError, psutil.Error):
            process = psutil.Process(int(_text(file)))
            if any(file.stem in word for word in process.cmdline()):
                return file.stem, process.create_time()
    return None
