"""Bilinear up-sampling: PyTorch's own, its deterministic way, and two products with matrices.

Axes: B batch, C channels, H height, W width.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.stages import synchronize
from ppl.network.upsampling import ByProducts


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

    with ByProducts() if products else nullcontext():
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
