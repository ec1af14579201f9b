"""Phase 1: train the teacher on the labeled images alone, keeping snapshots for the ranking."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.core.settings import Settings, section, sections
from ppl.images.sets import ImageSet, read_dataset_info, read_image_set
from ppl.network.encoder_weights import network_from_encoder
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    pick_device,
    save_network,
)
from ppl.training.checkpoint import Checkpoint
from ppl.training.curve import write_training_curve
from ppl.training.disk import decoded_on_disk
from ppl.training.labeled import Warn, read_labeled
from ppl.training.loop import Training, train
from ppl.training.recipe import Recipe
from ppl.training.supervised import Supervised
from ppl.training.validation import validation_score

TEACHER = "teacher"
"""Its name; it owns the random draws and marks the curve."""


class SupervisedSettings(Settings):
    """Section `train_supervised`."""

    iterations: Annotated[int, Field(ge=1, le=10_000_000)]
    batch: Annotated[int, Field(ge=2, le=65_536)]
    snapshots: Annotated[int, Field(ge=2, le=20)]


@dataclass(frozen=True)
class TeacherFiles:
    """What the teacher is made from: prepared image sets, dataset.json, what `import_encoder` left.

    And what is left of it: the model, a folder of snapshots 1, 2, ..., the curve for plots.
    """

    labeled: Path
    validation: Path
    dataset: Path
    encoder: Path
    teacher: Path
    snapshots: Path
    curve: Path


def train_teacher(files: TeacherFiles, checkpoint: Checkpoint) -> None:
    """Train the teacher by params.yaml and leave it.

    Raises:
        InputError: wrong settings, or as `train_supervised`.
    """
    seed, recipe = section("seed", int), sections(Recipe)
    classes, labeled = read_dataset_info(files.dataset).classes, read_image_set(files.labeled)
    network = network_from_encoder(
        section("model", NetworkSettings), len(classes), files.encoder, Draws(seed, TEACHER)
    )
    training = train_supervised(
        network.to(pick_device()),
        labeled,
        read_image_set(files.validation),
        recipe,
        section("train_supervised", SupervisedSettings),
        Draws(seed, TEACHER),
        checkpoint,
        warn=Warn("train_supervised", classes),
    )
    if not processes.is_first():
        return
    save_network(files.teacher, network, training.kept, Origin(TEACHER, training.kept_iteration))
    for number, (iteration, state) in enumerate(training.snapshots, start=1):
        save_network(files.snapshots / str(number), network, state, Origin(TEACHER, iteration))
    write_training_curve(files.curve, training, model=TEACHER)


def train_supervised(
    network: SegmentationNetwork,
    labeled: ImageSet,
    validation: ImageSet,
    recipe: Recipe,
    supervised: SupervisedSettings,
    draws: Draws,
    checkpoint: Checkpoint | None = None,
    *,
    warn: Warn | None = None,
) -> Training:
    """Train `network` in place by `Supervised` steps, on the device where it is.

    Args:
        warn: as in `read_labeled`.

    Raises:
        InputError: no labeled image, or as `train` and `BatchStream`.
    """
    if not len(labeled):
        raise InputError(
            "no labeled image is left for training: raise split.labeled_fraction or lower "
            "split.validation_fraction"
        )
    device = next(network.parameters()).device
    with decoded_on_disk() as disk:
        given = read_labeled(labeled, recipe, network.classes, draws, device, disk=disk, warn=warn)
        own = processes.own(supervised.batch)
        half = given.half(supervised.batch, draws, positions=own, device=device)
        with draws.of_layers():
            return train(
                network,
                Supervised(half, recipe, draws),
                validation_score(validation, recipe.image, network.classes),
                recipe,
                iterations=supervised.iterations,
                snapshots=supervised.snapshots,
                name=draws.owner,
                checkpoint=checkpoint,
            )
