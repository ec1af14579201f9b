"""Images and masks on disk: read them checked, write masks that people can open and correct."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.pictures import (
    IGNORE,
    UPRIGHT,
    Colour,
    Opened,
    open_image,
    open_picture,
    read_pixels,
    rgb,
    write_indices,
)

_LOSSY = {"JPEG", "MPO", "WEBP", "TIFF (jpeg)", "TIFF (tiff_jpeg)", "TIFF (webp)"}


@dataclass(frozen=True)
class Picture:
    """An image as viewers show it, and what its file says beside the pixels."""

    pixels: Tensor
    """As of `read_image`."""
    orientation: int
    """The EXIF orientation by which it was turned."""
    clear: bool
    """A pixel is fully transparent: its colour here is one that no viewer shows."""


@dataclass(frozen=True)
class StoredMask:
    """A mask as viewers show it, and what its file says beside the values."""

    values: Tensor
    """(H, W) uint8."""
    palette: tuple[Colour, ...] | None = None
    """The colours by palette index, where the file has a palette."""
    orientation: int = UPRIGHT
    """The EXIF orientation by which it was turned."""


def read_image(file: Path) -> Tensor:
    """An image as (3, H, W) uint8 RGB in 0-255, as viewers show it: turned by its EXIF orientation.

    Grey images have three equal channels. Transparency is left out: every pixel has the colour that
    the file gives it. Of an MPO the first picture counts.

    Raises:
        InputError: missing, unreadable, truncated or too large, several pictures, or more than
            8 bits a channel.
    """
    return _pixels(read_pixels(file))


def read_picture(file: Path) -> Picture:
    """What `read_image` returns, and what the file says beside it.

    Raises:
        InputError: as `read_image`.
    """
    opened = open_image(file)
    return Picture(_pixels(rgb(opened, file)), opened.orientation, _has_clear_pixel(opened.image))


def _pixels(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _has_clear_pixel(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    if image.mode not in {"LA", "RGBA"}:
        image = image.convert("RGBA")
    return bool(image.getchannel("A").getextrema()[0] == 0)


def read_mask(file: Path) -> Tensor:
    """The values of `read_stored_mask`.

    Raises:
        InputError: as there.
    """
    return read_stored_mask(file).values


def read_stored_mask(file: Path) -> StoredMask:
    """A mask by the stored value of every pixel (palette index or grey level).

    It is turned by its own EXIF orientation, as `read_image` turns an image.

    Raises:
        InputError: missing, unreadable or truncated, in a format that alters values, a colour image
            instead of indices, or a grey one whose values Pillow stretches to 0-255 (2 or 4 bits)
            or inverts (0 is white).
    """
    opened = open_picture(file, "mask")
    mask, stored = opened.image, opened.stored
    _stop_at_lossy(opened, file)
    # of a palette these say how indices are packed, of greys how they become 0-255; R, the order
    # of bits, leaves them as they are
    packing = stored.partition(";")[2]
    altered = mask.mode in {"1", "L"} and packing not in {"", "R"}
    if mask.mode not in {"1", "L", "P"} or altered:
        inverted = " (0 is white)" if altered and "I" in packing else ""
        raise InputError(
            f"mask {file} has pixel format {stored if altered else mask.mode}{inverted}; "
            "expected one 8-bit value a pixel (grey or palette PNG) that is the class index"
        )
    # a 1-bit mask reads as booleans: 0 and 1 are then the class indices
    values = torch.from_numpy(np.array(mask).astype(np.uint8))
    return StoredMask(values, _palette(mask), opened.orientation)


def _stop_at_lossy(opened: Opened, file: Path) -> None:
    if opened.format in _LOSSY:
        raise InputError(
            f"mask {file} holds {opened.format}, whatever its name: that alters class indices or "
            "stores none; save masks as PNG"
        )


def _palette(mask: Image.Image) -> tuple[Colour, ...] | None:
    if mask.mode != "P":
        return None
    levels = mask.getpalette() or []
    return tuple(zip(levels[::3], levels[1::3], levels[2::3], strict=True))


def read_grey(file: Path) -> StoredMask:
    """A mask by its grey levels in 0-255, from which a threshold makes a class.

    Raises:
        InputError: missing, unreadable or truncated, in a format that alters levels, or in colour.
    """
    opened = open_picture(file, "mask")
    _stop_at_lossy(opened, file)
    mask = opened.image
    if mask.mode not in {"1", "L"}:
        raise InputError(
            f"mask {file} has pixel format {mask.mode}; expected a grey picture, black where there "
            "is no defect and white where there is one"
        )
    levels = torch.from_numpy(np.array(mask.convert("L")))
    return StoredMask(levels, orientation=opened.orientation)


def class_pixels(mask: Tensor, classes: int, what: str) -> list[int]:
    """How many pixels of a mask, uint8 of any shape, hold each of the values 0-255.

    Raises:
        InputError: one is neither a class, 0 .. `classes` - 1, nor 255 (ignore); `what` names the
            mask.
    """
    counts = _counts(mask)
    strangers = [value for value in range(classes, IGNORE) if counts[value]]
    if strangers:
        raise InputError(
            f"mask {what} holds class {', '.join(map(str, strangers[:5]))}, but there are "
            f"{classes} classes (0-{classes - 1}): correct the mask or data.classes"
        )
    return counts


def class_values(mask: Tensor, classes: int, what: str) -> frozenset[int]:
    """The values that occur in a mask, uint8 of any shape; 255 (ignore) may be among them.

    Raises:
        InputError: as `class_pixels`.
    """
    counts = class_pixels(mask, classes, what)
    return frozenset(value for value, count in enumerate(counts) if count)


def defect_classes(mask: Tensor) -> list[int]:
    """The classes but background (0) and 255 (ignore) that occur in a mask, ascending."""
    return [
        value for value, count in enumerate(_counts(mask)) if count and value not in (0, IGNORE)
    ]


def _counts(mask: Tensor) -> list[int]:
    counts: list[int] = torch.bincount(mask.flatten(), minlength=256).tolist()
    return counts


def write_mask(file: Path, mask: Tensor, colours: Sequence[Colour]) -> None:
    """Write (H, W) class indices as a palette PNG; index 255 (ignore) shows white.

    The bytes depend on the mask and the colours alone.
    """
    write_indices(file, mask.to("cpu", torch.uint8).numpy(), colours)
