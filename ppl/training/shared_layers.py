"""Layers whose result depends on the whole batch, also where each process holds a part of it.

Batch normalisation needs the mean of the whole batch; dropout draws for the whole batch and each
process uses its part. So any number of processes trains the same network from one seed, within
the rounding of sums.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed.nn
from torch import Tensor, nn

from ppl.core import processes


class _Part:
    """Which images of a step's batch this process computes; None where that is all of them."""

    images: range | None = None
    of: int = 0


_part = _Part()


@contextmanager
def part_of_batch(images: range, of: int) -> Iterator[None]:
    """Inside, networks in training are given the images `images` of a batch of `of`."""
    _part.images, _part.of = images, of
    try:
        yield
    finally:
        _part.images = None


class SharedDropout(nn.Dropout):
    """Dropout of single values, or of whole channels, by draws for the whole batch."""

    def __init__(self, p: float, *, channels: bool) -> None:
        super().__init__(p)
        self.channels = channels

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        images = range(len(input)) if _part.images is None else _part.images
        of = len(input) if _part.images is None else _part.of
        one = (input.shape[1], *[1] * (input.ndim - 2)) if self.channels else input.shape[1:]
        drawn = torch.rand(of, *one, device=input.device)[images.start : images.stop]
        return input * (drawn >= self.p) / (1 - self.p)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on CPUs.

    PyTorch's SyncBatchNorm is for GPUs alone.
    """

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if self.training else super().forward(input)


def share_layers(network: nn.Module) -> None:
    """Replace those layers of `network` that look at a whole batch; weights and names stay.

    Dropout is replaced for a single process too, since its draws must not depend on how many
    there are. What a network drops by a function instead of a layer is not found.
    """
    # it takes seconds to import, which a stage without training need not spend
    from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm

    class SharedBatchNormAct(BatchNormAct2d):
        """The same with timm's activation inside."""

        def forward(self, input: Tensor) -> Any:
            if not self.training:
                return super().forward(input)  # type: ignore[no-untyped-call]
            return self.act(self.drop(_normalised(self, input)))

    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) in (nn.Dropout, nn.Dropout2d):
                assert isinstance(layer, nn.Dropout | nn.Dropout2d)
                shared = SharedDropout(layer.p, channels=isinstance(layer, nn.Dropout2d))
                setattr(parent, name, shared.train(layer.training))
    if processes.count() == 1:
        return
    if next(network.parameters()).device.type == "cuda":
        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    shared_kind = {nn.BatchNorm2d: SharedBatchNorm, BatchNormAct2d: SharedBatchNormAct}
    for layer in network.modules():
        # same weights, same buffers: only what is computed differs
        layer.__class__ = shared_kind.get(type(layer), type(layer))


def _normalised(layer: nn.BatchNorm2d, input: Tensor) -> Tensor:
    all_reduce = torch.distributed.nn.functional.all_reduce
    size = input.new_tensor([input.numel() / input.shape[1]])
    sums = all_reduce(torch.cat([input.sum(dim=(0, 2, 3)), size]))  # type: ignore[no-untyped-call]
    number = sums[-1].detach()
    mean = (sums[:-1] / number)[:, None, None]
    squares = (input - mean).square().sum(dim=(0, 2, 3))
    variance = all_reduce(squares) / number  # type: ignore[no-untyped-call]
    _remember(layer, mean.detach().flatten(), variance.detach() * number / (number - 1))
    result: Tensor = (input - mean) * torch.rsqrt(variance + layer.eps)[:, None, None]
    if layer.affine:
        result = result * layer.weight[:, None, None] + layer.bias[:, None, None]
    return result


@torch.no_grad()
def _remember(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as PyTorch's own layer does; `variance` is the unbiased one."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked += 1
    share = layer.momentum
    if share is None:
        share = 1 / int(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance, share)
