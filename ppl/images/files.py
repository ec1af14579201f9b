"""Images and masks on disk: read them checked, write masks that people can open and correct."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from ppl.core.errors import InputError

IGNORE = 255
"""The mask value that no loss and no score counts."""

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".png", ".bmp", ".tif", ".tiff", ".webp"),
)

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What is decoded at all, whatever a file is called. JPEG takes MPO with it, a phone's JPEG."""

MOST_PIXELS = 2**28
"""Of one picture: 268 million, as 16,384 x 16,384. Decoded it takes 3 GB, and 8 are read at once;
from few bytes a file could claim any number."""

Colour = tuple[int, int, int]

UPRIGHT = 1
"""The EXIF orientation of a picture that is shown as it is stored."""

_TURNED = range(2, 9)
"""Those that viewers turn or mirror; others mean nothing."""

_ORIENTATION = 0x0112
_BITS_OF_TIFF = 258

_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_LOSSY = {"JPEG", "MPO", "WEBP", "TIFF (jpeg)", "TIFF (tiff_jpeg)", "TIFF (webp)"}


def read_image(file: Path) -> Tensor:
    """An image as (3, H, W) uint8 RGB in 0-255, as viewers show it: turned by its EXIF orientation.

    Grey images have three equal channels. Of an MPO the first picture counts.

    Raises:
        InputError: missing, unreadable, truncated or too large, several pictures, or more than
            8 bits a channel.
    """
    return read_turned_image(file)[0]


def read_turned_image(file: Path) -> tuple[Tensor, int]:
    """What `read_image` returns, and the EXIF orientation by which it was turned: 1 for upright.

    Raises:
        InputError: as `read_image`.
    """
    opened = _open(file, "image")
    image = opened.image
    if opened.deep or image.mode not in _EIGHT_BIT_MODES:
        raise InputError(
            f"image {file} has pixel format {opened.stored if opened.deep else image.mode}; "
            "expected 8 bits a channel: convert it, since only you know which grey levels matter"
        )
    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1).contiguous(), opened.orientation


def read_mask(file: Path) -> Tensor:
    """A mask as (H, W) uint8: the stored value of every pixel (palette index or grey level).

    It is turned by its own EXIF orientation, as `read_image` turns an image.

    Raises:
        InputError: missing, unreadable or truncated, in a format that alters values, a colour image
            instead of indices, or a grey one of 2 or 4 bits, whose values Pillow stretches to
            0-255.
    """
    opened = _open(file, "mask")
    mask, stored = opened.image, opened.stored
    if opened.format in _LOSSY:
        raise InputError(
            f"mask {file} holds {opened.format}, whatever its name: that alters class indices or "
            "stores none; save masks as PNG"
        )
    stretched = stored in {"L;2", "L;4"}
    if mask.mode not in {"1", "L", "P"} or stretched:
        raise InputError(
            f"mask {file} has pixel format {stored if stretched else mask.mode}; "
            "expected one 8-bit value a pixel (grey or palette PNG) that is the class index"
        )
    # a 1-bit mask reads as booleans: 0 and 1 are then the class indices
    return torch.from_numpy(np.array(mask).astype(np.uint8))


def read_orientation(file: Path) -> int:
    """The EXIF orientation by which a mask was turned: 1 for upright.

    Raises:
        InputError: as `read_mask` where the file cannot be read.
    """
    return _open(file, "mask").orientation


def read_palette(file: Path) -> tuple[Colour, ...] | None:
    """The colours of a mask by palette index; None where the mask has no palette.

    Raises:
        InputError: as `read_mask` where the file cannot be read.
    """
    image = _open(file, "mask", only="P").image
    if image.mode != "P":
        return None
    levels = image.getpalette() or []
    return tuple(zip(levels[::3], levels[1::3], levels[2::3], strict=True))


def read_grey(file: Path) -> Tensor:
    """A grey mask as (H, W) uint8 levels in 0-255, from which a threshold makes a class.

    Raises:
        InputError: missing, unreadable or truncated, or in colour.
    """
    mask = _open(file, "mask").image
    if mask.mode not in {"1", "L"}:
        raise InputError(
            f"mask {file} has pixel format {mask.mode}; expected a grey picture, black where there "
            "is no defect and white where there is one"
        )
    return torch.from_numpy(np.array(mask.convert("L")))


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


def palette_of(colours: Sequence[Colour]) -> tuple[Colour, ...]:
    """The 256 colours of a mask that `write_mask` writes: by class, then black, ignore white."""
    rest = IGNORE - len(colours)
    return (*colours, *[(0, 0, 0)] * rest, (255, 255, 255))


def write_mask(file: Path, mask: Tensor, colours: Sequence[Colour]) -> None:
    """Write (H, W) class indices as a palette PNG; index 255 (ignore) shows white.

    The bytes depend on the mask and the colours alone.
    """
    assert mask.ndim == 2, f"expected (H, W), got {tuple(mask.shape)}"
    image = Image.fromarray(mask.to("cpu", torch.uint8).numpy(), mode="P")
    image.putpalette(np.array(palette_of(colours), dtype=np.uint8).tobytes())
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, format="PNG")


@dataclass(frozen=True)
class _Opened:
    """A decoded picture, and how its file stores it."""

    image: Image.Image
    """As viewers show it."""
    format: str
    """Pillow's name; of a TIFF with its compression, as "TIFF (jpeg)"."""
    stored: str
    """Pillow's raw mode; "" where it tells none."""
    deep: bool
    """More than 8 bits a channel, of which Pillow may have kept the upper 8."""
    orientation: int
    """The EXIF orientation by which it was turned."""


def _open(file: Path, what: str, *, only: str | None = None) -> _Opened:
    """The decoded picture; of another mode than `only` the header alone."""
    # Pillow would warn from a third of MOST_PIXELS on, and refuse from two thirds on
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(file, formats=FORMATS) as image:
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            format, stored, deep = _storage(image)
            orientation = UPRIGHT
            size = image.size
            wanted = only in (None, image.mode) and pages == 1
            if wanted and size[0] * size[1] <= MOST_PIXELS:
                orientation = _decode(image)
    except FileNotFoundError:
        raise InputError(f"{what} {file} does not exist") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{what} {file} cannot be read: it is damaged, cut short or none of "
            f"{', '.join(FORMATS)}; convert, replace or remove it"
        ) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(
            f"{what} {file} cannot be read ({error}): it is damaged, cut short or no image; "
            "replace or remove it"
        ) from None
    if pages > 1:
        raise InputError(f"{what} {file} holds {pages} pictures: save each as a file of its own")
    if size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"{what} {file} has {size[0]} x {size[1]} pixels, more than {MOST_PIXELS:,}: cut it "
            "into tiles, and its mask likewise"
        )
    return _Opened(image, format, stored, deep, orientation)


def _storage(image: Image.Image) -> tuple[str, str, bool]:
    """Of an opened picture that is not decoded yet: `format`, `stored` and `deep` of `_Opened`."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    stored = str(arguments[0] if isinstance(arguments, tuple) else arguments or "")
    format = image.format or ""
    if format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_OF_TIFF, (1,))
        return f"TIFF ({image.info.get('compression')})", stored, max(bits) > 8
    return format, stored, format == "PNG" and stored.endswith(";16B")


def _decode(image: ImageFile.ImageFile) -> int:
    """Decode a picture and turn it as viewers do; the orientation by which it was turned."""
    orientation = image.getexif().get(_ORIENTATION, UPRIGHT)
    if orientation not in _TURNED:
        image.load()
        return UPRIGHT
    # by its name Pillow would map an uncompressed TIFF into memory, with its sides exchanged
    image.filename = ""
    image.load()
    # Pillow has turned a TIFF already, and taken the tag away
    ImageOps.exif_transpose(image, in_place=True)
    return int(orientation)
