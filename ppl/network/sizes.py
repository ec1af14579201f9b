"""Which sizes a network takes, as smp and timm say it: multiples of a side, or one size alone."""

import math
from typing import Any

from torch import nn

STRIDE = 32
"""Pixels; most encoders halve the image five times. Where a network takes multiples of this, or of
what divides it, inputs are padded to this."""


def input_multiple(body: nn.Module) -> int:
    """Pixels to a multiple of which inputs are padded: `STRIDE`, unless the network takes another.

    Args:
        body: a network of segmentation_models_pytorch.
    """
    # what smp's own check asks of a side, and timm of what it cuts into whole patches
    stride = int(getattr(body.encoder, "output_stride", STRIDE))
    patches = [layer.patch_size for layer in patch_layers(body) if not layer.dynamic_img_pad]
    needed = math.lcm(max(1, stride), *(int(side) for patch in patches for side in patch))
    return STRIDE if STRIDE % needed == 0 else needed


def fixed_size(body: nn.Module) -> tuple[int, int] | None:
    """Height and width in pixels of the one size that a network takes; None: it takes several."""
    for layer in patch_layers(body):
        if layer.strict_img_size and layer.img_size is not None:
            height, width = layer.img_size
            return int(height), int(width)
    return None


def patch_layers(body: nn.Module) -> list[Any]:
    """Where timm cuts images into patches; where they overlap, as Segformer's, any side fits."""
    from timm.layers.patch_embed import PatchEmbed

    return [layer for layer in body.modules() if isinstance(layer, PatchEmbed)]
