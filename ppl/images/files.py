"""Images and masks on disk: read them checked, write masks that people can open and correct."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppl.core.errors import InputError

IGNORE = 255
"""The mask value that no loss and no score counts."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")

Colour = tuple[int, int, int]

_ORIENTATION = 0x0112
"""The EXIF tag that tells a viewer to turn the picture."""

_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def read_image(file: Path) -> Tensor:
    """An image as (3, H, W) uint8 RGB in 0-255; grey images have three equal channels.

    Raises:
        InputError: missing, unreadable or truncated, grey with more than 8 bits, or stored
            otherwise than it is shown. Of colour with 16 bits Pillow itself keeps the upper 8.
    """
    image, _ = _open(file, "image")
    turned = image.getexif().get(_ORIENTATION, 1)
    if turned not in (0, 1):
        raise InputError(
            f"image {file} is stored turned or mirrored (EXIF orientation {turned}), so a mask "
            "drawn on what a viewer shows would not fit: save it upright"
        )
    if image.mode not in _EIGHT_BIT_MODES:
        raise InputError(
            f"image {file} has pixel format {image.mode}; expected 8 bits a channel: "
            "convert it, since only you know which grey levels matter"
        )
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_mask(file: Path) -> Tensor:
    """A mask as (H, W) uint8: the stored value of every pixel (palette index or grey level).

    Raises:
        InputError: missing, unreadable or truncated, a colour image instead of indices, or a grey
            one of 2 or 4 bits, whose values Pillow stretches to 0-255.
    """
    mask, stored = _open(file, "mask")
    stretched = stored in {"L;2", "L;4"}
    if mask.mode not in {"1", "L", "P"} or stretched:
        raise InputError(
            f"mask {file} has pixel format {stored if stretched else mask.mode}; "
            "expected one 8-bit value a pixel (grey or palette PNG) that is the class index"
        )
    # a 1-bit mask reads as booleans: 0 and 1 are then the class indices
    return torch.from_numpy(np.array(mask).astype(np.uint8))


def read_grey(file: Path) -> Tensor:
    """A grey mask as (H, W) uint8 levels in 0-255, from which a threshold makes a class.

    Raises:
        InputError: missing, unreadable or truncated, or in colour.
    """
    mask, _ = _open(file, "mask")
    if mask.mode not in {"1", "L"}:
        raise InputError(
            f"mask {file} has pixel format {mask.mode}; expected a grey picture, black where there "
            "is no defect and white where there is one"
        )
    return torch.from_numpy(np.array(mask.convert("L")))


def class_values(mask: Tensor, classes: int, what: str) -> frozenset[int]:
    """The values that occur in a mask, uint8 of any shape; 255 (ignore) may be among them.

    Raises:
        InputError: one is neither a class, 0 .. `classes` - 1, nor 255; `what` names the mask.
    """
    values = _values(mask)
    strangers = sorted(values - set(range(classes)) - {IGNORE})
    if strangers:
        raise InputError(
            f"mask {what} holds class {', '.join(map(str, strangers[:5]))}, but there are "
            f"{classes} classes (0-{classes - 1}): correct the mask or data.classes"
        )
    return values


def defect_classes(mask: Tensor) -> list[int]:
    """The classes but background (0) and 255 (ignore) that occur in a mask, ascending."""
    return sorted(_values(mask) - {0, IGNORE})


def _values(mask: Tensor) -> frozenset[int]:
    return frozenset(torch.bincount(mask.flatten(), minlength=256).nonzero().flatten().tolist())


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


def _open(file: Path, what: str) -> tuple[Image.Image, object]:
    """The decoded picture, and how the file stores its pixels: Pillow's raw mode, most often."""
    try:
        with Image.open(file) as image:
            pages = getattr(image, "n_frames", 1)
            stored = image.tile[0].args if image.tile else None
            image.load()
    except FileNotFoundError:
        raise InputError(f"{what} {file} does not exist") from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(
            f"{what} {file} cannot be read ({error}): it is damaged, cut short or no image; "
            "replace or remove it"
        ) from None
    if pages > 1:
        raise InputError(f"{what} {file} holds {pages} pictures: save each as a file of its own")
    return image, stored
