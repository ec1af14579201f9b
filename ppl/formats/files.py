"""Files that go out: copies of images, and files that are never half there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.formats.base import Item

HALF = ".half_copied"
"""What a file is called until it is whole: half of one must not pass for one that a person left."""


def whole(target: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, and put there when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(HALF)
    try:
        write(half)
        half.replace(target)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> None:
    """A copy, whole or not at all."""
    whole(target, lambda half: shutil.copyfile(source, half))


def copy_image(item: Item, folder: Path) -> None:
    """The image of an item below `folder`, under its own path, unless it is there."""
    assert item.image is not None, item.name
    target = folder / item.name
    if not target.exists():
        copy(item.image, target)


def write_json(target: Path, content: Any) -> None:
    """JSON, whole or not at all."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    whole(target, lambda half: half.write_text(text + "\n", encoding="utf-8", newline="\n"))


def stop_if_there(file: Path) -> None:
    """What went out once is not written over: somebody may be at work on it.

    Raises:
        InputError: the file is there.
    """
    if file.exists():
        raise InputError(f"{file} is there already, from an earlier time: name another folder")
