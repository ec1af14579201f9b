"""How far a score may be off because the test set holds these parts and not others.

The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): parts are
drawn with replacement, as many as there are, the score is computed again, and so on; the interval
holds the middle of those scores. All photos of a part are drawn together, since they are right and
wrong together; where the data set knows no parts, each image is one. The interval knows nothing of
the spread between trainings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core.seeds import generator
from ppl.core.settings import Settings
from ppl.images.miou import rounded, shown_iou


class IntervalSettings(Settings):
    """Section `intervals`."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    """Share of the resampled scores between the bounds."""
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    """Bootstrap samples."""
    few_parts: Annotated[int, Field(ge=0, le=1_000_000)]
    """A class on fewer test parts is marked: no interval makes up for parts that are not there."""


@dataclass(frozen=True)
class Interval:
    """Bounds of a percentile interval; None where the score is undefined."""

    low: float | None
    high: float | None


def sum_by_group(values: Tensor, groups: Sequence[str]) -> Tensor:
    """(N, ...) values of images -> (G, ...) sums over those of each group, in order of names."""
    names = {name: number for number, name in enumerate(sorted(set(groups)))}
    index = torch.tensor([names[group] for group in groups], dtype=torch.int64)
    sums = torch.zeros((len(names), *values.shape[1:]), dtype=values.dtype)
    return sums.index_add_(0, index, values)


def resampled_iou(matrices: Tensor, resamples: int, *, only_drawn: bool = False) -> Tensor:
    """Pooled IoU per class of `resamples` sets of parts drawn with replacement: (R, C) float64.

    The draws depend on the number of parts alone, so entry r belongs to the same parts for every
    model: differences between two models are paired. A class that no drawn part shows keeps its
    IoU of the whole set: left out, it would lift the mean of a weak model.

    Args:
        matrices: (G, C, C) int64 confusion matrix of each part.
        only_drawn: NaN for a class that no drawn part shows, for who compares models alone.

    NaN for a class that no part shows, and of fewer than two parts: one alone has no spread.
    """
    parts, classes, _ = matrices.shape
    if parts < 2:
        return torch.full((resamples, classes), torch.nan, dtype=torch.float64)
    draws = generator(0, "bootstrap")
    # counts below 2 ** 53 are exact in float64: no order of summation changes a bit of the result
    flat = matrices.reshape(parts, classes**2).double()
    whole = shown_iou(matrices.sum(dim=0))
    found = torch.empty((resamples, classes), dtype=torch.float64)
    for index in range(resamples):
        drawn = torch.randint(parts, (parts,), generator=draws)
        times = torch.bincount(drawn, minlength=parts).double()
        iou = shown_iou((times @ flat).view(classes, classes))
        found[index] = iou if only_drawn else iou.where(~iou.isnan(), whole)
    return found


def percentile_interval(values: Tensor, confidence: float) -> Interval:
    """The bounds between which the middle share `confidence` (0-1) of (R,) `values` lies."""
    tail = (1 - confidence) / 2
    bounds = values.nanquantile(torch.tensor([tail, 1 - tail], dtype=values.dtype))
    low, high = map(rounded, bounds.tolist())
    return Interval(low, high)
