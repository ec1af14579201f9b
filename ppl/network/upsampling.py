"""Bilinear up-sampling: where pixels go, and a gradient with the same bits in every run.

Decoders of DeepLabV3+, FPN, PAN, PSPNet and DPT align corners: the outermost pixel centres of two
sizes coincide, so that between them the output lies up to some pixels beside the input. `Unaligned`
makes both images equally long instead, as encoders see them: every pixel stays in its place.

PyTorch's own adds gradients on CUDA in no fixed order; its deterministic way scatters them, and
took five sixths of a retraining step's time on an H200. A resize is a product with a matrix from
the left for rows and from the right for columns; so is its gradient.

Axes: B batch, C channels, H height, W width.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEW_CHANNELS = 32
"""Up to here one plane after the other is resized, above all channels of a row at once."""


def _weights(length: int, wanted: int, aligned: bool) -> Tensor:
    """(wanted, length) float64: how much of each pixel of an axis is in each of the resized one.

    Without `aligned` a pixel's centre is at i + 1/2, and both axes are equally long; with it the
    outermost centres coincide (PyTorch's align_corners).
    """
    if aligned:
        step = (length - 1) / (wanted - 1) if wanted > 1 else 0.0
        position = torch.arange(wanted, dtype=torch.float64) * step
    else:
        position = (torch.arange(wanted, dtype=torch.float64) + 0.5) * (length / wanted) - 0.5
    position = position.clamp(0, length - 1)
    distance = (position[:, None] - torch.arange(length, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0)


@functools.lru_cache(maxsize=256)
def _on_device(
    length: int, wanted: int, aligned: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return _weights(length, wanted, aligned).to(device, dtype)


def resize_by_products(image_BCHW: Tensor, size: tuple[int, int], *, aligned: bool) -> Tensor:
    """`F.interpolate(image, size, mode="bilinear", align_corners=aligned)` as two products.

    In the image's type; in bfloat16 the rows between are rounded once more.

    Args:
        image_BCHW: float.
        size: height and width in pixels.
        aligned: as PyTorch's align_corners.
    """
    batch, channels, height, width = image_BCHW.shape
    kind = (aligned, image_BCHW.dtype, image_BCHW.device)
    rows = _on_device(height, size[0], *kind)
    columns = _on_device(width, size[1], *kind)
    with torch.autocast(image_BCHW.device.type, enabled=False):
        if channels <= FEW_CHANNELS:
            wide = F.linear(image_BCHW.contiguous(), columns).view(-1, height, size[1])
            planes = torch.bmm(rows.expand(len(wide), -1, -1), wide)
            return planes.view(batch, channels, *size)
        # in the layout of the networks' tensors a row's channels lie beside one another
        lines = image_BCHW.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        high = torch.bmm(rows.expand(batch, -1, -1), lines).view(-1, width, channels)
        both = torch.bmm(columns.expand(len(high), -1, -1), high)
        return both.view(batch, *size, channels).permute(0, 3, 1, 2)


class ByProducts(TorchFunctionMode):
    """Inside, PyTorch's bilinear `interpolate` is `resize_by_products`, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.interpolate:
            resized = _interpolated(*args, **(kwargs or {}))
            if resized is not None:
                return resized
        return func(*args, **(kwargs or {}))


def _interpolated(
    input: Tensor,  # the names are those of F.interpolate
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor | None:
    """None: not bilinear, or with a factor that PyTorch would not take from the two sizes."""
    if mode != "bilinear" or antialias:
        return None
    if size is None:
        factors = scale_factor if isinstance(scale_factor, tuple | list) else [scale_factor] * 2
        if any(float(factor) != int(factor) for factor in factors):
            return None
        size = [side * int(by) for side, by in zip(input.shape[2:], factors, strict=True)]
    height, width = (size, size) if isinstance(size, int) else size
    return resize_by_products(input, (int(height), int(width)), aligned=bool(align_corners))


class Unaligned(TorchFunctionMode):
    """Inside, `interpolate` aligns no corners, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.interpolate and given.get("align_corners"):
            given["align_corners"] = False
        return func(*args, **given)


@contextmanager
def upsampling(device: torch.device, *, unaligned: bool) -> Iterator[None]:
    """What a network's forward pass runs in.

    `ByProducts` on CUDA, where determinism is asked for: on a CPU PyTorch's own up-sampling is
    deterministic, and faster.

    Args:
        unaligned: no corners are aligned, whatever the architecture does.
    """
    reproducible = device.type == "cuda" and torch.are_deterministic_algorithms_enabled()
    with (
        ByProducts() if reproducible else nullcontext(),
        # entered last, it is asked first
        Unaligned() if unaligned else nullcontext(),
    ):
        yield
