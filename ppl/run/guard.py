"""A stage fails if its code, settings or inputs changed while it ran.

DVC takes the hashes of dependencies after the command has ended. What was edited meanwhile would be
recorded as the source of outputs that it had no part in, and the run-cache would serve that lie on.
"""

import os
from collections.abc import Iterable
from typing import Any

import psutil

from ppl.core.declared import Declared, declared, digest
from ppl.core.errors import InputError
from ppl.run import ahead as ahead_of_time

START_MARGIN = 1.0
"""Seconds by which the clock of a process's start may be off."""


class Guard:
    """Remembers at a stage's start what it runs on; says at its end what is no longer the same.

    Code and settings are compared by content, inputs by size and time of change. What happened to
    the code between the process's start and now, the time of a file tells. Where it lies in the
    future already at the start, its content then tells, which the launcher handed on.

    Raises:
        InputError: a file of the code was edited between the process's start and now.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        parts = declared(stage)
        self._before = _state(parts)
        started = psutil.Process().create_time() + START_MARGIN
        ahead = ahead_of_time.ahead_at_start(os.environ)
        _stop(
            str(file)
            for file in parts.code_files
            if file.exists()
            and file.stat().st_mtime > started
            and ahead.get(file.as_posix()) != ahead_of_time.digest(file)
        )

    def stop_if_changed(self) -> None:
        """Call after the last output is written.

        Raises:
            InputError: what changed.
        """
        before, now = self._before, _state(declared(self._stage))
        _stop(
            what for what in sorted(before.keys() | now.keys()) if before.get(what) != now.get(what)
        )


def _state(parts: Declared) -> dict[str, Any]:
    """Every file and section that a stage depends on, by name, with what shows a change."""
    state: dict[str, Any] = {
        f"section `{name}` of params.yaml": value for name, value in parts.params.items()
    }
    state |= {str(file): digest(file) for file in parts.code_files if file.exists()}
    for file in parts.input_files:
        stat = file.stat()
        state[str(file)] = (stat.st_size, stat.st_mtime_ns)
    return state


def _stop(changed: Iterable[str]) -> None:
    found = list(changed)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise InputError(
            f"changed while this stage ran: {', '.join(found[:5])}{more}. Its outputs come from "
            "neither the old nor the new state, so nothing is recorded; run `dvc repro` again"
        )
