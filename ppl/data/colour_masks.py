"""Masks that say their classes by colours, and grey ones that a tool stored as colour pictures.

Axes: H height, W width. A mask of class indices is read as ever; what holds none is looked at again
for its colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.data.class_colours import ClassColours
from ppl.images.files import StoredMask, read_stored_mask
from ppl.images.pictures import IGNORE, Colour, Opened, open_picture

Origin = Literal["indices", "grey_in_colour", "colours"]

_LOSSLESS = ("PNG", "BMP", "TIFF")
_LOSSY_TIFF = ("(jpeg)", "(tiff_jpeg)", "(webp)")
_SHOWN_COLOURS = 3
_SHOWN_CLASSES = 8
_MANY = 32
"""From so many colours on that name no class, blurred edges are the likely reason."""


class ColourError(InputError):
    """A mask in colours of which nobody said what they name; others are mostly like it."""


@dataclass(frozen=True)
class OwnMask(StoredMask):
    """A mask as class indices, and how its file says them."""

    origin: Origin = "indices"


def read_own_mask(file: Path, colours: ClassColours | None, own: Sequence[Colour]) -> StoredMask:
    """A mask of a person's own data, its values class indices; 255 is ignore.

    With `colours`, colours count, those of a palette too. A mask in the palette of this project
    keeps its indices, and so does a grey one whose levels are no colours of classes.

    Args:
        colours: which classes colours name; None where masks hold indices.
        own: the colours by class in which this project writes masks.

    Raises:
        InputError: as `read_stored_mask`, a colour that names no class, or transparency.
    """
    try:
        mask = read_stored_mask(file)
    except InputError as error:
        return _of_colour_picture(file, colours, error)
    if colours is None or in_own_palette(mask.palette, own):
        return mask
    if mask.palette is None or in_own_palette(mask.palette, _GREYS):
        return _of_grey(file, mask, colours, "indices")
    return _of_palette(file, mask, colours)


_GREYS = tuple((level, level, level) for level in range(256))


def in_own_palette(palette: Sequence[Colour] | None, own: Sequence[Colour]) -> bool:
    """Whether a palette is that of this project, as a tool that corrected a mask may have cut it.

    Args:
        palette: colours by index; None without one.
        own: the colours by class in which this project writes masks.
    """
    shown = tuple(palette or ())[: len(own)]
    return len(shown) > 1 and shown == tuple(own[: len(shown)])


def _of_colour_picture(
    file: Path, colours: ClassColours | None, no_index: InputError
) -> StoredMask:
    """A mask that holds no class indices, if it is a lossless colour picture of 8 bits."""
    opened = open_picture(file, "mask")
    if opened.image.mode not in {"RGB", "RGBA", "LA"} or not _is_lossless(opened):
        raise no_index
    if opened.deep:
        raise InputError(
            f"mask {file} has 16 bits a channel, of which only 8 would be read: save it with 8"
        )
    levels = np.array(opened.image)
    _stop_at_transparency(file, levels)
    grey = _equal_channels(levels)
    if grey is not None:
        mask = StoredMask(torch.from_numpy(grey), orientation=opened.orientation)
        return _of_grey(file, mask, colours, "grey_in_colour")
    codes = _codes(levels)
    if colours is None:
        raise ColourError(
            f"{no_index}. It shows {_most_frequent(codes)}: where colours name its classes, say "
            "which in data.colours, e.g. `colours: {scratch: [255, 0, 0]}`, or put the "
            "labelmap.txt of CVAT into data.root"
        )
    values = _by_colour(file, codes, colours)
    return OwnMask(torch.from_numpy(values), None, opened.orientation, "colours")


def _is_lossless(opened: Opened) -> bool:
    return opened.format.startswith(_LOSSLESS) and not opened.format.endswith(_LOSSY_TIFF)


def _stop_at_transparency(file: Path, levels: NDArray[np.uint8]) -> None:
    """What a transparent pixel shows depends on what lies below it."""
    if levels.shape[-1] == 3:
        return
    clear = int(np.count_nonzero(levels[..., -1] != 255))
    if clear:
        raise InputError(
            f"mask {file} has {clear} transparent pixels, which show no colour of their own: save "
            "it without an alpha channel, on the colour of the background"
        )


def _equal_channels(levels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The (H, W) grey levels of a picture whose channels are equal, alpha apart; else None."""
    first = levels[..., 0]
    others = range(1, levels.shape[-1] - (levels.shape[-1] != 3))
    if all(np.array_equal(first, levels[..., channel]) for channel in others):
        return np.ascontiguousarray(first)
    return None


def _of_grey(
    file: Path, mask: StoredMask, colours: ClassColours | None, origin: Origin
) -> StoredMask:
    """A grey mask: by colours where these name all its levels, else by class indices.

    A colour picture that is grey by chance, black and white say, holds no indices.
    """
    plain = OwnMask(mask.values, mask.palette, mask.orientation, origin)
    if colours is None:
        return plain
    levels = _shown_levels(file, mask, colours)
    found = set(np.unique(levels).tolist())
    grey = {colour[0]: value for colour, value in colours.values.items() if len({*colour}) == 1}
    indices = found - {IGNORE} <= set(range(_count(colours)))
    if not found <= grey.keys() and indices and (origin == "indices" or found - {0, IGNORE}):
        return plain
    values = _by_colour(file, levels.astype(np.uint32) * 0x010101, colours)
    return OwnMask(torch.from_numpy(values), None, mask.orientation, "colours")


def _shown_levels(file: Path, mask: StoredMask, colours: ClassColours) -> NDArray[np.uint8]:
    """The grey levels of a mask as viewers show them: 1 of a mask of one bit is white."""
    levels: NDArray[np.uint8] = mask.values.numpy()
    if (255, 255, 255) in colours.values and levels.max() == 1:
        return levels * np.uint8(255 if open_picture(file, "mask").image.mode == "1" else 1)
    return levels


def _count(colours: ClassColours) -> int:
    """How many classes there are, background among them."""
    return 1 + max(value for value in colours.values.values() if value != IGNORE)


def _of_palette(file: Path, mask: StoredMask, colours: ClassColours) -> StoredMask:
    """A palette mask by the colours that its palette has for its indices."""
    assert mask.palette is not None
    values = mask.values.numpy()
    beyond = int(np.count_nonzero(values >= len(mask.palette)))
    if beyond:
        raise InputError(
            f"mask {file} has {beyond} pixels whose index has no colour in its palette: save it "
            f"anew, since {colours.source} names classes by colour"
        )
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(mask.palette)] = mask.palette
    codes = _codes(palette)[values]
    return OwnMask(
        torch.from_numpy(_by_colour(file, codes, colours)), None, mask.orientation, "colours"
    )


def _codes(levels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """One number a colour: (..., C) RGB, with or without alpha, to (...)."""
    codes = levels[..., 0].astype(np.uint32)
    for channel in (1, 2):
        codes <<= 8
        codes |= levels[..., channel]
    return codes


def _by_colour(file: Path, codes: NDArray[np.uint32], colours: ClassColours) -> NDArray[np.uint8]:
    """(H, W) class indices of as many colours.

    Raises:
        InputError: a colour that names no class.
    """
    values = np.zeros(codes.shape, dtype=np.uint8)
    known = np.zeros(codes.shape, dtype=bool)
    for (red, green, blue), value in colours.values.items():
        here = codes == (red << 16 | green << 8 | blue)
        values[here] = value
        known |= here
    if not known.all():
        strange = codes[~known]
        blurred = len(np.unique(strange)) >= _MANY
        hint = " (blurred edges? save it without smoothing)" if blurred else ""
        raise InputError(
            f"mask {file} holds colours that name no class: {_most_frequent(strange)}{hint}; "
            f"{colours.source} names {_told(colours.names)}: correct the mask or the colours"
        )
    return values


def _most_frequent(codes: NDArray[np.uint32]) -> str:
    """The most frequent of some colours, and in how many pixels each stands."""
    found, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [
        f"{_colour(int(found[place]))} in {counts[place]} pixels"
        for place in order[:_SHOWN_COLOURS]
    ]
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more} more colours" if more else "")


def _colour(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def _told(names: Mapping[Colour, str]) -> str:
    shown = [f"{name} {colour}" for colour, name in names.items()][:_SHOWN_CLASSES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
