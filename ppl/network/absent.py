"""A model that the chosen method does not train: its folder says so, and nobody loads it.

A stage that has nothing to do leaves its outputs all the same: DVC asks for them, and who opens
the folder reads why it holds no model.
"""

from pathlib import Path

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.plan import read_note
from ppl.images.sets import write_json

NOTE = "absent.json"
"""The only file in the folder of such a model."""


def leave_absent(folder: Path, why: str) -> None:
    """Write FOLDER/absent.json in place of a model; of several processes the first does.

    Args:
        why: a sentence for who looks for it.
    """
    if not processes.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NOTE, {"why": why})


def absent(folder: Path) -> str | None:
    """Why FOLDER holds no model; None where it should hold one.

    Raises:
        InputError: the file that says it is damaged.
    """
    file = folder / NOTE
    if not file.is_file():
        return None
    why = read_note(file).get("why")
    if not isinstance(why, str) or not why.isprintable():
        raise InputError(f"{file} does not say why in a line: `dvc repro` makes it anew")
    return why
