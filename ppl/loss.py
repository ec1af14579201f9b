"""The cross-entropy that every training minimises."""

import torch.nn.functional as F
from torch import Tensor

from ppl.image_files import IGNORE


def cross_entropy(logits_BCHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the pixels that are not 255; 0 where all are.

    PyTorch's own mean is NaN for a batch without a counted pixel; such a batch teaches nothing
    and must not end a training.
    """
    counted = (mask_BHW != IGNORE).sum().clamp(min=1)
    # PyTorch's own sum adds in no fixed order on CUDA; a sum of the pixels' losses does
    loss_BHW = F.cross_entropy(logits_BCHW, mask_BHW, ignore_index=IGNORE, reduction="none")
    return loss_BHW.sum() / counted
