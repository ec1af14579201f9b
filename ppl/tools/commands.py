"""Ask DVC and Git: what they print, or their error as one that the user can read."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from ppl.core.errors import InputError

DVC = (sys.executable, "-m", "dvc")
"""The DVC of this environment, wherever it is called from."""

_ATTEMPTS = 3
_PAUSE = 2.0
"""Seconds between two attempts."""

_OFFER = "Having any troubles?"
"""With this DVC offers its help after an error that it did not foresee."""

_SHOWN = 240
"""Characters of an error message, which may run to pages."""


def ask_dvc(*arguments: str | Path, seconds: float | None = None) -> str:
    """What `dvc` prints.

    Args:
        seconds: for a question that may be put again: how long the answer may take. Where it
            takes longer or is an error, `dvc` is asked again, three times in all; None asks once
            and waits. Asked for experiments while one ends, DVC may read what is being removed,
            and then fails, or waits forever (seen in pygit2's reader of blobs).

    Raises:
        InputError: it failed, with the beginning of what it said; it did not answer in time.
    """
    for _ in range(0 if seconds is None else _ATTEMPTS - 1):
        try:
            return _ask("dvc", DVC, arguments, seconds)
        except InputError:
            time.sleep(_PAUSE)
    return _ask("dvc", DVC, arguments, seconds)


def ask_git(*arguments: str | Path) -> str:
    """What `git` prints.

    Raises:
        InputError: it failed; the beginning of what it said.
    """
    return _ask("git", ("git",), arguments, None)


def _ask(
    name: str, command: tuple[str, ...], arguments: tuple[str | Path, ...], seconds: float | None
) -> str:
    words = [str(argument) for argument in arguments]
    asked = f"`{name} {' '.join(words)}`"
    try:
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{asked} did not answer within {seconds:g} seconds") from error
    if done.returncode != 0:
        said = (done.stderr.partition("ERROR: ")[2] or done.stderr).partition(_OFFER)[0].strip()
        said = said or f"{asked} failed"
        raise InputError(textwrap.shorten(said, _SHOWN, placeholder=" ..."))
    return done.stdout
