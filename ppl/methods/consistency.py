"""Labels that a network gives unlabeled images as it trains, and what they teach.

Axes: B batch, C classes, H height, W width.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core.settings import Settings
from ppl.images.pictures import IGNORE
from ppl.training.loss import LossSettings, cross_entropy

Images = Annotated[int, Field(ge=1, le=65_536)]


class OnceSettings(Settings):
    """What the sections of all methods that train once share."""

    iterations: Annotated[int, Field(ge=1, le=10_000_000)]
    labeled_batch: Annotated[int, Field(ge=2, le=65_536)]
    """Batch normalisation needs two."""

    @property
    def unlabeled_images(self) -> int:
        """Unlabeled images of a step; 0: the method does without."""
        return 0


class TaughtSettings(OnceSettings):
    """What the sections of methods that live on unlabeled images share."""

    defect_weight: Annotated[float, Field(ge=1, le=1000)]
    """Of a defect pixel in the loss of unlabeled images; published: 1."""


class ThresholdSettings(Settings):
    """From which confidence on a pixel's label teaches."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    class_share: Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Labels:
    """What unlabeled images are taken for."""

    classes: Tensor
    """(B, H, W) int64, the likeliest class; no gradient passes it."""
    confidence: Tensor
    """(B, H, W) its probability, 0-1."""
    shown: Tensor
    """(B, H, W) bool: false beyond the edge of an image, where nothing is to learn."""

    @staticmethod
    def of(logits_BCHW: Tensor, shown_BHW: Tensor) -> "Labels":
        """The prediction itself."""
        confidence, classes = logits_BCHW.detach().softmax(dim=1).max(dim=1)
        return Labels(classes, confidence, shown_BHW)

    def mixed(self, other: "Labels", where_BHW: Tensor) -> "Labels":
        """`other` where true, as their images are mixed."""
        return Labels(
            other.classes.where(where_BHW, self.classes),
            other.confidence.where(where_BHW, self.confidence),
            other.shown.where(where_BHW, self.shown),
        )

    def taught(self, settings: ThresholdSettings) -> Tensor:
        """(B, H, W) int64: the classes of the pixels that teach, 255 elsewhere."""
        enough = class_thresholds(self, settings)[self.classes]
        return self.classes.where(self.shown & (self.confidence >= enough), IGNORE)


def class_thresholds(labels: Labels, settings: ThresholdSettings) -> Tensor:
    """(256,) the confidence from which a pixel of each class teaches.

    It is `threshold`, and below that where less than `class_share` of the pixels of a class would
    teach: then that share of them does. A threshold for all unlearns rare defects, of which a
    network is never as sure as of background. A class without a pixel keeps `threshold`.
    """
    found = labels.confidence.new_full((256,), settings.threshold)
    if not settings.class_share:
        return found
    for value in torch.unique(labels.classes[labels.shown]).tolist():
        sureness = labels.confidence[labels.shown & (labels.classes == value)].sort().values
        # at least this many of the surest
        count = math.ceil(len(sureness) * settings.class_share)
        found[value] = torch.minimum(found[value], sureness[len(sureness) - count])
    return found


def consistency_loss(
    logits_BCHW: Tensor, labels: Labels, settings: ThresholdSettings, loss: LossSettings
) -> Tensor:
    """Cross-entropy summed over the pixels that teach, divided by all that are shown; a scalar.

    So a batch of which little is sure teaches little. Defect pixels weigh as `loss` says, in the
    sum and in the divisor: with equal weights, the default, this is the published loss.
    """
    shown = labels.classes.where(labels.shown, IGNORE)
    return cross_entropy(logits_BCHW, labels.taught(settings), loss, over_BHW=shown)
