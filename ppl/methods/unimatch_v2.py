"""UniMatch V2: the running mean of the network labels two strong views that share their features.

Source: Yang et al., TPAMI 2025, and its published code. There the network is DPT on DINOv2, trained
by AdamW; here it is that of section `model`, trained as section `optimizer` says.

Axes: B batch, C channels, H height, W width.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ppl.methods.consistency import (
    Images,
    Labels,
    TaughtSettings,
    ThresholdSettings,
    consistency_loss,
)
from ppl.methods.features import changed_features, complementary_dropout
from ppl.methods.together import Given, Together
from ppl.methods.views import BoxSettings, drawn_inside, mixed
from ppl.network.network import SegmentationNetwork
from ppl.training.running_mean import averaged, copied, move


class UniMatchV2Settings(TaughtSettings, ThresholdSettings, BoxSettings):
    """Section `unimatch_v2`."""

    unlabeled_batch: Annotated[Images, Field(ge=2)]
    """Two: each shows a box of another one of the batch."""
    momentum: Annotated[float, Field(ge=0, lt=1)]

    @property
    def unlabeled_images(self) -> int:
        """Unlabeled images of a step."""
        return self.unlabeled_batch


class UniMatchV2(Together):
    """(supervised + (s1 + s2) / 2) / 2 with labels of the running mean."""

    def __init__(self, given: Given, settings: UniMatchV2Settings) -> None:
        super().__init__(given, settings)
        self._settings = settings
        self._box_draws = given.draws("boxes")
        self._feature_draws = given.draws("features")
        self._mean = running_mean(given.network)

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        assert isinstance(network, SegmentationNetwork)
        follow(self._mean, network, self._settings.momentum)
        images, masks = self.labeled()
        weak, shown = self.unlabeled()
        with torch.no_grad():
            labels = Labels.of(self._mean(weak), shown)
        flipped = Labels(labels.classes.flip(0), labels.confidence.flip(0), labels.shown.flip(0))
        views, taught = [], []
        for _ in range(2):
            where = drawn_inside(weak, self._settings, self._box_draws)
            strong = self.strong(weak)
            views.append(mixed(strong, strong.flip(0), where))
            taught.append(labels.mixed(flipped, where))
        known = self.supervised(network(images), masks)
        dropout = complementary_dropout(len(weak), self._feature_draws)
        with changed_features(network, dropout):
            strong_logits = network(torch.cat(views)).chunk(2)
        unknown = [
            consistency_loss(logits, of, self._settings, self.taught_loss)
            for logits, of in zip(strong_logits, taught, strict=True)
        ]
        return (known + (unknown[0] + unknown[1]) / 2) / 2

    def parts(self) -> dict[str, Any]:
        """The running mean, too."""
        return super().parts() | {"mean": self._mean}


def running_mean(network: SegmentationNetwork) -> AveragedModel:
    """The running mean of a network's weights and buffers, in eval mode; at first it is them."""
    average = AveragedModel(network, use_buffers=True)
    average.eval().requires_grad_(False)
    return average


def follow(mean: AveragedModel, network: SegmentationNetwork, momentum: float) -> None:
    """Take the network's weights into its running mean, which computes as it does.

    Of step k it keeps min(1 - 1 / k, momentum), so that it forgets the start.
    """
    assert isinstance(mean.module, SegmentationNetwork)
    mean.module.precision = network.precision
    kept = min(1 - 1 / max(1, int(mean.n_averaged)), momentum)
    move(mean, network, averaged(kept), copied)
