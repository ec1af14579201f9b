"""Phase 1: train the teacher on the labeled images alone, keeping snapshots for the ranking."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.checkpoint import Checkpoint
from ppl.errors import InputError
from ppl.image_set import ImageSet
from ppl.loss import LossSettings, cross_entropy
from ppl.network import SegmentationNetwork
from ppl.resize import ImageSettings
from ppl.seeds import generator, global_draws
from ppl.settings import Settings
from ppl.training import OptimizerSettings, SelectionSettings, Training, train
from ppl.training_images import BatchStream, load_training_images
from ppl.validation import validation_score
from ppl.weak_augment import WeakAugmentSettings


class SupervisedSettings(Settings):
    """Section `train_supervised`."""

    iterations: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=2)]
    snapshots: Annotated[int, Field(ge=2, le=20)]


def train_supervised(
    network: SegmentationNetwork,
    labeled: ImageSet,
    validation: ImageSet,
    *,
    image: ImageSettings,
    weak: WeakAugmentSettings,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    supervised: SupervisedSettings,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Cross-entropy on weakly augmented labeled images.

    Raises:
        InputError: no labeled image, or as `train` and `load_training_images`.
    """
    if not len(labeled):
        raise InputError(
            "no labeled image is left for training: raise split.labeled_fraction or lower "
            "split.validation_fraction"
        )
    stream = BatchStream(
        load_training_images(
            labeled, labeled.mask, image.size, weak, classes=network.classes, what="labeled"
        ),
        supervised.batch,
        image.size,
        weak,
        order=generator(seed, "teacher", "order"),
        augment=generator(seed, "teacher", "weak"),
    )

    def batch_loss(network: SegmentationNetwork) -> Tensor:
        images, masks = stream.next(device)
        return cross_entropy(network(images), masks, loss)

    with global_draws(seed, "teacher", "dropout"):
        return train(
            network,
            batch_loss,
            validation_score(validation, image.size, network.classes),
            iterations=supervised.iterations,
            optimizer=optimizer,
            selection=selection,
            snapshots=supervised.snapshots,
            name="teacher",
            draws={"labeled": stream},
            checkpoint=checkpoint,
        )
