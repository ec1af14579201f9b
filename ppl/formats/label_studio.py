"""Label Studio: a JSON file of tasks, with what a brush painted as run lengths.

Polygons and rectangles come back, too, in percent of the image's sides. A later region lies over an
earlier one. What is exported as plain JSON is read: the shorter JSON-MIN leaves out what is needed.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from ppl.core.errors import InputError
from ppl.formats import brush_rle, files
from ppl.formats.base import Found, Item, Painted, Size, Written, nothing, refused, size_differs
from ppl.formats.canvas import Canvas, Patch
from ppl.formats.names import ClassNames
from ppl.formats.polygons import fill, ring
from ppl.formats.records import Record, Side, record
from ppl.formats.source import open_source
from ppl.images.pictures import IGNORE, IMAGE_SUFFIXES

TASKS = "tasks.json"
CONFIG = "labeling_config.xml"

_BRUSH, _IMAGE = "brush", "image"
_LOCAL = "/data/local-files/?d="
_AREAS = ("brush", "polygon", "rectangle", "ellipse", "keypoint", "bitmask", "vector")
"""Regions begin so, as in brushlabels; a result of any other type marks no place of the image."""


class Task(Record):
    """An image of an export."""

    data: dict[str, Any]
    annotations: list[Any] | None = None


class Annotation(Record):
    """What one person left of an image."""

    result: list[Any]
    was_cancelled: bool = False
    ground_truth: bool = False


class Region(Record):
    """What was drawn."""

    type: str
    value: dict[str, Any]
    id: Any = None
    original_width: Side
    original_height: Side
    image_rotation: float = 0.0


class Rectangle(Record):
    """A rectangle: its upper left corner, its sides in percent, and a turn around that corner."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


def write(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """OUT/tasks.json, OUT/labeling_config.xml, and the images in OUT/images/."""
    for name in (TASKS, CONFIG):
        files.stop_if_there(out / name)
    tasks = []
    ignored = False
    for item in items:
        size = item.size()
        mask = item.mask(size, names)
        ignored |= bool((mask == IGNORE).any())
        files.copy_image(item, out / "images")
        task: dict[str, Any] = {"data": {_IMAGE: f"{_LOCAL}{quote(f'images/{item.name}')}"}}
        if item.start is not None:
            result = [
                _region(mask == value, names.name(value), f"region{value}")
                for value in np.unique(mask).tolist()
                if value
            ]
            task["predictions"] = [{"model_version": "ppl", "result": result}]
        tasks.append(task)
    files.write_json(out / TASKS, tasks)
    config = _config([*range(1, len(names.classes)), *([IGNORE] if ignored else [])], names)
    files.whole(out / CONFIG, lambda half: half.write_text(config, encoding="utf-8", newline="\n"))
    return Written(
        len(tasks),
        0,
        f"Start Label Studio with local files served from {out.resolve()}, make a project with "
        f"{CONFIG}, add {out.resolve() / 'images'} as local storage without syncing it, and import "
        f"{TASKS}.",
    )


def _region(inside: Any, label: str, id: str) -> dict[str, Any]:
    value = {"format": "rle", "rle": brush_rle.encode(inside), "brushlabels": [label]}
    return {
        "id": id,
        "type": "brushlabels",
        "from_name": _BRUSH,
        "to_name": _IMAGE,
        "original_width": inside.shape[1],
        "original_height": inside.shape[0],
        "image_rotation": 0,
        "value": value,
    }


def _config(values: Iterable[int], names: ClassNames) -> str:
    labels = ""
    for value in values:
        name, colour = quoteattr(names.name(value)), quoteattr(names.html_colour(value))
        labels += f"    <Label value={name} background={colour}/>\n"
    return (
        f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>\n'
        f'  <BrushLabels name="{_BRUSH}" toName="{_IMAGE}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def read(path: Path, names: ClassNames) -> Iterator[Found]:
    """The tasks of an export: one JSON file, or the only one in a folder or an archive."""
    source = open_source(path)
    listed = source.named(".json")
    if len(listed) != 1:
        raise InputError(f"{path} holds {len(listed)} .json files: expected one, name the export")
    tasks = source.json(listed[0])
    if not isinstance(tasks, list):
        raise InputError(f"{listed[0]} is no list of tasks: export as JSON")
    for number, one in enumerate(tasks, start=1):
        yield _found(record(Task, one, f"task {number} (export as JSON, not as JSON-MIN)"), names)


def _found(task: Task, names: ClassNames) -> Found:
    name = _name(task.data)
    try:
        annotations = [record(Annotation, one, "an annotation") for one in task.annotations or ()]
    except InputError as error:
        return Found(name, refused(error))
    done = [each for each in annotations if not each.was_cancelled]
    done = [each for each in done if each.ground_truth] or done
    if not done:
        why = "skipped in the tool" if annotations else "not annotated in the tool"
        return Found(name, nothing, not_annotated=why)
    if len(done) > 1:
        several = InputError(
            f"{len(done)} annotations of one image: mark one as ground truth, or delete the others"
        )
        return Found(name, refused(several))
    return Found(name, partial(_paint, done[0], names), checked=True)


def _name(data: Mapping[str, Any]) -> str:
    """The image of a task: its path, or the name of what was uploaded.

    Raises:
        InputError: the task holds no image.
    """
    texts = [value for value in data.values() if isinstance(value, str)]
    given = data.get(_IMAGE)
    if not isinstance(given, str):
        given = next((text for text in texts if _is_image(text)), None)
    if given is None:
        raise InputError("a task holds no image: expected `image` in its data")
    parts = _address(given)
    local = parse_qs(parts.query).get("d")
    if local:
        return local[-1]
    path = unquote(parts.path)
    if "/upload/" in path:
        return path.rpartition("/")[2]
    # of a server or a bucket only the path says which image it is
    return path.lstrip("/") if parts.scheme else path


def _is_image(text: str) -> bool:
    return _address(text).path.lower().endswith(IMAGE_SUFFIXES)


def _address(text: str) -> SplitResult:
    """The parts of an address; what is none, as a path."""
    try:
        return urlsplit(text)
    except ValueError:
        return SplitResult("", "", text, "", "")


def _paint(annotation: Annotation, names: ClassNames, size: Size) -> Painted:
    canvas = Canvas(size, names)
    named = _named(annotation)
    for number, one in enumerate(annotation.result, start=1):
        kind = str(one.get("type")) if isinstance(one, dict) else ""
        if not kind.startswith(_AREAS):
            continue
        region = record(Region, one, f"region {number}")
        said = (region.original_height, region.original_width)
        if said != size:
            raise size_differs(said, size)
        if region.image_rotation:
            raise InputError("the image was turned in the tool: turn it back")
        canvas.put(_label(region, named), _patch(region, size))
    return canvas.painted()


def _named(annotation: Annotation) -> dict[str, Any]:
    """Labels by the region that they are of: with <Brush/> and <Labels/>, a result each."""
    parts = [one for one in annotation.result if isinstance(one, dict)]
    values = {str(one.get("id")): one.get("value") for one in parts if one.get("type") == "labels"}
    return {id: value.get("labels") for id, value in values.items() if isinstance(value, dict)}


def _label(region: Region, named: Mapping[str, Any]) -> str:
    value = region.value
    labels = value.get(region.type) or value.get("labels") or named.get(str(region.id))
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise InputError("a region has no label, or several: give it one")
    return labels[0]


def _patch(region: Region, size: Size) -> Patch:
    value = region.value
    scale = np.array([size[1], size[0]]) / 100
    if isinstance(value.get("rle"), list):
        return Patch(0, 0, brush_rle.decode(value["rle"], size))
    if region.type.startswith("polygon"):
        return fill(ring(ring(value.get("points")) * scale), size)
    if region.type.startswith("rectangle"):
        return fill(_corners(record(Rectangle, value, "a rectangle"), scale), size)
    raise InputError(f"a region of type {region.type[:40]} is not read: draw it with the brush")


def _corners(box: Rectangle, scale: Any) -> Any:
    width, height = box.width * scale[0], box.height * scale[1]
    turn = math.radians(box.rotation) if math.isfinite(box.rotation) else 0.0
    across, down = (
        np.array([math.cos(turn), math.sin(turn)]),
        np.array([-math.sin(turn), math.cos(turn)]),
    )
    corner = np.array([box.x, box.y]) * scale
    sides = [across * 0, across * width, across * width + down * height, down * height]
    return ring([corner + side for side in sides])
