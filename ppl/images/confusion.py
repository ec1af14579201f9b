"""Confusion counts: of how many pixels which class is taken for which.

Counts are additive: the matrices of single images, summed, are the matrix of the set.
"""

import torch
from torch import Tensor

from ppl.images.pictures import IGNORE


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
