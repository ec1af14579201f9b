"""Methods that train once: from prepared folders to a model on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.core.settings import PARAMS_FILE, checked, section, sections
from ppl.images.sets import Entry, ImageSet, read_dataset_info, read_image_set
from ppl.methods.consistency import OnceSettings
from ppl.methods.cps import Cps, CpsCutMix, CpsCutMixSettings, CpsSettings
from ppl.methods.fixmatch import FixMatch, FixMatchSettings
from ppl.methods.prevmatch import PrevMatch, PrevMatchSettings
from ppl.methods.together import Given
from ppl.methods.unimatch import UniMatch, UniMatchSettings
from ppl.methods.unimatch_v2 import UniMatchV2, UniMatchV2Settings
from ppl.network.encoder_weights import network_from_encoder
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    pick_device,
    save_network,
)
from ppl.training.checkpoint import Checkpoint
from ppl.training.curve import CURVE, write_training_curve
from ppl.training.decoded import keep
from ppl.training.disk import Disk, decoded_on_disk
from ppl.training.half import Half
from ppl.training.images import Masked, TrainingImages
from ppl.training.labeled import Warn, read_labeled
from ppl.training.loop import Step, Training, train
from ppl.training.machine import cache_bytes
from ppl.training.paste import Pasting
from ppl.training.recipe import Recipe
from ppl.training.supervised import Supervised
from ppl.training.validation import validation_score

FINAL = "final"
"""Whatever method made it, the product has this name."""


SETTINGS: dict[str, type[OnceSettings]] = {
    "supervised": OnceSettings,
    "cps": CpsSettings,
    "cps_cutmix": CpsCutMixSettings,
    "fixmatch": FixMatchSettings,
    "unimatch": UniMatchSettings,
    "unimatch_v2": UniMatchV2Settings,
    "prevmatch": PrevMatchSettings,
}
"""The section of each method."""

STEPS: dict[type[OnceSettings], Any] = {
    CpsSettings: Cps,
    CpsCutMixSettings: CpsCutMix,
    FixMatchSettings: FixMatch,
    UniMatchSettings: UniMatch,
    UniMatchV2Settings: UniMatchV2,
    PrevMatchSettings: PrevMatch,
}
"""What a training of each minimises; `supervised` does as the teacher."""


@dataclass(frozen=True)
class OnceFiles:
    """What such a model is made from, and where it is left, with its curve beside it."""

    labeled: Path
    validation: Path
    unlabeled: Path
    dataset: Path
    encoder: Path
    model: Path


@dataclass(frozen=True)
class OnceImages:
    """What such a method learns from, and what chooses its model."""

    labeled: ImageSet
    unlabeled: ImageSet
    validation: ImageSet


@dataclass(frozen=True)
class Networks:
    """The network to train, and another for methods that train two."""

    first: SegmentationNetwork
    second: SegmentationNetwork | None = None


def train_at_once(name: str, given: Any, files: OnceFiles, checkpoint: Checkpoint) -> None:
    """Train by the method `name` and leave its model.

    Args:
        given: its section of params.yaml.

    Raises:
        InputError: wrong settings, or as `train_together`.
    """
    if name not in SETTINGS:
        raise InputError(f"{name} is no method that trains once: they are {', '.join(SETTINGS)}")
    # handed on by choose_method, which read it
    settings = checked(name, given, SETTINGS[name], file=PARAMS_FILE)
    model, draws = section("model", NetworkSettings), Draws(section("seed", int), FINAL)
    classes, device = read_dataset_info(files.dataset).classes, pick_device()
    second = None
    if isinstance(settings, CpsSettings):
        second = network_from_encoder(model, len(classes), files.encoder, draws.below("second"))
        second.to(device)
    network = network_from_encoder(model, len(classes), files.encoder, draws).to(device)
    images = OnceImages(*map(read_image_set, (files.labeled, files.unlabeled, files.validation)))
    recipe = sections(Recipe)
    training = train_together(
        name,
        Networks(network, second),
        images,
        recipe,
        settings,
        draws,
        checkpoint,
        warn=Warn("train_at_once", classes),
    )
    save_network(files.model, network, training.kept, Origin(FINAL, training.kept_iteration))
    write_training_curve(files.model / CURVE, training, model=FINAL)


def train_together(
    name: str,
    networks: Networks,
    images: OnceImages,
    recipe: Recipe,
    settings: OnceSettings,
    draws: Draws,
    checkpoint: Checkpoint | None = None,
    *,
    warn: Warn | None = None,
) -> Training:
    """Train the first network in place by the steps of a method, on the device where it is.

    Args:
        warn: as in `read_labeled`.

    Raises:
        InputError: no labeled image, no unlabeled one for a method that lives on them, or as
            `train` and `BatchStream`.
    """
    _stop_without_images(name, images, settings)
    with draws.of_layers(), decoded_on_disk() as disk:
        return train(
            networks.first,
            new_step(networks, images, recipe, settings, draws, disk, warn),
            validation_score(images.validation, recipe.image, networks.first.classes),
            recipe,
            iterations=settings.iterations,
            name=name,
            checkpoint=checkpoint,
        )


def new_step(
    networks: Networks,
    images: OnceImages,
    recipe: Recipe,
    settings: OnceSettings,
    draws: Draws,
    disk: Disk,
    warn: Warn | None,
) -> Step:
    """What a training of a method minimises."""
    network = networks.first
    classes, device = network.classes, next(network.parameters()).device
    memory = cache_bytes()
    known = read_labeled(
        images.labeled, recipe, classes, draws, device, memory=memory, disk=disk, warn=warn
    )
    count = settings.labeled_batch
    labeled = known.half(count, draws.below("labeled"), positions=range(count), device=device)
    if not settings.unlabeled_images:
        return Supervised(labeled, recipe, draws)
    bare = [Masked(images.unlabeled, _no_mask, "unlabeled")]
    data = TrainingImages(bare, recipe.image, recipe.weak_augment, classes)
    unlabeled = Half(
        keep(data, memory=memory - known.kept.bytes, disk=disk),
        settings.unlabeled_images,
        # nothing is pasted where nobody knows what the rest shows
        Pasting(recipe.paste, {}, draws("paste into unlabeled")),
        draws.below("unlabeled"),
        positions=range(settings.unlabeled_images),
        device=device,
    )
    given = Given(network, networks.second, labeled, unlabeled, recipe, draws)
    step: Step = STEPS[type(settings)](given, settings)
    return step


def _no_mask(entry: Entry) -> Tensor:
    """A mask of an image without one: all of it is shown, and what lies beyond its edge is 255."""
    return torch.zeros(entry.height, entry.width, dtype=torch.uint8)


def _stop_without_images(name: str, images: OnceImages, settings: OnceSettings) -> None:
    if not len(images.labeled):
        raise InputError(
            f"{name}: no labeled image is left for training: raise split.labeled_fraction or lower "
            "split.validation_fraction"
        )
    if settings.unlabeled_images and not len(images.unlabeled):
        raise InputError(
            f"{name} learns from unlabeled images, and there are none: lower "
            "split.labeled_fraction or add images without masks"
        )
