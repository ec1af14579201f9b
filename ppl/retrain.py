"""Phases 4 and 6: train a student on labeled and pseudo-labeled images with Def-UP."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ppl.checkpoint import Checkpoint
from ppl.cutmix import CutMixSettings
from ppl.def_up import RetrainSettings, def_up_loss
from ppl.errors import InputError
from ppl.image_files import read_mask
from ppl.image_set import ImageSet, mask_file, masked_ids
from ppl.loss import LossSettings
from ppl.network import SegmentationNetwork
from ppl.resize import ImageSettings
from ppl.seeds import StatefulGenerator, generator, global_draws
from ppl.strong_augment import StrongAugmentSettings
from ppl.training import OptimizerSettings, SelectionSettings, Training, train
from ppl.training_images import BatchStream, TrainingImages, concatenate, load_training_images
from ppl.validation import validation_score
from ppl.weak_augment import WeakAugmentSettings


def retrain(
    network: SegmentationNetwork,
    labeled: ImageSet,
    validation: ImageSet,
    unlabeled: ImageSet,
    mask_folders: Sequence[Path],
    *,
    image: ImageSettings,
    weak: WeakAugmentSettings,
    strong: StrongAugmentSettings,
    cutmix: CutMixSettings,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    budget: RetrainSettings,
    seed: int,
    device: torch.device,
    name: str,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train `network` on `labeled` and on the unlabeled images with a mask in `mask_folders`.

    Args:
        name: of the student; it owns the random draws.

    Raises:
        InputError: no labeled or no pseudo-labeled image, or as `train` and
            `load_training_images`.
    """
    teaching = _pseudo_labeled(unlabeled, mask_folders, image, weak, network.classes)
    if not len(labeled) or not len(teaching):
        raise InputError(
            f"{name} has {len(labeled)} labeled and {len(teaching)} pseudo-labeled images, and "
            "needs one of each: raise split.labeled_fraction or ranking.reliable_fraction"
        )
    given = load_training_images(
        labeled, labeled.mask, image.size, weak, classes=network.classes, what="labeled"
    )

    def stream(data: TrainingImages, batch: int, what: str) -> BatchStream:
        return BatchStream(
            data,
            batch,
            image.size,
            weak,
            order=generator(seed, name, what, "order"),
            augment=generator(seed, name, what, "weak"),
        )

    labeled_stream = stream(given, budget.labeled_batch, "labeled")
    unlabeled_stream = stream(teaching, budget.unlabeled_batch, "unlabeled")
    strong_draws, cutmix_draws = generator(seed, name, "strong"), generator(seed, name, "cutmix")
    with global_draws(seed, name, "dropout"):
        return train(
            network,
            def_up_loss(
                labeled_stream,
                unlabeled_stream,
                strong,
                cutmix,
                loss,
                strong_draws=strong_draws,
                cutmix_draws=cutmix_draws,
                device=device,
            ),
            validation_score(validation, image.size, network.classes),
            iterations=budget.iterations,
            optimizer=optimizer,
            selection=selection,
            name=name,
            draws={
                "labeled": labeled_stream,
                "unlabeled": unlabeled_stream,
                "strong": StatefulGenerator(strong_draws),
                "cutmix": StatefulGenerator(cutmix_draws),
            },
            checkpoint=checkpoint,
        )


def _pseudo_labeled(
    unlabeled: ImageSet,
    mask_folders: Sequence[Path],
    image: ImageSettings,
    weak: WeakAugmentSettings,
    classes: int,
) -> TrainingImages:
    parts = [
        load_training_images(
            unlabeled.subset(masked_ids(folder)),
            lambda entry, folder=folder: read_mask(mask_file(folder, entry.id)),  # type: ignore[misc]
            image.size,
            weak,
            classes=classes,
            what=f"pseudo-labeled ({folder.name})",
        )
        for folder in mask_folders
    ]
    together = parts[0]
    for part in parts[1:]:
        together = concatenate(together, part)
    return together
