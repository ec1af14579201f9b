"""The size at which the networks see an image, and the way there."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from ppl.settings import Settings

Side = Annotated[int, Field(ge=32, le=8192)]


class ImageSettings(Settings):
    """Section `image`: the size of the networks' input; the aspect ratio is not kept."""

    height: Side
    width: Side

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """`size` times `scale`, in whole pixels, at least one."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize_image(image_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 or float -> (3, *size) of the same type, bilinear with antialiasing."""
    resized: Tensor = TF.resize(image_CHW, list(size), antialias=True)
    return resized


def resize_mask(mask_HW: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) uint8 -> size, value of the nearest pixel centre: no class is invented."""
    return F.interpolate(mask_HW[None, None], size=size, mode="nearest-exact")[0, 0]
