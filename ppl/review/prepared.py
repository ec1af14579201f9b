"""What `prepare` left, as far as a page needs it: where images lie, classes, who shows which part.

`ppl/images/sets.py` and `ppl/images/record.py` read the same files for the stages. They import
PyTorch, for which a page would wait seconds.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import IGNORE, Colour

PREPARED = Path("data", "prepared")

MOST_BYTES = 2**28
"""Of a table or a JSON file: what a million images need."""

_SETS = ("labeled", "validation", "unlabeled", "test")


@dataclass(frozen=True)
class Classes:
    """Class names by index, background first, and their colours."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]


@dataclass(frozen=True)
class Parts:
    """Which part an image shows, and the photos of each part."""

    part_of: Mapping[str, str]
    """By image; {} where no part is known."""
    files: Mapping[str, Path]
    """Every prepared image."""
    photos: Mapping[str, Sequence[str]]
    """By part, in the order of their names."""

    def others(self, id: str) -> list[tuple[str, Path]]:
        """The other photos of the part that an image shows, with their files."""
        photos = self.photos.get(self.part_of.get(id, ""), ())
        return [(photo, self.files[photo]) for photo in photos if photo != id]


def read_text(file: Path, errors: str = "strict") -> str:
    """A text that is not too long to be one of ours, without a byte order mark.

    Args:
        errors: how Python decodes what is no UTF-8.

    Raises:
        InputError: missing, too long, or no UTF-8.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file} has more than {MOST_BYTES:,} bytes, which is none of ours")
        return file.read_bytes().decode("utf-8-sig", errors)
    except FileNotFoundError:
        raise InputError(f"there is no {file}: run `make repro` first") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: save it as UTF-8, or make it anew") from None


def inside(folder: Path, path: str) -> Path:
    """A path that a file names, below `folder`.

    Raises:
        InputError: it leads out of the folder.
    """
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise InputError(f"{path!r} leads out of {folder}: a list was edited, make it anew")
    return folder / pure


def read_classes(file: Path = PREPARED / "dataset.json") -> Classes:
    """Class names and colours of the prepared data.

    Raises:
        InputError: missing or damaged.
    """
    content = _json(file)
    try:
        colours = tuple((int(r), int(g), int(b)) for r, g, b in content["colours"])
        return checked_classes([str(name) for name in content["classes"]], colours)
    except (KeyError, TypeError, ValueError):
        raise _damaged(file) from None


def checked_classes(names: Sequence[str], colours: Sequence[Colour]) -> Classes:
    """The two together.

    Raises:
        ValueError: they do not fit each other, or no mask.
    """
    if not (2 <= len(names) == len(colours) <= IGNORE):
        raise ValueError(f"{len(names)} classes, {len(colours)} colours")
    if any(not 0 <= level <= 255 for colour in colours for level in colour):
        raise ValueError("a colour has levels of 0-255")
    return Classes(tuple(names), tuple(colours))


def image_files(folder: Path) -> dict[str, Path]:
    """The image files of one prepared set, by id.

    Raises:
        InputError: its index is missing or damaged.
    """
    index = folder / "index.json"
    try:
        return {
            str(entry["id"]): inside(folder / "images", str(entry["image"]))
            for entry in _json(index)
        }
    except (KeyError, TypeError):
        raise _damaged(index) from None


def read_parts(folder: Path = PREPARED) -> Parts:
    """The prepared images of all sets, by part.

    Raises:
        InputError: the record or an index is missing or damaged.
    """
    record = folder / "split.json"
    content = _json(record)
    if not isinstance(content, dict) or not isinstance(content.get("parts"), dict):
        raise _damaged(record)
    part_of = {id: str(part) for id, part in content["parts"].items()}
    files: dict[str, Path] = {}
    for name in _SETS:
        files |= image_files(folder / name)
    photos: defaultdict[str, list[str]] = defaultdict(list)
    for id in sorted(files):
        if id in part_of:
            photos[part_of[id]].append(id)
    return Parts(part_of, files, photos)


def _json(file: Path) -> Any:
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(file) from None


def _damaged(file: Path) -> InputError:
    return InputError(f"{file} is damaged: run `make repro` to have it made anew")
