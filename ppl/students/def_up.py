"""Def-UP, the perturbation of PPL's students: labeled and pseudo-labeled images in one loss.

Source: Wu et al., TNNLS 2024; the steps are numbered as in the paper's algorithm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from ppl.core import processes
from ppl.core.seeds import Draws
from ppl.core.settings import Settings
from ppl.network.confidence import confidence
from ppl.network.network import SegmentationNetwork
from ppl.students.cutmix import CutMixSettings, draw_cutmix, label_efficient_cutmix
from ppl.students.mean_teacher import MeanTeacher
from ppl.training.graphs import NewReplayed, Results
from ppl.training.half import Half
from ppl.training.loss import segmentation_loss
from ppl.training.recipe import Recipe
from ppl.training.shared_layers import part_of_batch
from ppl.training.stream import join
from ppl.training.strong_augment import StrongAugmentSettings, draw_strong, strong_augment


class RetrainSettings(Settings):
    """Sections `retrain_reliable` and `retrain_final`: start, budget, the two halves of a batch."""

    start: Literal["fresh", "labeler"]
    rate: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Multiplies the optimizer's rates."""
    iterations: Annotated[int, Field(ge=1, le=10_000_000)]
    labeled_batch: Annotated[int, Field(ge=1, le=65_536)]
    unlabeled_batch: Annotated[int, Field(ge=0, le=65_536)]
    """0: none, so that the student shows what its steps give without the unlabeled images."""

    @property
    def batch(self) -> int:
        """Images of a step."""
        return self.labeled_batch + self.unlabeled_batch

    @model_validator(mode="after")
    def _have_a_variance(self) -> "RetrainSettings":
        if self.batch < 2:
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
    batch: int
    """Unlabeled images of the step, over all processes: drawn is for all of them."""
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
        batch=unlabeled,
        unlabeled=needed,
        partners=[both.index(i) for i in pasted],
        neighbours=[needed.index(i) for i in following],
    )


@dataclass(frozen=True)
class Perturbation:
    """What Def-UP does to the unlabeled half of a batch, and what it draws from."""

    strong: StrongAugmentSettings
    cutmix: CutMixSettings
    share: Share
    strong_draws: Generator
    cutmix_draws: Generator
    confidence: "ReplayedConfidence | None" = None
    """Asked in place of `network_confidence`."""

    def __call__(
        self,
        network: nn.Module,
        labeled: tuple[Tensor, Tensor],
        unlabeled: tuple[Tensor, Tensor],
        sureness: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Strong augmentation and label-efficient CutMix.

        Both halves are weakly augmented images (B, C, H, W) in [0, 1] and masks (B, H, W), those
        that `share` needs; the result has the shapes of its own unlabeled ones. The network is left
        in the mode it was in.

        Args:
            sureness: (B,) how sure is what labeled them, 0-1; asked of the network unless given.
        """
        images, masks = unlabeled
        share, cutmix = self.share, self.cutmix
        of_strong = draw_strong(share.batch, self.strong, self.strong_draws)
        of_strong = [of_strong[i] for i in share.unlabeled]
        own = len(share.neighbours)
        if not cutmix.enabled:
            return strong_augment(images[:own], of_strong[:own]), masks[:own]
        size = (images.shape[2], images.shape[3])
        of_cutmix = draw_cutmix(share.batch, size, cutmix, self.cutmix_draws)
        if not own:
            return images, masks
        if sureness is None:
            if self.confidence is not None:
                sureness = self.confidence(network, images)
            else:
                sureness = network_confidence(network, images, cutmix.sureness)
        if cutmix.order == "after_strong":
            images = strong_augment(images, of_strong)
        images, masks = label_efficient_cutmix(
            (images, masks),
            labeled,
            sureness,
            [of_cutmix[i] for i in share.unlabeled],
            partners=share.partners,
            neighbours=share.neighbours,
            combine=cutmix.combine,
        )
        if cutmix.order == "before_strong":
            images = strong_augment(images, of_strong[:own])
        return images, masks


Sureness = Callable[[Tensor], Tensor]
"""Of softmax (B, C, H, W) how sure it is, (B,) in 0-1."""


@torch.no_grad()
def network_confidence(
    network: nn.Module, images_BCHW: Tensor, sureness: Sureness = confidence
) -> Tensor:
    """(B,) `sureness` of the network being trained, in eval mode, without gradients."""
    network = processes.bare(network)
    was_training = network.training
    network.eval()
    result = sureness(network(images_BCHW).softmax(dim=1))
    network.train(was_training)
    return result


class ReplayedConfidence:
    """`network_confidence` by a graph; it holds until it is asked for the next one."""

    def __init__(self, sureness: Sureness, replayed: NewReplayed) -> None:
        self._sureness = sureness
        self._network: nn.Module | None = None
        self._replayed = replayed(self._computed, "confidence passes")

    def __call__(self, network: nn.Module, images_BCHW: Tensor) -> Tensor:
        self._network = network
        (found,) = self._replayed(images_BCHW)
        assert found is not None
        return found

    def _computed(self, images_BCHW: Tensor) -> Results:
        assert self._network is not None
        return (network_confidence(self._network, images_BCHW, self._sureness),)


class DefUp:
    """A student's `Step`: one `segmentation_loss` over [labeled; perturbed unlabeled].

    Args:
        labeled, unlabeled: the images that this process's share needs.
        share: which those are.
        mean_teacher: labels the unlabeled ones anew, before defects are pasted into them.
    """

    companions: Sequence[SegmentationNetwork] = ()

    def __init__(
        self,
        labeled: Half,
        unlabeled: Half,
        share: Share,
        recipe: Recipe,
        cutmix: CutMixSettings,
        draws: Draws,
        mean_teacher: MeanTeacher | None = None,
    ) -> None:
        self.batch = labeled.batch + unlabeled.batch
        self._labeled = labeled
        self._unlabeled = unlabeled
        self._share = share
        self._strong = recipe.strong_augment
        self._loss = recipe.loss
        self._cutmix = cutmix
        self._mean_teacher = mean_teacher
        self._draws = draws
        self._labeled_draws = draws("strong of labeled")
        self._perturb = Perturbation(
            recipe.strong_augment, cutmix, share, draws("strong"), draws("cutmix")
        )

    @property
    def waited(self) -> float:
        """Seconds spent until now waiting for images."""
        return self._labeled.waited + self._unlabeled.waited

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        return self.loss_of(network, *self.drawn(network))

    def drawn(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """The next images (B, C, H, W) in [0, 1], labeled ones first, and masks (B, H, W)."""
        labeled = self._labeled.next()
        sureness = None
        if self._mean_teacher is None:
            unlabeled = self._unlabeled.next()
        else:
            self._mean_teacher.follow(network)
            unlabeled = self._unlabeled.next(self._mean_teacher.labels)
            if self._cutmix.sure_by == "mean_teacher":
                sureness = self._mean_teacher.sureness
        images, masks = self._perturb(network, labeled, unlabeled, sureness)
        # what is mixed into unlabeled images is the labeled one as it is
        given, given_masks = (of[: self._share.own_labeled] for of in labeled)
        if self._strong.of_labeled:
            drawn = draw_strong(self._labeled.batch, self._strong, self._labeled_draws)
            mine = processes.own(self.batch)
            given = strong_augment(given, [drawn[i] for i in mine if i < self._labeled.batch])
        return join(given, images), torch.cat([given_masks, masks])

    def loss_of(self, network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        """The loss of such a batch."""
        with part_of_batch(processes.own(self.batch), self.batch):
            logits = network(images)
        return segmentation_loss(logits, masks, self._loss)

    def replay_predictions(self, replayed: NewReplayed) -> None:
        """Have the labels of the mean teacher and the confidence of CutMix computed by graphs."""
        asked = ReplayedConfidence(self._cutmix.sureness, replayed)
        self._perturb = replace(self._perturb, confidence=asked)
        if self._mean_teacher is not None:
            self._mean_teacher.replay_predictions(replayed)

    def product(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """What is kept: the network itself, or the running mean of its weights before this step."""
        mean = self._mean_teacher
        return network if mean is None or not mean.kept else mean.network

    def _parts(self) -> dict[str, Any]:
        """All that stands somewhere, by name."""
        parts = {"draws": self._draws, "labeled": self._labeled, "unlabeled": self._unlabeled}
        return parts if self._mean_teacher is None else parts | {"mean": self._mean_teacher}

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another such step stood."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
