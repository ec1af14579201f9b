"""Label-efficient CutMix: unsure images get real labels pasted in, then neighbours are mixed.

Axes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torch import device as Device

from ppl.core.errors import InputError
from ppl.core.settings import Settings
from ppl.network.confidence import confidence, defect_confidence

Box = tuple[int, int, int, int]
"""Top, left, bottom and right edge in pixels, the latter two just outside."""

Share = Annotated[float, Field(gt=0, lt=1)]

_MAX_TRIES = 1000

HARDLY = 0.05
"""Share of draws that fit below which one of the many of a training may run out of tries."""


Combine = Literal["union", "xor"]
"""What is covered of boxes that overlap: all of them, or what an odd number of them covers."""


class CutMixSettings(Settings):
    """Section `cutmix`."""

    enabled: bool
    order: Literal["after_strong", "before_strong"]
    sure_of: Literal["image", "defects"]
    sure_by: Literal["network", "mean_teacher"]
    combine: Combine
    boxes: Annotated[int, Field(ge=1, le=16)]
    area_min: Share
    area_max: Share
    aspect_max: Annotated[float, Field(ge=1, le=10)]

    @property
    def sureness(self) -> Callable[[Tensor], Tensor]:
        """From softmax (B, C, H, W) to how sure it is (B,), 0-1."""
        return confidence if self.sure_of == "image" else defect_confidence

    @model_validator(mode="after")
    def _ordered(self) -> "CutMixSettings":
        if self.area_min >= self.area_max:
            raise ValueError(f"area_min {self.area_min} is not below area_max {self.area_max}")
        return self


def box_masks(
    boxes: Sequence[Sequence[Box]],
    size: tuple[int, int],
    device: Device,
    combine: Combine = "union",
) -> Tensor:
    """(B, *size) bool on `device`, true inside an image's boxes; all images have as many."""
    edges = torch.tensor(boxes).view(len(boxes), -1, 4, 1).to(device, non_blocking=True)
    top, left, bottom, right = edges.unbind(dim=2)
    rows, columns = (torch.arange(side, device=device) for side in size)
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    inside = inside_rows[:, :, :, None] & inside_columns[:, :, None, :]
    return inside.any(dim=1) if combine == "union" else inside.sum(dim=1) % 2 == 1


def elongated_boxes(
    size: tuple[int, int], boxes: int, area: tuple[float, float], generator: Generator
) -> list[Box]:
    """Boxes of which each covers a share drawn from `area` of an image, divided by their number.

    Of a share p, height is exp(u ln p) of the image's and width p / height, u uniform in 0-1: from
    wide to high. Source: French et al., BMVC 2020 (CutMix for segmentation), in whose code boxes
    combine by exclusive or; Chen et al., CVPR 2021 (CPS) and the published code of PPL use it.
    """
    found = []
    for share, shape, *place in torch.rand(boxes, 4, generator=generator).tolist():
        covered = area[0] + share * (area[1] - area[0])
        of_height = math.exp(shape * math.log(covered))
        sides = [
            round(side * of_side * math.sqrt(1 / boxes))
            for side, of_side in zip(size, (of_height, covered / of_height), strict=True)
        ]
        top, left = (
            round((side - own) * draw) for side, own, draw in zip(size, sides, place, strict=True)
        )
        found.append((top, left, top + sides[0], left + sides[1]))
    return found


def draw_boxes(
    height: int, width: int, settings: CutMixSettings, generator: Generator
) -> list[Box]:
    """Boxes in an image that cover area_min to area_max of it together.

    By `xor` they are `elongated_boxes`, whatever they cover. Else their shares are equal and their
    aspect ratios log-uniform; all lie inside the image. They may overlap, so the area is that of
    their union: a draw outside the range is drawn again.

    Raises:
        InputError: no draw fits, as for a range narrower than a pixel or hardly reachable.
    """
    if settings.combine == "xor":
        area = settings.area_min, settings.area_max
        return elongated_boxes((height, width), settings.boxes, area, generator)
    for _ in range(_MAX_TRIES):
        boxes = _try_boxes(height, width, settings, generator)
        if boxes is not None:
            return boxes
    raise InputError(
        f"cutmix: none of {_MAX_TRIES} draws of {settings.boxes} boxes covers between area_min "
        f"{settings.area_min} and area_max {settings.area_max} of {height} x {width} pixels: "
        "widen that range or lower cutmix.boxes"
    )


def _try_boxes(
    height: int, width: int, settings: CutMixSettings, generator: Generator
) -> list[Box] | None:
    """One draw; None if its boxes cover more or less than asked."""
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
    fits = settings.area_min <= union_area(boxes) / (height * width) <= settings.area_max
    return boxes if fits else None


def share_that_fits(size: tuple[int, int], settings: CutMixSettings, *, tries: int = 200) -> float:
    """About which share (0-1) of the draws of boxes cover what is asked of an image of `size`."""
    if settings.combine == "xor":
        return 1.0
    generator = Generator().manual_seed(0)
    found = [_try_boxes(*size, settings, generator) for _ in range(tries)]
    return sum(boxes is not None for boxes in found) / tries


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


@dataclass(frozen=True)
class CutMixDraws:
    """What one unlabeled image draws."""

    luck: float
    """In [0, 1): labels are pasted in where it is below 1 - confidence."""
    pasted: Sequence[Box]
    """M1: where they are pasted."""
    mixed: Sequence[Box]
    """M2: where the image shows its neighbour."""


def draw_cutmix(
    count: int, size: tuple[int, int], settings: CutMixSettings, generator: Generator
) -> list[CutMixDraws]:
    """Draws of a batch of `count` images of `size` (height, width).

    Raises:
        InputError: as `draw_boxes`.
    """
    luck = torch.rand(count, generator=generator).tolist()
    boxes = [draw_boxes(*size, settings, generator) for _ in range(2 * count)]
    return [CutMixDraws(*one) for one in zip(luck, boxes[:count], boxes[count:], strict=True)]


def label_efficient_cutmix(
    unlabeled: tuple[Tensor, Tensor],
    labeled: tuple[Tensor, Tensor],
    confidence_B: Tensor,
    draws: Sequence[CutMixDraws],
    *,
    partners: Sequence[int] | None = None,
    neighbours: Sequence[int] | None = None,
    combine: Combine = "union",
) -> tuple[Tensor, Tensor]:
    """Mix a batch of pseudo-labeled images with labeled ones, then with each other.

    With probability 1 - c_i, u1_i = u_i outside M1 and l_i inside, else u1_i = u_i. Then
    u2_i = u_i outside M2 and u1_{(i+1) mod B} inside. M1 and M2 are boxes of their own for every
    image. Source: Wu et al., TNNLS 2024, Def-UP.

    Args:
        unlabeled: images (B, C, H, W) float32 in [0, 1] and pseudo-masks (B, H, W) int64.
        labeled: the same with true masks.
        confidence_B: (B,) in [0, 1], see `confidence`.
        draws: of each unlabeled image.
        partners: which labeled image is l_i; unless given, they are used in turn.
        combine: how the boxes of M1 and of M2 do.
        neighbours: which image is i + 1; unless given, the next, and the first for the last. With
            fewer than B of them, only the first images are mixed and returned.

    Returns:
        u2: images and masks of the unlabeled batch's shapes.
    """
    images = unlabeled[0]
    device, size = images.device, (images.shape[2], images.shape[3])
    batch = range(len(images))
    partners = [i % len(labeled[0]) for i in batch] if partners is None else partners
    neighbours = [(i + 1) % len(batch) for i in batch] if neighbours is None else neighbours

    def where(indices: Sequence[int]) -> Tensor:
        return torch.tensor(indices).to(device, non_blocking=True)

    luck = torch.tensor([one.luck for one in draws]).to(device, non_blocking=True)
    unsure = luck < 1 - confidence_B.float()
    own = len(neighbours)
    # both kinds at once: on a GPU every operator is a launch
    boxes = [*(one.pasted for one in draws), *(one.mixed for one in draws[:own])]
    pasted_in, mixed_in = box_masks(boxes, size, device, combine).tensor_split([len(draws)])
    pasted_in = pasted_in & unsure[:, None, None]
    partner, neighbour = where([*partners, *neighbours]).tensor_split([len(partners)])
    pasted = paste(unlabeled, (labeled[0][partner], labeled[1][partner]), pasted_in)

    below = unlabeled[0][:own], unlabeled[1][:own]
    return paste(below, (pasted[0][neighbour], pasted[1][neighbour]), mixed_in)
