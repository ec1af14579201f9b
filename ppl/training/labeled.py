"""What a training takes from its labeled images: all of it from one decoding of each."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ppl.core import processes
from ppl.core.seeds import Draws
from ppl.images.sets import ImageSet
from ppl.training.decoded import Kept, keep
from ppl.training.disk import Disk
from ppl.training.half import Half
from ppl.training.images import Opened, labeled_images
from ppl.training.paste import Cutting, Pasting
from ppl.training.recipe import Recipe
from ppl.training.sampling import labeled_repeats
from ppl.training.vanishing import seen_classes, vanishing


@dataclass(frozen=True)
class Labeled:
    """The labeled images of a training, looked at."""

    kept: Kept
    pasting: Pasting
    """With their defects."""
    repeats: list[float] | None
    """How often a pass shows each, on average; None: once."""

    def half(
        self, batch: int, draws: Draws, *, positions: Sequence[int], device: torch.device
    ) -> Half:
        """The labeled half of a step; arguments as of `Half`."""
        return Half(
            self.kept,
            batch,
            self.pasting,
            draws,
            positions=positions,
            repeats=self.repeats,
            device=device,
        )


@dataclass(frozen=True)
class Warn:
    """Whom to tell which classes vanish at the networks' size."""

    stage: str
    names: Sequence[str]
    """Of the classes, by index."""


class _Looks:
    """A `Look` at the classes of each image, and at the defects to paste."""

    def __init__(self, count: int, cutting: Cutting, *, at_size: bool) -> None:
        self.drawn: list[list[int]] = [[]] * count
        self.seen: list[list[int]] = [[]] * count
        self._cutting = cutting
        self._at_size = at_size

    def __call__(self, index: int, opened: Opened) -> None:
        self.drawn[index] = opened.defects
        if self._at_size:
            self.seen[index] = seen_classes(opened)
        self._cutting(index, opened)


def read_labeled(
    labeled: ImageSet,
    recipe: Recipe,
    classes: int,
    draws: Draws,
    device: torch.device,
    *,
    memory: int | None = None,
    disk: Disk | None = None,
    warn: Warn | None = None,
) -> Labeled:
    """Decode the labeled images, each once, and take from them what a training needs.

    Args:
        classes: a mask holds 0 .. classes - 1 and 255 (ignore).
        draws: of the training.
        memory, disk: where they are kept decoded, see `keep`.
        warn: unless given, nobody is told what vanishes.

    Raises:
        InputError: as `keep`.
    """
    data = labeled_images(labeled, recipe.image, recipe.weak_augment, classes)
    cutting = Cutting(data, recipe.paste, draws("paste"))
    looks = _Looks(len(data), cutting, at_size=warn is not None)
    kept = keep(data, memory=memory, disk=disk, look=looks)
    if warn is not None and processes.is_first():
        for warning in vanishing(looks.drawn, looks.seen, recipe.image, warn.names):
            print(f"{warn.stage}: warning: {warning}", file=sys.stderr)
    return Labeled(kept, cutting.pasting(device), labeled_repeats(looks.drawn, recipe.sampling))
