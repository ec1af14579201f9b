"""Images and masks to train on: where they come from, at which size, decoded once.

Axes: C channels (1 of grey images, else 3), H height, W width.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.images.files import class_values
from ppl.images.room import in_room_for
from ppl.images.sets import Entry, ImageSet
from ppl.network.resize import ImageSettings, resize_image, resize_mask
from ppl.training.weak_augment import Size, WeakAugmentSettings

DECODERS = 8
"""Threads that decode images; they change the time, never the order."""

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
        return [(self._kept_size(size), self.image.at_scale(size, 1)) for size in own]

    def largest(self) -> int:
        """Pixels of the largest image, as its file has it; 0 without images."""
        entries = chain.from_iterable(part.images.entries for part in self.parts)
        return max((entry.height * entry.width for entry in entries), default=0)

    def _kept_size(self, own: Size) -> Size:
        """What training needs at most; an image at its own resolution has no more to give."""
        largest = max(1.0, self.weak.scale_max) if self.image.fit == "whole" else 1.0
        return self.image.at_scale(own, largest)

    def find(self, index: int) -> tuple[Masked, Entry]:
        """The image at `index` of all."""
        for part in self.parts:
            if index < len(part.images):
                return part, part.images.entries[index]
            index -= len(part.images)
        raise IndexError(index)

    def read(self, index: int, *, scale: float | None = None) -> Pair:
        """An image and its mask from their files, at the size at which they are kept.

        Args:
            scale: of the size to read them at instead, see `ImageSettings.at_scale`.

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
        class_values(mask, self.classes, f"of {entry.id} ({part.what})")
        own = entry.height, entry.width
        size = self._kept_size(own) if scale is None else self.image.at_scale(own, scale)
        image, mask = resize_image(image, size), resize_mask(mask, size)
        grey = torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
        return image[:1].clone() if grey else image, mask


def labeled_images(
    labeled: ImageSet, image: ImageSettings, weak: WeakAugmentSettings, classes: int
) -> TrainingImages:
    """The labeled images, with their labels."""
    return TrainingImages([Masked(labeled, labeled.mask, "labeled")], image, weak, classes)


def _read_in_room(data: TrainingImages, index: int) -> Pair:
    """An image that many threads may ask for at once: large ones are decoded one by one."""
    entry = data.find(index)[1]
    return in_room_for(entry.height * entry.width, lambda: data.read(index))


def keep(data: TrainingImages, *, memory: int) -> list[Pair] | None:
    """All images and masks, decoded, if they take at most `memory` bytes; else None.

    Raises:
        InputError: as `TrainingImages.read`.
    """
    if not len(data):
        return []
    # a grey image and its mask; colour shows when it is read
    if sum(2 * height * width for (height, width), _ in data.sizes()) > memory:
        return None
    kept, taken = [], 0
    what = ", ".join(dict.fromkeys(part.what for part in data.parts))
    with ThreadPoolExecutor(DECODERS) as pool:
        loaded = pool.map(partial(_read_in_room, data), range(len(data)))
        for pair in bar(loaded, total=len(data), desc=f"read {what}", unit="image"):
            taken += sum(tensor.nbytes for tensor in pair)
            if taken > memory:
                pool.shutdown(wait=False, cancel_futures=True)
                return None
            kept.append(pair)
    return kept
