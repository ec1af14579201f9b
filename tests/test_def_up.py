"""Def-UP: which steps run in which order, on which images, and what the network notices."""

import pytest
import torch
from torch import Tensor

import ppl.def_up
from ppl.confidence import confidence
from ppl.cutmix import CutMixSettings, label_efficient_cutmix
from ppl.def_up import def_up_loss, network_confidence, perturb
from ppl.loss import LossSettings, cross_entropy
from ppl.network import SegmentationNetwork
from ppl.strong_augment import StrongAugmentSettings, strong_augment
from ppl.training_images import BatchStream, TrainingImages
from ppl.weak_augment import WeakAugmentSettings

CPU = torch.device("cpu")
STRONG = StrongAugmentSettings(
    jitter_probability=1.0,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    hue=0.25,
    grayscale_probability=0.2,
    blur_probability=0.5,
    blur_sigma_min=0.1,
    blur_sigma_max=2.0,
)
EVEN = LossSettings(defect_weight=1.0)
MIX = CutMixSettings(
    enabled=True, order="after_strong", boxes=3, area_min=0.25, area_max=0.5, aspect_max=2.0
)


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int, size: int = 4) -> tuple[Tensor, Tensor]:
    images = torch.rand(size, 3, 32, 32, generator=draws(seed))
    return images, torch.randint(3, (size, 32, 32), generator=draws(seed))


def perturbed(network: SegmentationNetwork, mix: CutMixSettings) -> tuple[Tensor, Tensor]:
    return perturb(
        network, batch(0), batch(1), STRONG, mix, strong_draws=draws(2), cutmix_draws=draws(3)
    )


def test_labels_are_mixed_into_strongly_augmented_images(network: SegmentationNetwork) -> None:
    """Steps 1 to 4 by hand: confidence of the weak images, strong augmentation, then CutMix."""
    images, masks = batch(1)
    sureness = confidence(network(images).detach().softmax(1))
    strong = strong_augment(images, STRONG, draws(2))
    expected = label_efficient_cutmix((strong, masks), batch(0), sureness, MIX, draws(3))
    found = perturbed(network, MIX)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_other_order_augments_what_was_mixed(network: SegmentationNetwork) -> None:
    mix = MIX.model_copy(update={"order": "before_strong"})
    images, masks = batch(1)
    sureness = confidence(network(images).detach().softmax(1))
    mixed, masks = label_efficient_cutmix((images, masks), batch(0), sureness, MIX, draws(3))
    found = perturbed(network, mix)
    assert torch.equal(found[0], strong_augment(mixed, STRONG, draws(2)))
    assert torch.equal(found[1], masks)


def test_without_cutmix_masks_stay_and_the_network_is_not_asked(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppl.def_up, "network_confidence", None)
    images, masks = perturbed(network, MIX.model_copy(update={"enabled": False}))
    assert torch.equal(masks, batch(1)[1])
    assert torch.equal(images, strong_augment(batch(1)[0], STRONG, draws(2)))


@pytest.mark.parametrize("training", [True, False])
def test_asking_for_confidence_leaves_no_trace_in_the_network(
    network: SegmentationNetwork, training: bool
) -> None:
    network.train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = network_confidence(network, batch(1)[0])
    assert not found.requires_grad
    assert network.training is training
    # in training mode, the pass would have moved the running means
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    network.eval()
    torch.testing.assert_close(found, confidence(network(batch(1)[0]).softmax(1)).detach())


def stream(seed: int, size: int) -> BatchStream:
    images, masks = batch(seed, 5)
    data = TrainingImages((images * 255).byte(), masks.byte())
    weak = WeakAugmentSettings(scale_min=1.0, scale_max=1.0, flip_probability=0.5)
    return BatchStream(data, size, (32, 32), weak, order=draws(seed), augment=draws(seed + 9))


@pytest.mark.parametrize(("labeled", "unlabeled"), [(4, 4), (2, 3), (1, 4), (3, 1)])
def test_the_loss_is_one_cross_entropy_over_both_halves(
    network: SegmentationNetwork, labeled: int, unlabeled: int
) -> None:
    step = def_up_loss(
        stream(0, labeled),
        stream(1, unlabeled),
        STRONG,
        MIX,
        EVEN,
        strong_draws=draws(2),
        cutmix_draws=draws(3),
        device=CPU,
    )
    given, other = stream(0, labeled).next(CPU), stream(1, unlabeled).next(CPU)
    images, masks = perturb(
        network, given, other, STRONG, MIX, strong_draws=draws(2), cutmix_draws=draws(3)
    )
    expected = cross_entropy(
        network(torch.cat([given[0], images])), torch.cat([given[1], masks]), EVEN
    )
    loss = step(network)
    assert loss.requires_grad
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("enabled", [True, False])
def test_cutmix_shifts_no_draw_of_the_strong_augmentation(
    network: SegmentationNetwork, enabled: bool
) -> None:
    found, expected = draws(2), draws(2)
    mix = MIX.model_copy(update={"enabled": enabled})
    perturb(network, batch(0), batch(1), STRONG, mix, strong_draws=found, cutmix_draws=draws(3))
    strong_augment(batch(1)[0], STRONG, expected)
    assert torch.equal(found.get_state(), expected.get_state())
