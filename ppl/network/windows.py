"""Predict an image larger than the network's input: overlapping windows, blended at the seams.

Axes: B batch, C channels, K classes, H height, W width.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ppl.network.resize import WINDOW_STEP


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin along `length` pixels; each overlaps the next by `overlap` at least.

    All starts are multiples of `WINDOW_STEP`, so that the network's own coarse grid lies on the
    same pixels in every window. The last window may end beyond the image.
    """
    step = (window - overlap) // WINDOW_STEP * WINDOW_STEP
    assert step > 0, f"windows of {window} pixels that overlap by {overlap} do not move on"
    starts = [0]
    while starts[-1] + window < length:
        starts.append(starts[-1] + step)
    return starts


def edge_weights(window: int, overlap: int, *, first: bool, last: bool) -> Tensor:
    """(window,) how much each pixel of a window counts, along one axis.

    Towards a neighbour the outer quarter of the overlap counts nothing, since the network saw too
    little around it; then the weight rises to 1 in equal steps over half of the overlap. Towards
    the image's border it is 1 throughout.
    """
    margin, ramp = overlap // 4, overlap // 2
    rise = ((torch.arange(window) - margin + 1) / (ramp + 1)).clamp(0, 1)
    ones = torch.ones(window)
    return (ones if first else rise) * (ones if last else rise.flip(0))


def blended_windows(
    predict_batch: Callable[[Tensor], Tensor],
    image_CHW: Tensor,
    window: tuple[int, int],
    overlap: int,
    at_once: int,
) -> Tensor:
    """(K, H, W) float32: the weighted mean of what all windows of an image predict.

    An image's border is continued beyond it where a window reaches further. Memory: the image's
    bytes, the result, and `at_once` windows with what is predicted for them.

    Args:
        predict_batch: windows (B, C, h, w) of the image's type -> probabilities (B, K, h, w).
        image_CHW: any height and width.
        window: height and width in pixels.
        overlap: pixels by which neighbours overlap, at least.
        at_once: windows given to `predict_batch` together.

    Returns:
        on the device of the predictions.
    """
    size = (image_CHW.shape[1], image_CHW.shape[2])
    rows, columns = (
        _weighted_starts(length, side, overlap) for length, side in zip(size, window, strict=True)
    )
    places = [(row, column) for row in rows for column in columns]
    result: Tensor | None = None
    for start in range(0, len(places), at_once):
        some = places[start : start + at_once]
        found = predict_batch(
            torch.stack([_part(image_CHW, row[0], column[0], window) for row, column in some])
        )
        if result is None:
            result = found.new_zeros(found.shape[1], *size, dtype=torch.float32)
        for prob, (row, column) in zip(found, some, strict=True):
            _add(result, prob, row, column)
    assert result is not None
    # the weights of a grid of windows are those of its rows times those of its columns
    total = [_total(starts, length) for starts, length in ((rows, size[0]), (columns, size[1]))]
    result /= total[0].to(result.device)[:, None]
    result /= total[1].to(result.device)
    return result


_Weighted = tuple[int, Tensor]
"""A window's start and the weights of its pixels, along one axis."""


def _weighted_starts(length: int, window: int, overlap: int) -> list[_Weighted]:
    starts = window_starts(length, window, overlap)
    return [
        (start, edge_weights(window, overlap, first=start == 0, last=start == starts[-1]))
        for start in starts
    ]


def _part(image: Tensor, top: int, left: int, window: tuple[int, int]) -> Tensor:
    part = image[:, top : top + window[0], left : left + window[1]]
    missing = (0, window[1] - part.shape[2], 0, window[0] - part.shape[1])
    if not any(missing):
        return part
    # PyTorch continues the border of floats alone
    return F.pad(part[None].float(), missing, mode="replicate")[0].to(image.dtype)


def _add(result: Tensor, prob: Tensor, row: _Weighted, column: _Weighted) -> None:
    (top, of_rows), (left, of_columns) = row, column
    inside = result[:, top : top + len(of_rows), left : left + len(of_columns)]
    height, width = inside.shape[1:]
    weight = of_rows[:height, None] * of_columns[:width]
    inside += prob[:, :height, :width] * weight.to(prob.device)


def _total(starts: list[_Weighted], length: int) -> Tensor:
    """(length,) the sum of all windows' weights at each pixel of one axis."""
    total = torch.zeros(length)
    for start, weights in starts:
        inside = total[start : start + len(weights)]
        inside += weights[: len(inside)]
    return total
