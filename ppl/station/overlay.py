"""A picture for people: an image with its mask laid over, and a box around each defect.

Axes: H height, W width.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ppl.images.pictures import STRIP, Colour
from ppl.station.defects import BACKGROUND, Defect
from ppl.station.predictor import Predictor

SMALLEST, LARGEST = 480, 4096
"""Pixels of the longer side: smaller images grow and larger ones shrink, by a whole factor."""

LABELLED = 10
"""Of the largest defects, their class and mean probability are written beside the box."""

_OPACITY = 0.4
_QUALITY = 90
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def draw_overlay(
    image: NDArray[np.uint8],
    mask_HW: NDArray[np.uint8],
    defects: Sequence[Defect],
    predictor: Predictor,
) -> bytes:
    """The picture as a JPEG.

    The mask's colours are laid over the image, its edges in full colour; where an image shrinks, a
    defect thinner than a pixel stays one pixel wide. Only `defects` have boxes.

    Args:
        image: (H, W, 3) RGB.
        mask_HW: class indices; background stays clear.
    """
    side = max(mask_HW.shape)
    shrink, grow = -(-side // LARGEST), max(1, -(-SMALLEST // side))
    under, mask = _scaled(image, shrink, grow), _scaled_mask(mask_HW, shrink, grow)
    picture = Image.fromarray(_coloured(under, mask, predictor.colours))
    _draw_boxes(picture, defects, predictor, grow / shrink)
    jpeg = io.BytesIO()
    # without subsampling, for thin lines of colour would fade
    picture.save(jpeg, format="JPEG", quality=_QUALITY, subsampling=0)
    return jpeg.getvalue()


def _scaled(image: NDArray[np.uint8], shrink: int, grow: int) -> NDArray[np.uint8]:
    if shrink > 1:
        # strip by strip: Pillow's copy of a large image would not fit beside it
        step = max(1, STRIP // (image.shape[1] * shrink)) * shrink
        strips = (image[top : top + step] for top in range(0, len(image), step))
        return np.concatenate([np.asarray(Image.fromarray(s).reduce(shrink)) for s in strips])
    return image.repeat(grow, axis=0).repeat(grow, axis=1) if grow > 1 else image


def _scaled_mask(mask: NDArray[np.uint8], shrink: int, grow: int) -> NDArray[np.uint8]:
    if shrink > 1:
        height, width = (-(-side // shrink) for side in mask.shape)
        down, right = height * shrink - mask.shape[0], width * shrink - mask.shape[1]
        padded = np.pad(mask, ((0, down), (0, right)))
        whole: NDArray[np.uint8] = padded.reshape(height, shrink, width, shrink).max(axis=(1, 3))
        return whole
    return mask.repeat(grow, axis=0).repeat(grow, axis=1) if grow > 1 else mask


def _coloured(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], colours: Sequence[Colour]
) -> NDArray[np.uint8]:
    """The image with the colours laid over."""
    rows, columns = np.nonzero(mask != BACKGROUND)
    drawn = image.copy()
    if not rows.size:
        return drawn
    over = np.array(colours, dtype=np.float32)[mask[rows, columns]]
    under = image[rows, columns].astype(np.float32)
    opacity = np.where(_edges(mask)[rows, columns], 1.0, _OPACITY).astype(np.float32)[:, None]
    drawn[rows, columns] = (under + opacity * (over - under)).round().astype(np.uint8)
    return drawn


def _edges(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels beside one of another class."""
    edge = np.zeros(mask.shape, dtype=np.bool_)
    below, beside = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= below
    edge[:-1] |= below
    edge[:, 1:] |= beside
    edge[:, :-1] |= beside
    return edge


def _draw_boxes(
    picture: Image.Image, defects: Sequence[Defect], predictor: Predictor, scale: float
) -> None:
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 640))
    font = ImageFont.load_default(max(12, round(max(picture.size) / 60)))
    largest = sorted(defects, key=lambda defect: -defect.area)
    for defect in reversed(largest):
        left, top, right, bottom = (round(scale * side) for side in defect.box)
        # around the defect, so that it stays to be seen
        box = (left - 2 * line, top - 2 * line, right - 1 + 2 * line, bottom - 1 + 2 * line)
        pen.rectangle(box, outline=predictor.colours[defect.index], width=line)
    for defect in reversed(largest[:LABELLED]):
        left, top = (round(scale * side) - 2 * line for side in defect.box[:2])
        text = f"{predictor.classes[defect.index]} {defect.mean:.2f}"
        x0, y0, x1, y1 = pen.textbbox((0, 0), text, font)
        width, height = x1 - x0 + 6, y1 - y0 + 6
        x = max(0, min(left, picture.width - width))
        y = top - height if top >= height else round(scale * defect.box[3]) + 2 * line
        y = max(0, min(y, picture.height - height))
        colour = predictor.colours[defect.index]
        pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        pen.text((x + 3 - x0, y + 3 - y0), text, _ink_on(colour), font)


def _ink_on(colour: Colour) -> Colour:
    """Black or white, whichever can be read."""
    red, green, blue = colour
    return _BLACK if 299 * red + 587 * green + 114 * blue > 128_000 else _WHITE
