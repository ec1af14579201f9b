"""The weak augmentation that every training image gets: random scale, crop, flips.

Draws come first, one `View` an image; `cut` takes from the image what its view needs, and
`show` computes all views of a batch at once, on the device that holds it.

Axes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from ppl.core.settings import Settings
from ppl.images.pictures import IGNORE
from ppl.network.resize import scaled_size

Size = tuple[int, int]
"""Height and width in pixels."""

Region = tuple[slice, slice]
"""Rows and columns."""


class WeakAugmentSettings(Settings):
    """Section `weak_augment`."""

    scale_min: Annotated[float, Field(ge=0.1, le=8)]
    scale_max: Annotated[float, Field(ge=0.1, le=8)]
    flip_probability: Annotated[float, Field(ge=0, le=1)]
    vertical_flip_probability: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _ordered(self) -> "WeakAugmentSettings":
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min {self.scale_min} is above scale_max {self.scale_max}; swap them"
            )
        return self


DRAWS = 5
"""Numbers in [0, 1) that a view takes, whatever the settings: one's luck shifts no other's."""


@dataclass(frozen=True)
class View:
    """What a batch shows of an image: a window into its scaled self, flipped or not; pixels."""

    stored: Size
    """Of the image as it is kept."""
    scaled: Size
    """Of the whole image in the view's scale."""
    top: int
    left: int
    flipped: bool
    flipped_vertically: bool

    def shown(self, size: Size) -> Region:
        """Where a view of `size` shows the image: all of it, unless the image ends before."""
        rows = _shown(self.scaled[0], self.top, size[0], flipped=self.flipped_vertically)
        return rows, _shown(self.scaled[1], self.left, size[1], flipped=self.flipped)


def _shown(whole: int, start: int, length: int, *, flipped: bool) -> slice:
    shown = min(whole - start, length)
    return slice(length - shown, length) if flipped else slice(0, shown)


def draw_view(
    stored: Size, reference: Size, size: Size, settings: WeakAugmentSettings, draws: Sequence[float]
) -> View:
    """Scale to a random multiple of `reference`, then place a window of `size`; maybe flip.

    Args:
        stored: of the image as it is kept.
        reference: of the whole image at scale 1.
        size: of the view.
        draws: `DRAWS` numbers in [0, 1).
    """
    scale_draw, top_draw, left_draw, flip_draw, vertical_draw = draws
    scale = settings.scale_min + scale_draw * (settings.scale_max - settings.scale_min)
    scaled = scaled_size(reference, scale)
    return View(
        stored,
        scaled,
        top=int(top_draw * (max(0, scaled[0] - size[0]) + 1)),
        left=int(left_draw * (max(0, scaled[1] - size[1]) + 1)),
        flipped=flip_draw < settings.flip_probability,
        flipped_vertically=vertical_draw < settings.vertical_flip_probability,
    )


def cut(image_CHW: Tensor, mask_HW: Tensor, view: View, size: Size) -> tuple[Tensor, Tensor]:
    """The part of an image and its mask that `view` is computed from, without copying."""
    (top, bottom), (left, right) = _region(view, size)
    return image_CHW[:, top:bottom, left:right], mask_HW[top:bottom, left:right]


def stack(parts: Sequence[tuple[Tensor, Tensor]], size: Size) -> tuple[Tensor, Tensor]:
    """Parts cut for their views as one batch: images (B, C, R, S) and masks (B, R, S), uint8.

    Smaller parts are filled up with black and 255 to the size of the largest, or to the view's.
    Where colour meets grey, grey gets three channels.
    """
    if not parts:
        empty = torch.empty(0, *size, dtype=torch.uint8)
        return empty[:, None], empty
    height = max(size[0], *(mask.shape[0] for _, mask in parts))
    width = max(size[1], *(mask.shape[1] for _, mask in parts))
    channels = max(len(image) for image, _ in parts)
    images, masks = [], []
    for image, mask in parts:
        missing = (0, width - mask.shape[1], 0, height - mask.shape[0])
        image = image.expand(channels, -1, -1)
        images.append(F.pad(image, missing) if any(missing) else image)
        masks.append(F.pad(mask, missing, value=IGNORE) if any(missing) else mask)
    return torch.stack(images), torch.stack(masks)


def show(
    images_BCHW: Tensor, masks_BHW: Tensor, views: Sequence[View], size: Size
) -> tuple[Tensor, Tensor]:
    """The views of a batch that `stack` made: images in [0, 1] float32, masks int64, at `size`.

    Images are resampled bilinearly with antialiasing, masks by the nearest pixel. What a view
    shows beyond its image is black and ignored.
    """
    images = images_BCHW.float() / 255
    masks = masks_BHW
    if any(view.scaled != view.stored for view in views):
        images, masks = _resampled(images, masks, views, size)
    if any(view.flipped or view.flipped_vertically for view in views):
        images, masks = _flipped(images, masks, views)
    return images, masks.long()


def _flipped(images: Tensor, masks: Tensor, views: Sequence[View]) -> tuple[Tensor, Tensor]:
    """Each as its view says, all by one gather: on a GPU every operator is a launch."""
    height, width = masks.shape[1:]
    lines = _lines(views, (height, width)).to(images.device, non_blocking=True)
    index = (lines[:, :height, None] + lines[:, None, height:]).flatten(1)
    of_channels = index[:, None].expand(-1, images.shape[1], -1)
    images = images.flatten(2).gather(2, of_channels).view_as(images)
    return images, masks.flatten(1).gather(1, index).view_as(masks)


def _lines(views: Sequence[View], size: Size) -> Tensor:
    """(B, H + W) int64, on the CPU: where rows and columns start, in the order they are shown."""
    found = []
    for length, stride, turned in (
        (size[0], size[1], [view.flipped_vertically for view in views]),
        (size[1], 1, [view.flipped for view in views]),
    ):
        position = torch.arange(length)
        shown = torch.where(torch.tensor(turned)[:, None], length - 1 - position, position)
        found.append(shown * stride)
    return torch.cat(found, dim=1)


def _resampled(
    images: Tensor, masks: Tensor, views: Sequence[View], size: Size
) -> tuple[Tensor, Tensor]:
    """A resize is a product with a matrix from the left for rows and from the right for columns."""
    regions = [_region(view, size) for view in views]
    rows = _axis(
        [(v.stored[0], v.scaled[0], v.top, r[0][0]) for v, r in zip(views, regions, strict=True)],
        images.device,
    )
    columns = _axis(
        [(v.stored[1], v.scaled[1], v.left, r[1][0]) for v, r in zip(views, regions, strict=True)],
        images.device,
    )
    left = _bilinear(rows, size[0], images.shape[2])[:, None]
    right = _bilinear(columns, size[1], images.shape[3])[:, None].mT
    # what lies outside the view falls away first along the longer way
    images = left @ images @ right

    row, in_rows = _nearest(rows, size[0], masks.shape[1])
    column, in_columns = _nearest(columns, size[1], masks.shape[2])
    batch = torch.arange(len(masks), device=masks.device)[:, None, None]
    masks = masks[batch, row[:, :, None], column[:, None, :]]
    return images, masks.where(in_rows[:, :, None] & in_columns[:, None, :], IGNORE)


def _region(view: View, size: Size) -> tuple[tuple[int, int], tuple[int, int]]:
    """First row and the one after the last, the same of columns, that a view is computed from."""
    rows, columns = (
        _reach(view.stored[axis], view.scaled[axis], start, size[axis])
        for axis, start in ((0, view.top), (1, view.left))
    )
    return rows, columns


def _reach(stored: int, scaled: int, start: int, length: int) -> tuple[int, int]:
    end = min(start + length, scaled)
    if stored == scaled:
        return start, end
    step = stored / scaled
    reach = max(1.0, step)
    first = math.floor((start + 0.5) * step - reach)
    return max(0, first), min(stored, math.ceil((end - 0.5) * step + reach) + 1)


def _axis(facts: Sequence[tuple[int, int, int, int]], device: torch.device) -> Tensor:
    """(B, 4, 1) float32 of one axis: stored and scaled length, the view's and the part's start."""
    return torch.tensor(facts, dtype=torch.float32)[:, :, None].to(device, non_blocking=True)


def _bilinear(axis: Tensor, length: int, extent: int) -> Tensor:
    """(B, length, extent) weights of a part's pixels in each of a view's, rows that sum to 1.

    A triangle around the view's pixel, as wide as two pixels of the coarser grid: the antialiased
    bilinear filter of Pillow and PyTorch. Rows beyond the image are 0.
    """
    stored, scaled, start, origin = axis.unbind(1)
    step = stored / scaled
    position = torch.arange(length, device=axis.device) + start
    centre = ((position + 0.5) * step)[:, :, None]
    pixel = (torch.arange(extent, device=axis.device) + origin)[:, None, :]
    weight = (1 - (pixel + 0.5 - centre).abs() / step.clamp(min=1)[:, :, None]).clamp(min=0)
    weight = weight * (pixel < stored[:, :, None]) * (position < scaled)[:, :, None]
    # a resize to the same size must give back every grey level to the bit
    return weight / weight.sum(dim=2, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def _nearest(axis: Tensor, length: int, extent: int) -> tuple[Tensor, Tensor]:
    """(B, length) index of the part's pixel nearest to each of a view's; which lie in the image."""
    stored, scaled, start, origin = axis.unbind(1)
    position = torch.arange(length, device=axis.device) + start
    pixel = ((position + 0.5) * stored / scaled).floor().minimum(stored - 1) - origin
    return pixel.clamp(0, extent - 1).long(), position < scaled
