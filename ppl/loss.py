"""The cross-entropy that every training minimises."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ppl import processes
from ppl.image_files import IGNORE
from ppl.settings import Settings


class LossSettings(Settings):
    """Section `loss`."""

    defect_weight: Annotated[float, Field(ge=1, le=1000)]


def cross_entropy(logits_BCHW: Tensor, mask_BHW: Tensor, settings: LossSettings) -> Tensor:
    """Weighted mean cross-entropy in nats over the pixels that are not 255; 0 where all are.

    The mean is over the batch of all processes: the mean of their losses is that of the batch.

    A pixel of a defect class (mask value above 0) weighs `defect_weight`, background weighs 1; the
    paper weighs all alike. Where defects are a percent of the pixels, a short training with equal
    weights learns nothing but background.

    PyTorch's own mean is NaN for a batch without a counted pixel; such a batch teaches nothing
    and must not end a training.
    """
    counted_BHW = (mask_BHW != IGNORE).float()
    weight_BHW = counted_BHW * (1 + (settings.defect_weight - 1) * (mask_BHW > 0).float())
    # PyTorch's own sum adds in no fixed order on CUDA; a sum of the pixels' losses does
    loss_BHW = F.cross_entropy(logits_BCHW, mask_BHW, ignore_index=IGNORE, reduction="none")
    share = (weight_BHW * loss_BHW).sum() / processes.total(weight_BHW.sum()).clamp(min=1)
    return share * processes.count()
