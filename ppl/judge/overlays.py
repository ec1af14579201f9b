"""Pictures for people: an image with what is true and what the networks see, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torch.nn import functional

from ppl.images.miou import BACKGROUND
from ppl.images.pictures import IGNORE, Colour

_MIN_PANEL_HEIGHT = 224
_MAX_PANEL_HEIGHT = 640
_MAX_PICTURE_WIDTH = 1800
_SHEET_PANEL, _SHEET_COLUMNS = 256, 6
_OUTLINE = 2
_FILL_OPACITY = 0.4
_IGNORE_NAME, _IGNORE_COLOUR = "ignored", (255, 255, 255)
_PAPER, _INK, _FAINT = (255, 255, 255), (28, 32, 38), (100, 108, 118)
_MARGIN, _GAP = 16, 8
_TITLE_SIZE, _CAPTION_SIZE = 17, 14
_TITLE_HEIGHT, _CAPTION_HEIGHT, _LEGEND_HEIGHT = 30, 23, 24
_SWATCH = 13

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Candidate:
    """A test image that may be shown: its id, its defect classes, its number of defect pixels."""

    id: str
    defects: frozenset[int]
    defect_area: int


def choose_examples(candidates: Iterable[Candidate], count: int) -> list[str]:
    """Ids of the images to show: at most `count`, the same ones whatever the input's order.

    Round after round, each defect class in turn gives the image of median defect area, then the
    sound images give one. The median, because the largest defects flatter every network; sound
    images, because only there a false alarm can be seen.
    """
    left = sorted(candidates, key=lambda candidate: (candidate.defect_area, candidate.id))
    classes = sorted({name for candidate in left for name in candidate.defects})
    chosen: list[Candidate] = []
    while left and len(chosen) < count:
        this_round: list[Candidate] = []
        for defect in [*classes, None]:
            if any(defect in candidate.defects for candidate in this_round):
                continue  # an earlier choice of this round shows this class as well
            fitting = [c for c in left if (defect in c.defects if defect else not c.defects)]
            if fitting:
                choice = fitting[(len(fitting) - 1) // 2]
                left.remove(choice)
                this_round.append(choice)
        chosen += this_round
    return [candidate.id for candidate in chosen[:count]]


def overlay_name(number: int) -> str:
    """The file name of the picture `number`, from 1: overlay_01.png.

    Names tell nothing of the image, because image plots are compared by name across revisions.
    """
    return f"overlay_{number:02d}.png"


def overlay_row(
    image: Tensor,
    truth: Tensor,
    predicted: Mapping[str, Tensor],
    *,
    class_names: Sequence[str],
    colours: Sequence[Colour],
    title: str,
) -> Image.Image:
    """One picture: the image, then the truth and each prediction drawn over it, and a legend.

    A panel is at least about 224 pixels high: small images grow by a whole factor, so that their
    pixels stay visible as such. Images too large to look at side by side shrink, and there a defect
    thinner than a pixel stays one pixel wide. Wide images have their panels two a row, or one.

    Args:
        image: (3, H, W) uint8 RGB.
        truth, predicted: (H, W) class indices, any integer dtype; background stays clear, 255
            (ignore) shows white. Predictions by the name of their model.
        class_names, colours: one for each class index.
        title: the line on top; shortened where the picture is narrower.
    """
    assert image.dtype == torch.uint8, f"{image.dtype}"
    assert image.ndim == 3, f"{tuple(image.shape)}"
    masks = {"truth": truth, **predicted}
    for caption, mask in masks.items():
        assert mask.shape == image.shape[1:], f"{caption}: {tuple(mask.shape)}, {image.shape}"
    height, width = image.shape[1:]
    columns = 1 + len(masks) if width <= 2 * height else 2 if width <= 4 * height else 1
    size = _panel_size(height, width, columns)
    panel = _scaled_image(image, size)
    panels = {"image": panel} | {
        caption: _draw_mask(panel, _scaled_mask(mask, size), colours)
        for caption, mask in masks.items()
    }
    present = {value for mask in masks.values() for value in _values(mask)}
    return _compose(panels, _legend(present, class_names, colours), title, columns)


def side_by_side(images: Mapping[str, Tensor], *, title: str) -> Image.Image:
    """One picture of a few (3, H, W) uint8 images of any size, by caption, in one row.

    All panels are as high and as wide as the largest image; smaller ones are centred.
    """
    height = max(_MIN_PANEL_HEIGHT, *(image.shape[1] for image in images.values()))
    width = max(image.shape[2] * height // image.shape[1] for image in images.values())
    size = _panel_size(height, width, len(images))
    panels = {}
    for caption, image in images.items():
        whole = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
        panels[caption] = _centred(ImageOps.contain(whole, size[::-1]), size)
    return _compose(panels, None, title, len(images))


def contact_sheet(
    shown: Iterable[tuple[str, Tensor, Tensor]],
    *,
    class_names: Sequence[str],
    colours: Sequence[Colour],
    title: str,
) -> Image.Image:
    """One picture of many images, each with its mask drawn over it, in rows of up to six.

    Panels are squares of 256 pixels; the image inside keeps its shape, and grows or shrinks as in
    `overlay_row`. Of no image at all it is the title alone. Images are taken one by one, and only
    the panels are kept.

    Args:
        shown: different captions, (3, H, W) uint8 RGB, and (H, W) class indices as in
            `overlay_row`; each image may have a size of its own.
        class_names, colours: one for each class index.
        title: the line on top.
    """
    panels: dict[str, Image.Image] = {}
    present: set[int] = set()
    for caption, image, mask in shown:
        assert caption not in panels, caption
        assert mask.shape == image.shape[1:], f"{caption}: {tuple(mask.shape)}, {image.shape}"
        height, width = mask.shape
        scale = _SHEET_PANEL / max(height, width)
        scale = int(scale) if scale >= 1 else scale
        size = max(1, round(scale * height)), max(1, round(scale * width))
        drawn = _draw_mask(_scaled_image(image, size), _scaled_mask(mask, size), colours)
        panels[caption] = _centred(drawn, (_SHEET_PANEL, _SHEET_PANEL))
        present |= _values(mask)
    if not panels:
        return _compose({"": Image.new("RGB", (2 * _SHEET_PANEL, 1), _PAPER)}, None, title, 1)
    # a title needs the width of three
    columns = min(max(len(panels), 3), _SHEET_COLUMNS)
    return _compose(panels, _legend(present, class_names, colours), title, columns)


def write_picture(file: Path, picture: Image.Image) -> None:
    """Write a PNG whose bytes depend on the picture alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, format="PNG", optimize=True)


def _panel_size(height: int, width: int, columns: int) -> tuple[int, int]:
    """Height and width to show; whole multiples of the image's own, or smaller ones."""
    widest = (_MAX_PICTURE_WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) // columns
    grow = min(-(-_MIN_PANEL_HEIGHT // height), widest // width)
    if grow >= 1:
        height, width = grow * height, grow * width
    shrink = min(1, widest / width, _MAX_PANEL_HEIGHT / height)
    return max(1, round(shrink * height)), max(1, round(shrink * width))


def _scaled_image(image: Tensor, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    how = Image.Resampling.NEAREST if size[0] >= picture.height else Image.Resampling.LANCZOS
    return picture.resize(size[::-1], how)


def _scaled_mask(mask: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    values = mask.to("cpu", torch.uint8)
    if size[0] < values.shape[0]:
        # the maximum keeps what averaging or picking would lose: cracks thinner than a pixel
        ranked = torch.where(values == IGNORE, -1, values.float())
        pooled = functional.adaptive_max_pool2d(ranked[None], size)[0]
        values = torch.where(pooled < 0, IGNORE, pooled).to(torch.uint8)
    picture = Image.fromarray(values.numpy()).resize(size[::-1], Image.Resampling.NEAREST)
    return np.array(picture)


def _draw_mask(
    panel: Image.Image, mask: NDArray[np.uint8], colours: Sequence[Colour]
) -> Image.Image:
    palette = np.zeros((256, 3), dtype=np.float32)
    palette[: len(colours)] = colours
    palette[IGNORE] = _IGNORE_COLOUR
    under, over = np.asarray(panel, dtype=np.float32), palette[mask]
    filled = under + _FILL_OPACITY * (over - under)
    marked = (mask != BACKGROUND)[..., None]
    drawn = np.where(_outline(mask)[..., None], over, np.where(marked, filled, under))
    return Image.fromarray(drawn.round().astype(np.uint8))


def _outline(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The marked pixels near another value: inside, so that neighbours do not hide each other."""
    height, width = mask.shape
    padded = np.pad(mask, _OUTLINE, mode="edge")
    near: NDArray[np.bool_] = np.zeros(mask.shape, dtype=np.bool_)
    for down in range(2 * _OUTLINE + 1):
        for right in range(2 * _OUTLINE + 1):
            near |= padded[down : down + height, right : right + width] != mask
    return near & np.not_equal(mask, BACKGROUND)


def _centred(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`picture` in the middle of an empty panel of (height, width) pixels."""
    panel = Image.new("RGB", size[::-1], _PAPER)
    panel.paste(picture, ((panel.width - picture.width) // 2, (panel.height - picture.height) // 2))
    return panel


def _values(mask: Tensor) -> set[int]:
    return {int(value) for value in np.unique(mask.cpu().numpy())}


def _legend(
    present: Iterable[int], class_names: Sequence[str], colours: Sequence[Colour]
) -> list[tuple[str, Colour]]:
    """Name and colour of each value that occurs in a mask, less the background."""
    values = sorted(present)
    legend = [(class_names[c], colours[c]) for c in values if c not in (BACKGROUND, IGNORE)]
    if IGNORE in values:
        legend.append((_IGNORE_NAME, _IGNORE_COLOUR))
    return legend


def _compose(
    panels: dict[str, Image.Image],
    legend: Sequence[tuple[str, Colour]] | None,
    title: str,
    columns: int,
) -> Image.Image:
    title_font = ImageFont.load_default(size=_TITLE_SIZE)
    font = ImageFont.load_default(size=_CAPTION_SIZE)
    width, height = next(iter(panels.values())).size
    inner = columns * width + (columns - 1) * _GAP
    places = _legend_places([name for name, _ in legend or ()], font, inner)
    lines = legend is not None and 1 + max((line for _, line in places), default=0)
    rows = -(-len(panels) // columns)
    legend_top = _MARGIN + _TITLE_HEIGHT + rows * (_CAPTION_HEIGHT + height + _GAP)
    picture = Image.new(
        "RGB", (inner + 2 * _MARGIN, legend_top + lines * _LEGEND_HEIGHT + _MARGIN // 2), _PAPER
    )
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN), _fitted(title, title_font, inner), _INK, title_font, anchor="lt")
    for index, (caption, panel) in enumerate(panels.items()):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (width + _GAP)
        top = _MARGIN + _TITLE_HEIGHT + row * (_CAPTION_HEIGHT + height + _GAP)
        pen.text(
            (left, top + _CAPTION_HEIGHT - 7),
            _fitted(caption, font, width),
            _FAINT,
            font,
            anchor="ls",
        )
        picture.paste(panel, (left, top + _CAPTION_HEIGHT))
    if legend is not None and not legend:
        pen.text((_MARGIN, legend_top + _LEGEND_HEIGHT // 2), "no defect", _FAINT, font, "lm")
    for (name, colour), (x, line) in zip(legend or (), places, strict=True):
        left = _MARGIN + x
        middle = legend_top + line * _LEGEND_HEIGHT + _LEGEND_HEIGHT // 2
        box = (left, middle - _SWATCH // 2, left + _SWATCH - 1, middle + _SWATCH // 2)
        pen.rectangle(box, fill=colour, outline=_FAINT)
        pen.text((left + _SWATCH + 6, middle), name, _INK, font, anchor="lm")
    return picture


def _legend_places(names: Sequence[str], font: _Font, width: int) -> list[tuple[int, int]]:
    """Where each entry starts: (pixels from the left, line)."""
    places, x, line = [], 0, 0
    for name in names:
        needed = _SWATCH + 6 + round(font.getlength(name))
        if x and x + needed > width:
            x, line = 0, line + 1
        places.append((x, line))
        x += needed + 20
    return places


def _fitted(text: str, font: _Font, width: int) -> str:
    """`text`, its middle left out where it is too long: both ends of a path tell something."""
    keep = len(text)
    short = text
    while font.getlength(short) > width and keep > 2:
        keep -= 1
        short = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
    return short
