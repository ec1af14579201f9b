"""What the steps of methods that train once on labeled and unlabeled images have in common.

Axes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ppl.core.seeds import Draws
from ppl.images.pictures import IGNORE
from ppl.methods.consistency import TaughtSettings
from ppl.network.network import SegmentationNetwork
from ppl.training.half import Half
from ppl.training.loss import PAPER as PLAIN
from ppl.training.loss import segmentation_loss
from ppl.training.recipe import Recipe
from ppl.training.strong_augment import draw_strong, strong_augment


@dataclass(frozen=True)
class Given:
    """What such a step is made from, beside its own settings."""

    network: SegmentationNetwork
    """Trained by the loop, in place."""
    second: SegmentationNetwork | None
    """From the same encoder, its decoder drawn apart; for methods that train two."""
    labeled: Half
    unlabeled: Half
    """Without masks; its batch is all that the method takes a step."""
    recipe: Recipe
    draws: Draws


class Together:
    """Halves, strong augmentation and checkpoints of a `Step`; each method adds its loss."""

    companions: Sequence[SegmentationNetwork] = ()
    """Networks that are trained along and not kept."""

    def __init__(self, given: Given, taught: TaughtSettings) -> None:
        self.batch = given.labeled.batch + given.unlabeled.batch
        self.recipe = given.recipe
        self.loss = given.recipe.loss
        # what makes rare defects count where a mask is true makes errors grow where none is
        self.taught_loss = PLAIN.model_copy(update={"defect_weight": taught.defect_weight})
        self._labeled = given.labeled
        self._unlabeled = given.unlabeled
        self._draws = given.draws
        self._strong_draws = given.draws("strong")

    @property
    def waited(self) -> float:
        """Seconds spent until now waiting for images."""
        return self._labeled.waited + self._unlabeled.waited

    def labeled(self) -> tuple[Tensor, Tensor]:
        """The next labeled images (B, C, H, W) in [0, 1] and masks (B, H, W)."""
        images, masks = self._labeled.next()
        return (self.strong(images) if self.recipe.strong_augment.of_labeled else images), masks

    def unlabeled(self) -> tuple[Tensor, Tensor]:
        """The next unlabeled images, weakly augmented, and (B, H, W) bool where they are shown."""
        images, masks = self._unlabeled.next()
        return images, masks != IGNORE

    def strong(self, images_BCHW: Tensor) -> Tensor:
        """A strong view of images in [0, 1]."""
        settings = self.recipe.strong_augment
        drawn = draw_strong(len(images_BCHW), settings, self._strong_draws)
        return strong_augment(images_BCHW, drawn)

    def supervised(self, logits_BCHW: Tensor, masks_BHW: Tensor) -> Tensor:
        """The loss of labeled images, that of every training."""
        return segmentation_loss(logits_BCHW, masks_BHW, self.loss)

    def product(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """What is kept: the network itself."""
        return network

    def parts(self) -> dict[str, Any]:
        """All that stands somewhere, by name."""
        return {"draws": self._draws, "labeled": self._labeled, "unlabeled": self._unlabeled}

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another such step stood."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
