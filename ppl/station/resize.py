"""An image at another size, bit for bit as the networks were trained on it, in NumPy alone.

Bytes are resized in whole numbers, as PyTorch does it (bilinear with antialiasing): along the rows,
rounded to bytes, then along the columns. The weights are whole numbers that sum to a power of two,
about, so every machine gets the same bytes. Probabilities come back as float32.

Axes: H height, W width, C classes or channels.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 2**15
"""Integer weights stay below: they have the most bits of which this still holds."""

MOST_BITS = 22

BLOCK = 2**16
"""Numbers that are summed at once: they fit into a processor's cache."""


class Weights(NamedTuple):
    """How each of N pixels of the result is mixed of pixels along one side of an image."""

    taken: NDArray[np.int64]
    """(N, T): which pixels."""
    weight: NDArray[np.int32]
    """(N, T): how much each counts, 0 for those that only fill up a row."""
    bits: int
    """The sum of weights is divided by 2 to the power of this."""


@lru_cache(maxsize=64)
def weights(length: int, target: int) -> Weights:
    """The weights that bring a side of `length` pixels to `target` pixels."""
    assert length > 0 < target, (length, target)
    # the order of these operations is PyTorch's: another one rounds some weights otherwise
    scale = length / target
    support = max(scale, 1.0)
    inverse = 1.0 / scale if scale >= 1.0 else 1.0
    center = scale * (np.arange(target) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), length) - first
    most = int(np.ceil(np.float32(support))) * 2 + 1
    count = np.clip(count, 0, most)
    offset = np.arange(int(count.max()))
    distance = np.abs((offset + first[:, None] - center[:, None] + 0.5) * inverse)
    raw = np.where((distance < 1.0) & (offset < count[:, None]), 1.0 - distance, 0.0)
    total = np.zeros(target)
    for column in raw.T:
        total += column
    shares = raw / total[:, None]
    bits = 0
    while bits < MOST_BITS and int(0.5 + shares.max() * 2 ** (bits + 1)) < MOST:
        bits += 1
    return Weights(
        np.minimum(first[:, None] + offset, length - 1),
        (0.5 + shares * 2**bits).astype(np.int32),
        bits,
    )


def resize_image(image_HWC: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, C) bytes -> (*size, C) bytes; the image itself where it has that size."""
    result = image_HWC
    if result.shape[1] != size[1]:
        turned = _resize_rows(result.transpose(1, 0, 2), size[1])
        result = turned.transpose(1, 0, 2)
    if result.shape[0] != size[0]:
        result = _resize_rows(result, size[0])
    return np.ascontiguousarray(result)


def _resize_rows(image_HWC: NDArray[np.uint8], target: int) -> NDArray[np.uint8]:
    """(target, W, C) of an image: each row a mixture of rows."""
    taken, weight, bits = weights(image_HWC.shape[0], target)
    rows = np.ascontiguousarray(image_HWC).reshape(image_HWC.shape[0], -1)
    result = np.empty((target, rows.shape[1]), dtype=np.uint8)
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, target, step):
        some = slice(start, start + step)
        # bytes times weights stay below 2**31
        total = rows[taken[some, 0]] * weight[some, 0, None]
        for source, counts in zip(taken[some, 1:].T, weight[some, 1:].T, strict=True):
            total += rows[source] * counts[:, None]
        total += 2 ** (bits - 1)
        total >>= bits
        result[some] = np.minimum(total, 255, out=total)
    return result.reshape(target, *image_HWC.shape[1:])


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """`size` times `scale`, in whole pixels, at least one."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def at_own_size(prob: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Probabilities (..., H, W) at `size`, bilinear; they still sum to one."""
    if prob.shape[-2:] == size:
        return prob
    planes = prob.reshape(-1, *prob.shape[-2:])
    result = rows_at_own_size(planes, (0, planes.shape[1]), size, (0, size[0]))
    return result.reshape(*prob.shape[:-2], *size)


def rows_at_own_size(
    prob_CHW: NDArray[np.float32],
    held: tuple[int, int],
    size: tuple[int, int],
    rows: tuple[int, int],
) -> NDArray[np.float32]:
    """The rows from `rows[0]` to before `rows[1]` of what `at_own_size` gives of a whole.

    Args:
        prob_CHW: rows of the whole, those that `rows_needed` names at least.
        held: the number of the first of them, and how many the whole has.
    """
    top, height = held
    result = np.empty((len(prob_CHW), rows[1] - rows[0], size[1]), dtype=np.float32)
    mix = _part_of(_neighbours(height, size[0]), rows, top)
    # plane by plane: one fits into a processor's cache, all of them may not
    for plane, into in zip(prob_CHW, result, strict=True):
        wide = plane
        if plane.shape[1] != size[1]:
            wide = _mixed(plane, _neighbours(plane.shape[1], size[1]), axis=1)
        into[:] = _mixed(wide, mix, axis=0) if height != size[0] else wide[mix[0]]
    return result


def rows_needed(height: int, target: int, rows: tuple[int, int]) -> tuple[int, int]:
    """Which of `height` rows, from and to before, give the rows `rows` of `target`."""
    first, second, _ = _neighbours(height, target)
    return int(first[rows[0]]), int(second[rows[1] - 1]) + 1


_Mix = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Of each place the two numbers between which it lies, and how much the second counts."""


def _part_of(mix: _Mix, places: tuple[int, int], top: int) -> _Mix:
    some = slice(*places)
    return mix[0][some] - top, mix[1][some] - top, mix[2][some]


def _mixed(plane: NDArray[np.float32], mix: _Mix, *, axis: int) -> NDArray[np.float32]:
    first, second, share = mix
    share = share if axis == 1 else share[:, None]
    result = plane.take(first, axis=axis)
    result *= 1 - share
    further = plane.take(second, axis=axis)
    further *= share
    result += further
    return result


@lru_cache(maxsize=64)
def _neighbours(length: int, target: int) -> _Mix:
    """Where each of `target` pixels lies among `length`."""
    scale = np.float32(length) / np.float32(target)
    # rounded once, as the fused products of PyTorch are
    exact = np.float64(scale) * (np.arange(target) + 0.5) - 0.5
    place = np.maximum(exact.astype(np.float32), np.float32(0))
    first = np.minimum(place.astype(np.int64), length - 1)
    share = np.clip(place - first.astype(np.float32), 0, 1).astype(np.float32)
    return first, np.minimum(first + 1, length - 1), share
