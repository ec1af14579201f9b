"""Polygons from pixels and back.

Coordinates are (x, y) in pixels, and pixel (row, column) is the square from (column, row) to
(column + 1, row + 1). A polygon holds the pixels whose centres it holds, by the even-odd rule.

Outlines run through the middles of the pixels' edges, from which every centre is 0.35 away or more,
and are simplified by less than that: so filling an outline gives the very pixels again.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.formats.base import Size
from ppl.formats.canvas import Patch

Ring = NDArray[np.float64]
"""(points, 2) of x and y; the last point is joined to the first."""

TOLERANCE = 0.35
"""By how much an outline is simplified, in pixels: below sqrt(1/8), the least distance of a pixel's
centre from it."""

FARTHEST = 1e6
"""Pixels: what lies beyond is a damaged file, not a polygon that somebody drew."""

MOST_CROSSINGS = 2**27
"""Of the edges of one polygon with the rows of the image: more is a damaged file, too."""

_AT_ONCE = 2**20
_BAND = 32
"""Pixels."""
_OUTSIDE = 0.5
"""Pixels by which a polygon may leave the image without a word, as tools do at its border."""


def ring(numbers: object) -> Ring:
    """Points from a file: a flat list x, y, x, y, or pairs.

    Raises:
        InputError: fewer than three points, or a coordinate that is none.
    """
    try:
        points = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("a polygon's coordinates are no numbers") from None
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError("a polygon is no list of x and y")
    if len(points) < 3:
        raise InputError(f"a polygon has {len(points)} points: expected three or more")
    if not np.isfinite(points).all() or np.abs(points).max() > FARTHEST:
        raise InputError("a polygon has a coordinate that is no number, or a million and more")
    return points


def fill(points: Ring, size: Size) -> Patch:
    """The pixels whose centres a polygon holds; what lies outside the image is cut off, and said.

    Raises:
        InputError: its edges cross the rows of the image more than `MOST_CROSSINGS` times.
    """
    height, width = size
    low, high = points.min(axis=0), points.max(axis=0)
    left, right = (int(x) for x in np.clip([np.floor(low[0]), np.ceil(high[0])], 0, width))
    top, bottom = (int(y) for y in np.clip([np.floor(low[1]), np.ceil(high[1])], 0, height))
    outside = (low < -_OUTSIDE).any() or (high > np.array([width, height]) + _OUTSIDE).any()
    # one column more takes the crossings to the right of the box
    odd = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    for rows, crossings in _crossings(points - [left, top], bottom - top):
        columns = np.clip(np.ceil(crossings - 0.5), 0, right - left).astype(np.int64)
        np.bitwise_xor.at(odd, (rows, columns), 1)
    inside = np.bitwise_xor.accumulate(odd[:, :-1], axis=1).astype(bool)
    notes = ("an object leaves the image: cut off at its border",) if outside else ()
    return Patch(top, left, inside, notes)


def _crossings(points: Ring, rows: int) -> Iterator[tuple[NDArray[np.int64], Ring]]:
    """Rows, and the x at which edges cross the middle of them, some at a time."""
    start, end = points, np.roll(points, -1, axis=0)
    swap = start[:, 1] > end[:, 1]
    lower, upper = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
    # an edge holds its lower end and not its upper one, so that a corner counts once
    first = np.clip(np.ceil(lower[:, 1] - 0.5), 0, rows).astype(np.int64)
    last = np.clip(np.ceil(upper[:, 1] - 0.5), 0, rows).astype(np.int64)
    counts = last - first
    if int(counts.sum()) > MOST_CROSSINGS:
        raise InputError(f"a polygon of {len(points)} points is too intricate to be one")
    crossing = np.flatnonzero(counts)
    if not len(crossing):
        return
    before = np.cumsum(counts[crossing])
    parts = np.searchsorted(before, np.arange(_AT_ONCE, before[-1], _AT_ONCE))
    for some in np.split(crossing, parts):
        edge = np.repeat(some, counts[some])
        starts = np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
        row = first[edge] + np.arange(len(edge)) - starts
        rise = upper[edge, 1] - lower[edge, 1]
        share = (row + 0.5 - lower[edge, 1]) / rise
        yield row, lower[edge, 0] + share * (upper[edge, 0] - lower[edge, 0])


def outlines(inside: NDArray[np.bool_]) -> Iterator[Ring]:
    """A polygon for every connected part of (H, W) pixels, diagonal neighbours being connected.

    A hole is joined to the outline by a line that goes there and back: no format of polygons here
    has holes, and everyone who fills such a polygon leaves them out.
    """
    from contourpy import FillType, contour_generator
    from scipy import ndimage

    parts, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        part = np.pad(parts[box] == number, 1).astype(np.float64)
        corner = np.array([box[1].start, box[0].start]) - 0.5
        # just below a half, so that diagonal neighbours are joined
        found: Any = contour_generator(z=part, fill_type=FillType.OuterOffset).filled(0.4999, 2.0)
        ([points], [offsets]) = found
        rings = [
            simplified(np.round(2 * points[start : end - 1]) / 2 + corner)
            for start, end in pairwise(offsets.tolist())
        ]
        yield joined(rings[0], rings[1:])


def simplified(points: Ring) -> Ring:
    """A ring of fewer of its points, from which none of the others is `TOLERANCE` away.

    By Douglas and Peucker (1973), from its first point and the one farthest from that.
    """
    closed = np.vstack([points, points[:1]])
    far = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, far, -1]] = True
    waiting = [(0, far), (far, len(closed) - 1)]
    while waiting:
        start, end = waiting.pop()
        if end - start < 2:
            continue
        distance = _distance(closed[start + 1 : end], closed[start], closed[end])
        worst = int(np.argmax(distance))
        if distance[worst] >= TOLERANCE:
            middle = start + 1 + worst
            keep[middle] = True
            waiting += [(start, middle), (middle, end)]
    kept = points[keep[:-1]]
    return kept if len(kept) > 2 else points


def _distance(points: Ring, start: NDArray[np.float64], end: NDArray[np.float64]) -> Ring:
    """Of each point from the segment between two others."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    distance: Ring = np.hypot(*(points - start - share[:, None] * along).T)
    return distance


def joined(outer: Ring, holes: Sequence[Ring]) -> Ring:
    """One ring that runs around the outer one and, over lines there and back, around the holes.

    A line there and back cancels out wherever it runs. The lines lead from hole to hole, row by
    row, so that they are short.
    """
    if not holes:
        return outer
    ordered = sorted(holes, key=lambda hole: (hole[:, 1].min() // _BAND, hole[:, 0].min()))
    near = int(np.argmin(((outer - ordered[0][0]) ** 2).sum(axis=1)))
    around = [part for hole in ordered for part in (hole, hole[:1])]
    back = [hole[:1] for hole in reversed(ordered[:-1])]
    return np.vstack([outer[: near + 1], *around, *back, outer[near:]])
