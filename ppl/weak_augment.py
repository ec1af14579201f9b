"""The weak augmentation that every training image gets: random scale, crop, horizontal flip.

Axes: B batch, C channels, H height, W width.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, Tensor

from ppl.image_files import IGNORE
from ppl.resize import resize_image, resize_mask, scaled_size
from ppl.settings import Settings


class WeakAugmentSettings(Settings):
    """Section `weak_augment`."""

    scale_min: Annotated[float, Field(ge=0.1, le=8)]
    scale_max: Annotated[float, Field(ge=0.1, le=8)]
    flip_probability: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _ordered(self) -> "WeakAugmentSettings":
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min {self.scale_min} is above scale_max {self.scale_max}; swap them"
            )
        return self


def weak_augment(
    image_BCHW: Tensor,
    mask_BHW: Tensor,
    size: tuple[int, int],
    settings: WeakAugmentSettings,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Scale to a random multiple of `size`, crop to `size`, flip; each image has its own draws.

    Images (B, 3, H, W) and masks (B, H, W) are uint8 and stay so. What a scale below 1 leaves
    uncovered is black and ignored.
    """
    pairs = [
        _augment_one(image, mask, size, settings, generator)
        for image, mask in zip(image_BCHW, mask_BHW, strict=True)
    ]
    images, masks = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(masks)


def _augment_one(
    image: Tensor,
    mask: Tensor,
    size: tuple[int, int],
    settings: WeakAugmentSettings,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    # every image makes the same number of draws, so one image's luck shifts no other's
    scale_draw, top_draw, left_draw, flip_draw = torch.rand(4, generator=generator).tolist()
    scale = settings.scale_min + scale_draw * (settings.scale_max - settings.scale_min)
    scaled = scaled_size(size, scale)
    if scaled != tuple(mask.shape):
        image, mask = resize_image(image, scaled), resize_mask(mask, scaled)
    height, width = size
    padding = (0, max(0, width - scaled[1]), 0, max(0, height - scaled[0]))
    image, mask = F.pad(image, padding), F.pad(mask, padding, value=IGNORE)
    top = int(top_draw * (mask.shape[0] - height + 1))
    left = int(left_draw * (mask.shape[1] - width + 1))
    image = image[:, top : top + height, left : left + width]
    mask = mask[top : top + height, left : left + width]
    if flip_draw < settings.flip_probability:
        image, mask = image.flip(-1), mask.flip(-1)
    return image, mask
