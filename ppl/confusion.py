"""Pooled confusion counts, and the mean IoU that the whole project reports.

Counts are additive: the matrices of single images, summed, are the matrix of the set. The paper's
mIoU comes from that one matrix; the mean of per-image IoUs is a different number.
"""

import torch
from torch import Tensor

from ppl.image_files import IGNORE


def confusion_matrix(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """Count pixels by true and predicted class, leaving out those whose target is 255.

    Args:
        prediction: class indices in 0..classes-1, any integer dtype and any shape.
        target: class indices in 0..classes-1 or 255 (ignore); same shape, same device.
        classes: number of classes C, background included.

    Returns:
        (C, C) int64 on the device of the inputs; rows are the truth, columns the prediction.
    """
    assert prediction.shape == target.shape, f"{prediction.shape} against {target.shape}"
    counted = target != IGNORE
    # int64 first: in uint8, row * C + column would wrap around at 256
    row, column = target[counted].long(), prediction[counted].long()
    # a column beyond C would be counted in the next row without anybody noticing
    assert bool(((row >= 0) & (row < classes)).all()), f"a target lies outside 0-{classes - 1}"
    assert bool(((column >= 0) & (column < classes)).all()), (
        f"a prediction lies outside 0-{classes - 1}"
    )
    # without weights, bincount is deterministic on CUDA too: it adds integers
    return torch.bincount(row * classes + column, minlength=classes**2).view(classes, classes)


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
