"""CPS: two networks of one architecture teach each other what the likeliest classes are.

Source: Chen et al., CVPR 2021, and its published code. The first network is the product.

Axes: B batch, C channels, H height, W width.
"""

from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ppl.images.pictures import IGNORE
from ppl.methods.consistency import Images, TaughtSettings
from ppl.methods.together import Given, Together
from ppl.network.network import SegmentationNetwork
from ppl.students.cutmix import box_masks, elongated_boxes
from ppl.training.loss import cross_entropy

Weight = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(gt=0, lt=1)]


class CpsSettings(TaughtSettings):
    """Section `cps`."""

    unlabeled_batch: Annotated[Images, Field(ge=2)]
    """Two for batch normalisation: the halves go through the networks one after the other."""
    weight: Weight

    @property
    def unlabeled_images(self) -> int:
        """Unlabeled images of a step."""
        return self.unlabeled_batch


class CpsCutMixSettings(CpsSettings):
    """Section `cps_cutmix`."""

    boxes: Annotated[int, Field(ge=1, le=16)]
    area_min: Share
    area_max: Share

    @model_validator(mode="after")
    def _ordered(self) -> "CpsCutMixSettings":
        if self.area_min > self.area_max:
            raise ValueError(f"area_min {self.area_min} is above area_max {self.area_max}")
        return self

    @property
    def unlabeled_images(self) -> int:
        """Unlabeled images of a step: to each the one that is mixed in."""
        return 2 * self.unlabeled_batch


class Cps(Together):
    """CE(p1, y) + CE(p2, y) + weight * (CE(p1, argmax p2) + CE(p2, argmax p1)).

    The last two over labeled and unlabeled images, weakly augmented; no gradient passes arg max.
    """

    def __init__(self, given: Given, settings: CpsSettings) -> None:
        assert given.second is not None
        super().__init__(given, settings)
        self.companions = (given.second,)
        self._settings = settings

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch."""
        return self.loss_of(network, *self.drawn(network))

    def drawn(self, network: nn.Module) -> tuple[Tensor, ...]:
        """The next labeled images and masks, unlabeled images, and where these are shown."""
        return *self.labeled(), *self.unlabeled()

    def loss_of(self, network: nn.Module, *drawn: Tensor) -> Tensor:
        """The loss of such a batch."""
        images, masks, unlabeled, shown = drawn
        second = self._second()
        both = torch.cat([masks != IGNORE, shown])
        own_1, own_2 = network(images), second(images)
        logits_1 = torch.cat([own_1, network(unlabeled)])
        logits_2 = torch.cat([own_2, second(unlabeled)])
        crossed = self._taught(logits_1, logits_2, both) + self._taught(logits_2, logits_1, both)
        known = self.supervised(own_1, masks) + self.supervised(own_2, masks)
        return known + self._settings.weight * crossed

    def _second(self) -> SegmentationNetwork:
        (second,) = self.companions
        return second.train()

    def _taught(self, logits: Tensor, by: Tensor, shown: Tensor) -> Tensor:
        """Cross-entropy with what the other network says, where an image is shown."""
        return cross_entropy(
            logits, by.detach().argmax(dim=1).where(shown, IGNORE), self.taught_loss
        )

    def parts(self) -> dict[str, Any]:
        """The second network, too."""
        return super().parts() | {"second": self.companions[0]}


class CpsCutMix(Cps):
    """The networks' predictions of two unlabeled images, mixed, label the mixed image.

    The predictions are made in training mode, without gradients, their logits mixed by boxes that
    combine by exclusive or. 8 forward and 4 backward passes a step.
    """

    def __init__(self, given: Given, settings: CpsCutMixSettings) -> None:
        super().__init__(given, settings)
        self._cutmix = settings
        self._box_draws = given.draws("boxes")

    def drawn(self, network: nn.Module) -> tuple[Tensor, ...]:
        """Those, and (B, H, W) bool where the first half of the unlabeled shows the other one."""
        batch = super().drawn(network)
        return *batch, self._drawn(batch[2].chunk(2)[0])

    def loss_of(self, network: nn.Module, *drawn: Tensor) -> Tensor:
        """The loss of such a batch."""
        images, masks, unlabeled, shown, where = drawn
        second = self._second()
        first_half, other_half = unlabeled.chunk(2)

        def mixed(below: Tensor, above: Tensor) -> Tensor:
            return torch.where(
                where.view(-1, *[1] * (below.ndim - 3), *where.shape[1:]), above, below
            )

        with torch.no_grad():
            labels_1, labels_2 = (
                mixed(one(first_half), one(other_half)) for one in (network, second)
            )
        mixed_shown = mixed(*shown.chunk(2))
        image = mixed(first_half, other_half)
        logits_1, logits_2 = network(image), second(image)
        crossed = self._taught(logits_1, labels_2, mixed_shown)
        crossed = crossed + self._taught(logits_2, labels_1, mixed_shown)
        known = self.supervised(network(images), masks) + self.supervised(second(images), masks)
        return known + self._settings.weight * crossed

    def _drawn(self, images: Tensor) -> Tensor:
        """(B, H, W) bool: where each image shows the other one."""
        size = (images.shape[2], images.shape[3])
        area = self._cutmix.area_min, self._cutmix.area_max
        boxes = [elongated_boxes(size, self._cutmix.boxes, area, self._box_draws) for _ in images]
        return box_masks(boxes, size, images.device, "xor")
