"""Images and masks on disk: read them checked, write masks that people can open and correct."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ppl.errors import InputError

IGNORE = 255
"""The mask value that no loss and no score counts."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")

Colour = tuple[int, int, int]

_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def read_image(file: Path) -> Tensor:
    """An image as (3, H, W) uint8 RGB in 0-255; grey images have three equal channels.

    Raises:
        InputError: missing, unreadable or truncated, or grey with more than 8 bits. Of colour
            with 16 bits Pillow itself keeps the upper 8.
    """
    image = _open(file, "image")
    if image.mode not in _EIGHT_BIT_MODES:
        raise InputError(
            f"image {file} has pixel format {image.mode}; expected 8 bits a channel: "
            "convert it, since only you know which grey levels matter"
        )
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_mask(file: Path) -> Tensor:
    """A mask as (H, W) uint8: the stored value of every pixel (palette index or grey level).

    Raises:
        InputError: missing, unreadable or truncated, or a colour image instead of indices.
    """
    mask = _open(file, "mask")
    if mask.mode not in {"1", "L", "P"}:
        raise InputError(
            f"mask {file} has pixel format {mask.mode}; expected one 8-bit value a pixel "
            "(grey or palette PNG) that is the class index"
        )
    # a 1-bit mask reads as booleans: 0 and 1 are then the class indices
    return torch.from_numpy(np.array(mask).astype(np.uint8))


def write_mask(file: Path, mask: Tensor, colours: Sequence[Colour]) -> None:
    """Write (H, W) class indices as a palette PNG; index 255 (ignore) shows white.

    The bytes depend on the mask and the colours alone.
    """
    assert mask.ndim == 2, f"expected (H, W), got {tuple(mask.shape)}"
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours)] = np.array(colours, dtype=np.uint8)
    palette[IGNORE] = 255
    image = Image.fromarray(mask.to("cpu", torch.uint8).numpy(), mode="P")
    image.putpalette(palette.tobytes())
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, format="PNG")


def _open(file: Path, what: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise InputError(f"{what} {file} does not exist") from None
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise InputError(
            f"{what} {file} cannot be read ({error}): it is damaged, cut short or no image; "
            "replace or remove it"
        ) from None
