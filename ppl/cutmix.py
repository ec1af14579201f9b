"""Label-efficient CutMix: unsure images get real labels pasted in, then neighbours are mixed.

Axes: B batch, C channels, H height, W width.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from ppl.errors import InputError
from ppl.settings import Settings

Share = Annotated[float, Field(gt=0, lt=1)]

_MAX_TRIES = 1000


class CutMixSettings(Settings):
    """Section `cutmix`."""

    enabled: bool
    order: Literal["after_strong", "before_strong"]
    boxes: Annotated[int, Field(ge=1, le=16)]
    area_min: Share
    area_max: Share
    aspect_max: Annotated[float, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _ordered(self) -> "CutMixSettings":
        if self.area_min >= self.area_max:
            raise ValueError(f"area_min {self.area_min} is not below area_max {self.area_max}")
        return self


def box_mask(height: int, width: int, settings: CutMixSettings, generator: Generator) -> Tensor:
    """(H, W) bool, true inside the boxes, which cover area_min to area_max of the image together.

    The boxes' shares are equal and their aspect ratios log-uniform; all lie inside the image.
    Boxes may overlap, so the area is that of their union: a draw outside the range is drawn again.

    Raises:
        InputError: no draw fits, as for a range narrower than a pixel or hardly reachable.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(_MAX_TRIES):
        mask.zero_()
        share, *draws = torch.rand(1 + 3 * settings.boxes, generator=generator).tolist()
        area = settings.area_min + share * (settings.area_max - settings.area_min)
        box_area = area * height * width / settings.boxes
        for aspect_draw, top_draw, left_draw in zip(*[iter(draws)] * 3, strict=True):
            aspect = math.exp((2 * aspect_draw - 1) * math.log(settings.aspect_max))
            box_height = min(height, max(1, round(math.sqrt(box_area * aspect))))
            box_width = min(width, max(1, round(box_area / box_height)))
            top = int(top_draw * (height - box_height + 1))
            left = int(left_draw * (width - box_width + 1))
            mask[top : top + box_height, left : left + box_width] = True
        covered = mask.float().mean().item()
        if settings.area_min <= covered <= settings.area_max:
            return mask
    raise InputError(
        f"cutmix: none of {_MAX_TRIES} draws of {settings.boxes} boxes covers between area_min "
        f"{settings.area_min} and area_max {settings.area_max} of {height} x {width} pixels: "
        "widen that range or lower cutmix.boxes"
    )


def paste(
    below: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor], where_BHW: Tensor
) -> tuple[Tensor, Tensor]:
    """(image, mask) pairs: `above` where `where_BHW` is true, else `below`; mask follows image."""
    (below_image, below_mask), (above_image, above_mask) = below, above
    image = torch.where(where_BHW[:, None], above_image, below_image)
    return image, torch.where(where_BHW, above_mask, below_mask)


def label_efficient_cutmix(
    unlabeled: tuple[Tensor, Tensor],
    labeled: tuple[Tensor, Tensor],
    confidence_B: Tensor,
    settings: CutMixSettings,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Mix a batch of pseudo-labeled images with labeled ones, then with each other.

    With probability 1 - c_i, u1_i = u_i outside M1 and l_i inside, else u1_i = u_i. Then
    u2_i = u_i outside M2 and u1_{(i+1) mod B} inside. M1 and M2 are `box_mask`s of their own
    for every image. Source: Wu et al., TNNLS 2024, Def-UP.

    Args:
        unlabeled: images (B, 3, H, W) float32 in [0, 1] and pseudo-masks (B, H, W) int64.
        labeled: the same with true masks; fewer than B are used in turn.
        confidence_B: (B,) in [0, 1], see `confidence`.

    Returns:
        u2: images and masks of the unlabeled batch's shapes.
    """
    images = unlabeled[0]
    batch, _, height, width = images.shape
    turns = torch.arange(batch) % len(labeled[0])
    labeled = (labeled[0][turns], labeled[1][turns])

    unsure = torch.rand(batch, generator=generator) < 1 - confidence_B.cpu()
    boxes = torch.stack(
        [box_mask(height, width, settings, generator) for _ in range(2 * batch)]
    ).to(images.device)
    first, second = boxes[:batch], boxes[batch:]

    pasted = paste(unlabeled, labeled, first & unsure.to(images.device)[:, None, None])
    neighbour = (pasted[0].roll(-1, dims=0), pasted[1].roll(-1, dims=0))
    return paste(unlabeled, neighbour, second)
