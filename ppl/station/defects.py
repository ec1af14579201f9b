"""The defects of one image, and whether it passes: connected pixels of one class, judged.

Pixels belong together when they touch by a side or a corner. NumPy alone: this very code runs in
the project and on a station that has no PyTorch.

Axes: H height, W width, C classes; class 0 is background.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppl.station.thresholds import Thresholds

BACKGROUND = 0

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Defect:
    """One defect of an image."""

    index: int
    """Its class."""
    box: tuple[int, int, int, int]
    """left, top, right, bottom in pixels; right and bottom are the first outside."""
    area: int
    """Pixels."""
    mean: float
    """Mean probability of its class over its pixels, 0-1."""
    highest: float


def likeliest(prob_CHW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W): the class of the highest probability at each pixel, of equal ones the first."""
    best_HW = prob_CHW[BACKGROUND].copy()
    found = np.zeros(best_HW.shape, dtype=np.uint8)
    higher = np.empty(best_HW.shape, dtype=np.bool_)
    # several times as fast as argmax along the first axis
    for index in range(BACKGROUND + 1, len(prob_CHW)):
        np.greater(prob_CHW[index], best_HW, out=higher)
        np.maximum(found, higher.view(np.uint8) * np.uint8(index), out=found)
        np.maximum(best_HW, prob_CHW[index], out=best_HW)
    return found


class DefectSearch:
    """Finds the defects of an image that comes in bands of rows, from top to bottom."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._limits = thresholds.classes
        self._runs: list[list[_Runs]] = [[] for _ in thresholds.classes]
        self._size = (0, 0)

    def add(self, prob_CHW: NDArray[np.float32], mask_HW: NDArray[np.uint8]) -> None:
        """The next rows.

        Args:
            mask_HW: the likeliest class of each pixel; only pixels of a class may be its defect.
        """
        rows, columns = mask_HW.shape
        for index, limits in enumerate(self._limits, start=BACKGROUND + 1):
            inside = mask_HW == index
            if inside.any():
                inside &= prob_CHW[index] >= limits.pixel
                self._runs[index - 1].append(_runs(inside, prob_CHW[index], self._size[0]))
        self._size = (self._size[0] + rows, columns)

    def defects(self) -> list[Defect]:
        """Those that the thresholds of their class let stand, by class, from top to bottom."""
        found = []
        for index, limits in enumerate(self._limits, start=BACKGROUND + 1):
            all_of_class = _regions(self._runs[index - 1], self._size, index)
            found += [defect for defect in all_of_class if defect.area >= limits.area]
        return found


def find_defects(
    prob_CHW: NDArray[np.float32], mask_HW: NDArray[np.uint8], thresholds: Thresholds
) -> list[Defect]:
    """The defects of a whole image, as `DefectSearch` finds them."""
    search = DefectSearch(thresholds)
    search.add(prob_CHW, mask_HW)
    return search.defects()


def score_of(defects: Sequence[Defect]) -> float:
    """How defective an image looks, 0-1: the highest mean of its defects; 0 without any."""
    return max((defect.mean for defect in defects), default=0.0)


def regions(inside_HW: NDArray[np.bool_], prob_HW: NDArray[np.float32], index: int) -> list[Defect]:
    """Each connected part of `inside_HW` as a defect of class `index`."""
    height, width = inside_HW.shape
    return _regions([_runs(inside_HW, prob_HW, 0)], (height, width), index)


class _Runs(NamedTuple):
    """Marked pixels as runs, row by row from the top left."""

    rows: Numbers
    starts: Numbers
    """First columns."""
    stops: Numbers
    """Columns behind the last."""
    probs: NDArray[np.float32]
    """Of each pixel, in the order of the runs."""


def _runs(inside_HW: NDArray[np.bool_], prob_HW: NDArray[np.float32], top: int) -> _Runs:
    """The runs of a band whose first row is row `top` of the image."""
    padded = np.pad(inside_HW, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    _, stops = np.nonzero(change == -1)
    return _Runs(rows + top, starts, stops, prob_HW[inside_HW])


def _regions(found: Sequence[_Runs], size: tuple[int, int], index: int) -> list[Defect]:
    """Each connected part of runs of an image of `size` as a defect of class `index`."""
    if not sum(len(each.rows) for each in found):
        return []
    runs = found[0] if len(found) == 1 else _Runs(*map(np.concatenate, zip(*found, strict=True)))
    rows, starts, stops = runs.rows, runs.starts, runs.stops
    numbers = _connected(rows, starts, stops, size[1])
    count = int(numbers.max()) + 1
    lengths = stops - starts
    left, top = np.full(count, size[1]), np.full(count, size[0])
    right, bottom = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    np.minimum.at(left, numbers, starts)
    np.minimum.at(top, numbers, rows)
    np.maximum.at(right, numbers, stops)
    np.maximum.at(bottom, numbers, rows + 1)
    areas = np.bincount(numbers, weights=lengths).astype(np.int64)
    probs, of_pixel = runs.probs.astype(np.float64), np.repeat(numbers, lengths)
    means = np.bincount(of_pixel, weights=probs) / areas
    highest = np.zeros(count)
    np.maximum.at(highest, of_pixel, probs)
    return [
        Defect(
            index,
            (int(left[n]), int(top[n]), int(right[n]), int(bottom[n])),
            int(areas[n]),
            float(means[n]),
            float(highest[n]),
        )
        for n in range(count)
    ]


def _connected(rows: Numbers, starts: Numbers, stops: Numbers, width: int) -> Numbers:
    """The number of the region of each run, in the order in which regions begin."""
    line = width + 2
    # runs of the next row that reach one over, by a side or a corner
    first = np.searchsorted(rows * line + stops, (rows + 1) * line + starts, side="left")
    last = np.searchsorted(rows * line + starts, (rows + 1) * line + stops, side="right")
    count = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(upper)) - np.repeat(np.cumsum(count) - count, count)
    lower = np.repeat(first, count) + offset
    _, numbers = np.unique(_roots(len(rows), upper, lower), return_inverse=True)
    return numbers.astype(np.int64)


def _roots(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The least number that each of `count` is connected with, by pairs of numbers.

    Each pass hooks every root that has a smaller neighbour onto the smallest, then lets all point
    at their roots; on windings of any length a few passes do.
    """
    root = np.arange(count)
    while one.size:
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(above := root[root], root):
            root = above
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return root
