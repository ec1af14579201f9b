"""Does a pixel's confidence mean what it says: of the pixels with confidence 0.8, are 80 % right?

Confidence is the highest class probability of a pixel, right is a pixel whose most probable class
is the true one (Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2).

Axes: C classes, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ppl.images.confusion import counted_pixels
from ppl.images.miou import BACKGROUND

BINS = 15
"""Bins of equal width in 0-1, as many as Guo et al. use; a confidence of 1 is in the last.

Which bin holds an edge need not be settled: no float but 0 and 1 is a multiple of 1/15.
"""


@dataclass(frozen=True)
class CalibrationBins:
    """Counted pixels by predicted class and confidence, (C, BINS) each. Additive over images.

    Attributes:
        pixels: int64, how many there are.
        right: int64, how many of them are right.
        confidence: float64, the sum of their confidence.
    """

    pixels: Tensor
    right: Tensor
    confidence: Tensor

    def __add__(self, other: "CalibrationBins") -> "CalibrationBins":
        return CalibrationBins(
            self.pixels + other.pixels,
            self.right + other.right,
            self.confidence + other.confidence,
        )

    @staticmethod
    def nothing(classes: int) -> "CalibrationBins":
        """The bins of no image, to start a sum with."""
        none = torch.zeros((classes, BINS), dtype=torch.int64)
        return CalibrationBins(none, none.clone(), none.double())

    @property
    def predicted_defect(self) -> "CalibrationBins":
        """Only pixels predicted as a defect, (C - 1, BINS): the background hides them."""
        rows = slice(BACKGROUND + 1, None)
        return CalibrationBins(self.pixels[rows], self.right[rows], self.confidence[rows])


def calibration_bins(prob_CHW: Tensor, target_HW: Tensor) -> CalibrationBins:
    """Sort the counted pixels of one image by predicted class and confidence.

    Args:
        prob_CHW: (C, H, W) float softmax, on any device.
        target_HW: (H, W) class indices on the CPU, any integer dtype; 255 is ignore.

    Returns:
        counts on the CPU, where the weighted bincount is deterministic.
    """
    classes = prob_CHW.shape[0]
    assert prob_CHW.shape[1:] == target_HW.shape, f"{prob_CHW.shape} against {target_HW.shape}"
    confidence_HW, predicted_HW = (found.cpu() for found in prob_CHW.max(dim=0))
    predicted, target, confidence = counted_pixels(
        target_HW, predicted_HW, target_HW, confidence_HW
    )
    # float32 values above 1/16 are multiples of 2**-27: up to 2**26 pixels a bin, their sum in
    # float64 is exact in any order
    exact = confidence.double()
    assert bool((confidence > 0).all()), "a confidence is not above 0"
    # averaged softmax may end at 1.0000001
    bin_index = (exact * BINS).to(torch.int32).clamp_(max=BINS - 1)
    cell = bin_index.add_(predicted, alpha=BINS)
    summed = torch.bincount(cell, exact, classes * BINS).view(classes, BINS)
    # wrong and right ones in turn: one count for both
    pixels = torch.bincount(cell * 2 + (predicted == target), minlength=classes * BINS * 2)
    wrong, right = pixels.view(classes, BINS, 2).unbind(-1)
    return CalibrationBins(wrong + right, right.clone(), summed)


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Mean over pixels of |accuracy - mean confidence| of their bin, in 0-1; NaN without pixels.

    Guo et al., equation 3. All predicted classes of `bins` share the bins.
    """
    gap = bins.right.sum(0) - bins.confidence.sum(0)
    return float(gap.abs().sum() / bins.pixels.sum())
