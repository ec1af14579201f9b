"""Which images are defective: how well one number an image tells them from the sound ones.

Axes: H height, W width; N is the number of images.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from ppl.images.confusion import counted_pixels
from ppl.images.miou import BACKGROUND, rounded
from ppl.scores.pixels import NO_DEFECT


@dataclass(frozen=True)
class DetectionScores:
    """How well images are told apart, in 0-1 to 6 digits; all None where `reason` says why.

    `auroc` is the share of pairs of a defective and a sound image that the evidence puts in order
    (0.5 is chance), `average_precision` the precision averaged over the recall (chance is the
    share of defective images), `miss_rate` the share of defective images missed.
    """

    auroc: float | None
    average_precision: float | None
    miss_rate: float | None
    reason: str | None = None


def evidence(defect_prob_HW: Tensor, target_HW: Tensor, *, min_defect_fraction: float) -> float:
    """The defect probability, in 0-1, that `min_defect_fraction` of the counted pixels reach.

    So the evidence is at least t exactly when at least that share of the pixels has a defect
    probability of at least t: to raise t is to ask for surer pixels, not for more of them.

    Args:
        defect_prob_HW: (H, W) float, 1 - p(background).
        target_HW: (H, W) class indices, any integer dtype, same device; 255 is ignore and is all
            that is read of it.
        min_defect_fraction: above 0, at most 1.

    NaN for an image without a counted pixel.
    """
    assert defect_prob_HW.shape == target_HW.shape, f"{defect_prob_HW.shape}, {target_HW.shape}"
    [prob] = counted_pixels(target_HW, defect_prob_HW)
    if prob.numel() == 0:
        return math.nan
    needed = _pixels_needed(prob.numel(), min_defect_fraction)
    value = float(prob.topk(needed, sorted=False).values.min())
    assert not math.isnan(value), "a defect probability is not a number"
    # an averaged softmax of 1.0000001 leaves -1e-7: outside 0-1, torchmetrics takes all for logits
    return min(max(value, 0.0), 1.0)


def detection_scores(
    evidence: Tensor, defective: Tensor, *, false_alarm_rate: float
) -> DetectionScores:
    """Judge images by their evidence, by AUROC, average precision and one point of the ROC curve.

    `miss_rate` is that of the best threshold at which at most `false_alarm_rate` (0-1) of the
    sound images are called; images of equal evidence are called together. The threshold is chosen
    on these same images, so on new ones both rates will be somewhat worse.

    Args:
        evidence: (N,) float in 0-1; float64 keeps what `evidence` gave. NaN leaves an image out.
        defective: (N,) bool, True where the truth shows a defect.
    """
    # it takes seconds to import, which a stage that scores no image by its evidence need not spend
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
        binary_roc,
    )

    assert evidence.shape == defective.shape, f"{evidence.shape} against {defective.shape}"
    assert 0 <= false_alarm_rate <= 1, f"{false_alarm_rate}"
    judged = ~evidence.isnan()
    called, truth = evidence[judged], defective[judged].long()
    assert bool(((called >= 0) & (called <= 1)).all()), "an evidence lies outside 0-1"
    positive = int(truth.sum())
    negative = truth.numel() - positive
    # with a class missing, torchmetrics would score 0
    if truth.numel() == 0:
        return DetectionScores(None, None, None, "no test image has a counted pixel")
    if positive == 0:
        return DetectionScores(None, None, None, NO_DEFECT)
    if negative == 0:
        return DetectionScores(None, None, None, "every test image shows a defect")
    false_alarms, found, _ = binary_roc(called, truth)
    # the curve is float32, whose 1 / 20 is a little above 0.05: back to exact counts
    allowed = (false_alarms.double() * negative).round() / negative <= false_alarm_rate
    most_found = float((found.double() * positive).round()[allowed].max())
    return DetectionScores(
        rounded(float(binary_auroc(called, truth))),
        rounded(float(binary_average_precision(called, truth))),
        rounded((positive - most_found) / positive),
    )


def _pixels_needed(pixels: int, fraction: float) -> int:
    """The smallest k of at least 1 with k / pixels >= fraction, as `detection` asks."""
    assert 0 < fraction <= 1, f"{fraction}"
    needed = max(1, math.ceil(fraction * pixels))
    # 0.07 * 100 is 7.000000000000001, but 7 / 100 is 0.07
    return needed - 1 if needed > 1 and (needed - 1) / pixels >= fraction else needed


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
    true, predicted = counted_pixels(target, target, prediction)
    pixels = true.numel()
    if pixels == 0:
        return DetectionCounts()
    called = int((predicted != BACKGROUND).sum()) / pixels >= min_defect_fraction
    if bool((true != BACKGROUND).any()):
        return DetectionCounts(defective_called=int(called), defective_missed=int(not called))
    return DetectionCounts(sound_called=int(called), sound_passed=int(not called))


def _share(called: int, passed: int) -> float | None:
    return rounded(called / (called + passed)) if called + passed else None
