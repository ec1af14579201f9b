"""Code whose time lies in the future, as of archives and shared folders with another clock.

By its time it would seem edited since any start. The launcher looks at its content before the
stage imports it, and hands that on in the environment. It imports nothing heavy.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "PPL_CODE_AHEAD"
"""Holds path -> digest as JSON."""

MOST = 30_000
"""Letters that a variable may have on every system."""

_CODE = ("ppl", "stages")


def told_of_ahead(project: Path) -> dict[str, str]:
    """The variable to hand on: each file of code whose time lies in the future, and its digest.

    Of too many, as on a machine whose clock is years behind, those that find room.
    """
    now = time.time()
    found: dict[str, str] = {}
    room = MOST
    for folder in _CODE:
        for file in sorted((project / folder).rglob("*.py")):
            name = file.relative_to(project).as_posix()
            if file.stat().st_mtime > now and room > 0:
                found[name] = digest(file)
                room -= len(name) + len(found[name]) + 10
    return {VARIABLE: json.dumps(found)}


def ahead_at_start(given: Mapping[str, str]) -> dict[str, str]:
    """What the launcher handed on; {} where a stage was started without it."""
    try:
        found = json.loads(given.get(VARIABLE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def digest(file: Path) -> str:
    """A short hash of a file's content."""
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
