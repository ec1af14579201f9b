"""The size at which the networks see an image, and the way there."""

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from ppl.core.settings import Settings

WINDOW_STEP = 32
"""Pixels; windows start at multiples of it, where the grids of all encoders coincide whose inputs
are padded to no more than that."""

Side = Annotated[int, Field(ge=32, le=8192)]


class ImageSettings(Settings):
    """Section `image`: the size of the networks' input, and how an image gets there.

    `fit: whole` resizes every image to that size; the aspect ratio is not kept. `fit: windows`
    leaves it at its own resolution and looks at it through windows of that size: random ones in
    training, in prediction all of them, each overlapping the next by `overlap` pixels.
    """

    height: Side
    width: Side
    fit: Literal["whole", "windows"]
    overlap: Annotated[int, Field(ge=0, le=4096)]

    @model_validator(mode="after")
    def _windows_move_on(self) -> "ImageSettings":
        side = min(self.height, self.width)
        if self.fit == "windows" and side - self.overlap < WINDOW_STEP:
            raise ValueError(
                f"overlap is {self.overlap}, but a window of {side} pixels must move on by "
                f"{WINDOW_STEP} at least; lower it, or raise height and width"
            )
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    def at_scale(self, own: tuple[int, int], scale: float) -> tuple[int, int]:
        """The size in pixels of a whole image of size `own`, shown at `scale`."""
        return scaled_size(self.size if self.fit == "whole" else own, scale)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """`size` times `scale`, in whole pixels, at least one."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_image(image_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 or float -> (3, *size) of the same type, bilinear with antialiasing."""
    # it takes a second to import, which a stage that only reads these settings need not spend
    from torchvision.transforms.v2 import functional as TF

    resized: Tensor = TF.resize(image_CHW, list(size), antialias=True)
    return resized


def resize_mask(mask_HW: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) uint8 -> size, value of the nearest pixel centre: no class is invented."""
    return F.interpolate(mask_HW[None, None], size=size, mode="nearest-exact")[0, 0]
