"""Labels made anew while a student trains, by the running mean of its weights.

A pseudo-mask is made once, and a long training learns its mistakes, too. The running mean of a
student's weights knows what the student has learned since, and errs less than its latest state.
Sources: Tarvainen & Valpola, NeurIPS 2017 (the mean of a student's weights as its teacher); Sohn et
al., NeurIPS 2020 (FixMatch: of weakly augmented images, where it is confident).

Axes: B batch, C classes, H height, W width.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.images.pictures import IGNORE
from ppl.network.network import SegmentationNetwork
from ppl.training.graphs import NewReplayed, Replayed, Results
from ppl.training.running_mean import averaged, move, rounded_down


class MeanTeacherSettings(Settings):
    """Section `mean_teacher`."""

    enabled: bool
    momentum: Annotated[float, Field(ge=0, lt=1)]
    confident: Annotated[float, Field(ge=0, le=1)]
    kept: bool = False
    """Whether the mean is the student, in place of the weights of which it is one."""


PAPER = MeanTeacherSettings(enabled=False, momentum=0.99, confident=0.9)
"""Pseudo-masks stay as their labeler made them."""


class MeanTeacher:
    """The running mean of a network's weights, and of its batch normalisations' statistics.

    Args:
        sureness: from softmax (B, C, H, W) to how sure it is, where somebody asks for that, too:
            one pass then gives labels and sureness.
    """

    def __init__(
        self,
        student: SegmentationNetwork,
        settings: MeanTeacherSettings,
        sureness: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._confident = settings.confident
        self.kept = settings.kept
        self._sureness = sureness
        self.sureness: Tensor | None = None
        """(B,) how sure it was of the images that it labeled last, 0-1, if that is asked for."""
        self._momentum = settings.momentum
        self._replayed: Replayed | None = None
        self._mean = AveragedModel(student, use_buffers=True)
        self._mean.eval().requires_grad_(False)

    @property
    def network(self) -> SegmentationNetwork:
        """The network that has the mean's weights, in eval mode."""
        assert isinstance(self._mean.module, SegmentationNetwork)
        return self._mean.module

    def follow(self, student: torch.nn.Module) -> None:
        """Take the student's weights into the mean; at first the mean is these."""
        network = processes.bare(student)
        self._mean.module.precision = network.precision
        kept = self._momentum
        move(self._mean, network, averaged(kept), rounded_down(kept))

    @torch.no_grad()
    def labels(self, images_BCHW: Tensor, masks_BHW: Tensor) -> Tensor:
        """`relabeled` pseudo-masks of weakly augmented images, (B, H, W) int64.

        Args:
            images_BCHW: float32 in [0, 1].
            masks_BHW: their pseudo-masks, int64, 255 where nothing is known.
        """
        if not len(images_BCHW):
            self.sureness = images_BCHW.new_zeros(0)
            return masks_BHW
        compute = self._computed if self._replayed is None else self._replayed
        labels, self.sureness = compute(images_BCHW, masks_BHW)
        assert labels is not None
        return labels

    def _computed(self, images_BCHW: Tensor, masks_BHW: Tensor) -> Results:
        """Labels, and how sure it is if that is asked for."""
        prob_BCHW = self._mean(images_BCHW).softmax(dim=1)
        sureness = None if self._sureness is None else self._sureness(prob_BCHW)
        return relabeled(prob_BCHW, masks_BHW, confident=self._confident), sureness

    def replay_predictions(self, replayed: NewReplayed) -> None:
        """Have `labels` computed by a graph; they hold until it is asked for the next ones."""
        self._replayed = replayed(self._computed, "labels of the mean teacher")

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self._mean.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another mean of such a network stood."""
        self._mean.load_state_dict(state)


def relabeled(prob_BCHW: Tensor, masks_BHW: Tensor, *, confident: float) -> Tensor:
    """What each pixel teaches: the class predicted now, where it is sure or the mask agrees.

    Where the mask says another class and the prediction is less than `confident`, nothing is known
    (255). What the mask leaves out, such as what lies beyond an image's edge, stays out.
    """
    sure_BHW, predicted_BHW = prob_BCHW.max(dim=1)
    kept_BHW = (sure_BHW >= confident) | (predicted_BHW == masks_BHW)
    return predicted_BHW.where(kept_BHW & (masks_BHW != IGNORE), IGNORE)
