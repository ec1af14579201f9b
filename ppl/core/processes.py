"""Several processes at work on one stage, each on its GPU or its cores: who does what.

ppl.run.launch starts them by torchrun. They all draw the random numbers of the whole batch and each
computes its part of it, so their number changes no result but for the rounding of sums. With one
process, nothing here does anything.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long one may wait for the others; those who predict a share end at different times."""


def start() -> None:
    """Join the processes of this stage, if it was started with several."""
    if not dist.is_available() or "LOCAL_RANK" not in os.environ or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def wait() -> None:
    """Until all processes have come here."""
    if count() > 1:
        dist.barrier()


def stop() -> None:
    """Leave the others."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """How many work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this one writes what they leave together."""
    return rank() == 0


def own(total: int) -> range:
    """Which of `total` things, in a row, are this process's; their sizes differ by one at most."""
    return range(total * rank() // count(), total * (rank() + 1) // count())


def every(items: Sequence[T]) -> Sequence[T]:
    """This process's share of `items`: every n-th, in their order."""
    return items[rank() :: count()]


def total(part: Tensor) -> Tensor:
    """The sum of all processes' tensors of one shape, on each of them; no gradient passes it."""
    if count() == 1:
        return part
    whole = part.detach().clone()
    dist.all_reduce(whole)
    return whole


def gathered(part: T) -> list[T]:
    """What every process has, in their order, on each of them. Pickled among themselves alone."""
    if count() == 1:
        return [part]
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, part)
    return parts


def from_first(what: T) -> T:
    """What the first process has, on each of them. Pickled among themselves alone."""
    if count() == 1:
        return what
    whole: list[Any] = [what]
    dist.broadcast_object_list(whole)
    only: T = whole[0]
    return only


def together(network: nn.Module) -> nn.Module:
    """`network` as the processes train it together: gradients averaged as they are computed."""
    if count() == 1:
        return network
    device = next(network.parameters()).device
    return DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        # the layers keep their statistics equal by themselves
        broadcast_buffers=False,
        # encoders may have parameters that the network never uses
        static_graph=True,
    )


def bare(network: nn.Module) -> Any:
    """The network inside what `together` returned: it computes without the other processes."""
    return network.module if isinstance(network, DistributedDataParallel) else network
