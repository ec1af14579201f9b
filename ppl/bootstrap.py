"""How far a score may be off because the test set holds these images and not others.

The bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): images are
drawn with replacement, as many as there are, the score is computed again, and so on; the interval
holds the middle of those scores. It knows nothing of the spread between trainings.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ppl.confusion import iou_per_class
from ppl.scores import rounded
from ppl.seeds import generator


@dataclass(frozen=True)
class Interval:
    """Bounds of a percentile interval; None where the score is undefined."""

    low: float | None
    high: float | None


def resampled_miou(matrices: Tensor, resamples: int) -> Tensor:
    """Pooled mIoU of `resamples` sets of images drawn with replacement: (R,) float64 in 0-1.

    The draws depend on the number of images alone, so entry r belongs to the same images for every
    model: differences between two models are paired. A class that no drawn image
    shows keeps its IoU of the whole set: left out, it would lift the mean of a weak model.

    Args:
        matrices: (N, C, C) int64 confusion matrix of each image.

    NaN without any image or counted pixel.
    """
    images, classes, _ = matrices.shape
    if images == 0:
        return torch.full((resamples,), torch.nan, dtype=torch.float64)
    draws = generator(0, "bootstrap")
    # counts below 2 ** 53 are exact in float64: no order of summation changes a bit of the result
    flat = matrices.reshape(images, classes**2).double()
    whole = iou_per_class(matrices.sum(dim=0))
    scores = torch.empty(resamples, dtype=torch.float64)
    for index in range(resamples):
        drawn = torch.randint(images, (images,), generator=draws)
        times = torch.bincount(drawn, minlength=images).double()
        iou = iou_per_class((times @ flat).view(classes, classes))
        scores[index] = iou.where(~iou.isnan(), whole).nanmean()
    return scores


def percentile_interval(values: Tensor, confidence: float) -> Interval:
    """The bounds between which the middle share `confidence` (0-1) of (R,) `values` lies."""
    tail = (1 - confidence) / 2
    bounds = values.nanquantile(torch.tensor([tail, 1 - tail], dtype=values.dtype))
    low, high = map(rounded, bounds.tolist())
    return Interval(low, high)
