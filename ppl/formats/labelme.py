"""LabelMe: a JSON file of shapes beside each image.

Shapes are polygons; what else LabelMe draws and that has an area is read, too: rectangles, circles
and masks. A later shape lies over an earlier one, as in LabelMe's own conversion.
"""

import base64
import binascii
import io
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from ppl.core.errors import InputError
from ppl.formats import files
from ppl.formats.base import Found, Item, Painted, Size, Written, refused, size_differs, with_suffix
from ppl.formats.canvas import Canvas, Patch
from ppl.formats.names import ClassNames
from ppl.formats.polygons import Ring, fill, outlines, ring
from ppl.formats.records import Record, Side, record
from ppl.formats.source import MOST_JSON, Source, open_source, read_json

CHECKED = "checked"
"""A flag of each file, a box to tick in LabelMe: a person has finished the image."""

BEGAN = "began_as_model"
"""A key of files that go out with a model's mask; LabelMe keeps what it does not know."""

_POLYGONS = ("polygon", "oriented_rectangle", "rotation")
"""Shapes by their corners; the last is X-AnyLabeling's name of the second."""
_CORNERS, _OPPOSITE = 4, 2
"""Points of a rectangle in X-AnyLabeling, and of LabelMe's own."""

_VERSION = "5.5.0"
_SHAPES = b'"shapes"'
_BLOCK = 2**20
"""Bytes that are looked at together."""
_ROUND = 0.05
"""Pixels by which the polygon of a circle may lie within it."""


class Shape(Record):
    """What was drawn."""

    label: str
    points: list[Any]
    shape_type: str | None = None
    mask: str | None = None


class Annotation(Record):
    """One file."""

    shapes: list[Any]
    imagePath: str  # noqa: N815 - the format's own name
    imageHeight: Side | None = None  # noqa: N815
    imageWidth: Side | None = None  # noqa: N815
    flags: dict[str, Any] | None = None
    began_as_model: bool = False


def write(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """OUT/images/ID.json beside a copy of the image; one that is there is left alone."""
    new = left = 0
    for item in items:
        target = (out / "images" / item.name).with_suffix(".json")
        if target.exists():
            left += 1
            continue
        content = _content(item, names)
        files.copy_image(item, out / "images")
        files.write_json(target, content)
        new += 1
    return Written(
        new,
        left,
        f"Open {out / 'images'} in LabelMe, correct the shapes, tick `{CHECKED}` among the flags "
        "of each image that is done, and save.",
    )


def _content(item: Item, names: ClassNames) -> dict[str, Any]:
    size = item.size()
    mask = item.mask(size, names)
    return {
        "version": _VERSION,
        "flags": {CHECKED: False},
        "shapes": [
            {
                "label": names.name(value),
                "points": points.tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for value in np.unique(mask).tolist()
            if value
            for points in outlines(mask == value)
        ],
        "imagePath": PurePosixPath(item.name).name,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
        **({} if item.start is None else {BEGAN: True}),
    }


def read(path: Path, names: ClassNames) -> Iterator[Found]:
    """Every JSON file below a folder, in an archive, or a single one."""
    source = open_source(path)
    listed = source.named(".json")
    if not listed:
        raise InputError(f"{path} holds no .json file: expected those of LabelMe, beside images")
    for name in listed:
        yield _found(source, name, names)


def _found(source: Source, name: str, names: ClassNames) -> Found:
    try:
        held = record(Annotation, source.json(name), name)
    except InputError as error:
        # LabelMe names a file like its image
        return Found(with_suffix(name[:-5]), refused(error), broken=str(error))
    height, width = held.imageHeight, held.imageWidth
    beside = (PurePosixPath(name).parent / held.imagePath.replace("\\", "/")).as_posix()
    return Found(
        held.imagePath if PureWindowsPath(held.imagePath).anchor else beside,
        partial(_paint, source, name, names),
        size=(height, width) if height and width else None,
        checked=(held.flags or {}).get(CHECKED) is True,
    )


def is_one(file: Path) -> bool:
    """Whether a JSON file is meant as one of LabelMe's: what has no shapes is something else.

    One that is too large, cut short or no JSON counts, too: whoever reads it says so.
    """
    if has_shapes(file):
        return True
    try:
        read_json(file, file.name)
    except InputError:
        return True
    return False


def has_shapes(file: Path) -> bool:
    """Whether the key stands in it: LabelMe writes it before the image, which may be long."""
    end = b""
    try:
        with file.open("rb") as stream:
            for _ in range(MOST_JSON // _BLOCK + 1):
                block = stream.read(_BLOCK)
                if _SHAPES in end + block:
                    return True
                end = block[-len(_SHAPES) :]
    except OSError:
        pass
    return False


def read_beside(file: Path, image: Path, names: ClassNames, size: Size) -> Painted:
    """What a file says of the image that lies beside it under its name.

    Args:
        size: of the image, as viewers show it.

    Raises:
        InputError: it is damaged, too large, of another image or size, began as a model's mask, or
            holds what has no area or class.
    """
    held = record(Annotation, read_json(file, file.name), "it")
    if held.began_as_model:
        raise InputError(
            "went out with a model's mask, which would count as yours: take it in by `python -m "
            "ppl annotate in labelme`"
        )
    _stop_at_other_image(held.imagePath, file, image)
    said = (held.imageHeight or size[0], held.imageWidth or size[1])
    if said != size:
        raise size_differs(said, size)
    return _painted(held, names, size)


def _stop_at_other_image(path: str, file: Path, image: Path) -> None:
    """A file that was copied to another name; a path that leads nowhere was renamed, with it."""
    other = file.parent / path.replace("\\", "/")
    if _stem(other) != _stem(image) and os.path.isfile(other):  # noqa: PTH113 - of any length
        raise InputError(f"says that it is of {path[:80]!r}: name it like its image, or remove it")


def _stem(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem)


def _paint(source: Source, name: str, names: ClassNames, size: Size) -> Painted:
    return _painted(record(Annotation, source.json(name), name), names, size)


def _painted(held: Annotation, names: ClassNames, size: Size) -> Painted:
    canvas = Canvas(size, names)
    for number, content in enumerate(held.shapes, start=1):
        shape = record(Shape, content, f"shape {number}")
        canvas.put(shape.label, _patch(shape, size))
    return canvas.painted()


def _patch(shape: Shape, size: Size) -> Patch:
    """The pixels of a shape.

    Raises:
        InputError: it has no area, or points that are none.
    """
    kind = shape.shape_type or "polygon"
    if kind in _POLYGONS or (kind == "rectangle" and len(shape.points) == _CORNERS):
        return fill(ring(shape.points), size)
    if kind not in ("rectangle", "circle", "mask"):
        raise InputError(f"shape {kind[:40]!r} has no area: draw polygons, or delete it")
    if kind == "rectangle" and len(shape.points) != _OPPOSITE:
        raise InputError(
            f"a rectangle has {len(shape.points)} points: expected two corners, or four"
        )
    # the third point only makes a ring of the two
    first, second, _ = ring([*shape.points[:2], *shape.points[1:2]])
    if kind == "mask":
        return _of_mask(shape.mask or "", first, second, size)
    return fill(_rectangle(first, second) if kind == "rectangle" else _circle(first, second), size)


def _rectangle(first: Ring, second: Ring) -> Ring:
    return np.array([first, [second[0], first[1]], second, [first[0], second[1]]])


def _circle(centre: Ring, border: Ring) -> Ring:
    radius = max(float(np.hypot(*(border - centre))), _ROUND)
    corners = max(8, math.ceil(math.pi / math.acos(max(0.0, 1 - _ROUND / radius))))
    angles = np.arange(corners) * 2 * math.pi / corners
    circle: Ring = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return circle


def _of_mask(packed: str, first: Ring, second: Ring, size: Size) -> Patch:
    """The pixels of a shape that is a picture of its box, both corners in it.

    Raises:
        InputError: no picture, one of another size than its box, or one outside the image.
    """
    (left, top), (right, bottom) = np.floor([first, second]).astype(int).tolist()
    # before anything is decoded: a small file may hold a picture of any size
    if min(left, top) < 0 or bottom >= size[0] or right >= size[1]:
        raise InputError("a mask lies outside the image")
    box = (bottom - top + 1, right - left + 1)
    try:
        with Image.open(io.BytesIO(base64.b64decode(packed)), formats=["PNG"]) as picture:
            if picture.size != box[::-1]:
                raise InputError(f"a mask of {picture.size} pixels has a box of {box[::-1]}")
            inside = np.array(picture.convert("L")) > 0
    except InputError:
        raise
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        raise InputError("a mask holds no PNG that can be read") from None
    return Patch(top, left, inside)
