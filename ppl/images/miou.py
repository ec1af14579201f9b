"""The two mean IoUs, both of one confusion matrix; the mean of per-image IoUs is another number.

`miou` says how well two masks agree, neither of which is the truth: it averages over the classes
that either shows. `pooled_miou` scores a model against the truth: it averages over the classes that
the truth shows, so that all models are averaged over the same ones. Both count the background.
"""

import math

import torch
from torch import Tensor

BACKGROUND = 0
"""The class of sound surface; every other class is a defect."""

_DIGITS = 6


def iou_per_class(matrix: Tensor) -> Tensor:
    """Intersection over union: (C, C) counts -> (C,) float64 in 0-1.

    NaN where a class is absent from both truth and prediction; 0 where it is in one of them only.
    """
    hit = matrix.diagonal()
    return hit.double() / (matrix.sum(0) + matrix.sum(1) - hit)


def miou(matrix: Tensor) -> float:
    """Mean IoU of the classes that occur in truth or prediction, background included; in 0-1.

    NaN for a matrix without any counted pixel.
    """
    return float(iou_per_class(matrix).nanmean())


def shown_iou(matrix: Tensor) -> Tensor:
    """IoU of the classes that the truth shows: (..., C, C) counts -> (..., C) float64 in 0-1.

    NaN for the others, even where they are predicted: they could only score 0, and models that
    predict them by mistake would be averaged over other classes than models that do not. Their
    false pixels still cost the classes that these pixels really show.
    """
    hit = matrix.diagonal(dim1=-2, dim2=-1)
    shown = matrix.sum(-1)
    iou = hit.double() / (shown + matrix.sum(-2) - hit)
    return iou.where(shown > 0, torch.nan)


def mean_iou(iou: Tensor) -> Tensor:
    """The mean of the defined ones of (..., C) IoUs, background included: (...) float64.

    NaN where no defect class is defined: background alone tells nothing of a defect model.
    """
    defects = ~iou[..., BACKGROUND + 1 :].isnan()
    return iou.nanmean(-1).where(defects.any(-1), torch.nan)


def pooled_miou(matrices: Tensor) -> float:
    """mIoU over the pixels of all (N, C, C) matrices together; NaN where undefined."""
    return float(mean_iou(shown_iou(matrices.sum(dim=0))))


def rounded(value: float) -> float | None:
    """`value` to 6 digits; None for NaN, which JSON cannot hold."""
    return None if math.isnan(value) else round(value, _DIGITS)
