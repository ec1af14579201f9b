"""Which class a colour of a mask names: by `data.colours`, or by the labelmap.txt that CVAT leaves.

A labelmap has a line a class, `name:red,green,blue:parts:actions`, of which the last two may be
missing, and comments behind #. Background may have any colour, and its name any capitals. Source:
docs.cvat.ai, "Segmentation Mask" and "Creating masks".
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import IGNORE, Colour

LABELMAP_FILE = "labelmap.txt"
"""At the root of the data set or among its masks."""

IGNORED = "ignored"
"""The name under which pixels that are to be ignored may have a colour."""

_BLACK: Colour = (0, 0, 0)
_CVAT_BACKGROUND = "background"
_MOST_BYTES = 2**20
_SIZE_OF_COLOUR = 3


@dataclass(frozen=True)
class ClassColours:
    """What each colour means in the masks of a data set."""

    values: Mapping[Colour, int]
    """Class index by RGB colour; 255 for what is ignored."""
    names: Mapping[Colour, str]
    """The name of that class."""
    source: str
    """Where that stands, for messages."""
    file: Path | None = None
    """The file that says so; None for the settings."""


def colours_of_settings(
    colours: Mapping[str, Sequence[int]] | Sequence[Sequence[int]], classes: Sequence[str]
) -> ClassColours:
    """The colours that `data.colours` names.

    Args:
        colours: RGB in 0-255 by class name, or for all classes by index.
        classes: class names by index, background first.

    Raises:
        ValueError: no three such numbers, a name that is no class, a class without a colour, or
            one colour for two.
    """
    if isinstance(colours, Mapping):
        named = list(colours.items())
    elif isinstance(colours, Sequence) and not isinstance(colours, str):
        if len(colours) != len(classes):
            raise ValueError(
                f"{len(colours)} colours for {len(classes)} classes: list one for each by index, "
                "background first, or write them by name, as `colours: {scratch: [255, 0, 0]}`"
            )
        named = list(zip(classes, colours, strict=True))
    else:
        raise ValueError("expected a colour by class name, as `colours: {scratch: [255, 0, 0]}`")
    checked = [(str(name), _rgb(name, colour)) for name, colour in named]
    return _class_colours(_by_colour(checked, classes), classes, "data.colours")


def _class_colours(
    name_of: Mapping[Colour, str], classes: Sequence[str], source: str, file: Path | None = None
) -> ClassColours:
    value_of = {IGNORED: IGNORE} | {name: index for index, name in enumerate(classes)}
    values = {colour: value_of[name] for colour, name in name_of.items()}
    return ClassColours(values, name_of, source, file)


def _rgb(name: object, colour: Any) -> Colour:
    levels = colour if isinstance(colour, Sequence) and not isinstance(colour, str) else ()
    whole = [level for level in levels if type(level) is int and 0 <= level <= 255]
    if not len(whole) == len(levels) == _SIZE_OF_COLOUR:
        raise ValueError(
            f"{name} has the colour {colour!r}: expected red, green and blue as whole numbers of "
            "0-255, as [255, 0, 0]"
        )
    return whole[0], whole[1], whole[2]


def _by_colour(named: Iterable[tuple[str, Colour]], classes: Sequence[str]) -> dict[Colour, str]:
    """The name of the class by colour.

    Raises:
        ValueError: a name that is no class, a class without a colour, or one colour for two.
    """
    colour_of = dict(named)
    strangers = [name for name in colour_of if name not in (*classes, IGNORED)]
    if strangers:
        raise ValueError(
            f"{strangers[0]} is none of data.classes ({', '.join(classes)}): correct the name, add "
            "the class, or remove its colour"
        )
    colour_of = {name: _BLACK for name in classes[:1] if name not in colour_of} | colour_of
    bare = [name for name in classes if name not in colour_of]
    if bare:
        raise ValueError(f"{bare[0]} has no colour, and each class needs one: add it")
    first: dict[Colour, str] = {}
    for name, colour in colour_of.items():
        if first.setdefault(colour, name) != name:
            raise ValueError(
                f"{first[colour]} and {name} have one colour, {colour} (RGB), and masks could not "
                "tell them apart: give each its own"
            )
    return first


def find_colours(
    root: Path,
    colours: Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | None,
    classes: Sequence[str],
) -> ClassColours | None:
    """What says which classes the colours of masks name; None where nothing does.

    Args:
        root: the data set.
        colours: `data.colours`, which goes before a labelmap.txt.
        classes: class names by index, background first.

    Raises:
        InputError: two labelmaps that differ, or one that does not fit `classes`.
    """
    if colours is not None:
        return colours_of_settings(colours, classes)
    file = _labelmap(root)
    if file is None:
        return None
    named = _named_as(classes, list(_lines_of(file)))
    try:
        return _class_colours(_by_colour(named, classes), classes, str(file), file)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None


def labelmap_classes(root: Path) -> tuple[str, ...]:
    """The classes that a labelmap.txt names, background first; () without one.

    Raises:
        InputError: two labelmaps that differ, or one that cannot be read.
    """
    file = _labelmap(root)
    names = [name for name, _ in _lines_of(file)] if file else []
    defects = [name for name in names if name.lower() not in (_CVAT_BACKGROUND, IGNORED)]
    return (_CVAT_BACKGROUND, *defects) if defects else ()


def _labelmap(root: Path) -> Path | None:
    found = [
        file for file in (root / LABELMAP_FILE, root / "masks" / LABELMAP_FILE) if file.is_file()
    ]
    if len(found) > 1 and _text_of(found[0]) != _text_of(found[1]):
        raise InputError(f"{found[0]} and {found[1]} differ: keep the one that fits the masks")
    return found[0] if found else None


def _text_of(file: Path) -> str:
    if file.stat().st_size > _MOST_BYTES:
        raise InputError(f"{file} has more than {_MOST_BYTES:,} bytes: it is no labelmap of CVAT")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: save it as UTF-8") from None


def _lines_of(file: Path) -> Iterator[tuple[str, Colour]]:
    """The name and the colour of each class of a labelmap.

    Raises:
        InputError: a line without a name or a colour, or a name twice.
    """
    seen: set[str] = set()
    for number, line in enumerate(_text_of(file).splitlines(), start=1):
        # the header of CVAT is such a comment
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        levels = [level.strip() for level in rest.partition(":")[0].split(",")]
        plain = [int(level) for level in levels if level.isascii() and level.isdigit()]
        if not name or not len(plain) == len(levels) == _SIZE_OF_COLOUR or max(plain) > 255:
            raise InputError(
                f"{file}, line {number}: {json.dumps(line[:60], ensure_ascii=False)} gives no "
                "class its colour: expected name:red,green,blue with numbers of 0-255, as "
                "scratch:255,0,0::; rename the file if it is none of CVAT"
            )
        if name in seen:
            raise InputError(f"{file}, line {number}: {name} stands there twice: keep one line")
        seen.add(name)
        yield name, (plain[0], plain[1], plain[2])


def _named_as(
    classes: Sequence[str], named: Sequence[tuple[str, Colour]]
) -> list[tuple[str, Colour]]:
    """With the background, which CVAT calls so, under the name that it has here."""
    return [
        (classes[0] if name.lower() == _CVAT_BACKGROUND and name not in classes else name, colour)
        for name, colour in named
    ]
