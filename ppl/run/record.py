"""How long each stage took on this machine, and which of your files `prepare` read.

DVC keeps neither. Only `python -m ppl status` reads these records, no result depends on them, and
they may be deleted at any time. They lie in .scratch/, which neither Git nor DVC sees:

.scratch/ran/MACHINE/STAGE.json   when a stage last ended there, and after how many seconds
.scratch/ran/files.json           path -> size, time of change, md5 of each file that prepare read
"""

import contextlib
import hashlib
import json
import platform
import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ppl.core.declared import SCRATCH, declared

READS_YOURS = "prepare"
"""The stage that reads what people put into place."""

RAN = Path("ran")
"""Below SCRATCH."""

_READ_BYTES = 128 << 20
"""A record of more bytes is not read; one of a million files has fewer."""

_THREADS = 8


@dataclass(frozen=True)
class Took:
    """The last run of a stage on this machine."""

    seconds: float
    ended: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class TakenFile:
    """What a file was when it was read."""

    size: int
    """Bytes."""
    changed: int
    """Time of its last change, nanoseconds since 1970."""
    md5: str

    def looks_like(self, file: Path) -> bool:
        """Whether size and time say that `file` is as it was."""
        stat = file.stat()
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.changed)


def checkpoints(stage: str) -> set[Path]:
    """From which `stage` may go on; it removes the one that it went on from when it ends."""
    found = sorted(SCRATCH.glob(f"{stage}-*.pt"))
    return set(found)


def write_record(stage: str, before: set[Path]) -> None:
    """Call when `stage` has ended well, in its own process.

    The time of a stage that went on from a checkpoint is of a part of it, and not noted. A record
    that cannot be written is missed by nobody: no stage fails for it.

    Args:
        before: its checkpoints when it began.
    """
    now = time.time()
    # whatever a file that changed meanwhile leads to
    with contextlib.suppress(Exception):
        if before <= checkpoints(stage):
            took = {"seconds": round(now - psutil.Process().create_time(), 1), "ended": round(now)}
            _write(_folder() / f"{stage}.json", took)
        if stage == READS_YOURS:
            files = taken_now(declared(stage).input_files, files_taken() or {})
            _write(
                SCRATCH / RAN / "files.json",
                {name: [file.size, file.changed, file.md5] for name, file in files.items()},
            )


def times_taken() -> dict[str, Took]:
    """The last run of each stage on this machine; of some only, or none, where it is not known."""
    found = {}
    for file in sorted(_folder().glob("*.json")):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            record = _read(file)
            found[file.stem] = Took(float(record["seconds"]), float(record["ended"]))
    return found


def files_taken() -> dict[str, TakenFile] | None:
    """What `prepare` read when it last ran here, by path as POSIX; None where it is not known."""
    try:
        record = _read(SCRATCH / RAN / "files.json")
        return {
            str(name): TakenFile(int(size), int(changed), str(md5))
            for name, (size, changed, md5) in record.items()
        }
    except (AttributeError, TypeError, ValueError):
        return None


def taken_now(files: Iterable[Path], known: Mapping[str, TakenFile]) -> dict[str, TakenFile]:
    """Size, time and md5 of each file; what looks as in `known` is not read for its md5.

    Raises:
        OSError: a file is gone, or cannot be read.
    """

    def look(file: Path) -> tuple[str, TakenFile]:
        name = file.as_posix()
        if name in known and known[name].looks_like(file):
            return name, known[name]
        stat = file.stat()
        with file.open("rb") as stream:
            # as DVC names a file's content; no secret hangs on it
            md5 = hashlib.md5(usedforsecurity=False)
            while block := stream.read(1 << 20):
                md5.update(block)
        return name, TakenFile(stat.st_size, stat.st_mtime_ns, md5.hexdigest())

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(pool.map(look, files))


def _folder() -> Path:
    """Of this machine: several may share the project's folder."""
    return SCRATCH / RAN / (re.sub(r"[^\w.-]", "_", platform.node()).strip(".") or "machine")


def _read(file: Path) -> Any:
    """What a record holds; None without one, or where it is larger than any that was written.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        if file.stat().st_size > _READ_BYTES:
            return None
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return None


def _write(file: Path, content: object) -> None:
    """Half a record, after a kill, must not pass for one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".half")
    half.write_text(json.dumps(content), encoding="utf-8", newline="\n")
    half.replace(file)
