"""Phases 4 and 6: train a student on labeled and pseudo-labeled images with Def-UP."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.seeds import StatefulGenerator, generator, global_draws
from ppl.images.files import read_mask
from ppl.images.sets import Entry, ImageSet, mask_file, masked_ids
from ppl.network.network import SegmentationNetwork
from ppl.network.resize import ImageSettings
from ppl.students.cutmix import CutMixSettings
from ppl.students.def_up import RetrainSettings, def_up_loss, share_of_batch
from ppl.students.mean_teacher import MeanTeacher, MeanTeacherSettings
from ppl.training.batches import BatchStream, Masked, TrainingImages
from ppl.training.checkpoint import Checkpoint
from ppl.training.loop import ComputeSettings, OptimizerSettings, SelectionSettings, Training, train
from ppl.training.loss import LossSettings
from ppl.training.machine import cache_bytes
from ppl.training.paste import PasteSettings, new_pasting
from ppl.training.sampling import SamplingSettings, labeled_repeats
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.validation import validation_score
from ppl.training.weak_augment import WeakAugmentSettings


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
    sampling: SamplingSettings,
    paste: PasteSettings,
    mean_teacher: MeanTeacherSettings,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    compute: ComputeSettings,
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
        InputError: no labeled or, where a batch holds such, no pseudo-labeled image, or as `train`
            and `BatchStream`.
    """
    given, teaching = (
        TrainingImages(parts, image, weak, network.classes)
        for parts in (
            [Masked(labeled, labeled.mask, "labeled")],
            # without unlabeled images in a batch none is read
            [
                _pseudo_labeled(unlabeled, folder)
                for folder in mask_folders
                if budget.unlabeled_batch
            ],
        )
    )
    if not len(labeled) or (budget.unlabeled_batch and not len(teaching)):
        raise InputError(
            f"{name} has {len(labeled)} labeled and {len(teaching)} pseudo-labeled images, and "
            "needs one of each: raise split.labeled_fraction or ranking.reliable_fraction"
        )
    whole = budget.labeled_batch + budget.unlabeled_batch
    share = share_of_batch(budget, processes.own(whole))
    memory = cache_bytes()

    def stream(
        data: TrainingImages,
        batch: int,
        positions: Sequence[int],
        what: str,
        memory: int,
        repeats: Sequence[float] | None = None,
    ) -> BatchStream:
        return BatchStream(
            data,
            batch,
            order=generator(seed, name, what, "order"),
            augment=generator(seed, name, what, "weak"),
            positions=positions,
            repeats=repeats,
            memory=memory,
            device=device,
        )

    labeled_stream = stream(
        given,
        budget.labeled_batch,
        share.labeled,
        "labeled",
        memory,
        labeled_repeats(labeled, sampling),
    )
    unlabeled_stream = stream(
        teaching,
        budget.unlabeled_batch,
        share.unlabeled,
        "unlabeled",
        memory - labeled_stream.bytes_kept,
    )
    strong_draws, cutmix_draws = generator(seed, name, "strong"), generator(seed, name, "cutmix")
    labeled_draws = generator(seed, name, "strong of labeled")
    pasting = new_pasting(given, paste, generator(seed, name, "paste"), device)
    mean = (
        MeanTeacher(network, mean_teacher)
        if mean_teacher.enabled and budget.unlabeled_batch
        else None
    )
    with global_draws(seed, name, "dropout"):
        return train(
            network,
            def_up_loss(
                labeled_stream,
                unlabeled_stream,
                strong,
                cutmix,
                loss,
                budget,
                pasting,
                mean,
                labeled_draws=labeled_draws,
                strong_draws=strong_draws,
                cutmix_draws=cutmix_draws,
            ),
            validation_score(validation, image, network.classes),
            iterations=budget.iterations,
            batch=whole,
            optimizer=optimizer,
            selection=selection,
            compute=compute,
            name=name,
            draws={
                "labeled": labeled_stream,
                "unlabeled": unlabeled_stream,
                "paste": StatefulGenerator(pasting.generator),
                "strong of labeled": StatefulGenerator(labeled_draws),
                "strong": StatefulGenerator(strong_draws),
                "cutmix": StatefulGenerator(cutmix_draws),
                **({} if mean is None else {"mean teacher": mean}),
            },
            waited=lambda: labeled_stream.waited + unlabeled_stream.waited,
            checkpoint=checkpoint,
        )


@dataclass(frozen=True)
class _PseudoMasks:
    """Reads the pseudo-mask of an entry; unlike a function inside another, workers can have it."""

    folder: Path

    def __call__(self, entry: Entry) -> Tensor:
        return read_mask(mask_file(self.folder, entry.id))


def _pseudo_labeled(unlabeled: ImageSet, folder: Path) -> Masked:
    images = unlabeled.subset(masked_ids(folder))
    return Masked(images, _PseudoMasks(folder), f"pseudo-labeled ({folder.name})")
