"""Def-UP, the perturbation of PPL's students: labeled and pseudo-labeled images in one loss.

Source: Wu et al., TNNLS 2024; the steps are numbered as in the paper's algorithm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.network.confidence import confidence
from ppl.students.cutmix import CutMixSettings, draw_cutmix, label_efficient_cutmix
from ppl.students.mean_teacher import MeanTeacher
from ppl.training.batches import BatchStream, join
from ppl.training.loss import LossSettings, segmentation_loss
from ppl.training.paste import Pasting
from ppl.training.shared_layers import part_of_batch
from ppl.training.strong_augment import StrongAugmentSettings, draw_strong, strong_augment


class RetrainSettings(Settings):
    """Sections `retrain_reliable` and `retrain_final`: start, budget, the two halves of a batch."""

    start: Literal["fresh", "labeler"]
    iterations: Annotated[int, Field(ge=1)]
    labeled_batch: Annotated[int, Field(ge=1)]
    unlabeled_batch: Annotated[int, Field(ge=0)]
    """0: none, so that the student shows what its steps give without the unlabeled images."""

    @model_validator(mode="after")
    def _have_a_variance(self) -> "RetrainSettings":
        if self.labeled_batch + self.unlabeled_batch < 2:
            raise ValueError(
                "batch normalisation needs two images a step, labeled_batch and unlabeled_batch "
                "together: raise one of them"
            )
        return self


@dataclass(frozen=True)
class Share:
    """Which images of a step's batch, [labeled; unlabeled], one process computes.

    It needs more than it computes: to each unlabeled image its right neighbour, which is mixed in,
    and to that a labeled one, which may be pasted in.
    """

    labeled: Sequence[int]
    """Positions of the labeled images needed, own ones first."""
    own_labeled: int
    unlabeled: Sequence[int]
    """Positions of the unlabeled images needed, own ones first."""
    partners: Sequence[int]
    """To each needed unlabeled image its labeled one: an index into `labeled`."""
    neighbours: Sequence[int]
    """To each own unlabeled image its neighbour: an index into `unlabeled`."""


def share_of_batch(budget: RetrainSettings, images: range) -> Share:
    """What a process needs that computes `images` of a step's batch."""
    labeled, unlabeled = budget.labeled_batch, budget.unlabeled_batch
    own_labeled = [i for i in images if i < labeled]
    own = [i - labeled for i in images if i >= labeled]
    following = [(i + 1) % unlabeled for i in own]
    needed = own + [i for i in following if i not in own]
    pasted = [i % labeled for i in needed]
    both = own_labeled + sorted(set(pasted) - set(own_labeled))
    return Share(
        labeled=both,
        own_labeled=len(own_labeled),
        unlabeled=needed,
        partners=[both.index(i) for i in pasted],
        neighbours=[needed.index(i) for i in following],
    )


def perturb(
    network: nn.Module,
    labeled: tuple[Tensor, Tensor],
    unlabeled: tuple[Tensor, Tensor],
    strong: StrongAugmentSettings,
    cutmix: CutMixSettings,
    share: Share,
    batch: int,
    *,
    strong_draws: Generator,
    cutmix_draws: Generator,
) -> tuple[Tensor, Tensor]:
    """The unlabeled half of a batch after strong augmentation and label-efficient CutMix.

    Both halves are weakly augmented images (B, C, H, W) in [0, 1] and masks (B, H, W), those that
    `share` needs; the result has the shapes of its own unlabeled ones. Drawn is for all `batch`
    unlabeled images. The network is left in the mode it was in.
    """
    images, masks = unlabeled
    size = (images.shape[2], images.shape[3])
    of_strong = draw_strong(batch, strong, strong_draws)
    of_strong = [of_strong[i] for i in share.unlabeled]
    own = len(share.neighbours)
    if not cutmix.enabled:
        return strong_augment(images[:own], of_strong[:own]), masks[:own]
    of_cutmix = draw_cutmix(batch, size, cutmix, cutmix_draws)
    if not own:
        return images, masks
    sureness = network_confidence(network, images)
    if cutmix.order == "after_strong":
        images = strong_augment(images, of_strong)
    images, masks = label_efficient_cutmix(
        (images, masks),
        labeled,
        sureness,
        [of_cutmix[i] for i in share.unlabeled],
        partners=share.partners,
        neighbours=share.neighbours,
    )
    if cutmix.order == "before_strong":
        images = strong_augment(images, of_strong[:own])
    return images, masks


@torch.no_grad()
def network_confidence(network: nn.Module, images_BCHW: Tensor) -> Tensor:
    """(B,) `confidence` of the network being trained, in eval mode, without gradients."""
    network = processes.bare(network)
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
    budget: RetrainSettings,
    pasting: Pasting,
    mean_teacher: MeanTeacher | None = None,
    *,
    labeled_draws: Generator,
    strong_draws: Generator,
    cutmix_draws: Generator,
) -> Callable[[nn.Module], Tensor]:
    """A training step's loss: one `segmentation_loss` over [labeled; perturbed unlabeled].

    The streams give the images that this process's share needs; `mean_teacher` labels the unlabeled
    ones anew. Then defects are pasted into both halves, as if the images had been taken so.
    """
    whole = budget.labeled_batch + budget.unlabeled_batch
    mine = processes.own(whole)
    share = share_of_batch(budget, mine)

    def batch_loss(network: nn.Module) -> Tensor:
        of_labeled, of_unlabeled = (
            pasting.draw(half) for half in (budget.labeled_batch, budget.unlabeled_batch)
        )
        labeled_batch = pasting(labeled.next(), of_labeled[share.labeled])
        pseudo_labeled = unlabeled.next()
        if mean_teacher is not None:
            mean_teacher.follow(network)
            seen = mean_teacher.labels(pseudo_labeled.images, pseudo_labeled.masks)
            pseudo_labeled = pseudo_labeled._replace(masks=seen)
        unlabeled_batch = pasting(pseudo_labeled, of_unlabeled[share.unlabeled])
        images, masks = perturb(
            network,
            labeled_batch,
            unlabeled_batch,
            strong,
            cutmix,
            share,
            budget.unlabeled_batch,
            strong_draws=strong_draws,
            cutmix_draws=cutmix_draws,
        )
        given, given_masks = (of[: share.own_labeled] for of in labeled_batch)
        if strong.of_labeled:
            drawn = draw_strong(budget.labeled_batch, strong, labeled_draws)
            given = strong_augment(given, [drawn[i] for i in mine if i < budget.labeled_batch])
        with part_of_batch(mine, whole):
            logits = network(join(given, images))
        return segmentation_loss(logits, torch.cat([given_masks, masks]), loss)

    return batch_loss
