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
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from ppl.core.settings import Settings
from ppl.images.files import defect_classes
from ppl.images.pictures import IGNORE
from ppl.training.images import Opened, TrainingImages
from ppl.training.stream import Batch
from ppl.training.weak_augment import Region

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
    image: Tensor
    """(C, H, W) uint8."""
    mask: Tensor
    """(H, W) bool: its pixels."""
    opacity: Tensor
    """(H, W) float32: 1 on its pixels, falling to 0 over the margin."""

    def to(self, device: torch.device) -> "Defect":
        """The same on `device`."""
        parts = (self.image.to(device), self.mask.to(device), self.opacity.to(device))
        return Defect(self.value, *parts)


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
        image = image_CHW[:, cut[0], cut[1]].clone()
        found.append(Defect(value, image, part == value, opacity))
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
        new images and masks; where nothing is pasted, they are equal to the given ones.
    """
    if not bank or not settings.probability:
        return images, masks
    images, masks = images.clone(), masks.clone()
    classes = list(bank)
    for position, numbers in enumerate(draws.tolist()):
        whether, of_class, which, top, left, mirror, turn = numbers
        if whether >= settings.probability:
            continue
        defects = bank[classes[int(of_class * len(classes))]]
        defect = defects[int(which * len(defects))]
        flips = mirror < settings.flip_probability, turn < settings.vertical_flip_probability
        rows, columns = (slice(None), slice(None)) if shown is None else shown[position]
        image, mask = images[position, :, rows, columns], masks[position, rows, columns]
        _paste(image, mask, defect, (top, left), flips)
    return images, masks


def _paste(
    image: Tensor,
    mask: Tensor,
    defect: Defect,
    place: tuple[float, float],
    flips: tuple[bool, bool],
) -> None:
    """Paste in place, wholly inside the image; of a defect larger than it, a part."""
    axes = [axis for axis, flip in zip((-1, -2), flips, strict=True) if flip]
    size = mask.shape
    ranges = []
    for own, whole, draw in zip(defect.mask.shape, size, place, strict=True):
        length = min(own, whole)
        ranges.append((int(draw * (own - length + 1)), int(draw * (whole - length + 1)), length))
    (from_y, y, height), (from_x, x, width) = ranges
    cut = (slice(from_y, from_y + height), slice(from_x, from_x + width))
    target = (slice(y, y + height), slice(x, x + width))
    # on a GPU every operator is a launch, whatever it computes: of each image there are few
    pasted, shape, opacity = (
        tensor[(..., *cut)].flip(axes) if axes else tensor[(..., *cut)]
        for tensor in (defect.image, defect.mask, defect.opacity)
    )
    pasted = pasted.float() / 255
    if len(pasted) > 1:
        # on a grey image a defect is grey, whether or not its batch gave it three channels
        grey = (image == image[:1]).all()
        mean = pasted.mean(dim=0, keepdim=True)
        pasted = torch.where(grey, mean, pasted) if len(image) > 1 else mean
    there = image[(slice(None), *target)]
    # what surrounds the defect gets the mean grey level of its new place
    around = (opacity > shape).float()
    shift = ((there - pasted) * around).sum(dim=(1, 2)) / around.sum().clamp(min=1)
    pasted = (pasted + shift[:, None, None]).clamp(0, 1)
    there.lerp_(pasted, opacity.expand_as(there))
    # of another defect that the margin half hides nobody can tell what is left
    labels = mask[target]
    labels.masked_fill_(torch.logical_and(opacity >= 0.5, labels), IGNORE)
    labels.masked_fill_(shape, defect.value)
