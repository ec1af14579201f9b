"""Bilinear up-sampling: PyTorch's own, its deterministic way, and two products with matrices.

Axes: B batch, C channels, H height, W width.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.stages import synchronize

FEW_CHANNELS = 32
"""Up to here one plane after the other is resized, above all channels of a row at once."""

REAL = F.interpolate


@functools.cache
def weights(
    length: int, wanted: int, aligned: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(wanted, length): how much of each pixel of an axis is in each of the resized axis."""
    each = torch.eye(length)[None]
    resized = REAL(each, size=wanted, mode="linear", align_corners=aligned)[0].T
    return resized.to(device, dtype).contiguous()


def by_products(image_BCHW: Tensor, size: tuple[int, int], *, aligned: bool) -> Tensor:
    """`image_BCHW` at `size` in pixels; its gradient are two products as well.

    No two threads add to one place, so that the gradient has the same bits in every run.
    """
    batch, channels, height, width = image_BCHW.shape
    kind = (aligned, image_BCHW.dtype, image_BCHW.device)
    rows, columns = weights(height, size[0], *kind), weights(width, size[1], *kind)
    if channels <= FEW_CHANNELS:
        wide = F.linear(image_BCHW.contiguous(), columns).view(batch * channels, height, size[1])
        planes = torch.bmm(rows.expand(len(wide), -1, -1), wide)
        return planes.view(batch, channels, *size)
    # in the layout of the networks' tensors a row's channels lie beside one another
    lines = image_BCHW.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    high = torch.bmm(rows.expand(batch, -1, -1), lines).view(batch * size[0], width, channels)
    both = torch.bmm(columns.expand(len(high), -1, -1), high)
    return both.view(batch, *size, channels).permute(0, 3, 1, 2)


def _interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **rest: Any,
) -> Tensor:
    if mode != "bilinear" or rest.get("antialias"):
        return REAL(input, size, scale_factor, mode, align_corners, **rest)
    if size is None:
        each = (scale_factor, scale_factor) if isinstance(scale_factor, int | float) else None
        size = [int(n * s) for n, s in zip(input.shape[2:], each or scale_factor, strict=True)]
    size = (size, size) if isinstance(size, int) else (size[0], size[1])
    return by_products(input, size, aligned=bool(align_corners))


@contextmanager
def as_products() -> Iterator[None]:
    """Inside, every bilinear resize of PyTorch's `interpolate` is one by products."""
    F.interpolate = _interpolate  # type: ignore[assignment]
    try:
        yield
    finally:
        F.interpolate = REAL


def measure(batch: int, size: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """The two resizes of a DeepLabV3+ for images of `size`, bfloat16, forward and backward.

    Of each way ms a call, the largest error against float64, and whether two gradients are equal.
    """
    found = {}
    for what, channels, side in (("decoder", 256, size // 16), ("head", 6, size // 4)):
        shape = (batch, channels, side, side)
        torch.manual_seed(0)
        image = torch.rand(shape, device=device).to(torch.bfloat16)
        image = image.to(memory_format=torch.channels_last)
        found[f"{what}, {' x '.join(map(str, shape))} to {4 * side}"] = {
            way: _measured(image, repeats, deterministic=deterministic, products=products)
            for way, deterministic, products in (
                ("interpolate", False, False),
                ("interpolate, deterministic", True, False),
                ("two products", True, True),
            )
        }
    return found


def _measured(
    image: Tensor, repeats: int, *, deterministic: bool, products: bool
) -> dict[str, Any]:
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    image = image.detach().requires_grad_()

    def resize(of: Tensor) -> Tensor:
        return F.interpolate(of, scale_factor=4, mode="bilinear", align_corners=True)

    with as_products() if products else nullcontext():
        resized = resize(image)
        slope = torch.rand_like(resized, dtype=torch.float32).to(resized.dtype)

        def gradient() -> Tensor:
            return torch.autograd.grad(resize(image), image, slope)[0]

        equal = all(torch.equal(gradient(), gradient()) for _ in range(3))
        forward, both = (
            ms_of(work, image.device, repeats) for work in (_of(resize, image), gradient)
        )
    torch.use_deterministic_algorithms(False)
    exact = resize(image.detach().double())
    return {
        "forward_ms": round(forward, 3),
        "forward_and_backward_ms": round(both, 3),
        "largest_error": round(float((resized.detach().double() - exact).abs().max()), 6),
        "gradients_equal": equal,
    }


def _of(work: Callable[[Tensor], Tensor], image: Tensor) -> Callable[[], Tensor]:
    return lambda: work(image)


def ms_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """ms of one of `repeats` calls in a row, after some that are not counted."""
    for _ in range(3):
        work()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return 1000 * (time.perf_counter() - began) / repeats
