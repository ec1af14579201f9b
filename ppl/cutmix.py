"""Label-efficient CutMix: unsure images get real labels pasted in, then neighbours are mixed.

Axes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from ppl.errors import InputError
from ppl.settings import Settings

Box = tuple[int, int, int, int]
"""Top, left, bottom and right edge in pixels, the latter two just outside."""

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


def box_masks(
    count: int, height: int, width: int, settings: CutMixSettings, generator: Generator
) -> Tensor:
    """(count, H, W) bool, true inside an image's boxes; see `draw_boxes`."""
    edges = torch.tensor([draw_boxes(height, width, settings, generator) for _ in range(count)])
    top, left, bottom, right = edges.view(count, settings.boxes, 4, 1).unbind(dim=2)
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    return (inside_rows[:, :, :, None] & inside_columns[:, :, None, :]).any(dim=1)


def draw_boxes(
    height: int, width: int, settings: CutMixSettings, generator: Generator
) -> list[Box]:
    """Boxes in an image that cover area_min to area_max of it together.

    Their shares are equal and their aspect ratios log-uniform; all lie inside the image. They may
    overlap, so the area is that of their union: a draw outside the range is drawn again.

    Raises:
        InputError: no draw fits, as for a range narrower than a pixel or hardly reachable.
    """
    for _ in range(_MAX_TRIES):
        share, *draws = torch.rand(1 + 3 * settings.boxes, generator=generator).tolist()
        area = settings.area_min + share * (settings.area_max - settings.area_min)
        box_area = area * height * width / settings.boxes
        boxes = []
        for aspect_draw, top_draw, left_draw in zip(*[iter(draws)] * 3, strict=True):
            aspect = math.exp((2 * aspect_draw - 1) * math.log(settings.aspect_max))
            box_height = min(height, max(1, round(math.sqrt(box_area * aspect))))
            box_width = min(width, max(1, round(box_area / box_height)))
            top = int(top_draw * (height - box_height + 1))
            left = int(left_draw * (width - box_width + 1))
            boxes.append((top, left, top + box_height, left + box_width))
        if settings.area_min <= union_area(boxes) / (height * width) <= settings.area_max:
            return boxes
    raise InputError(
        f"cutmix: none of {_MAX_TRIES} draws of {settings.boxes} boxes covers between area_min "
        f"{settings.area_min} and area_max {settings.area_max} of {height} x {width} pixels: "
        "widen that range or lower cutmix.boxes"
    )


def union_area(boxes: Sequence[Box]) -> int:
    """Pixels that lie in at least one box, without drawing them: it is asked for every image."""
    cuts = sorted({edge for box in boxes for edge in (box[0], box[2])})
    area = 0
    for upper, lower in pairwise(cuts):
        # between two cuts every row is covered alike
        reached = covered = 0
        for left, right in sorted((b[1], b[3]) for b in boxes if b[0] <= upper and b[2] >= lower):
            covered += max(0, right - max(left, reached))
            reached = max(reached, right)
        area += covered * (lower - upper)
    return area


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
    u2_i = u_i outside M2 and u1_{(i+1) mod B} inside. M1 and M2 are `box_masks` of their own
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
    boxes = box_masks(2 * batch, height, width, settings, generator).to(images.device)
    first, second = boxes[:batch], boxes[batch:]

    pasted = paste(unlabeled, labeled, first & unsure.to(images.device)[:, None, None])
    neighbour = (pasted[0].roll(-1, dims=0), pasted[1].roll(-1, dims=0))
    return paste(unlabeled, neighbour, second)
