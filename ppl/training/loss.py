"""What every training minimises: cross-entropy and, beside it, the Tversky loss of the defects.

Axes: B batch, C classes, H height, W width.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.images.pictures import IGNORE


class LossSettings(Settings):
    """Section `loss`."""

    defect_weight: Annotated[float, Field(ge=1, le=1000)]
    focal_gamma: Annotated[float, Field(ge=0, le=5)]
    tversky_weight: Annotated[float, Field(ge=0, le=100)]
    tversky_missed: Annotated[float, Field(gt=0, lt=1)]


PAPER = LossSettings(defect_weight=1.0, focal_gamma=0.0, tversky_weight=0.0, tversky_missed=0.5)
"""Cross-entropy in which all pixels weigh alike."""


def segmentation_loss(logits_BCHW: Tensor, mask_BHW: Tensor, settings: LossSettings) -> Tensor:
    """cross_entropy + tversky_weight * tversky_loss, a scalar.

    Args:
        logits_BCHW: float, before softmax.
        mask_BHW: int64, classes 0 .. C - 1, 255 where nothing is known.
    """
    loss = cross_entropy(logits_BCHW, mask_BHW, settings)
    if settings.tversky_weight:
        tversky = tversky_loss(logits_BCHW, mask_BHW, missed=settings.tversky_missed)
        loss = loss + settings.tversky_weight * tversky
    return loss


def cross_entropy(
    logits_BCHW: Tensor,
    mask_BHW: Tensor,
    settings: LossSettings,
    *,
    over_BHW: Tensor | None = None,
) -> Tensor:
    """Weighted mean cross-entropy in nats over the pixels that are not 255; 0 where all are.

    The mean is over the batch of all processes: the mean of their losses is that of the batch.

    A pixel of a defect class (mask value above 0) weighs `defect_weight`, background weighs 1; the
    paper weighs all alike. Where defects are a percent of the pixels, a short training with equal
    weights learns nothing but background. With `focal_gamma` above 0 a pixel's loss is multiplied
    by (1 - p) ** focal_gamma, p the probability of its true class: Lin et al., ICCV 2017 (focal
    loss).

    PyTorch's own mean is NaN for a batch without a counted pixel; such a batch teaches nothing
    and must not end a training.

    Args:
        over_BHW: divide by the weights of this mask instead: by more pixels than have a loss.
    """
    weight_BHW = pixel_weights(mask_BHW, settings)
    total = weight_BHW if over_BHW is None else pixel_weights(over_BHW, settings)
    # PyTorch's own sum adds in no fixed order on CUDA; a sum of the pixels' losses does
    loss_BHW = F.cross_entropy(logits_BCHW, mask_BHW, ignore_index=IGNORE, reduction="none")
    if settings.focal_gamma:
        # -expm1(-loss) is 1 - p, also where p is so near 1 that the difference would be 0
        missing_BHW = -torch.expm1(-loss_BHW)
        loss_BHW = loss_BHW * missing_BHW.clamp(min=1e-6) ** settings.focal_gamma
    share = (weight_BHW * loss_BHW).sum() / processes.total(total.sum()).clamp(min=1)
    return share * processes.count()


def pixel_weights(mask_BHW: Tensor, settings: LossSettings) -> Tensor:
    """(B, H, W) float32: 1 of background, `defect_weight` of defects, 0 where nothing is known."""
    counted_BHW = (mask_BHW != IGNORE).float()
    return counted_BHW * (1 + (settings.defect_weight - 1) * (mask_BHW > 0).float())


def tversky_loss(logits_BCHW: Tensor, mask_BHW: Tensor, *, missed: float) -> Tensor:
    """1 - the mean Tversky index of the defect classes that the batch shows; 0 if it shows none.

    A scalar in [0, 1]; logits and masks as of `segmentation_loss`.

    Of class c, with probabilities in place of counts, over all pixels of the batch that are not
    255:

        index = TP / (TP + missed * FN + (1 - missed) * FP)

    It looks at a class as a whole, however few pixels it has, where cross-entropy counts pixels.
    missed = 0.5 is the soft Dice loss; above, a missed pixel costs more than a false one. Sources:
    Milletari et al., 3DV 2016 (Dice); Salehi et al., MLMI 2017 (Tversky).

    The sums are over the batch of all processes; the gradients' mean over them is that of the
    whole batch.
    """
    classes = torch.arange(1, logits_BCHW.shape[1], device=mask_BHW.device)
    counted_B1HW = (mask_BHW != IGNORE).float()[:, None]
    prob_BCHW = logits_BCHW.softmax(dim=1)[:, 1:] * counted_B1HW
    true_BCHW = (mask_BHW[:, None] == classes[None, :, None, None]).float()
    sums = torch.stack(
        [of.sum(dim=(0, 2, 3)) for of in (prob_BCHW * true_BCHW, prob_BCHW, true_BCHW)]
    )
    # what the other processes have enters as a constant
    sums = sums + (processes.total(sums.detach()) - sums.detach())
    hit, predicted, true = sums
    shown = (true > 0).float()
    index = hit / (missed * true + (1 - missed) * predicted).clamp(min=1e-6)
    loss: Tensor = (shown * (1 - index)).sum() / shown.sum().clamp(min=1)
    # of the value the processes' mean is taken, too, which is the value itself
    return loss + (processes.count() - 1) * (loss - loss.detach())
