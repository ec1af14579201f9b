"""Def-UP, the perturbation of PPL's students: labeled and pseudo-labeled images in one loss.

Source: Wu et al., TNNLS 2024; the steps are numbered as in the paper's algorithm.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from ppl.confidence import confidence
from ppl.cutmix import CutMixSettings, label_efficient_cutmix
from ppl.loss import LossSettings, cross_entropy
from ppl.network import SegmentationNetwork
from ppl.settings import Settings
from ppl.strong_augment import StrongAugmentSettings, strong_augment
from ppl.training_images import BatchStream


class RetrainSettings(Settings):
    """Sections `retrain_reliable` and `retrain_final`: start, budget, the two halves of a batch."""

    start: Literal["fresh", "labeler"]
    iterations: Annotated[int, Field(ge=1)]
    labeled_batch: Annotated[int, Field(ge=1)]
    unlabeled_batch: Annotated[int, Field(ge=1)]


def perturb(
    network: SegmentationNetwork,
    labeled: tuple[Tensor, Tensor],
    unlabeled: tuple[Tensor, Tensor],
    strong: StrongAugmentSettings,
    cutmix: CutMixSettings,
    *,
    strong_draws: Generator,
    cutmix_draws: Generator,
) -> tuple[Tensor, Tensor]:
    """The unlabeled half of a batch after strong augmentation and label-efficient CutMix.

    Both batches are weakly augmented images (B, 3, H, W) in [0, 1] and masks (B, H, W); the
    result has the unlabeled batch's shapes. The network is left in the mode it was in.
    """
    images, masks = unlabeled
    if not cutmix.enabled:
        return strong_augment(images, strong, strong_draws), masks
    sureness = network_confidence(network, images)
    if cutmix.order == "after_strong":
        images = strong_augment(images, strong, strong_draws)
    images, masks = label_efficient_cutmix((images, masks), labeled, sureness, cutmix, cutmix_draws)
    if cutmix.order == "before_strong":
        images = strong_augment(images, strong, strong_draws)
    return images, masks


@torch.no_grad()
def network_confidence(network: SegmentationNetwork, images_BCHW: Tensor) -> Tensor:
    """(B,) `confidence` of the network being trained, in eval mode, without gradients."""
    was_training = network.training
    network.eval()
    result = confidence(network(images_BCHW).softmax(dim=1))
    network.train(was_training)
    return result


def def_up_loss(
    labeled: BatchStream,
    unlabeled: BatchStream,
    strong: StrongAugmentSettings,
    cutmix: CutMixSettings,
    loss: LossSettings,
    *,
    strong_draws: Generator,
    cutmix_draws: Generator,
    device: torch.device,
) -> Callable[[SegmentationNetwork], Tensor]:
    """A training step's loss: one cross-entropy over [labeled; perturbed unlabeled]."""

    def batch_loss(network: SegmentationNetwork) -> Tensor:
        labeled_batch, unlabeled_batch = labeled.next(device), unlabeled.next(device)
        images, masks = perturb(
            network,
            labeled_batch,
            unlabeled_batch,
            strong,
            cutmix,
            strong_draws=strong_draws,
            cutmix_draws=cutmix_draws,
        )
        logits = network(torch.cat([labeled_batch[0], images]))
        return cross_entropy(logits, torch.cat([labeled_batch[1], masks]), loss)

    return batch_loss
