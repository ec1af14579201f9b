"""Ask DVC and Git: what they print, or their error as one that the user can read."""

import subprocess
import sys
import textwrap
from pathlib import Path

from ppl.errors import InputError

DVC = (sys.executable, "-m", "dvc")
"""The DVC of this environment, wherever it is called from."""

_SHOWN = 240
"""Characters of an error message, which may run to pages."""


def ask_dvc(*arguments: str | Path) -> str:
    """What `dvc` prints.

    Raises:
        InputError: it failed; the beginning of what it said.
    """
    return _ask("dvc", DVC, arguments)


def ask_git(*arguments: str | Path) -> str:
    """What `git` prints.

    Raises:
        InputError: it failed; the beginning of what it said.
    """
    return _ask("git", ("git",), arguments)


def _ask(name: str, command: tuple[str, ...], arguments: tuple[str | Path, ...]) -> str:
    words = [str(argument) for argument in arguments]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.partition("ERROR: ")[2] or done.stderr).strip()
        said = said or f"`{name} {' '.join(words)}` failed"
        raise InputError(textwrap.shorten(said, _SHOWN, placeholder=" ..."))
    return done.stdout
