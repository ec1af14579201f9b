"""What a prediction says, and how sure it is: the confidence of PPL's reliability and its CutMix.

Axes: B batch, C classes, H height, W width.
"""

import math

import torch
from torch import Tensor


def confidence(prob_BCHW: Tensor) -> Tensor:
    """Mean over pixels of (1 - H(p) / ln C) * max_c p; from 0 (uniform) to 1 (one-hot).

    Source: Wu et al., TNNLS 2024, the confidence factor of the reliability score.

    Args:
        prob_BCHW: softmax probabilities, float, C >= 2.

    Returns:
        (B,) float in [0, 1].
    """
    return certainty(prob_BCHW).mean(dim=(1, 2)).clamp(0, 1)


def defect_confidence(prob_BCHW: Tensor) -> Tensor:
    """`confidence` over the pixels that are taken for a defect; of the whole image without one.

    Background, mostly sure, hides how doubtful a small defect is. (B,) float in [0, 1].
    """
    sure_BHW = certainty(prob_BCHW)
    defect_BHW = (prob_BCHW.max(dim=1).indices > 0).float()
    pixels_B = defect_BHW.sum(dim=(1, 2))
    of_defects = (sure_BHW * defect_BHW).sum(dim=(1, 2)) / pixels_B.clamp(min=1)
    return of_defects.where(pixels_B > 0, sure_BHW.mean(dim=(1, 2))).clamp(0, 1)


def certainty(prob_BCHW: Tensor) -> Tensor:
    """(B, H, W) of each pixel (1 - H(p) / ln C) * max_c p, from 0 to 1 but for rounding."""
    entropy_BHW = torch.special.entr(prob_BCHW).sum(dim=1)
    sure_BHW: Tensor = (1 - entropy_BHW / math.log(prob_BCHW.shape[1])) * prob_BCHW.amax(dim=1)
    return sure_BHW


def likeliest(prob_CHW: Tensor) -> Tensor:
    """(H, W) int64 class of the highest probability; of equal ones the first."""
    # on CPUs ten times as fast as argmax over an outer dimension (PyTorch 2.14), same result
    return prob_CHW.max(dim=0).indices
