"""Run lengths as Label Studio writes what a brush painted.

A string of bits: 32 for the number of values, 5 for the bits of a value less one, four times 4 for
the bits of a length less one. Then blocks, each a bit (1: one value many times, 0: many values), 2
bits for which of the four holds its length, the length less one, and the value or values. The
values are red, green, blue and alpha of each pixel, row by row; alpha is what the brush painted.
Source: the thi.ng umbrella, package rle-pack, which Label Studio uses.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.formats.base import Size

CHANNELS = 4

_LENGTHS = (3, 4, 8, 16)
"""Bits of a length; of these four every block takes the first that suffices."""

_WORD = 8
_HEAD = 32 + 5 + 4 * 4
_PAINTED = 255


def encode(inside: NDArray[np.bool_]) -> list[int]:
    """(H, W) pixels as bytes, 0-255: painted ones are opaque and white, others clear and black."""
    flat = inside.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    bits = [f"{CHANNELS * flat.size:032b}{_WORD - 1:05b}", *(f"{n - 1:04b}" for n in _LENGTHS)]
    longest = 1 << _LENGTHS[-1]
    for start, run in zip(bounds[:-1].tolist(), np.diff(bounds).tolist(), strict=True):
        value = _PAINTED if flat[start] else 0
        left = CHANNELS * run
        while left:
            length = min(left, longest)
            which = next(i for i, n in enumerate(_LENGTHS) if length <= 1 << n)
            bits.append(f"1{which:02b}{length - 1:0{_LENGTHS[which]}b}{value:08b}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(packed: Sequence[int], size: Size) -> NDArray[np.bool_]:
    """The pixels that a brush painted, (H, W): those whose alpha is not 0.

    Raises:
        InputError: bytes that are none, cut short, or of another size than the image.
    """
    height, width = size
    text = _bits(packed)
    total = CHANNELS * height * width
    if len(text) < _HEAD or int(text[:32], 2) != total:
        raise InputError(
            f"a brush holds {int(text[:32] or '0', 2) // CHANNELS} pixels, but the image is "
            f"{width} x {height}"
        )
    word = int(text[32:37], 2) + 1
    lengths = [int(text[i : i + 4], 2) + 1 for i in range(37, _HEAD, 4)]
    values, ends = _runs(text, word, lengths, total)
    # of each run the alpha values: the last of every four
    alpha = np.diff(np.concatenate([[0], ends]) // CHANNELS)
    return np.repeat(values != 0, alpha).reshape(size)


def _bits(packed: Sequence[int]) -> str:
    try:
        held = bytes(packed)
    except (TypeError, ValueError):
        raise InputError("a brush's run lengths are no bytes") from None
    return "".join(map("{:08b}".format, held))


def _runs(
    text: str, word: int, lengths: Sequence[int], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Values and where their runs end, of `total` values.

    Raises:
        InputError: the bits end before, or go beyond.
    """
    values: list[int] = []
    ends: list[int] = []
    place, done = _HEAD, 0
    while done < total:
        bits = lengths[int(text[place + 1 : place + 3] or "0", 2)]
        start = place + 3 + bits
        count = int(text[place + 3 : start] or "0", 2) + 1
        repeated = text[place : place + 1] == "1"
        place = start + word * (1 if repeated else count)
        if place > len(text) or done + count > total:
            raise InputError("a brush's run lengths are cut short or damaged")
        for number in range(1 if repeated else count):
            values.append(int(text[start + word * number : start + word * (number + 1)], 2))
            ends.append(done + (count if repeated else number + 1))
        done += count
    return np.array(values, dtype=np.int64), np.array(ends, dtype=np.int64)
