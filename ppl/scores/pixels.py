"""What a report says about the pixels: scores per class.

Undefined values (0/0) are NaN in tensors and None in what goes to JSON.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl.images.miou import mean_iou, rounded, shown_iou

NO_DEFECT = "no test image shows a defect"
"""Why scores of a test set without any defect are undefined."""

ClassScores = dict[str, float | None]


def precision_per_class(matrix: Tensor) -> Tensor:
    """Share of the pixels predicted as a class that are of it: (C, C) counts -> (C,) float64.

    NaN where a class is never predicted.
    """
    return matrix.diagonal().double() / matrix.sum(0)


def recall_per_class(matrix: Tensor) -> Tensor:
    """Share of a class's true pixels that are found: (C, C) counts -> (C,) float64 in 0-1.

    NaN where a class is absent from the truth.
    """
    return matrix.diagonal().double() / matrix.sum(1)


def dice_per_class(matrix: Tensor) -> Tensor:
    """Dice score, which is the pixel-wise F1: (C, C) counts -> (C,) float64 in 0-1.

    NaN where a class is absent from the truth, as in `shown_iou`.
    """
    dice = 2 * matrix.diagonal().double() / (matrix.sum(0) + matrix.sum(1))
    return dice.where(matrix.sum(1) > 0, torch.nan)


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of the counted pixels that are right, in 0-1; NaN without any counted pixel."""
    return float(matrix.diagonal().sum().double() / matrix.sum())


def scores(matrix: Tensor, class_names: Sequence[str]) -> dict[str, float | ClassScores | None]:
    """All pixel scores of one (C, C) confusion matrix, ready for JSON.

    Keys: miou, pixel_accuracy, and by class name iou, precision, recall and dice. IoU, Dice and
    mIoU are of the classes that the truth shows, see `shown_iou`. Values lie in 0-1, rounded to 6
    digits so that equal results are equal bytes; None where undefined.
    """
    assert matrix.shape == (len(class_names), len(class_names)), f"{tuple(matrix.shape)}"

    def by_class(values: Tensor) -> ClassScores:
        return dict(zip(class_names, map(rounded, values.tolist()), strict=True))

    iou = shown_iou(matrix)
    return {
        "miou": rounded(float(mean_iou(iou))),
        "pixel_accuracy": rounded(pixel_accuracy(matrix)),
        "iou": by_class(iou),
        "precision": by_class(precision_per_class(matrix)),
        "recall": by_class(recall_per_class(matrix)),
        "dice": by_class(dice_per_class(matrix)),
    }
