"""Batches that are known, for steps of methods to be held against plain versions of themselves."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppl.core.seeds import Draws
from ppl.images.pictures import IGNORE
from ppl.methods.together import Given
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.training.compute import ComputeSettings
from ppl.training.loss import PAPER, LossSettings
from ppl.training.optimizer import OptimizerSettings
from ppl.training.paste import PAPER as NOTHING_PASTED
from ppl.training.recipe import Recipe
from ppl.training.sampling import SamplingSettings
from ppl.training.selection import SelectionSettings
from ppl.training.strong_augment import PAPER as STRONG
from ppl.training.strong_augment import draw_strong, strong_augment
from ppl.training.weak_augment import WeakAugmentSettings
from tests.conftest import whole

SIDE = 32
LOSS = PAPER.model_copy(update={"defect_weight": 3.0})
TAUGHT = PAPER.model_copy(update={"defect_weight": 2.0})
"""Of unlabeled images; another weight, so that one taken for the other is found."""

RECIPE = Recipe(
    image=whole(SIDE, SIDE),
    weak_augment=WeakAugmentSettings(
        scale_min=1.0, scale_max=1.0, flip_probability=0.5, vertical_flip_probability=0.0
    ),
    strong_augment=STRONG,
    sampling=SamplingSettings(repeat_below=0.0),
    paste=NOTHING_PASTED,
    loss=LOSS,
    optimizer=OptimizerSettings(
        encoder_lr=0.01, decoder_lr_multiple=1.0, momentum=0.9, weight_decay=1e-4, poly_power=0.9
    ),
    selection=SelectionSettings(by="last", every=2),
    compute=ComputeSettings(precision="float32", compile=False),
)

BOXES = {
    "box_probability": 0.7,
    "box_area_min": 0.02,
    "box_area_max": 0.4,
    "box_aspect_max": 3.333,
}


class FixedHalf:
    """Gives the same batch again and again."""

    waited = 0.0

    def __init__(self, images: Tensor, masks: Tensor) -> None:
        self.batch = len(images)
        self._given = images, masks

    def next(self) -> tuple[Tensor, Tensor]:
        return self._given

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {}


def batch(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and masks of three classes; a strip at the right lies beyond the image."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIDE, SIDE, generator=draws)
    masks = torch.randint(0, 3, (count, SIDE, SIDE), generator=draws)
    masks[:, :, -3:] = IGNORE
    return images, masks


def given(settings: NetworkSettings, unlabeled: int, *, second: bool = False) -> Given:
    """Two labeled images and so many unlabeled ones, on networks that are in training mode."""
    networks = [new_network(settings, 3, seed=seed).train() for seed in (0, 1)]
    labeled: Any = FixedHalf(*batch(2, seed=10))
    bare: Any = FixedHalf(*batch(unlabeled, seed=11))
    # bare images have no classes: 0 where they are shown
    bare._given[1][bare._given[1] != IGNORE] = 0
    return Given(
        networks[0], networks[1] if second else None, labeled, bare, RECIPE, Draws(0, "final")
    )


def strong(images: Tensor, draws: torch.Generator) -> Tensor:
    return strong_augment(images, draw_strong(len(images), STRONG, draws))


def slow_entropy(
    logits: Tensor, classes: Tensor, taught: Tensor, counted: Tensor, loss: LossSettings = TAUGHT
) -> Tensor:
    """Pixel by pixel: the loss of those taught over the weight of those counted."""
    total, weights = torch.zeros(()), 0.0
    for image, y, x in torch.cartesian_prod(*map(torch.arange, classes.shape)).tolist():
        value = int(classes[image, y, x])
        if not counted[image, y, x]:
            continue
        weight = loss.defect_weight if value > 0 else 1.0
        weights += weight
        if taught[image, y, x]:
            prob = logits[image, :, y, x].softmax(dim=0)[value]
            total = total - weight * prob.log()
    return total / max(weights, 1.0)


def slow_consistency(
    logits: Tensor, confidence: Tensor, classes: Tensor, shown: Tensor, threshold: float
) -> Tensor:
    """Of pixels sure enough, over all that are shown."""
    return slow_entropy(logits, classes, confidence >= threshold, shown)


def known(logits: Tensor, masks: Tensor) -> Tensor:
    """The supervised loss."""
    shown = masks != IGNORE
    return slow_entropy(logits, masks, shown, shown, LOSS)


def taken_for(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and classes, without gradients."""
    confidence, classes = logits.detach().softmax(dim=1).max(dim=1)
    return confidence, classes


Slow = Callable[..., Tensor]


def agree(step: Any, given: Given, slow: Slow) -> None:
    """The step's loss and all its gradients are those of the slow version on copies."""
    networks = [given.network, *step.companions]
    copies = [copy.deepcopy(network) for network in networks]
    found = step(given.network)
    found.backward()
    expected = slow(*copies)
    expected.backward()
    assert math.isfinite(found.item())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for network, other in zip(networks, copies, strict=True):
        _same_gradients(network, other)


def _same_gradients(network: SegmentationNetwork, other: SegmentationNetwork) -> None:
    parameters = dict(other.named_parameters())
    assert any(parameter.grad is not None for parameter in parameters.values())
    for name, parameter in network.named_parameters():
        expected = parameters[name].grad
        assert (parameter.grad is None) == (expected is None), name
        if parameter.grad is not None and expected is not None:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-5, msg=name)
    state = other.state_dict()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, state[name], msg=name)
