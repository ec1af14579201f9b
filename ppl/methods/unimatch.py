"""UniMatch: a weak view labels two strong views and itself with features dropped.

Source: Yang et al., CVPR 2023, and its published code.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppl.methods.consistency import Images, Labels, ThresholdSettings
from ppl.methods.features import changed_features, with_dropped_copy
from ppl.methods.fixmatch import FixMatch, FixMatchSettings, Pair, predicted
from ppl.methods.together import Given
from ppl.network.network import SegmentationNetwork
from ppl.training.stream import join


class UniMatchSettings(FixMatchSettings):
    """Section `unimatch`."""

    unlabeled_batch: Images
    """One has two strong views, which go through the network together."""


@dataclass(frozen=True)
class Seen:
    """What the network said of a batch's unlabeled images."""

    pair: Pair
    strong: Sequence[Tensor]
    """Logits (B, C, H, W) of each strong view."""
    where: Sequence[Tensor]
    """(B, H, W) bool: where each shows the other image."""
    dropped: Tensor
    """Logits of the weak view from features with dropped channels."""


class UniMatch(FixMatch):
    """(supervised + s1 / 4 + s2 / 4 + features / 2) / 2, each but the first a consistency.

    Weak views of labeled and unlabeled images pass the network together, and once more from the
    same features with half of their channels dropped; both strong views pass it together.
    """

    def __init__(self, given: Given, settings: UniMatchSettings) -> None:
        super().__init__(given, settings)
        self._feature_draws = given.draws("features")

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        assert isinstance(network, SegmentationNetwork)
        images, masks = self.labeled()
        pair = Pair.of(*self.unlabeled())
        of_others = Labels.of(predicted(network, pair.others), pair.others_shown)
        with changed_features(network, *with_dropped_copy(self._feature_draws)):
            found = network(join(images, pair.weak))
        sizes = [len(images), len(pair.weak)]
        logits, weak_logits, _, dropped = found.split(sizes + sizes)
        views = [self.view(pair) for _ in range(2)]
        strong = network(torch.cat([view for view, _ in views])).chunk(2)
        seen = Seen(pair, strong, [where for _, where in views], dropped)
        own = self.unknown(seen, Labels.of(weak_logits, pair.shown), of_others, self._settings)
        return (self.supervised(logits, masks) + own + self.further(network, seen)) / 2

    def unknown(
        self, seen: Seen, labels: Labels, of_others: Labels, by: ThresholdSettings
    ) -> Tensor:
        """What labels of the weak views teach of all that was seen."""
        strong = [
            self.taught(logits, labels.mixed(of_others, where), by)
            for logits, where in zip(seen.strong, seen.where, strict=True)
        ]
        dropped = self.taught(seen.dropped, labels, by)
        return 0.25 * strong[0] + 0.25 * strong[1] + 0.5 * dropped

    def further(self, network: SegmentationNetwork, seen: Seen) -> Tensor | float:
        """What a method built on this one adds."""
        return 0.0
