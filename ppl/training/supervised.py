"""Phase 1: train the teacher on the labeled images alone, keeping snapshots for the ranking."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.seeds import StatefulGenerator, generator, global_draws
from ppl.core.settings import Settings
from ppl.images.sets import ImageSet
from ppl.network.network import SegmentationNetwork
from ppl.network.resize import ImageSettings
from ppl.training.batches import BatchStream, Masked, TrainingImages
from ppl.training.checkpoint import Checkpoint
from ppl.training.loop import ComputeSettings, OptimizerSettings, SelectionSettings, Training, train
from ppl.training.loss import LossSettings, segmentation_loss
from ppl.training.paste import PasteSettings, new_pasting
from ppl.training.sampling import SamplingSettings, labeled_repeats
from ppl.training.shared_layers import part_of_batch
from ppl.training.strong_augment import StrongAugmentSettings, draw_strong, strong_augment
from ppl.training.validation import validation_score
from ppl.training.weak_augment import WeakAugmentSettings


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
    strong: StrongAugmentSettings,
    sampling: SamplingSettings,
    paste: PasteSettings,
    loss: LossSettings,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    compute: ComputeSettings,
    supervised: SupervisedSettings,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """`segmentation_loss` on weakly augmented labeled images.

    Raises:
        InputError: no labeled image, or as `train` and `BatchStream`.
    """
    if not len(labeled):
        raise InputError(
            "no labeled image is left for training: raise split.labeled_fraction or lower "
            "split.validation_fraction"
        )
    mine = processes.own(supervised.batch)
    data = TrainingImages([Masked(labeled, labeled.mask, "labeled")], image, weak, network.classes)
    strong_draws = generator(seed, "teacher", "strong")
    pasting = new_pasting(data, paste, generator(seed, "teacher", "paste"), device)
    stream = BatchStream(
        data,
        supervised.batch,
        order=generator(seed, "teacher", "order"),
        augment=generator(seed, "teacher", "weak"),
        positions=mine,
        repeats=labeled_repeats(labeled, sampling),
        device=device,
    )

    def batch_loss(network: nn.Module) -> Tensor:
        images, masks = pasting(stream.next(), pasting.draw(supervised.batch)[list(mine)])
        if strong.of_labeled:
            drawn = draw_strong(supervised.batch, strong, strong_draws)
            images = strong_augment(images, [drawn[i] for i in mine])
        with part_of_batch(mine, supervised.batch):
            logits = network(images)
        return segmentation_loss(logits, masks, loss)

    with global_draws(seed, "teacher", "dropout"):
        return train(
            network,
            batch_loss,
            validation_score(validation, image, network.classes),
            iterations=supervised.iterations,
            batch=supervised.batch,
            optimizer=optimizer,
            selection=selection,
            compute=compute,
            snapshots=supervised.snapshots,
            name="teacher",
            draws={
                "labeled": stream,
                "paste": StatefulGenerator(pasting.generator),
                "strong": StatefulGenerator(strong_draws),
            },
            waited=lambda: stream.waited,
            checkpoint=checkpoint,
        )
