"""Images and masks to train on: where they come from, and at which size they are kept.

Axes: C channels (1 of grey images, else 3), H height, W width.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.files import class_values
from ppl.images.pictures import IGNORE
from ppl.images.sets import Entry, ImageSet
from ppl.network.resize import ImageSettings, resize_image, resize_mask
from ppl.training.weak_augment import Size, WeakAugmentSettings

Pair = tuple[Tensor, Tensor]
"""An image (C, H, W) and its mask (H, W), both uint8."""


@dataclass(frozen=True)
class Masked:
    """Images of one folder, each with a mask."""

    images: ImageSet
    read_mask: Callable[[Entry], Tensor]
    """The (H, W) uint8 mask of an entry: its label or its pseudo-mask."""
    what: str
    """Names them to the user."""


@dataclass(frozen=True)
class TrainingImages:
    """Images in a row, each at the size at which it is kept.

    Args:
        parts: where they come from, one after the other.
        image, weak: decide at which size an image is kept.
        classes: a mask holds 0 .. classes - 1 and 255 (ignore).
    """

    parts: Sequence[Masked]
    image: ImageSettings
    weak: WeakAugmentSettings
    classes: int

    def __len__(self) -> int:
        return sum(len(part.images) for part in self.parts)

    def sizes(self) -> list[tuple[Size, Size]]:
        """Of each image, height and width in pixels: as it is kept, and at scale 1."""
        entries = chain.from_iterable(part.images.entries for part in self.parts)
        own = [(entry.height, entry.width) for entry in entries]
        return [(self.kept_size(size), self.image.at_scale(size, 1)) for size in own]

    def largest(self) -> int:
        """Pixels of the largest image, as its file has it; 0 without images."""
        entries = chain.from_iterable(part.images.entries for part in self.parts)
        return max((entry.height * entry.width for entry in entries), default=0)

    def kept_size(self, own: Size) -> Size:
        """What training needs at most of an image of size `own`.

        One at its own resolution has no more to give.
        """
        largest = max(1.0, self.weak.scale_max) if self.image.fit == "whole" else 1.0
        return self.image.at_scale(own, largest)

    def find(self, index: int) -> tuple[Masked, Entry]:
        """The image at `index` of all."""
        for part in self.parts:
            if index < len(part.images):
                return part, part.images.entries[index]
            index -= len(part.images)
        raise IndexError(index)

    def open(self, index: int) -> "Opened":
        """An image and its mask, decoded from their files.

        Raises:
            InputError: an unreadable image or mask, a mask of another size than its image, or a
                value that is no class: pseudo-masks may have been corrected by hand.
        """
        part, entry = self.find(index)
        image, mask = part.images.image(entry), part.read_mask(entry)
        if mask.shape != image.shape[1:]:
            raise InputError(
                f"mask of {entry.id} is {mask.shape[1]} x {mask.shape[0]} pixels, its image "
                f"{image.shape[2]} x {image.shape[1]}: give the mask the image's own size"
            )
        values = class_values(mask, self.classes, f"of {entry.id} ({part.what})")
        return Opened(self, (entry.height, entry.width), image, mask, values)

    def read(self, index: int) -> Pair:
        """An image and its mask from their files, at the size at which they are kept.

        Raises:
            InputError: as `open`.
        """
        return self.open(index).kept()


@dataclass(frozen=True)
class Opened:
    """An image and its mask, decoded."""

    data: TrainingImages
    """To which they belong."""
    own: Size
    """Of the image, in pixels."""
    image: Tensor
    """(3, H, W) uint8."""
    mask: Tensor
    """(H, W) uint8."""
    values: Collection[int]
    """That occur in the mask."""
    _at: dict[Size, Pair] = field(default_factory=dict)

    @property
    def defects(self) -> list[int]:
        """The classes but background (0) and 255 (ignore) that occur in the mask, ascending."""
        return sorted(value for value in self.values if value not in (0, IGNORE))

    def kept(self) -> Pair:
        """Both at the size at which they are kept."""
        return self._resized(self.data.kept_size(self.own))

    def at_scale(self, scale: float) -> Pair:
        """Both at `scale`, see `ImageSettings.at_scale`."""
        return self._resized(self.data.image.at_scale(self.own, scale))

    def _resized(self, size: Size) -> Pair:
        if size not in self._at:
            image, mask = resize_image(self.image, size), resize_mask(self.mask, size)
            grey = torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
            self._at[size] = (image[:1].clone() if grey else image, mask)
        return self._at[size]


def labeled_images(
    labeled: ImageSet, image: ImageSettings, weak: WeakAugmentSettings, classes: int
) -> TrainingImages:
    """The labeled images, with their labels."""
    return TrainingImages([Masked(labeled, labeled.mask, "labeled")], image, weak, classes)
