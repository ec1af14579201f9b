"""Which format files look like, where they are none of the one that was named."""

from collections import Counter
from pathlib import Path, PurePosixPath

from ppl.core.errors import InputError
from ppl.formats.png import SUFFIXES
from ppl.formats.source import Source, open_source

_MOST = 2**24
"""Bytes of a JSON file that is read for a hint."""
_KINDS = 4
"""Kinds of files that a message names."""

_SAME = {"coco-polygons": "coco"}
"""Formats that are read alike."""


def other_format(format: str, path: Path, *, sure: bool = False) -> str:
    """What lies at a path instead of the format that was named, in words; "" for want of any.

    Args:
        sure: say nothing where it looks like no format.
    """
    try:
        source = open_source(path)
    except InputError:
        return ""
    looks = looks_like(source)
    if looks == _SAME.get(format, format) or (sure and not looks):
        return ""
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in source.names)
    held = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_KINDS)) or "no file"
    if looks:
        return f"It holds {held}, as {looks} does: `python -m ppl annotate in {looks} {path}`"
    if any(PurePosixPath(name).name == "annotations.xml" for name in source.names):
        return f"It holds {held}: of CVAT, export Segmentation mask 1.1 or COCO 1.0"
    return f"It holds {held}"


def looks_like(source: Source) -> str:
    """The name of the format that some files are most likely of; "" for none."""
    if any("/SegmentationClass/" in f"/{name}" for name in source.names):
        return "cvat-mask"
    listed = source.named(".json")
    if listed:
        return _of_json(source, listed[0])
    return "png" if source.named(*SUFFIXES) else ""


def _of_json(source: Source, name: str) -> str:
    try:
        with source.file(name) as file:
            if file.stat().st_size > _MOST:
                return ""
        held = source.json(name)
    except InputError:
        return ""
    if isinstance(held, list) and held and isinstance(held[0], dict) and "data" in held[0]:
        return "label-studio"
    if isinstance(held, dict) and {"images", "annotations"} <= held.keys():
        return "coco"
    return "labelme" if isinstance(held, dict) and "shapes" in held else ""
