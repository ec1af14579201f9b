"""COCO instances: one JSON file of images, categories and annotations, as run lengths or polygons.

CVAT takes the same file as its "COCO 1.0". An annotation that stands later in the file lies over an
earlier one.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.formats import coco_rle, files
from ppl.formats.base import Found, Item, Painted, Size, Written
from ppl.formats.canvas import Canvas, Patch
from ppl.formats.names import ClassNames
from ppl.formats.polygons import fill, outlines, ring
from ppl.formats.records import Record, Side, record
from ppl.formats.source import open_source, read_json
from ppl.images.pictures import IGNORE

FILE = "instances.json"

BEGAN = "began_as_model"
"""A key of a file that goes out with masks of a model; no tool keeps it."""


class Picture(Record):
    """An image of the file."""

    id: int | str
    file_name: str
    height: Side | None = None
    width: Side | None = None


class Category(Record):
    """A class of the file."""

    id: int
    name: str


class Annotation(Record):
    """An object of the file."""

    image_id: int | str
    category_id: int
    segmentation: Any = None


class Content(Record):
    """The file."""

    images: list[Any]
    categories: list[Any]
    annotations: list[Any]
    began_as_model: bool = False


def write(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """OUT/instances.json, with objects as run lengths, and OUT/images/."""
    return _write(out, items, names, polygons=False)


def write_polygons(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """The same with objects as polygons."""
    return _write(out, items, names, polygons=True)


def _write(out: Path, items: Iterable[Item], names: ClassNames, *, polygons: bool) -> Written:
    files.stop_if_there(out / FILE)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ignored = False
    for number, item in enumerate(items, start=1):
        size = item.size()
        mask = item.mask(size, names)
        ignored |= bool((mask == IGNORE).any())
        files.copy_image(item, out / "images")
        picture = {"id": number, "file_name": item.name, "height": size[0], "width": size[1]}
        images.append(picture)
        for value, part in _parts(mask):
            drawn = _polygon(part, size) if polygons else _run_lengths(part, size)
            known = {"id": len(annotations) + 1, "image_id": number, "category_id": value}
            annotations.append({**known, **drawn})
    values = [*range(1, len(names.classes)), *([IGNORE] if ignored else [])]
    categories = [{"id": value, "name": names.name(value)} for value in values]
    content: dict[str, Any] = {"images": images, "categories": categories}
    content |= {"annotations": annotations} | ({BEGAN: True} if annotations else {})
    files.write_json(out / FILE, content)
    return Written(
        len(images),
        0,
        f"Load {out / 'images'} and {FILE} in your tool; in CVAT make a task of the images with "
        f"the classes as labels, then upload {FILE} as COCO 1.0.",
    )


def _parts(mask: NDArray[np.uint8]) -> Iterator[tuple[int, Patch]]:
    """Each connected part of a class, with its value; diagonal neighbours are connected."""
    from scipy import ndimage

    for value in np.unique(mask).tolist():
        if value:
            labels, _ = ndimage.label(mask == value, structure=np.ones((3, 3)))
            for number, box in enumerate(ndimage.find_objects(labels), start=1):
                yield value, Patch(box[0].start, box[1].start, labels[box] == number)


def _run_lengths(part: Patch, size: Size) -> dict[str, Any]:
    # COCO's tools take run lengths for what they call a crowd
    return {**_extent(part), "segmentation": coco_rle.encode(part, size), "iscrowd": 1}


def _polygon(part: Patch, size: Size) -> dict[str, Any]:
    corner = [part.left, part.top]
    rings = [(points + corner).ravel().tolist() for points in outlines(part.inside)]
    return {**_extent(part), "segmentation": rings, "iscrowd": 0}


def _extent(part: Patch) -> dict[str, Any]:
    rows, columns = part.inside.shape
    return {"bbox": [part.left, part.top, columns, rows], "area": int(part.inside.sum())}


def read(path: Path, names: ClassNames) -> Iterator[Found]:
    """The images of one COCO file, or of the only one in a folder or an archive."""
    source = open_source(path)
    listed = source.named(".json")
    if len(listed) != 1:
        raise InputError(
            f"{path} holds {len(listed)} .json files: expected one, name the file of instances"
        )
    yield from _pictures(record(Content, source.json(listed[0]), listed[0]), listed[0], names)


def read_beside(file: Path, names: ClassNames) -> Iterator[Found]:
    """The images that a file beside them lists.

    Raises:
        InputError: as `read`, or it went out with masks of a model.
    """
    held = record(Content, read_json(file, file.name), file.name)
    if held.began_as_model:
        raise InputError(
            "went out with masks of a model, which would count as yours: take it in by `python -m "
            "ppl annotate in coco`"
        )
    yield from _pictures(held, file.name, names)


def _pictures(held: Content, name: str, names: ClassNames) -> Iterator[Found]:
    categories = {
        each.id: each.name
        for each in (record(Category, one, "a category") for one in held.categories)
    }
    pictures = [record(Picture, one, "an image") for one in held.images]
    objects: dict[int | str, list[Annotation]] = {picture.id: [] for picture in pictures}
    if len(objects) < len(pictures):
        raise InputError(f"{name} gives two images one id: it was put together wrongly")
    for number, one in enumerate(held.annotations, start=1):
        each = record(Annotation, one, f"annotation {number}")
        if each.image_id not in objects:
            raise InputError(
                f"annotation {number} is of image {str(each.image_id)[:60]!r}, which is not listed"
            )
        objects[each.image_id].append(each)
    for picture in pictures:
        yield Found(
            picture.file_name,
            partial(_paint, objects[picture.id], categories, names),
            size=(picture.height, picture.width) if picture.height and picture.width else None,
        )


def _paint(
    objects: list[Annotation], categories: Mapping[int, str], names: ClassNames, size: Size
) -> Painted:
    canvas = Canvas(size, names)
    for each in objects:
        if each.category_id not in categories:
            raise InputError(f"category {each.category_id} is not listed in the file")
        drawn = each.segmentation
        if not drawn:
            raise InputError("an object has a box alone: draw polygons or masks")
        for patch in _patches(drawn, size):
            canvas.put(categories[each.category_id], patch)
    return canvas.painted()


def _patches(drawn: Any, size: Size) -> list[Patch]:
    if isinstance(drawn, list):
        return [fill(ring(points), size) for points in drawn]
    return [coco_rle.decode(drawn, size)]
