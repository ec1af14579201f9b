"""What a training on labeled images alone minimises."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ppl.core import processes
from ppl.core.seeds import Draws
from ppl.network.network import SegmentationNetwork
from ppl.training.half import Half
from ppl.training.loss import segmentation_loss
from ppl.training.recipe import Recipe
from ppl.training.shared_layers import part_of_batch
from ppl.training.strong_augment import draw_strong, strong_augment


class Supervised:
    """The `Step` of the teacher: `segmentation_loss` on weakly augmented labeled images."""

    companions: Sequence[SegmentationNetwork] = ()

    def __init__(self, labeled: Half, recipe: Recipe, draws: Draws) -> None:
        self.batch = labeled.batch
        self._labeled = labeled
        self._strong = recipe.strong_augment
        self._loss = recipe.loss
        self._draws = draws
        self._strong_draws = draws("strong")

    @property
    def waited(self) -> float:
        """Seconds spent until now waiting for images."""
        return self._labeled.waited

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        return self.loss_of(network, *self.drawn(network))

    def drawn(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """The next images (B, C, H, W) in [0, 1] and masks (B, H, W)."""
        images, masks = self._labeled.next()
        if self._strong.of_labeled:
            drawn = draw_strong(self.batch, self._strong, self._strong_draws)
            images = strong_augment(images, [drawn[i] for i in processes.own(self.batch)])
        return images, masks

    def loss_of(self, network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        """The loss of such a batch."""
        with part_of_batch(processes.own(self.batch), self.batch):
            logits = network(images)
        return segmentation_loss(logits, masks, self._loss)

    def product(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """What is kept: the network itself."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""
        return {"draws": self._draws.state_dict(), "labeled": self._labeled.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another such step stood."""
        self._draws.load_state_dict(state["draws"])
        self._labeled.load_state_dict(state["labeled"])
