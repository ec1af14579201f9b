"""Phases 4 and 6: from prepared folders to a student on disk, and whether it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.core.settings import section, sections
from ppl.images.files import read_mask
from ppl.images.record import read_split_record
from ppl.images.sets import (
    Entry,
    ImageSet,
    mask_file,
    masked_ids,
    read_dataset_info,
    read_image_set,
)
from ppl.network.encoder_weights import network_from_encoder
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    load_network,
    pick_device,
    read_origin,
    save_network,
)
from ppl.network.resize import ImageSettings
from ppl.students.cutmix import CutMixSettings
from ppl.students.def_up import DefUp, RetrainSettings, Share, share_of_batch
from ppl.students.fall_back import Counted, FallBackSettings, judge
from ppl.students.mean_teacher import MeanTeacher, MeanTeacherSettings
from ppl.training.checkpoint import Checkpoint
from ppl.training.curve import write_training_curve
from ppl.training.decoded import keep
from ppl.training.disk import Disk, decoded_on_disk
from ppl.training.half import Half
from ppl.training.images import Masked, TrainingImages
from ppl.training.labeled import read_labeled
from ppl.training.loop import State, Training, train
from ppl.training.machine import cache_bytes
from ppl.training.recipe import Recipe
from ppl.training.validation import validation_counts, validation_score

UNCHECKED = (
    "{name}: no validation image shows a defect, so whether it is worse than the models before it "
    "is not known, and it is kept (fall_back). Raise split.validation_fraction or annotate more "
    "images to have it checked"
)
"""What to tell the user where `fall_back` has nothing to judge by."""


@dataclass(frozen=True)
class StudentSettings:
    """The sections of params.yaml that students read beside the `Recipe`, by their names."""

    cutmix: CutMixSettings
    mean_teacher: MeanTeacherSettings
    fall_back: FallBackSettings

    @property
    def strong_alone(self) -> "StudentSettings":
        """Without what Def-UP adds to strong augmentation, as ST and ST++ train."""
        return replace(
            self,
            cutmix=self.cutmix.model_copy(update={"enabled": False}),
            mean_teacher=self.mean_teacher.model_copy(update={"enabled": False}),
        )


@dataclass(frozen=True)
class StudentFiles:
    """What a student is made from: prepared image sets, dataset.json, split.json, the encoder.

    And what is left of it: the model and the curve for plots.
    """

    labeled: Path
    validation: Path
    unlabeled: Path
    dataset: Path
    record: Path
    encoder: Path
    student: Path
    curve: Path


@dataclass(frozen=True)
class StudentImages:
    """What a student learns from, and what chooses it."""

    labeled: ImageSet
    unlabeled: ImageSet
    masks: Sequence[Path]
    """Folders of pseudo-masks; unlabeled images without one teach nothing."""
    validation: ImageSet


def train_student(
    name: str,
    files: StudentFiles,
    budget: RetrainSettings,
    *,
    before: Sequence[Path],
    masks: Sequence[Path],
    def_up: bool,
    checkpoint: Checkpoint,
) -> None:
    """Train a student by params.yaml on L and on the images with a pseudo-mask, and leave it.

    Args:
        name: of the student; it owns the random draws and marks the curve.
        before: the models that `fall_back` may end with. The first made the newest pseudo-masks,
            and `budget.start` may begin with it.
        masks: folders of pseudo-masks.
        def_up: whether unlabeled images go through Def-UP, or strong augmentation alone.

    Raises:
        InputError: wrong settings, or as `retrain`.
    """
    seed = section("seed", int)
    device = pick_device()
    recipe, settings = _read(budget, def_up)
    if budget.start == "labeler":
        network = load_network(before[0], device)
    else:
        network = _fresh(files, Draws(seed, name))
    validation = read_image_set(files.validation)
    training = retrain(
        network.to(device),
        StudentImages(
            labeled=read_image_set(files.labeled),
            unlabeled=read_image_set(files.unlabeled),
            masks=masks,
            validation=validation,
        ),
        recipe,
        settings,
        budget,
        Draws(seed, name),
        checkpoint,
    )
    kept, origin = training.kept, Origin(name, training.kept_iteration)
    if settings.fall_back.enabled:
        # as they will be used: the training may have been compiled, or rounded to bfloat16
        after = load_network(before[0], device)
        after.load_state_dict(kept)
        parts = read_split_record(files.record).part_of(validation.ids)
        better = better_before(
            name, after, before, validation, parts, recipe.image, settings.fall_back
        )
        if better is not None:
            kept, origin = better
    if processes.is_first():
        save_network(files.student, network, kept, origin)
        write_training_curve(files.curve, training, model=name)


def _read(budget: RetrainSettings, def_up: bool) -> tuple[Recipe, StudentSettings]:
    """The sections of params.yaml, as they hold for a student of this budget."""
    recipe, settings = sections(Recipe), sections(StudentSettings)
    recipe = replace(recipe, optimizer=recipe.optimizer.times(budget.rate))
    return recipe, settings if def_up else settings.strong_alone


def _fresh(files: StudentFiles, draws: Draws) -> SegmentationNetwork:
    """A new network from the encoder's weights."""
    classes = len(read_dataset_info(files.dataset).classes)
    return network_from_encoder(section("model", NetworkSettings), classes, files.encoder, draws)


def retrain(
    network: SegmentationNetwork,
    images: StudentImages,
    recipe: Recipe,
    settings: StudentSettings,
    budget: RetrainSettings,
    draws: Draws,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train `network` in place by `DefUp` steps, on the device where it is.

    Args:
        draws: of the student, which is named as their owner.

    Raises:
        InputError: no labeled or, where a batch holds such, no pseudo-labeled image, or as `train`
            and `BatchStream`.
    """
    name, classes = draws.owner, network.classes
    # without unlabeled images in a batch nobody looks for masks
    folders = images.masks if budget.unlabeled_batch else []
    teaching = [_pseudo_labeled(images.unlabeled, folder) for folder in folders]
    taught = TrainingImages(teaching, recipe.image, recipe.weak_augment, classes)
    _stop_without_images(name, len(images.labeled), len(taught), budget)
    with decoded_on_disk() as disk:
        share = share_of_batch(budget, processes.own(budget.batch))
        device = next(network.parameters()).device
        halves = _halves(images.labeled, taught, recipe, budget, share, draws, device, disk)
        mean = mean_teacher(network, settings) if budget.unlabeled_batch else None
        with draws.of_layers():
            return train(
                network,
                DefUp(*halves, share, recipe, settings.cutmix, draws, mean),
                validation_score(images.validation, recipe.image, classes),
                recipe,
                iterations=budget.iterations,
                name=name,
                checkpoint=checkpoint,
            )


def _halves(
    images: ImageSet,
    taught: TrainingImages,
    recipe: Recipe,
    budget: RetrainSettings,
    share: Share,
    draws: Draws,
    device: torch.device,
    disk: Disk,
) -> tuple[Half, Half]:
    """The labeled half of a batch and the pseudo-labeled one; both have the labeled defects."""
    memory = cache_bytes()
    given = read_labeled(images, recipe, taught.classes, draws, device, memory=memory, disk=disk)
    labeled = given.half(
        budget.labeled_batch, draws.below("labeled"), positions=share.labeled, device=device
    )
    unlabeled = Half(
        keep(taught, memory=memory - given.kept.bytes, disk=disk),
        budget.unlabeled_batch,
        given.pasting,
        draws.below("unlabeled"),
        positions=share.unlabeled,
        device=device,
    )
    return labeled, unlabeled


def mean_teacher(network: SegmentationNetwork, settings: StudentSettings) -> MeanTeacher | None:
    """What labels unlabeled images anew as the network trains; None: their masks stay."""
    if not settings.mean_teacher.enabled:
        return None
    by_mean = settings.cutmix.sure_by == "mean_teacher"
    sureness = settings.cutmix.sureness if by_mean else None
    return MeanTeacher(network, settings.mean_teacher, sureness)


def _stop_without_images(name: str, labeled: int, taught: int, budget: RetrainSettings) -> None:
    if not labeled or (budget.unlabeled_batch and not taught):
        raise InputError(
            f"{name} has {labeled} labeled and {taught} pseudo-labeled images, and needs one of "
            "each: raise split.labeled_fraction or ranking.reliable_fraction"
        )


@dataclass(frozen=True)
class _PseudoMasks:
    """Reads the pseudo-mask of an entry; unlike a function inside another, workers can have it."""

    folder: Path

    def __call__(self, entry: Entry) -> Tensor:
        return read_mask(mask_file(self.folder, entry.id))


def _pseudo_labeled(unlabeled: ImageSet, folder: Path) -> Masked:
    """The unlabeled images that have a pseudo-mask in `folder`, with it."""
    images = unlabeled.subset(masked_ids(folder))
    return Masked(images, _PseudoMasks(folder), f"pseudo-labeled ({folder.name})")


def better_before(
    name: str,
    student: SegmentationNetwork,
    before: Sequence[Path],
    validation: ImageSet,
    parts: Sequence[str],
    image: ImageSettings,
    settings: FallBackSettings,
) -> tuple[State, Origin] | None:
    """The first of the models `before` that the student has to give way to; None: it is kept.

    Against each of them: what two students lose may be sure where what each loses is not. What the
    user should know of it is printed.
    """
    count = validation_counts(validation, image, student.classes)
    if count is None:
        print(UNCHECKED.format(name=name))
        return None
    found = Counted(name, count(student).cpu())
    device = next(student.parameters()).device
    earlier = {read_origin(folder): folder for folder in before}
    for origin, folder in earlier.items():
        network = load_network(folder, device)
        counts = count(network).cpu()
        verdict = judge(found, Counted(origin.training, counts), parts, settings)
        if verdict.message is not None:
            print(verdict.message)
        if not verdict.kept:
            return network.state_dict(), origin
    return None
