"""What the method does in a phase, as the file of the phase says it.

Stage choose_method leaves a file for each, see `ppl/methods/choose.py`.
"""

import json
from pathlib import Path
from typing import Any, Literal

from ppl.core.errors import InputError
from ppl.core.settings import Settings, checked

WITHOUT = "the method (method.name) does without"
"""Why there is no model of a phase; the same for all methods, so that they share what it leaves."""

NOT_ONCE = "the method (method.name) trains in phases"
"""The same of the model of those that train once."""

MOST_BYTES = 2**20
"""Of such a file; written ones have some hundreds."""

Ranking = Literal["reliability", "stability", "all"]
"""By which the reliable images are chosen; `all` are, where the teacher labels all at once."""

Perturbed = Literal["def_up", "strong"]
"""What students see of unlabeled images: Def-UP, or strong augmentation alone."""


class Once(Settings):
    """A method that trains once, and its section of params.yaml, which the training checks."""

    name: str
    settings: dict[str, Any]


def read_plan(file: Path, kind: Any) -> Any:
    """The one value that `choose_method` left in a file.

    Args:
        kind: its type, which may be one of several.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    written = read_note(file)
    if len(written) != 1:
        raise InputError(f"{file}: expected one key, got {len(written)}: {_REMEDY}")
    ((key, value),) = written.items()
    try:
        return checked(key, value, kind, file=file)
    except InputError as error:
        raise InputError(f"{error}: {_REMEDY}") from None


def read_note(file: Path) -> dict[str, Any]:
    """The table in a small JSON file that a stage left.

    Raises:
        InputError: it is missing, too long, no JSON, or no table.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{file} has more than {MOST_BYTES >> 20} MiB: {_REMEDY}")
        found = json.loads(content.decode("utf-8"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file} is missing: {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        said = str(error).splitlines()[0]
        raise InputError(f"{file} is no JSON ({said}): {_REMEDY}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no table: {_REMEDY}")
    return found


_REMEDY = "`dvc repro` makes it anew"
