"""Strong views of unlabeled images: strong augmentation, and a box of another image in it.

Source: Yang et al., CVPR 2023 (UniMatch), whose published code draws the box anew until it fits.

Axes: B batch, C channels, H height, W width.
"""

import math
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from ppl.core.settings import Settings
from ppl.students.cutmix import Box, box_masks

Area = Annotated[float, Field(gt=0, le=0.5)]
NO_BOX: Box = (0, 0, 0, 0)


class BoxSettings(Settings):
    """The box of a strong view that shows another image."""

    box_probability: Annotated[float, Field(ge=0, le=1)]
    box_area_min: Area
    box_area_max: Area
    box_aspect_max: Annotated[float, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _ordered(self) -> "BoxSettings":
        if self.box_area_min > self.box_area_max:
            raise ValueError(
                f"box_area_min {self.box_area_min} is above box_area_max {self.box_area_max}; "
                "swap them"
            )
        return self


def draw_box(size: tuple[int, int], settings: BoxSettings, generator: Generator) -> Box:
    """A box inside an image of `size` (height, width), or `NO_BOX`.

    Its area is uniform in box_area_min .. box_area_max of the image, its height over width in
    1 / box_aspect_max .. box_aspect_max, its corner uniform; what does not fit is drawn again. In
    an image so long that no such box fits, it is as high or as wide as the image.
    """
    height, width = size

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    if uniform(0, 1) >= settings.box_probability:
        return NO_BOX
    area = uniform(settings.box_area_min, settings.box_area_max) * height * width
    # of other shapes none fits, however often one is drawn
    flattest, tallest = area / width**2, height**2 / area
    lowest = min(max(1 / settings.box_aspect_max, flattest), tallest)
    highest = max(min(settings.box_aspect_max, tallest), flattest)
    while True:
        aspect = uniform(lowest, highest)
        box_height, box_width = int(math.sqrt(area * aspect)), int(math.sqrt(area / aspect))
        top, left = int(uniform(0, height)), int(uniform(0, width))
        if top + box_height <= height and left + box_width <= width:
            return top, left, top + box_height, left + box_width


def drawn_inside(images_BCHW: Tensor, settings: BoxSettings, generator: Generator) -> Tensor:
    """(B, H, W) bool, true inside a box drawn for each image."""
    size = (images_BCHW.shape[2], images_BCHW.shape[3])
    boxes = [[draw_box(size, settings, generator)] for _ in images_BCHW]
    return box_masks(boxes, size, images_BCHW.device)


def mixed(images_BCHW: Tensor, others_BCHW: Tensor, where_BHW: Tensor) -> Tensor:
    """`others` where true, at the same place."""
    return torch.where(where_BHW[:, None], others_BCHW, images_BCHW)
