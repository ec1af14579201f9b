"""Images and masks as a browser gets them, and as a decision writes them.

Axes: H height, W width.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.pictures import (
    FORMATS,
    IGNORE,
    MOST_PIXELS,
    Colour,
    indices_as_png,
    open_picture,
    read_pixels,
)
from ppl.review.decisions import DIGEST
from ppl.station.defects import BACKGROUND

THUMBNAIL = 320
"""Pixels of the longer side of a small picture of another photo."""

_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF orientations that exchange the two sides."""

_BIT_DEPTH = 24
"""Place of the bits a channel in a PNG: behind the signature, and a chunk's head and two sides."""

_QUALITY = 85


@dataclass(frozen=True)
class Sent:
    """A picture on its way to a browser."""

    content: bytes
    type: str


def for_browser(file: Path) -> Sent:
    """An image that a browser shows as the network sees it: its own bytes where that is so.

    Transparency, other formats, and an orientation that not all browsers read, become a PNG.

    Raises:
        InputError: as `read_pixels`.
    """
    shown_size(file)
    with Image.open(file, formats=FORMATS) as opened:
        format, mode, clear = opened.format, opened.mode, opened.has_transparency_data
    if mode in ("L", "RGB") and not clear:
        content = file.read_bytes()
        if format in ("JPEG", "MPO"):
            return Sent(content, "image/jpeg")
        if format == "PNG" and content[_BIT_DEPTH] == 8 and b"eXIf" not in content:
            return Sent(content, "image/png")
    png = io.BytesIO()
    Image.fromarray(read_pixels(file)).save(png, format="PNG", compress_level=1)
    return Sent(png.getvalue(), "image/png")


def thumbnail(file: Path) -> Sent:
    """A small picture of an image.

    Raises:
        InputError: as `read_pixels`.
    """
    small = Image.fromarray(read_pixels(file))
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    jpeg = io.BytesIO()
    small.save(jpeg, format="JPEG", quality=_QUALITY)
    return Sent(jpeg.getvalue(), "image/jpeg")


def shown_size(file: Path) -> tuple[int, int]:
    """Height and width of an image or a mask as viewers show it, by its header.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(file, formats=FORMATS) as opened:
            width, height = opened.size
            # a PNG would be decoded to look for one behind its pixels
            looked_at = opened.format != "PNG" or "exif" in opened.info
            turned = looked_at and opened.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    except FileNotFoundError:
        raise InputError(f"{file} is not there any more") from None
    except PermissionError:
        raise InputError(f"{file} may not be read: change its permissions") from None
    except Exception as error:  # whatever a damaged file leads a decoder to
        raise InputError(f"{file} cannot be read ({error}): replace or remove it") from None
    if width * height > MOST_PIXELS:
        raise InputError(f"{file} has {width} x {height} pixels: cut it into tiles")
    return (width, height) if turned else (height, width)


def read_indices(file: Path) -> NDArray[np.uint8]:
    """(H, W) class indices of a mask that the pipeline or `ppl predict` wrote.

    Raises:
        InputError: missing, damaged, or no grey or palette PNG of 8 bits.
    """
    opened = open_picture(file, "mask")
    # a palette of few colours is packed, and keeps its indices; greys that are packed do not
    if opened.format != "PNG" or (opened.image.mode != "P" and opened.stored != "L"):
        raise InputError(
            f"mask {file} is {opened.format} of mode {opened.stored or opened.image.mode}; "
            "expected a palette PNG, as the pipeline writes it"
        )
    return np.array(opened.image, dtype=np.uint8)


def as_mask(values: NDArray[np.uint8], colours: Sequence[Colour], what: str) -> bytes:
    """The palette PNG of (H, W) class indices that may stand as a corrected mask.

    Raises:
        InputError: a value is no class, or all that is marked is 255 (ignored); `what` names it.
    """
    found = [value for value, count in enumerate(Image.fromarray(values).histogram()) if count]
    strangers = [value for value in found if len(colours) <= value != IGNORE]
    if strangers:
        raise InputError(
            f"{what} holds class {strangers[0]}, but there are {len(colours)} classes "
            f"(0-{len(colours) - 1})"
        )
    if IGNORE in found and not set(found) - {BACKGROUND, IGNORE}:
        raise InputError(
            f"{what} leaves pixels open (255, white) and shows no defect, so that the image would "
            "count as sound: say `sound`, or paint over the white pixels"
        )
    return indices_as_png(values, colours)


def digest(content: bytes) -> str:
    """A hash of a file's content."""
    return hashlib.blake2b(content, digest_size=DIGEST // 2).hexdigest()


def digest_of(file: Path) -> str:
    """The hash of a file; "" where it cannot be read."""
    try:
        return digest(file.read_bytes())
    except OSError:
        return ""


def write_synced(file: Path, content: bytes) -> None:
    """Write a new file that is on disk when this returns, or not there at all.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise
