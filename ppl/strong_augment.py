"""The strong augmentation of unlabeled images: colour jitter, grayscale, blur.

It runs on images in [0, 1], before normalisation (the published code ran it on normalised
tensors cast to bytes, where two thirds of the pixels wrapped around).
"""

import math
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as TF

from ppl.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]


class StrongAugmentSettings(Settings):
    """Section `strong_augment`."""

    jitter_probability: Probability
    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)]
    grayscale_probability: Probability
    blur_probability: Probability
    blur_sigma_min: Annotated[float, Field(gt=0, le=100)]
    blur_sigma_max: Annotated[float, Field(gt=0, le=100)]

    @model_validator(mode="after")
    def _ordered(self) -> "StrongAugmentSettings":
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError(
                f"blur_sigma_min {self.blur_sigma_min} is above blur_sigma_max "
                f"{self.blur_sigma_max}; swap them"
            )
        return self


def strong_augment(
    image_BCHW: Tensor, settings: StrongAugmentSettings, generator: Generator
) -> Tensor:
    """Each image of (B, 3, H, W) float32 in [0, 1] with draws of its own; same shape and range."""
    return torch.stack([_augment_one(image, settings, generator) for image in image_BCHW])


def _augment_one(image: Tensor, settings: StrongAugmentSettings, generator: Generator) -> Tensor:
    # every image makes the same number of draws, so one image's luck shifts no other's
    use_jitter, use_gray, use_blur, sigma_draw, *factors = torch.rand(
        8, generator=generator
    ).tolist()
    order = torch.randperm(4, generator=generator).tolist()
    brightness, contrast, saturation = (
        1 + strength * (2 * draw - 1)
        for strength, draw in zip(
            (settings.brightness, settings.contrast, settings.saturation), factors[:3], strict=True
        )
    )
    hue = settings.hue * (2 * factors[3] - 1)
    if use_jitter < settings.jitter_probability:
        steps = [
            lambda x: TF.adjust_brightness(x, brightness),
            lambda x: TF.adjust_contrast(x, contrast),
            lambda x: TF.adjust_saturation(x, saturation),
            lambda x: TF.adjust_hue(x, hue),
        ]
        for step in order:
            image = steps[step](image)
    if use_gray < settings.grayscale_probability:
        image = TF.rgb_to_grayscale(image, num_output_channels=3)
    if use_blur < settings.blur_probability:
        span = settings.blur_sigma_max - settings.blur_sigma_min
        sigma = settings.blur_sigma_min + sigma_draw * span
        image = TF.gaussian_blur(image, _kernel_sides(sigma, image.shape[-2:]), [sigma, sigma])
    return image.clamp(0, 1)


def _kernel_sides(sigma: float, size: torch.Size) -> list[int]:
    """Odd (x, y) kernel sides that reach three sigma, as far as the image's border allows."""
    reach = max(1, math.ceil(3 * sigma))
    height, width = size
    return [2 * min(reach, width - 1) + 1, 2 * min(reach, height - 1) + 1]
