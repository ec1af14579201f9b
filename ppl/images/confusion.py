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
    row, column = counted_pixels(target, target, prediction)
    # a column beyond C would be counted in the next row without anybody noticing
    assert _within(row, classes), f"a target lies outside 0-{classes - 1}"
    assert _within(column, classes), f"a prediction lies outside 0-{classes - 1}"
    # in uint8, row * C + column would wrap around at 256
    narrow = torch.int16 if classes**2 < 2**15 else torch.int64
    cell = row.to(narrow) * classes + column.to(narrow)
    # without weights, bincount is deterministic on CUDA too: it adds integers
    return torch.bincount(cell, minlength=classes**2).view(classes, classes)


def counted_pixels(target: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
    """Of each map the pixels whose target is not 255, flat, in their order.

    Mostly that is all of them, and then nothing is copied.

    Args:
        target: class indices or 255.
        maps: of the target's shape, on its device.
    """
    counted = target != IGNORE
    if bool(counted.all()):
        return tuple(each.flatten() for each in maps)
    return tuple(each[counted] for each in maps)


def _within(indices: Tensor, classes: int) -> bool:
    if not indices.numel():
        return True
    least, most = indices.aminmax()
    return int(least) >= 0 and int(most) < classes
