"""An image larger than the network's input: overlapping windows, blended at the seams, in NumPy.

What ppl/network/windows.py does in PyTorch, which says why; tests hold the two together.

Axes: B batch, H height, W width, C channels, K classes.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

WINDOW_STEP = 32
"""Pixels; windows start at multiples of it."""

Probabilities = NDArray[np.float32]


def blended_windows(
    predict_batch: Callable[[NDArray[np.uint8]], Probabilities],
    image_HWC: NDArray[np.uint8],
    window: tuple[int, int],
    overlap: int,
    at_once: int,
) -> Probabilities:
    """(K, H, W): the weighted mean of what all windows of an image predict.

    An image's border is continued beyond it where a window reaches further.

    Args:
        predict_batch: windows (B, h, w, C) -> probabilities (B, K, h, w).
        image_HWC: any height and width.
        window: height and width in pixels.
        overlap: pixels by which neighbours overlap, at least.
        at_once: windows given to `predict_batch` together.
    """
    result: Probabilities | None = None
    done = 0
    for band in blended_bands(predict_batch, image_HWC, window, overlap, at_once):
        if result is None:
            result = np.empty((len(band), *image_HWC.shape[:2]), dtype=np.float32)
        result[:, done : done + band.shape[1]] = band
        done += band.shape[1]
    assert result is not None
    return result


def blended_bands(
    predict_batch: Callable[[NDArray[np.uint8]], Probabilities],
    image_HWC: NDArray[np.uint8],
    window: tuple[int, int],
    overlap: int,
    at_once: int,
) -> Iterator[Probabilities]:
    """What `blended_windows` returns, (K, h, W) each, from top to bottom.

    Rows come as soon as no further window adds to them. Memory: those that wait, which are about
    as many as windows are high, or as `at_once` windows cover.
    """
    height, width = image_HWC.shape[:2]
    rows = _weighted_starts(height, window[0], overlap)
    columns = _weighted_starts(width, window[1], overlap)
    total_of_rows, total_of_columns = _total(rows, height), _total(columns, width)
    places = [(row, column) for row in rows for column in columns]
    top, waiting = 0, np.zeros((0, 0, width), dtype=np.float32)
    for start in range(0, len(places), at_once):
        some = places[start : start + at_once]
        found = predict_batch(np.stack([_part(image_HWC, r[0], c[0], window) for r, c in some]))
        bottom = min(some[-1][0][0] + window[0], height)
        waiting = _longer(waiting, (found.shape[1], bottom - top, width))
        for prob, (row, column) in zip(found, some, strict=True):
            _add(waiting, prob, (row[0] - top, row[1]), column)
        following = start + at_once
        final = places[following][0][0] if following < len(places) else height
        if final > top:
            band, waiting = waiting[:, : final - top], waiting[:, final - top :].copy()
            band /= total_of_rows[top:final, None]
            band /= total_of_columns
            top = final
            yield band


def _longer(waiting: Probabilities, shape: tuple[int, int, int]) -> Probabilities:
    """`waiting` with rows of zeros below."""
    if waiting.shape[1] >= shape[1]:
        return waiting
    result = np.zeros(shape, dtype=np.float32)
    if waiting.size:
        result[:, : waiting.shape[1]] = waiting
    return result


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin along `length` pixels; each overlaps the next by `overlap` at least."""
    step = (window - overlap) // WINDOW_STEP * WINDOW_STEP
    assert step > 0, f"windows of {window} pixels that overlap by {overlap} do not move on"
    starts = [0]
    while starts[-1] + window < length:
        starts.append(starts[-1] + step)
    return starts


def edge_weights(window: int, overlap: int, *, first: bool, last: bool) -> Probabilities:
    """(window,) how much each pixel of a window counts, along one axis."""
    margin, ramp = overlap // 4, overlap // 2
    steps = (np.arange(window) - margin + 1).astype(np.float32)
    rise = np.clip(steps / np.float32(ramp + 1), 0, 1).astype(np.float32)
    ones = np.ones(window, dtype=np.float32)
    weights: Probabilities = (ones if first else rise) * (ones if last else rise[::-1])
    return weights


_Weighted = tuple[int, Probabilities]
"""A window's start and the weights of its pixels, along one axis."""


def _weighted_starts(length: int, window: int, overlap: int) -> list[_Weighted]:
    starts = window_starts(length, window, overlap)
    return [
        (start, edge_weights(window, overlap, first=start == 0, last=start == starts[-1]))
        for start in starts
    ]


def _part(
    image: NDArray[np.uint8], top: int, left: int, window: tuple[int, int]
) -> NDArray[np.uint8]:
    part = image[top : top + window[0], left : left + window[1]]
    missing = (0, window[0] - part.shape[0]), (0, window[1] - part.shape[1]), (0, 0)
    return np.pad(part, missing, mode="edge")


def _add(result: Probabilities, prob: Probabilities, row: _Weighted, column: _Weighted) -> None:
    (top, of_rows), (left, of_columns) = row, column
    inside = result[:, top : top + len(of_rows), left : left + len(of_columns)]
    height, width = inside.shape[1:]
    inside += prob[:, :height, :width] * (of_rows[:height, None] * of_columns[:width])


def _total(starts: list[_Weighted], length: int) -> Probabilities:
    """(length,) the sum of all windows' weights at each pixel of one axis."""
    total = np.zeros(length, dtype=np.float32)
    for start, weights in starts:
        inside = total[start : start + len(weights)]
        inside += weights[: len(inside)]
    return total
