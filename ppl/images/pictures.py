"""Pictures on disk, decoded and checked: NumPy and Pillow alone, as a station has them.

Axes: H height, W width.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

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
"""Of one picture: 268 million, as 16,384 x 16,384. Decoded it takes 3 GB; from few bytes a file
could claim any number."""

STRIP = 2**24
"""Pixels that are brought from Pillow to NumPy at once."""

_THUMBNAILS = {"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN"}
"""Folders that storage devices and archives leave beside pictures; hidden ones are like them."""
_STRAYS = {"thumbs.db", "desktop.ini"}

Colour = tuple[int, int, int]

UPRIGHT = 1
"""The EXIF orientation of a picture that is shown as it is stored."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What viewers do for an EXIF orientation; others mean nothing."""

_ORIENTATION = 0x0112
_BITS_OF_TIFF = 258

_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


@dataclass(frozen=True)
class Opened:
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


def read_pixels(file: Path, most: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """An image as (H, W, 3) uint8 RGB in 0-255, as viewers show it: turned by its EXIF orientation.

    Grey images have three equal channels. Transparency is left out: every pixel has the colour that
    the file gives it. Of an MPO the first picture counts.

    Args:
        most: pixels that it may have.

    Raises:
        InputError: missing, unreadable, truncated or too large, several pictures, or more than
            8 bits a channel.
    """
    return rgb(open_image(file, most), file)


def is_no_plain_file(file: Path) -> bool:
    """Whether it is a pipe, a socket or a device: to open one may wait for ever."""
    try:
        mode = file.stat().st_mode
    except OSError:
        # who opens it says why it cannot
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def claimed_pixels(file: Path) -> int:
    """How many pixels a picture has by its header; 0 where that cannot be read."""
    Image.MAX_IMAGE_PIXELS = None
    try:
        if is_no_plain_file(file):
            return 0
        with Image.open(file, formats=FORMATS) as opened:
            return opened.width * opened.height
    except Exception:  # whatever a damaged file leads to; who decodes it says what
        return 0


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """The same of a picture that is opened or made, turned by its EXIF orientation, too.

    Raises:
        InputError: more than 8 bits a channel, no pixel, or as `read_pixels`.
    """
    if 0 in image.size:
        raise InputError(f"the image has {image.size[0]} x {image.size[1]} pixels")
    with _mendable(Path(getattr(image, "filename", "") or "in memory"), "image"):
        deep = False
        # as of a file, where it is one that was opened and not decoded yet
        if isinstance(image, ImageFile.ImageFile) and image.tile:
            _stop_before_decoding(image, "the image", MOST_PIXELS)
            deep = _storage(image)[2]
            turned, _ = _decode(image)
        else:
            turn = _TURNS.get(_orientation(image))
            turned = image if turn is None else image.transpose(turn)
        if deep or image.mode not in _EIGHT_BIT_MODES:
            raise InputError(
                f"the image has mode {image.mode}{' of 16 bits' if deep else ''}: expected 8 bits "
                "a channel: convert it, since only you know which grey levels matter"
            )
        return np.array(turned.convert("RGB"))


def open_image(file: Path, most: int = MOST_PIXELS) -> Opened:
    """The decoded image.

    Args:
        most: pixels that it may have.

    Raises:
        InputError: as `read_pixels`.
    """
    opened = open_picture(file, "image", most)
    if opened.deep or opened.image.mode not in _EIGHT_BIT_MODES:
        raise InputError(
            f"image {file} has pixel format {opened.stored if opened.deep else opened.image.mode}; "
            "expected 8 bits a channel: convert it, since only you know which grey levels matter"
        )
    return opened


def rgb(opened: Opened, file: Path) -> NDArray[np.uint8]:
    """The pixels of an opened image, as `read_pixels` returns them.

    Raises:
        InputError: memory does not suffice.
    """
    with _mendable(file, "image"):
        image = opened.image
        if image.width * image.height <= STRIP:
            return np.array(image.convert("RGB"))
        pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
        # strip by strip: a converted copy of a large image would not fit beside it
        step = max(1, STRIP // image.width)
        for top in range(0, image.height, step):
            box = (0, top, image.width, min(top + step, image.height))
            pixels[box[1] : box[3]] = np.asarray(image.crop(box).convert("RGB"))
        return pixels


def _stop(problem: InputError) -> None:
    raise problem


def files_below(
    folder: Path,
    left_out: Callable[[Path], bool],
    at_unreadable: Callable[[InputError], None] = _stop,
) -> Iterator[Path]:
    """All files in the order of their names, a folder's own before those of folders in it.

    Hidden files and folders, and folders of thumbnails, are left alone; links to folders are not
    followed.

    Args:
        left_out: whether a folder below is left alone, too; what it raises ends the walk.
        at_unreadable: gets what is to be said of a folder that cannot be listed.

    Raises:
        InputError: a folder cannot be listed, and `at_unreadable` is not given.
    """

    def on_error(error: OSError) -> None:
        # a folder that need not be there holds nothing, and one may go while it is walked
        if isinstance(error, FileNotFoundError):
            return
        remedy = (
            "may not be read: change its permissions"
            if isinstance(error, PermissionError)
            else f"cannot be read ({error.strerror})"
        )
        at_unreadable(InputError(f"folder {error.filename} {remedy}"))

    for parent, folders, names in os.walk(folder, onerror=on_error):
        wanted = sorted(
            name for name in folders if not name.startswith(".") and name not in _THUMBNAILS
        )
        folders[:] = [name for name in wanted if not left_out(Path(parent) / name)]
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _STRAYS:
                yield Path(parent) / name


def palette_of(colours: Sequence[Colour]) -> tuple[Colour, ...]:
    """The 256 colours of a mask that `write_indices` writes: by class, then black, ignore white."""
    rest = IGNORE - len(colours)
    return (*colours, *[(0, 0, 0)] * rest, (255, 255, 255))


def write_indices(file: Path, mask: NDArray[np.uint8], colours: Sequence[Colour]) -> None:
    """Write (H, W) class indices as a palette PNG; index 255 (ignore) shows white.

    The bytes depend on the mask and the colours alone.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(indices_as_png(mask, colours))


def indices_as_png(mask: NDArray[np.uint8], colours: Sequence[Colour]) -> bytes:
    """What `write_indices` writes."""
    assert mask.ndim == 2, f"expected (H, W), got {mask.shape}"
    image = Image.fromarray(mask, mode="P")
    image.putpalette(np.array(palette_of(colours), dtype=np.uint8).tobytes())
    png = io.BytesIO()
    image.save(png, format="PNG")
    return png.getvalue()


def open_picture(file: Path, what: str, most: int = MOST_PIXELS) -> Opened:
    """A decoded picture.

    Args:
        what: image or mask, as messages call it.
        most: pixels that it may have.

    Raises:
        InputError: missing, unreadable, truncated or too large, or several pictures.
    """
    # Pillow would warn from a third of MOST_PIXELS on, and refuse from two thirds on
    Image.MAX_IMAGE_PIXELS = None
    if is_no_plain_file(file):
        raise InputError(
            f"{what} {file} is no file but a pipe, a socket or a device, and reading it would "
            "never end: remove it"
        )
    with _mendable(file, what), Image.open(file, formats=FORMATS) as opened:
        _stop_before_decoding(opened, f"{what} {file}", most)
        format, stored, deep = _storage(opened)
        image, orientation = _decode(opened)
    return Opened(image, format, stored, deep, orientation)


@contextmanager
def _mendable(file: Path, what: str) -> Iterator[None]:
    """Says of whatever stops the reading of a file what a person can do."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{what} {file} does not exist") from None
    except PermissionError:
        raise InputError(f"{what} {file} may not be read: change its permissions") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{what} {file} cannot be read: it is damaged, cut short or none of "
            f"{', '.join(FORMATS)}; convert, replace or remove it"
        ) from None
    except MemoryError:
        raise InputError(
            f"{what} {file} cannot be read: memory did not suffice to decode it. Cut it into "
            "tiles, and its mask likewise, or run where there is more memory"
        ) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(
            f"{what} {file} cannot be read ({error}): it is damaged, cut short or no image; "
            "replace or remove it"
        ) from None


def _stop_before_decoding(image: ImageFile.ImageFile, what: str, most: int) -> None:
    """What would be decoded wrongly, or into more than the memory holds."""
    pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if pages > 1:
        raise InputError(f"{what} holds {pages} pictures: save each as a file of its own")
    width, height = image.size
    if width * height > most:
        raise InputError(
            f"{what} has {width} x {height} pixels, more than {most:,}: cut it into tiles, "
            "and its mask likewise"
        )
    if image.format == "BMP" and _of_mistaken_depth(image):
        raise InputError(
            f"{what} is a BMP of {_bits_of_bmp(image)} bits a pixel whose palette of "
            "greys is taken for that of another depth: save it as PNG"
        )


def _of_mistaken_depth(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow takes a BMP for one of 1 or 8 bits because of its palette of greys."""
    taken_for = {"1": 1, "L": 8}.get(image.mode)
    compressed = image.tile[0].codec_name != "raw"
    return taken_for is not None and not compressed and taken_for != _bits_of_bmp(image)


def _bits_of_bmp(image: ImageFile.ImageFile) -> int:
    """Bits a pixel, which Pillow does not tell."""
    assert image.fp is not None
    image.fp.seek(14)
    size = int.from_bytes(image.fp.read(4), "little")
    image.fp.seek(24 if size == 12 else 28)
    return int.from_bytes(image.fp.read(2), "little")


def _storage(image: Image.Image) -> tuple[str, str, bool]:
    """Of an opened picture that is not decoded yet: `format`, `stored` and `deep` of `Opened`."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    stored = str(arguments[0] if isinstance(arguments, tuple) else arguments or "")
    format = image.format or ""
    if format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_OF_TIFF, (1,))
        return f"TIFF ({image.info.get('compression')})", stored, max(bits) > 8
    return format, stored, format == "PNG" and stored.endswith(";16B")


def _decode(image: ImageFile.ImageFile) -> tuple[Image.Image, int]:
    """The decoded picture as viewers show it, and the orientation by which it was turned."""
    if image.format == "TIFF":
        orientation = _orientation(image)
        if orientation != UPRIGHT:
            # by its name Pillow would map an uncompressed one into memory, its sides exchanged
            image.filename = ""
        # turns it, and takes the tag away
        image.load()
        return image, orientation
    image.load()
    # a PNG may tell it behind its pixels
    orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    return (image if turn is None else image.transpose(turn)), orientation


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation by which viewers turn a picture."""
    try:
        orientation = image.getexif().get(_ORIENTATION, UPRIGHT)
        return int(orientation) if orientation in _TURNS else UPRIGHT
    except Exception:  # damaged in whatever way: viewers show such a picture as it is stored
        return UPRIGHT
