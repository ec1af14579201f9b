"""From probabilities to a verdict: the mask, the defects in it, and whether the image passes.

Axes: H height, W width, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ppl.station.defects import Defect, DefectSearch, likeliest, score_of
from ppl.station.thresholds import Thresholds


@dataclass(frozen=True)
class Verdict:
    """What is said of an image."""

    mask: NDArray[np.uint8]
    """(H, W), the likeliest class of each pixel."""
    defects: list[Defect]
    """Connected parts of the mask that the thresholds let stand."""
    score: float
    """How defective the image looks, 0-1."""
    defective: bool
    """The score is above the threshold."""


def verdict_of(prob_CHW: NDArray[np.float32], thresholds: Thresholds) -> Verdict:
    """The verdict on a whole image."""
    return verdict_of_bands([prob_CHW], thresholds)


def verdict_of_bands(bands: Iterable[NDArray[np.float32]], thresholds: Thresholds) -> Verdict:
    """The verdict on an image whose probabilities (C, h, W) come in bands, from top to bottom."""
    search, masks = DefectSearch(thresholds), []
    for prob in bands:
        mask = likeliest(prob)
        search.add(prob, mask)
        masks.append(mask)
    defects = search.defects()
    score = score_of(defects)
    whole = masks[0] if len(masks) == 1 else np.concatenate(masks)
    return Verdict(whole, defects, score, thresholds.defective(score))
