"""Ask DVC and Git: what they print, or their error as one that the user can read."""

import subprocess
import sys
import textwrap
from pathlib import Path

from ppl.errors import InputError

DVC = (sys.executable, "-m", "dvc")
"""The DVC of this environment, wherever it is called from."""

_ATTEMPTS = 3
_SHOWN = 240
"""Characters of an error message, which may run to pages."""


def ask_dvc(*arguments: str | Path, seconds: float | None = None) -> str:
    """What `dvc` prints.

    Args:
        seconds: how long it may take before it is ended and asked again, three times in all; None
            waits for it. Asked for experiments while one ends, DVC may read a file that is being
            removed, and then waits forever (seen in pygit2's reader of blobs).

    Raises:
        InputError: it failed, with the beginning of what it said; it did not answer in time.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _ask("dvc", DVC, arguments, seconds)
        except subprocess.TimeoutExpired:
            continue
    words = " ".join(map(str, arguments))
    raise InputError(f"`dvc {words}` did not answer {_ATTEMPTS} times within {seconds:g} seconds")


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
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, timeout=seconds
    )
    if done.returncode != 0:
        said = (done.stderr.partition("ERROR: ")[2] or done.stderr).strip()
        said = said or f"`{name} {' '.join(words)}` failed"
        raise InputError(textwrap.shorten(said, _SHOWN, placeholder=" ..."))
    return done.stdout
