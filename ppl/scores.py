"""What a report says about predictions: scores per class, and detection per image.

Undefined values (0/0) are NaN in tensors and None in what goes to JSON.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl.image_files import IGNORE

BACKGROUND = 0
"""The class of sound surface; every other class is a defect."""

NO_DEFECT = "no test image shows a defect"
"""Why scores of a test set without any defect are undefined."""

_DIGITS = 6

ClassScores = dict[str, float | None]


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


def rounded(value: float) -> float | None:
    """`value` to 6 digits; None for NaN, which JSON cannot hold."""
    return None if math.isnan(value) else round(value, _DIGITS)


@dataclass(frozen=True)
class DetectionCounts:
    """How many images are called defective, by whether they are. Additive over images."""

    defective_called: int = 0
    defective_missed: int = 0
    sound_called: int = 0
    sound_passed: int = 0

    def __add__(self, other: "DetectionCounts") -> "DetectionCounts":
        return DetectionCounts(
            self.defective_called + other.defective_called,
            self.defective_missed + other.defective_missed,
            self.sound_called + other.sound_called,
            self.sound_passed + other.sound_passed,
        )

    @property
    def image_recall(self) -> float | None:
        """Share of the defective images that are called so; None if there are none."""
        return _share(self.defective_called, self.defective_missed)

    @property
    def image_false_alarm_rate(self) -> float | None:
        """Share of the sound images that are called defective; None if there are none."""
        return _share(self.sound_called, self.sound_passed)


def detection(prediction: Tensor, target: Tensor, *, min_defect_fraction: float) -> DetectionCounts:
    """Judge one image by its masks.

    It is called defective when at least `min_defect_fraction` (above 0, at most 1) of its pixels
    are predicted as any defect; it is defective when one true pixel is. Pixels whose target is 255
    count nowhere; an image of nothing else gives no count.

    Args:
        prediction: (H, W) class indices, any integer dtype; 0 is background.
        target: (H, W) class indices, 255 is ignore.
    """
    assert prediction.shape == target.shape, f"{prediction.shape} against {target.shape}"
    assert 0 < min_defect_fraction <= 1, f"{min_defect_fraction}"
    counted = target != IGNORE
    pixels = int(counted.sum())
    if pixels == 0:
        return DetectionCounts()
    called = int((prediction[counted] != BACKGROUND).sum()) / pixels >= min_defect_fraction
    if bool((target[counted] != BACKGROUND).any()):
        return DetectionCounts(defective_called=int(called), defective_missed=int(not called))
    return DetectionCounts(sound_called=int(called), sound_passed=int(not called))


def _share(called: int, passed: int) -> float | None:
    return rounded(called / (called + passed)) if called + passed else None
