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
    """What a labeled image shows of one class, cut out with some pixels around it."""

    value: int
    """Its class."""
    planes: Tensor
    """(C + 1, H, W) float32 in [0, 1]: the image's channels, then `opacity`."""

    @staticmethod
    def of(value: int, image_CHW: Tensor, opacity_HW: Tensor) -> "Defect":
        """Of an image's bytes, and of how much of each pixel is pasted: 1 is the defect itself."""
        return Defect(value, torch.cat([image_CHW.float() / 255, opacity_HW[None]]))

    @property
    def opacity(self) -> Tensor:
        """(H, W) float32: 1 on its pixels, falling to 0 over the margin."""
        return self.planes[-1]

    @property
    def mask(self) -> Tensor:
        """(H, W) bool: its pixels."""
        return self.opacity == 1

    def to(self, device: torch.device) -> "Defect":
        """The same on `device`."""
        return Defect(self.value, self.planes.to(device))


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
        opacity = _faded(part == value, margin) * clean
        found.append(Defect.of(value, image_CHW[:, cut[0], cut[1]], opacity))
    return found


def _faded(mask_HW: Tensor, margin: int) -> Tensor:
    """1 on the mask, falling evenly to 0 at `margin` + 1 pixels from it."""
    grown = mask_HW.float()[None]
    opacity = grown
    for distance in range(1, margin + 1):
        grown = F.max_pool2d(grown, 3, stride=1, padding=1)
        opacity = torch.maximum(opacity, grown * (1 - distance / (margin + 1)))
    return opacity[0]


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
    drawn = [
        _draw(bank, settings, numbers, everywhere if shown is None else shown[position])
        for position, numbers in enumerate(draws.tolist())
    ]
    if not any(drawn):
        return images, masks
    planes, value = _gathered(drawn, size, images.device)
    colours, opacity = planes[:, :-1], planes[:, -1]
    if colours.shape[1] > 1:
        # on a grey image a defect is grey, whether or not its batch gave it three channels
        grey = (images == images[:, :1]).flatten(1).all(dim=1)[:, None, None, None]
        mean = colours.mean(dim=1, keepdim=True)
        colours = torch.where(grey, mean, colours) if images.shape[1] > 1 else mean
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


_NO_AXIS = _Axis(0, 0, 0, 0)
"""Shows nothing."""


@dataclass(frozen=True)
class _Place:
    """Where an image shows a defect."""

    defect: Defect
    rows: _Axis
    columns: _Axis


def _draw(
    bank: Bank, settings: PasteSettings, numbers: Sequence[float], shown: Region
) -> _Place | None:
    """What an image's draws say; None: nothing is pasted."""
    whether, of_class, which, top, left, mirror, turn = numbers
    if whether >= settings.probability:
        return None
    defects = bank[list(bank)[int(of_class * len(bank))]]
    defect = defects[int(which * len(defects))]
    height, width = defect.opacity.shape
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
    drawn: Sequence[_Place | None], size: Size, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The planes (B, C + 1, *size) of what each image shows, 0 elsewhere; its class (B, 1, 1).

    All images together: on a GPU every operator is a launch, whatever it computes.
    """
    places = [place for place in drawn if place is not None]
    channels = max(len(place.defect.planes) for place in places) - 1
    # its first pixel is what lies nowhere
    flat = torch.cat([torch.zeros(1, device=device), *(p.defect.planes.flatten() for p in places)])
    axes, numbers, start = [], [], 1
    for place in drawn:
        if place is None:
            axes += [_NO_AXIS] * 2
            numbers.append([0] * (1 + channels + 1))
            continue
        own, height, width = place.defect.planes.shape
        axes += [place.rows.times(width), place.columns]
        # of a grey defect among coloured ones all channels are one
        planes = [*(min(channel, own - 2) for channel in range(channels)), own - 1]
        starts = (start + plane * height * width for plane in planes)
        numbers.append([place.defect.value, *starts])
        start += place.defect.planes.numel()
    length = max(size)
    lines = _pixels_of(axes, length).view(len(drawn), 2 * length)
    moved = torch.cat([lines, torch.tensor(numbers)], dim=1).to(device, non_blocking=True)
    rows, columns = moved[:, : size[0]], moved[:, length : length + size[1]]
    value, starts_BC = moved[:, 2 * length], moved[:, 2 * length + 1 :]
    pixel = rows[:, :, None] + columns[:, None, :]
    index = (pixel[:, None] + starts_BC[:, :, None, None]).clamp(min=0)
    return flat.take(index), value[:, None, None]


def _pixels_of(axes: Sequence[_Axis], length: int) -> Tensor:
    """(axes, length) int64, on the CPU: which of its pixels each shows, else `_NOWHERE`."""
    first, step, start, stop = torch.tensor(axes)[:, :, None].unbind(1)
    position = torch.arange(length)
    inside = (position >= start) & (position < stop)
    return (first + step * position).where(inside, _NOWHERE)
