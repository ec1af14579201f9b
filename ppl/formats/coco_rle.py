"""Run lengths as COCO writes them: down the columns, zeros first, packed into text or as a list.

The text packs each run into groups of five bits, the lowest first, from the third run on as its
difference from the one two before. Source: `maskApi.c` of the COCO API.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.formats.base import Size
from ppl.formats.canvas import Patch

_FIRST = 48
"""The character for zero."""
_LONGEST = 7
"""Groups of a run, at most: more is beyond any image."""


def encode(part: Patch, size: Size) -> dict[str, object]:
    """A `segmentation` of COCO: run lengths of the whole image, packed.

    Args:
        part: an object.
        size: (H, W) of the image.
    """
    height, width = size
    columns, rows = np.nonzero(part.inside.T)
    places = (columns + part.left) * height + rows + part.top
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.concatenate([[0], breaks + 1])] if len(places) else places
    ends = places[np.concatenate([breaks, [-1]])] + 1 if len(places) else places
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    runs = np.diff(edges).tolist()
    # a last run of no zeros is left out
    return {"size": [height, width], "counts": pack(runs if runs[-1] else runs[:-1])}


def pack(runs: Sequence[int]) -> str:
    """Run lengths as text."""
    text = []
    for number, run in enumerate(runs):
        left = run - runs[number - 2] if number > 2 else run
        while True:
            group, left = left & 31, left >> 5
            more = left != (-1 if group & 16 else 0)
            text.append(chr(group + (32 if more else 0) + _FIRST))
            if not more:
                break
    return "".join(text)


def unpack(text: str) -> list[int]:
    """The run lengths of a text.

    Raises:
        InputError: a character or the end is none that `pack` writes.
    """
    runs: list[int] = []
    value = place = 0
    for character in text:
        group = ord(character) - _FIRST
        if not 0 <= group < 64 or place == _LONGEST:
            raise InputError("run lengths hold a character that packs none")
        value |= (group & 31) << 5 * place
        place += 1
        if group & 32:
            continue
        if group & 16:
            value -= 1 << 5 * place
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = place = 0
    if place:
        raise InputError("run lengths are cut short")
    return runs


def decode(segmentation: object, size: Size) -> Patch:
    """The pixels that a `segmentation` of run lengths marks, (H, W).

    Raises:
        InputError: another size than the image, or run lengths that do not fill it.
    """
    held = segmentation if isinstance(segmentation, dict) else {}
    if held.get("size") != list(size):
        raise InputError(
            f"run lengths are of size {_short(held.get('size'))}, but the image is "
            f"[{size[0]}, {size[1]}] (height, width)"
        )
    counts = held.get("counts")
    runs = _whole(unpack(counts) if isinstance(counts, str) else counts)
    if (runs < 0).any() or (runs > size[0] * size[1]).any() or runs.sum() != size[0] * size[1]:
        raise InputError(f"run lengths do not fill the {size[0]} x {size[1]} pixels of the image")
    marked = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Patch(0, 0, marked.reshape(size[1], size[0]).T)


def _whole(runs: object) -> NDArray[np.int64]:
    """A list of whole numbers as an array.

    Raises:
        InputError: it is something else.
    """
    try:
        numbers = np.asarray(runs)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty(0)
    if numbers.ndim != 1 or numbers.dtype.kind != "i":
        raise InputError("run lengths are no list of whole numbers")
    return numbers.astype(np.int64)


def _short(size: object) -> str:
    return str(size)[:40]
