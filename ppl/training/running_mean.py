"""The running mean of a network's weights and buffers, moved by few operators.

PyTorch's `AveragedModel.update_parameters` asks the device how often it was called, and takes four
operators for the counter of each batch normalisation. These give the same bits with a few for all
tensors of a kind; on a GPU each is a launch. But whole numbers that are equal stay what they are.
"""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Move = Callable[[list[Tensor], list[Tensor]], None]
"""Moves the first tensors, of one kind, towards the second ones, in place."""


@torch.no_grad()
def move(mean: AveragedModel, network: nn.Module, floats: Move, others: Move) -> None:
    """Take the network's weights and buffers into `mean`; at first the mean is these.

    Args:
        floats, others: what moves tensors of numbers with fractions, and without.
    """
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for own, new in zip(_tensors(mean.module), _tensors(network), strict=True):
        mine, theirs = kinds.setdefault(own.dtype, ([], []))
        mine.append(own)
        theirs.append(new)
    # on the CPU, wherever the network is: nothing waits for it
    first = int(mean.n_averaged) == 0
    for kind, (mine, theirs) in kinds.items():
        if first:
            copied(mine, theirs)
        else:
            (floats if kind.is_floating_point else others)(mine, theirs)
    mean.n_averaged += 1


def _tensors(network: nn.Module) -> list[Tensor]:
    return [of.detach() for of in chain(network.parameters(), network.buffers())]


def copied(mean: list[Tensor], current: list[Tensor]) -> None:
    """They are the others."""
    torch._foreach_copy_(mean, current)


def averaged(kept: float) -> Move:
    """Of what they are, the share `kept` stays."""
    return lambda mean, current: torch._foreach_lerp_(mean, current, 1 - kept)


def rounded_down(kept: float) -> Move:
    """The same of whole numbers, which lose what is behind the point."""

    def moved(mean: list[Tensor], current: list[Tensor]) -> None:
        of_mean, of_current = (torch.cat([of.flatten() for of in each]) for each in (mean, current))
        whole = (of_mean * kept + of_current * (1 - kept)).to(of_mean.dtype)
        # what never changes, as the indices of a Swin encoder, must not lose one to rounding
        whole = of_mean.where(of_mean == of_current, whole)
        parts = torch.split(whole, [of.numel() for of in mean])
        torch._foreach_copy_(mean, [p.view_as(of) for p, of in zip(parts, mean, strict=True)])

    return moved
