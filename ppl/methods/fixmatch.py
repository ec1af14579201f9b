"""FixMatch for segmentation: a weak view labels a strong view of the same image, where it is sure.

Source: Sohn et al., NeurIPS 2020, as Yang et al., CVPR 2023 (UniMatch), apply it to segmentation.

Axes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ppl.methods.consistency import (
    Images,
    Labels,
    TaughtSettings,
    ThresholdSettings,
    consistency_loss,
)
from ppl.methods.together import Given, Together
from ppl.methods.views import BoxSettings, drawn_inside, mixed
from ppl.training.stream import join


class FixMatchSettings(TaughtSettings, ThresholdSettings, BoxSettings):
    """Section `fixmatch`."""

    unlabeled_batch: Annotated[Images, Field(ge=2)]
    """Two for batch normalisation: strong views go through the network by themselves."""

    @property
    def unlabeled_images(self) -> int:
        """Unlabeled images of a step: to each the one of which its strong views show a box."""
        return 2 * self.unlabeled_batch


class FixMatch(Together):
    """(supervised + consistency of one strong view) / 2."""

    def __init__(self, given: Given, settings: FixMatchSettings) -> None:
        super().__init__(given, settings)
        self._settings = settings
        self._box_draws = given.draws("boxes")

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        images, masks = self.labeled()
        pair = Pair.of(*self.unlabeled())
        of_others = Labels.of(predicted(network, pair.others), pair.others_shown)
        sizes = [len(images), len(pair.weak)]
        logits, weak_logits = network(join(images, pair.weak)).split(sizes)
        labels = Labels.of(weak_logits, pair.shown)
        view, where = self.view(pair)
        unknown = self.taught(network(view), labels.mixed(of_others, where), self._settings)
        return (self.supervised(logits, masks) + unknown) / 2

    def view(self, pair: "Pair") -> tuple[Tensor, Tensor]:
        """A strong view with a box of a strong view of the other image; (B, H, W) bool where."""
        where = drawn_inside(pair.weak, self._settings, self._box_draws)
        return mixed(self.strong(pair.weak), self.strong(pair.others), where), where

    def taught(self, logits: Tensor, labels: Labels, by: ThresholdSettings) -> Tensor:
        """`consistency_loss` by the weight that a defect has among unlabeled images."""
        return consistency_loss(logits, labels, by, self.taught_loss)


@dataclass(frozen=True)
class Pair:
    """Weak views of unlabeled images, each with that of another one."""

    weak: Tensor
    """(B, C, H, W) in [0, 1]."""
    shown: Tensor
    """(B, H, W) bool."""
    others: Tensor
    others_shown: Tensor

    @staticmethod
    def of(images: Tensor, shown: Tensor) -> "Pair":
        """The first half of a batch with the second."""
        (weak, others), (weak_shown, others_shown) = images.chunk(2), shown.chunk(2)
        return Pair(weak, weak_shown, others, others_shown)


@torch.no_grad()
def predicted(network: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Logits in eval mode, without gradients; the network is left in training mode."""
    network.eval()
    logits: Tensor = network(images_BCHW)
    network.train()
    return logits
