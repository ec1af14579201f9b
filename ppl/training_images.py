"""Training images in memory, and endless shuffled batches of them.

Axes: N images, B batch, H height, W width.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from ppl.errors import InputError
from ppl.image_files import class_values
from ppl.image_set import Entry, ImageSet
from ppl.resize import resize_image, resize_mask, scaled_size
from ppl.weak_augment import WeakAugmentSettings, weak_augment

DECODERS = 8
"""Threads that decode images; they change the time, never the order."""


@dataclass(frozen=True)
class TrainingImages:
    """Images (N, 3, H, W) and masks (N, H, W), both uint8, at the largest size training needs."""

    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.images)


def load_training_images(
    image_set: ImageSet,
    read_mask: Callable[[Entry], Tensor],
    size: tuple[int, int],
    weak: WeakAugmentSettings,
    *,
    classes: int,
    what: str,
) -> TrainingImages:
    """Decode every image once and keep it at `size` times the largest augmentation scale.

    Args:
        read_mask: gives the (H, W) uint8 mask of an entry: its label or its pseudo-mask.
        classes: a mask holds 0 .. classes - 1 and 255 (ignore).
        what: names the set on the progress bar.

    Raises:
        InputError: an unreadable image or mask, a mask of another size than its image, or a value
            that is no class: pseudo-masks may have been corrected by hand.
    """
    stored = scaled_size(size, max(1.0, weak.scale_max))

    def load(entry: Entry) -> tuple[Tensor, Tensor]:
        image, mask = image_set.image(entry), read_mask(entry)
        if mask.shape != image.shape[1:]:
            raise InputError(
                f"mask of {entry.id} is {mask.shape[1]} x {mask.shape[0]} pixels, its image "
                f"{image.shape[2]} x {image.shape[1]}: give the mask the image's own size"
            )
        class_values(mask, classes, f"of {entry.id} ({what})")
        return resize_image(image, stored), resize_mask(mask, stored)

    images = torch.empty((len(image_set), 3, *stored), dtype=torch.uint8)
    masks = torch.empty((len(image_set), *stored), dtype=torch.uint8)
    with ThreadPoolExecutor(DECODERS) as pool:
        loaded = pool.map(load, image_set.entries)
        progress = tqdm(loaded, total=len(image_set), desc=f"read {what}", unit="image")
        for index, (image, mask) in enumerate(progress):
            images[index], masks[index] = image, mask
    return TrainingImages(images, masks)


def concatenate(first: TrainingImages, second: TrainingImages) -> TrainingImages:
    """The images of both, the first's first."""
    return TrainingImages(
        torch.cat([first.images, second.images]), torch.cat([first.masks, second.masks])
    )


class BatchStream:
    """Endless weakly augmented batches: reshuffled at each pass, every image once a pass.

    A batch may span passes, so that no image is dropped and all batches are of one size: with
    fewer images than a batch holds, it shows an image several times, each augmented for itself.
    """

    def __init__(
        self,
        data: TrainingImages,
        batch: int,
        size: tuple[int, int],
        weak: WeakAugmentSettings,
        *,
        order: Generator,
        augment: Generator,
    ) -> None:
        assert len(data) > 0, "an empty stream never ends"
        self._data = data
        self._batch = batch
        self._size = size
        self._weak = weak
        self._order = order
        self._augment = augment
        self._waiting: list[int] = []

    def next(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) float32 in [0, 1] and masks (B, H, W) int64, on `device`."""
        while len(self._waiting) < self._batch:
            self._waiting += torch.randperm(len(self._data), generator=self._order).tolist()
        chosen, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        images, masks = weak_augment(
            self._data.images[chosen],
            self._data.masks[chosen],
            self._size,
            self._weak,
            self._augment,
        )
        return images.to(device).float() / 255, masks.to(device).long()

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, for a checkpoint."""
        return {
            "waiting": self._waiting,
            "order": self._order.get_state(),
            "augment": self._augment.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a stream over the same images stood."""
        self._waiting = state["waiting"]
        self._order.set_state(state["order"])
        self._augment.set_state(state["augment"])
