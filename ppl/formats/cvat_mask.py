"""CVAT's "Segmentation mask 1.1": pictures whose colours are classes, named in a labelmap.

labelmap.txt                       name:red,green,blue:: , a class a line
ImageSets/Segmentation/NAME.txt    paths of images without suffix, one a line
SegmentationClass/PATH.png         the colour of each pixel's class
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ppl.core.errors import InputError
from ppl.formats import files
from ppl.formats.base import Found, Item, Painted, Size, Written, nothing, size_differs, with_suffix
from ppl.formats.names import ClassNames
from ppl.formats.source import Source, open_source
from ppl.images.pictures import IGNORE, Colour, indices_as_png, open_picture

ANNOTATIONS = "annotations.zip"
IMAGES = "images.zip"
LABELS = "labels.json"

_LABELMAP = "labelmap.txt"
_MASKS = "SegmentationClass/"
_LIST = "ImageSets/Segmentation/"
_LONGEST_LIST = 10_000_000
"""Bytes of a labelmap or a list of images."""
_MADE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive, so that its bytes depend on the content alone."""


def write(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """OUT/images.zip for a task, OUT/labels.json for its labels, OUT/annotations.zip to upload."""
    for name in (IMAGES, ANNOTATIONS, LABELS):
        files.stop_if_there(out / name)
    # what a labelmap cannot hold is said before a file is begun
    _labelmap(range(len(names.classes)), names)
    out.mkdir(parents=True, exist_ok=True)
    half = [out / f".{name}" for name in (IMAGES, ANNOTATIONS)]
    try:
        listed, values = _write_archives(half, items, names)
        files.write_json(out / LABELS, [_label(value, names) for value in values if value])
        for file, name in zip(half, (IMAGES, ANNOTATIONS), strict=True):
            file.replace(out / name)
    except BaseException:
        # labels alone would be in the way of the next attempt
        for file in (*half, *(out / name for name in (IMAGES, ANNOTATIONS, LABELS))):
            file.unlink(missing_ok=True)
        raise
    return Written(
        listed,
        0,
        f"In CVAT make a task of {IMAGES}, with {LABELS} as its raw labels, then upload "
        f"{ANNOTATIONS} as Segmentation mask 1.1.",
    )


def _write_archives(
    half: Sequence[Path], items: Iterable[Item], names: ClassNames
) -> tuple[int, list[int]]:
    """Images and masks into an archive each; how many, and the classes that the masks may show."""
    listed = []
    ignored = False
    with zipfile.ZipFile(half[0], "w") as images, zipfile.ZipFile(half[1], "w") as annotations:
        for item in items:
            assert item.image is not None, item.name
            size = item.size()
            id = PurePosixPath(item.name).with_suffix("").as_posix()
            _add(images, item.name, item.image.read_bytes())
            listed.append(id)
            if item.start is not None:
                mask = item.mask(size, names)
                ignored |= bool((mask == IGNORE).any())
                _add(annotations, f"{_MASKS}{id}.png", indices_as_png(mask, names.colours))
        values = [*range(len(names.classes)), *([IGNORE] if ignored else [])]
        _add(annotations, _LABELMAP, _labelmap(values, names).encode())
        _add(annotations, f"{_LIST}default.txt", "".join(f"{id}\n" for id in listed).encode())
    return len(listed), values


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _MADE), content)


def _labelmap(values: Iterable[int], names: ClassNames) -> str:
    lines = ["# label:color_rgb:parts:actions"]
    for value in values:
        name = names.name(value)
        if ":" in name or name.startswith("#"):
            raise InputError(f"class {name} holds a character that CVAT's labelmap cannot: rename")
        lines.append(f"{name}:{','.join(map(str, names.colour(value)))}::")
    return "\n".join(lines) + "\n"


def _label(value: int, names: ClassNames) -> dict[str, object]:
    return {
        "name": names.name(value),
        "color": names.html_colour(value),
        "attributes": [],
    }


def read(path: Path, names: ClassNames) -> Iterator[Found]:
    """Every mask of an export, and the images that it lists without one."""
    source = open_source(path)
    tops = {name.partition(_MASKS)[0] for name in source.names if f"/{_MASKS}" in f"/{name}"}
    if len(tops) != 1:
        raise InputError(
            f"{path} holds {len(tops)} folders {_MASKS}: expected the export of one task as "
            "Segmentation mask 1.1"
        )
    [top] = tops
    values = _values(source, f"{top}{_LABELMAP}", names)
    masks = {
        name.removeprefix(f"{top}{_MASKS}")[:-4]: name
        for name in source.named(".png")
        if name.startswith(f"{top}{_MASKS}")
    }
    for id, name in masks.items():
        # with the suffix: what stands before it may end like a file, too
        yield Found(f"{id}.png", partial(_paint, source, name, values))
    for id in sorted(_listed(source, f"{top}{_LIST}") - masks.keys()):
        yield Found(with_suffix(id), nothing)


def _values(source: Source, name: str, names: ClassNames) -> Mapping[Colour, int | InputError]:
    """The value of each colour, or why it has none: asked only where the colour occurs.

    Without a labelmap the colours are those of the data set.

    Raises:
        InputError: a line of the labelmap is none, or a colour stands there twice.
    """
    if name not in source.names:
        known: dict[Colour, int | InputError] = {
            colour: value for value, colour in enumerate(names.colours)
        }
        return known | {names.colour(IGNORE): IGNORE}
    found: dict[Colour, int | InputError] = {}
    for line in _lines(source, name):
        label, _, rest = line.partition(":")
        levels = rest.partition(":")[0].split(",")
        if len(levels) != 3 or not all(level.strip().isdecimal() for level in levels):
            raise InputError(f"{name} holds the line {line[:60]!r}: expected name:red,green,blue::")
        red, green, blue = (int(level[:9]) for level in levels)
        if (red, green, blue) in found:
            raise InputError(f"{name} gives two classes the colour {red},{green},{blue}")
        try:
            found[red, green, blue] = names.value(label)[0]
        except InputError as error:
            found[red, green, blue] = error
    # what nobody painted is black, whatever colour the labelmap gives to background
    found.setdefault((0, 0, 0), 0)
    return found


def _listed(source: Source, folder: str) -> set[str]:
    return {
        line
        for name in source.named(".txt")
        if name.startswith(folder)
        for line in _lines(source, name)
    }


def _lines(source: Source, name: str) -> list[str]:
    with source.file(name) as file:
        if file.stat().st_size > _LONGEST_LIST:
            raise InputError(f"{name} has more than {_LONGEST_LIST:,} bytes")
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{name} is no UTF-8 text") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _paint(
    source: Source, name: str, values: Mapping[Colour, int | InputError], size: Size
) -> Painted:
    with source.file(name) as file:
        opened = open_picture(file, "mask")
    if opened.format not in ("PNG", "BMP"):
        raise InputError(f"the mask is {opened.format}, which alters colours: export it again")
    if opened.image.size != size[::-1]:
        raise size_differs(opened.image.size[::-1], size)
    pixels = np.array(opened.image.convert("RGB")).astype(np.uint32)
    coded = pixels @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    mask = np.zeros(size, dtype=np.uint8)
    for code in np.unique(coded).tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        value = values.get(colour)
        if isinstance(value, InputError):
            raise value
        if value is None:
            raise InputError(f"colour {','.join(map(str, colour))} is not in the labelmap")
        mask[coded == code] = value
    return Painted(mask)
