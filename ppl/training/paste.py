"""Paste labeled defects, each with its mask, at random places of other images.

A class on two labeled parts is so seen on many backgrounds and at every place. Source of the idea:
Ghiasi et al., CVPR 2021 (Simple Copy-Paste), there for objects; here what surrounds a defect comes
along and fades out, and its grey levels are shifted to those of its new place.

Axes: C channels, H height, W width.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from threading import Lock
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from ppl.core.settings import Settings
from ppl.images.files import defect_classes
from ppl.images.pictures import IGNORE
from ppl.training.images import Opened, TrainingImages
from ppl.training.stream import Batch
from ppl.training.weak_augment import Region, Size

DRAWS = 7
"""Numbers in [0, 1) that an image takes, whatever the settings: one's luck shifts no other's."""


class PasteSettings(Settings):
    """Section `paste`."""

    probability: Annotated[float, Field(ge=0, le=1)]
    margin: Annotated[int, Field(ge=0, le=64)]
    flip_probability: Annotated[float, Field(ge=0, le=1)]
    vertical_flip_probability: Annotated[float, Field(ge=0, le=1)]
    per_class: Annotated[int, Field(ge=1, le=100_000)]


PAPER = PasteSettings(
    probability=0.0, margin=3, flip_probability=0.5, vertical_flip_probability=0.5, per_class=64
)
"""Nothing is pasted."""


@dataclass(frozen=True)
class Defect:
    """What a labeled image shows of one class, cut out with `margin` pixels around it."""

    value: int
    """Its class."""
    pixels: Tensor
    """(H, W, C + 1) uint8: the image's bytes, then how far it is pasted, 0 to `margin` + 1."""
    margin: int

    @property
    def opacity(self) -> Tensor:
        """(H, W) float32: 1 on its pixels, falling to 0 over the margin."""
        return self.pixels[..., -1] / (self.margin + 1)

    @property
    def mask(self) -> Tensor:
        """(H, W) bool: its pixels."""
        return self.pixels[..., -1] == self.margin + 1

    def to(self, device: torch.device) -> "Defect":
        """The same on `device`."""
        return Defect(self.value, self.pixels.to(device), self.margin)


Bank = Mapping[int, Sequence[Defect]]
"""Defects by class, classes ascending."""


def cut_defects(
    image_CHW: Tensor, mask_HW: Tensor, *, margin: int, limit: tuple[int, int]
) -> list[Defect]:
    """What an image shows of each defect class of its mask (both uint8), all pieces together.

    Of a class that reaches over more than `limit` (height, width in pixels), the part around a
    pixel in its middle.
    """
    found = []
    for value in defect_classes(mask_HW):
        pixels = torch.nonzero(mask_HW == value)
        middle = pixels[len(pixels) // 2]
        cut = []
        for axis in (0, 1):
            start = max(0, int(pixels[:, axis].min()) - margin)
            end = min(mask_HW.shape[axis], int(pixels[:, axis].max()) + margin + 1)
            if end - start > limit[axis]:
                start = max(start, min(int(middle[axis]) - limit[axis] // 2, end - limit[axis]))
                end = start + limit[axis]
            cut.append(slice(start, end))
        part = mask_HW[cut[0], cut[1]]
        # nothing of another defect, or of what nobody labeled, comes along without its mask
        clean = (part == 0) | (part == value)
        steps = _steps(part == value, margin) * clean
        image_HWC = image_CHW[:, cut[0], cut[1]].permute(1, 2, 0)
        pixels = torch.cat([image_HWC, steps[:, :, None]], dim=2).contiguous()
        found.append(Defect(value, pixels, margin))
    return found


def _steps(mask_HW: Tensor, margin: int) -> Tensor:
    """uint8: `margin` + 1 on the mask, one less for each pixel's distance from it, to 0."""
    grown = mask_HW.float()[None]
    steps = grown.clone()
    for _ in range(margin):
        grown = F.max_pool2d(grown, 3, stride=1, padding=1)
        steps += grown
    return steps[0].to(torch.uint8)


@dataclass(frozen=True)
class Pasting:
    """What a training pastes, and what it draws from."""

    settings: PasteSettings
    bank: Bank
    generator: Generator

    def draw(self, batch: int) -> Tensor:
        """(batch, `DRAWS`) in [0, 1), for all images of a batch, whoever computes them."""
        return torch.rand(batch, DRAWS, generator=self.generator)

    def __call__(self, batch: Batch, draws: Tensor) -> tuple[Tensor, Tensor]:
        """`paste_defects` into images and their masks."""
        images, masks, shown = batch
        return paste_defects(images, masks, self.bank, self.settings, draws, shown=shown)


class Cutting:
    """A `Look` that cuts out the defects of labeled images for pasting, of images drawn at random.

    They are as large as in the views nearest to scale 1. Of a class at most `per_class`: they stay
    on the device.

    Args:
        data: the labeled images.
        generator: of the draws; what is pasted is drawn from it, too.
    """

    def __init__(self, data: TrainingImages, settings: PasteSettings, generator: Generator) -> None:
        self._settings = settings
        self._generator = generator
        self._size = data.image.size
        self._scale = min(max(1.0, data.weak.scale_min), data.weak.scale_max)
        self._lock = Lock()
        self._turn: list[int] = []
        """Of each image; the defects of those who come first are kept."""
        if settings.probability:
            self._turn = torch.randperm(len(data), generator=generator).argsort().tolist()
        self._found: dict[int, list[tuple[int, Defect]]] = defaultdict(list)
        """Of each class, by the turns of their images."""

    def __call__(self, index: int, opened: Opened) -> None:
        """Cut out what is wanted of an image; each comes once, in whatever order."""
        if not self._turn or not any(self._wanted(value, index) for value in opened.defects):
            return
        pair = opened.at_scale(self._scale)
        for defect in cut_defects(*pair, margin=self._settings.margin, limit=self._size):
            self._add(index, defect)

    def _wanted(self, value: int, index: int) -> bool:
        found = self._found.get(value, [])
        return len(found) < self._settings.per_class or self._turn[index] < found[-1][0]

    def _add(self, index: int, defect: Defect) -> None:
        with self._lock:
            found = self._found[defect.value]
            insort(found, (self._turn[index], defect), key=itemgetter(0))
            del found[self._settings.per_class :]

    def pasting(self, device: torch.device) -> Pasting:
        """With the defects of all images that came."""
        bank = {
            value: [defect.to(device) for _, defect in self._found[value]]
            for value in sorted(self._found)
        }
        return Pasting(self._settings, bank, self._generator)


def paste_defects(
    images: Tensor,
    masks: Tensor,
    bank: Bank,
    settings: PasteSettings,
    draws: Tensor,
    *,
    shown: Sequence[Region] | None = None,
) -> tuple[Tensor, Tensor]:
    """With `probability`, one defect more in each image; classes are equally likely.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        masks: (B, H, W) int64.
        draws: (B, `DRAWS`) in [0, 1).
        shown: where each shows its image, and a defect may be pasted; unless given, everywhere.

    Returns:
        images and masks, new ones where something is pasted; the given ones stay as they are.
    """
    if not bank or not settings.probability:
        return images, masks
    size = (masks.shape[1], masks.shape[2])
    everywhere = (slice(0, size[0]), slice(0, size[1]))
    places = [
        _place_of(bank, settings, numbers, everywhere if shown is None else shown[position])
        for position, numbers in enumerate(draws.tolist())
    ]
    if not any(places):
        return images, masks
    levels, opacity, value = _gathered(places, size, images.device)
    if levels.shape[1] > 1:
        # of grey levels the mean is these to the bit, whatever the others of the batch are
        mean = levels.mean(dim=1, keepdim=True)
        if images.shape[1] > 1:
            # on a grey image a defect is grey, whether or not its batch gave it three channels
            grey = (images == images[:, :1]).flatten(1).all(dim=1)[:, None, None, None]
            mean = torch.where(grey, mean, levels)
        levels = mean
    colours = levels / 255
    shape = opacity == 1
    # what surrounds the defect gets the mean grey level of its new place
    around = (opacity > shape).float()
    apart = ((images - colours) * around[:, None]).sum(dim=(2, 3))
    shift = apart / around.sum(dim=(1, 2)).clamp(min=1)[:, None]
    images = images.lerp((colours + shift[:, :, None, None]).clamp(0, 1), opacity[:, None])
    # of another defect that the margin half hides nobody can tell what is left
    masks = masks.masked_fill(torch.logical_and(opacity >= 0.5, masks), IGNORE)
    return images, torch.where(shape, value, masks)


class _Axis(NamedTuple):
    """Which pixels of a defect an image shows along one axis: `first` + `step` i at its pixel i."""

    first: int
    step: int
    start: int
    stop: int
    """From the image's pixel `start` to the one before `stop`."""

    def times(self, stride: int) -> "_Axis":
        """Of pixels that lie `stride` apart."""
        return self._replace(first=self.first * stride, step=self.step * stride)

    def beyond(self, pixels: int) -> "_Axis":
        """Of pixels that so many others come before."""
        return self._replace(first=self.first + pixels)


_NO_AXIS = _Axis(0, 0, 0, 0)
"""Shows nothing."""


@dataclass(frozen=True)
class _Place:
    """Where an image shows a defect."""

    defect: Defect
    rows: _Axis
    columns: _Axis


def _place_of(
    bank: Bank, settings: PasteSettings, numbers: Sequence[float], shown: Region
) -> _Place | None:
    """What an image's draws say; None: nothing is pasted."""
    whether, of_class, which, top, left, mirror, turn = numbers
    if whether >= settings.probability:
        return None
    defects = bank[list(bank)[int(of_class * len(bank))]]
    defect = defects[int(which * len(defects))]
    height, width = defect.pixels.shape[:2]
    rows = _axis(height, shown[0], top, flip=turn < settings.vertical_flip_probability)
    return _Place(
        defect, rows, _axis(width, shown[1], left, flip=mirror < settings.flip_probability)
    )


def _axis(own: int, shown: slice, draw: float, *, flip: bool) -> _Axis:
    """Wholly inside what is shown; of a defect that is longer, a part."""
    whole = shown.stop - shown.start
    length = min(own, whole)
    first, start = int(draw * (own - length + 1)), shown.start + int(draw * (whole - length + 1))
    if flip:
        return _Axis(first + length - 1 + start, -1, start, start + length)
    return _Axis(first - start, 1, start, start + length)


_NOWHERE = -(2**40)
"""Index of a pixel that shows no defect; below 0 whatever is added."""


def _gathered(
    places: Sequence[_Place | None], size: Size, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """What each image shows of its defect: levels 0-255 (B, C, *size) and opacity (B, *size).

    And its class (B, 1, 1). All is 0 where it shows none. All images together: on a GPU every
    operator is a launch, whatever it computes.
    """
    defects = [place.defect for place in places if place is not None]
    width = max(defect.pixels.shape[2] for defect in defects)
    # the first pixel is the one of all that show none
    flat = torch.cat(
        [
            torch.zeros(1, width, dtype=torch.uint8, device=device),
            *(_widened(defect.pixels, width).flatten(0, 1) for defect in defects),
        ]
    )
    axes, values, first = [], [], 1
    for place in places:
        if place is None:
            axes += [_NO_AXIS] * 2
            values.append(0)
            continue
        height, stride = place.defect.pixels.shape[:2]
        axes += [place.rows.times(stride).beyond(first), place.columns]
        values.append(place.defect.value)
        first += height * stride
    length = max(size)
    moved = _numbers(axes, values, length).to(device, non_blocking=True)
    rows, columns = moved[:, : size[0], None], moved[:, None, length : length + size[1]]
    index = (rows + columns).clamp_(min=0)
    found = flat.index_select(0, index.flatten()).view(len(places), *size, width)
    # a layout of its own would be that of sums over an image, too, and so their order
    found = found.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    opacity = found[:, -1] / (defects[0].margin + 1)
    return found[:, :-1], opacity, moved[:, -1, None, None]


def _widened(pixels_HWC: Tensor, width: int) -> Tensor:
    """Of a grey defect among coloured ones, all channels are one."""
    missing = width - pixels_HWC.shape[2]
    if not missing:
        return pixels_HWC
    return torch.cat([pixels_HWC[..., :1].expand(-1, -1, missing), pixels_HWC], dim=2)


def _numbers(axes: Sequence[_Axis], values: Sequence[int], length: int) -> Tensor:
    """(B, 2 `length` + 1) int64 on the CPU: rows and columns, else `_NOWHERE`, and the class.

    Args:
        axes: two of each image.
    """
    first, step, start, stop = torch.tensor(axes)[:, :, None].unbind(1)
    position = torch.arange(length)
    inside = (position >= start) & (position < stop)
    lines = (first + step * position).where(inside, _NOWHERE)
    return torch.cat([lines.view(-1, 2 * length), torch.tensor(values)[:, None]], dim=1)
