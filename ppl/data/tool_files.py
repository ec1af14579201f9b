"""Masks that lie beside the images as files of an annotation tool: objects, rastered when read.

LabelMe leaves IMAGE.json beside an image; one without shapes says that the image is sound. COCO is
one file for all images, and one that it lists without an object is sound; one that it does not list
is unlabeled. A mask is drawn from scratch then: what began as a model's comes in by `annotate in`.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    DataSettings,
    Sample,
    by_id,
    distinct_colours,
    labelme_files,
    stop_at_link,
)
from ppl.data.image_names import ImageNames, shown
from ppl.formats import coco, labelme
from ppl.formats.base import Found, Paint, Painted, Size, size_differs
from ppl.formats.names import ClassNames
from ppl.images.files import StoredMask
from ppl.images.pictures import IMAGE_SUFFIXES

COCO_NAMES = re.compile(r"annotations\.json|instances.*\.json|_annotations\.coco\.json", re.I)
"""What COCO files of a data set are called, by COCO itself, CVAT and Roboflow."""

_SOUND = "a file of a tool shows no object, which makes the image sound"
_SHOWN = 10
_LARGE = 2**23
"""Bytes of a JSON file from which on one is read at a time: it takes thirty times the memory."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class ToolMask(StoredMask):
    """A mask as class indices, and what is to be said of the objects that it is made of."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolFiles:
    """The files of tools in a data set."""

    labelme: Mapping[str, Path]
    """By the id of their image."""
    coco: Path | None

    def __bool__(self) -> bool:
        return bool(self.labelme) or self.coco is not None


def tool_files(root: Path) -> ToolFiles:
    """What lies beside the images, and in ROOT or ROOT/annotations for COCO.

    Raises:
        InputError: two files of LabelMe for one image, several of COCO, or a folder is a link.
    """
    stop_at_link(root / "annotations")
    shapes = by_id(labelme_files(root / "images"), "annotation")
    listed = [
        file
        for folder in (root, root / "annotations", root / "images")
        for file in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if COCO_NAMES.fullmatch(file.name) and file.is_file() and file not in shapes.values()
    ]
    if len(listed) > 1:
        raise InputError(
            f"{len(listed)} files of COCO, {', '.join(map(str, listed[:_SHOWN]))}: one has to list "
            "all images; put them together, or remove the others"
        )
    return ToolFiles(shapes, listed[0] if listed else None)


def with_tool_files(
    root: Path, samples: Sequence[Sample], files: ToolFiles, settings: DataSettings
) -> list[Sample]:
    """The samples, those annotated that a file of a tool is of.

    Raises:
        InputError: a file of no image, two masks of one image, or a COCO file that is damaged, too
            large, or lists an image that is not there.
    """
    names = ClassNames(tuple(settings.classes), distinct_colours(max(1, len(settings.classes))))
    by_sample = {sample.id: sample for sample in samples}
    _stop_at_stray(files.labelme, by_sample, root / "images")
    painted: dict[str, tuple[Path, Paint]] = {
        id: (file, partial(_of_labelme, file, by_sample[id].image, names))
        for id, file in files.labelme.items()
        if id in by_sample
    }
    for id, paint in _listed(files.coco, root, by_sample, names):
        assert files.coco is not None
        if id in painted:
            _stop_at_two(id, painted[id][0], files.coco)
        painted[id] = (files.coco, paint)
    return [
        _annotated(sample, *painted[sample.id]) if sample.id in painted else sample
        for sample in samples
    ]


def tool_mask(sample: Sample, size: Size) -> ToolMask:
    """The mask that a file of a tool makes of an image.

    Args:
        size: (H, W) of the image, as viewers show it.

    Raises:
        InputError: the file is damaged, or holds what makes no mask.
    """
    assert sample.paint is not None, sample.id
    painted = sample.paint(size)
    notes = (*painted.notes, *([_SOUND] if painted.empty else []))
    return ToolMask(torch.from_numpy(painted.mask), notes=notes)


def _annotated(sample: Sample, file: Path, paint: Paint) -> Sample:
    if sample.mask is not None:
        _stop_at_two(sample.id, sample.mask, file)
    return replace(sample, mask=file, annotated=True, paint=paint)


def _stop_at_two(id: str, one: Path, other: Path) -> None:
    raise InputError(
        f"image {id} has two masks, {one} and {other}: keep the one that counts, and move the "
        "other out of the data"
    )


def _stop_at_stray(files: Mapping[str, Path], samples: Mapping[str, Sample], images: Path) -> None:
    for id, file in files.items():
        # what is damaged, and of no image, may be anything
        if id not in samples and labelme.has_shapes(file):
            raise InputError(
                f"{file}, a file of LabelMe, has no image {images / id} with any of the suffixes "
                f"{' '.join(IMAGE_SUFFIXES)}: add the image or remove the file"
            )


def _of_labelme(file: Path, image: Path, names: ClassNames, size: Size) -> Painted:
    with _alone(file):
        try:
            return labelme.read_beside(file, image, names, size)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None


def _alone(file: Path) -> AbstractContextManager[object]:
    large = file.is_file() and file.stat().st_size > _LARGE
    return _one_at_a_time if large else nullcontext()


def _listed(
    file: Path | None, root: Path, samples: Mapping[str, Sample], names: ClassNames
) -> Iterator[tuple[str, Paint]]:
    """The images that a COCO file lists, and what makes their masks.

    Raises:
        InputError: as `with_tool_files`; up to ten images are named.
    """
    if file is None:
        return
    images = ImageNames(root / "images", {id: one.image for id, one in samples.items()})
    try:
        listed = list(coco.read_beside(file, names))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    found: dict[str, Found] = {}
    errors = []
    for each in listed:
        try:
            id = images.id(each.name)
        except InputError as error:
            errors.append(f"{file}, image {shown(each.name)}: {error}")
            continue
        if id in found:
            errors.append(f"{file} lists image {id} twice: keep one entry of it")
        found[id] = each
    if errors:
        more = [f"... and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
        raise InputError("\n".join(errors[:_SHOWN] + more))
    yield from ((id, partial(_of_coco, file, id, each)) for id, each in found.items())


def _of_coco(file: Path, id: str, found: Found, size: Size) -> Painted:
    try:
        if found.size and found.size != size:
            raise size_differs(found.size, size)
        return found.paint(size)
    except InputError as error:
        raise InputError(f"{file}, image {id}: {error}") from None
