"""Masks as palette PNGs of class indices, each under its image's path; no image is copied."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from ppl.core.errors import InputError
from ppl.formats import files
from ppl.formats.base import Found, Item, Painted, Size, Written, size_differs
from ppl.formats.names import ClassNames
from ppl.formats.source import Source, open_source
from ppl.images.files import class_pixels, read_stored_mask

SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

OWN = ("list.csv", "sheet.png")
"""What lies beside the masks when they are handed out."""


_SHOWN = 10


def write(out: Path, items: Iterable[Item], names: ClassNames) -> Written:
    """OUT/ID.png for every image that has a mask to start from; one that is there is left alone."""
    new = left = 0
    bare = []
    for item in items:
        if item.start is None:
            bare.append(item.name)
            continue
        target = (out / item.name).with_suffix(".png")
        if target.exists():
            left += 1
            continue
        files.copy(item.start, target)
        new += 1
    more = f" and {len(bare) - _SHOWN} more" if len(bare) > _SHOWN else ""
    drawn = f" Draw these anew: {', '.join(bare[:_SHOWN])}{more}." if bare else ""
    return Written(
        new,
        left,
        f"Correct the masks there, the first of list.csv first.{drawn}",
    )


def read(path: Path, names: ClassNames) -> Iterator[Found]:
    """Every mask below a folder, or in an archive."""
    source = open_source(path)
    if any(PurePosixPath(name).name == "labelmap.txt" for name in source.names):
        raise InputError(f"{path} holds a labelmap.txt: there colours name classes, not indices")
    masks = [name for name in source.named(*SUFFIXES) if not _is_sheet(source, name)]
    if not masks:
        raise InputError(f"{path} holds no mask: expected palette PNGs of class indices")
    for name in masks:
        yield Found(name, partial(_paint, source, name, names))


def _is_sheet(source: Source, name: str) -> bool:
    """Whether it is the contact sheet, a picture in colours, and no mask of an image so called."""
    if name not in OWN or "list.csv" not in source.names:
        return False
    try:
        with source.file(name) as file:
            read_stored_mask(file)
    except InputError:
        return True
    return False


def _paint(source: Source, name: str, names: ClassNames, size: Size) -> Painted:
    with source.file(name) as file:
        values = read_stored_mask(file).values
    class_pixels(values, len(names.classes), PurePosixPath(name).name)
    if tuple(values.shape) != size:
        raise size_differs((values.shape[0], values.shape[1]), size)
    return Painted(values.numpy())
