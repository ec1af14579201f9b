"""Def-UP: which steps run in which order, on which images, and what the network notices."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import ppl.students.def_up
from ppl.core.seeds import Draws, generator
from ppl.network.confidence import confidence, defect_confidence
from ppl.network.network import SegmentationNetwork
from ppl.students.cutmix import CutMixDraws, CutMixSettings, draw_cutmix, label_efficient_cutmix
from ppl.students.def_up import (
    DefUp,
    Perturbation,
    RetrainSettings,
    network_confidence,
    share_of_batch,
)
from ppl.students.mean_teacher import PAPER as MASKS_STAY
from ppl.students.mean_teacher import MeanTeacher
from ppl.training.decoded import keep
from ppl.training.half import Half
from ppl.training.loss import PAPER, cross_entropy
from ppl.training.paste import PAPER as NOTHING_PASTED
from ppl.training.paste import Defect, Pasting
from ppl.training.stream import Batch, BatchStream
from ppl.training.strong_augment import PAPER as PAPER_STRONG
from ppl.training.strong_augment import StrongAugmentSettings, draw_strong, strong_augment
from ppl.training.weak_augment import WeakAugmentSettings
from tests.training.test_loop import MIX, RECIPE
from tests.training.test_stream import numbered

CPU = torch.device("cpu")
STRONG = PAPER_STRONG.model_copy(update={"jitter_probability": 1.0})


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*name: str) -> torch.Generator:
    """What the student's step draws from under that name, anew."""
    return generator(0, "student", *name)


def batch(seed: int, size: int = 4) -> tuple[Tensor, Tensor]:
    images = torch.rand(size, 3, 32, 32, generator=draws(seed))
    return images, torch.randint(3, (size, 32, 32), generator=draws(seed))


def budget(labeled: int, unlabeled: int) -> RetrainSettings:
    return RetrainSettings(
        start="fresh", iterations=1, labeled_batch=labeled, unlabeled_batch=unlabeled
    )


def perturbed(
    network: SegmentationNetwork,
    mix: CutMixSettings,
    given: tuple[Tensor, Tensor] | None = None,
    other: tuple[Tensor, Tensor] | None = None,
    images: range | None = None,
) -> tuple[Tensor, Tensor]:
    """What the process makes of the unlabeled images that computes `images` of the batch."""
    given, other = given or batch(0), other or batch(1)
    labeled, unlabeled = len(given[0]), len(other[0])
    share = share_of_batch(budget(labeled, unlabeled), images or range(labeled + unlabeled))
    return Perturbation(STRONG, mix, share, drawn("strong"), drawn("cutmix"))(
        network,
        (given[0][list(share.labeled)], given[1][list(share.labeled)]),
        (other[0][list(share.unlabeled)], other[1][list(share.unlabeled)]),
    )


def strongly(images: Tensor) -> Tensor:
    return strong_augment(images, draw_strong(len(images), STRONG, drawn("strong")))


def mix_draws() -> list[CutMixDraws]:
    return draw_cutmix(4, (32, 32), MIX, drawn("cutmix"))


def test_labels_are_mixed_into_strongly_augmented_images(network: SegmentationNetwork) -> None:
    """Steps 1 to 4 by hand: confidence of the weak images, strong augmentation, then CutMix."""
    images, masks = batch(1)
    sureness = confidence(network(images).detach().softmax(1))
    strong = strongly(images)
    expected = label_efficient_cutmix((strong, masks), batch(0), sureness, mix_draws())
    found = perturbed(network, MIX)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_other_order_augments_what_was_mixed(network: SegmentationNetwork) -> None:
    mix = MIX.model_copy(update={"order": "before_strong"})
    images, masks = batch(1)
    sureness = confidence(network(images).detach().softmax(1))
    mixed, masks = label_efficient_cutmix((images, masks), batch(0), sureness, mix_draws())
    found = perturbed(network, mix)
    assert torch.equal(found[0], strongly(mixed))
    assert torch.equal(found[1], masks)


def test_without_cutmix_masks_stay_and_the_network_is_not_asked(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppl.students.def_up, "network_confidence", None)
    images, masks = perturbed(network, MIX.model_copy(update={"enabled": False}))
    assert torch.equal(masks, batch(1)[1])
    assert torch.equal(images, strongly(batch(1)[0]))


def test_it_may_be_asked_how_sure_it_is_of_defects(network: SegmentationNetwork) -> None:
    images, masks = batch(1)
    sureness = defect_confidence(network(images).detach().softmax(1))
    expected = label_efficient_cutmix((strongly(images), masks), batch(0), sureness, mix_draws())
    found = perturbed(network, MIX.model_copy(update={"sure_of": "defects"}))
    assert torch.equal(found[0], expected[0])


def test_where_the_mean_teacher_is_sure_the_network_is_not_asked(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sure of all, it has no label pasted in; of none, into every image."""
    monkeypatch.setattr(ppl.students.def_up, "network_confidence", None)
    images, masks = batch(1)
    share = share_of_batch(budget(4, 4), range(8))
    for sureness in (torch.ones(4), torch.zeros(4)):
        perturb = Perturbation(STRONG, MIX, share, drawn("strong"), drawn("cutmix"))
        found = perturb(network, batch(0), (images, masks), sureness)
        expected = label_efficient_cutmix(
            (strongly(images), masks), batch(0), sureness, mix_draws()
        )
        assert torch.equal(found[0], expected[0])


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


@pytest.mark.parametrize("order", ["after_strong", "before_strong"])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(("labeled", "unlabeled"), [(4, 4), (1, 5), (6, 2), (5, 1), (3, 4), (5, 0)])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_processes_that_share_a_batch_make_the_same_of_it(
    network: SegmentationNetwork,
    labeled: int,
    unlabeled: int,
    parts: int,
    order: str,
    enabled: bool,
) -> None:
    mix = MIX.model_copy(update={"order": order, "enabled": enabled})
    given, other = batch(0, labeled), batch(1, unlabeled)
    whole = perturbed(network, mix, given, other)
    total = labeled + unlabeled
    found = [
        perturbed(network, mix, given, other, range(total * k // parts, total * (k + 1) // parts))
        for k in range(parts)
    ]
    torch.testing.assert_close(torch.cat([images for images, _ in found]), whole[0])
    assert torch.equal(torch.cat([masks for _, masks in found]), whole[1])


def test_a_share_asks_for_no_more_images_than_it_needs() -> None:
    share = share_of_batch(budget(4, 4), range(4, 6))
    assert (list(share.labeled), list(share.unlabeled)) == ([0, 1, 2], [0, 1, 2])
    share = share_of_batch(budget(4, 4), range(4))
    assert (list(share.labeled), list(share.unlabeled)) == ([0, 1, 2, 3], [])
    share = share_of_batch(budget(4, 0), range(2, 4))
    assert (list(share.labeled), share.own_labeled, list(share.unlabeled)) == ([2, 3], 2, [])


WEAK = WeakAugmentSettings(
    scale_min=1.0, scale_max=1.0, flip_probability=0.5, vertical_flip_probability=0.0
)

NOTHING = Pasting(NOTHING_PASTED, {}, drawn("paste"))


def half(which: str, size: int, pasting: Pasting, of: Draws) -> Half:
    data = keep(numbered(5, 0, WEAK, classes=3))
    return Half(data, size, pasting, of.below(which), positions=range(size), device=CPU)


def next_of(which: str, size: int) -> Batch:
    """What the step sees first of that half, before anything is pasted."""
    data = keep(numbered(5, 0, WEAK, classes=3))
    order, augment = (drawn(which, name) for name in ("order", "weak"))
    return BatchStream(data, size, order=order, augment=augment, device=CPU).next()


def step_of(
    labeled: int,
    unlabeled: int,
    strong: StrongAugmentSettings = STRONG,
    pasting: Pasting = NOTHING,
    mean_teacher: MeanTeacher | None = None,
) -> DefUp:
    of = Draws(0, "student")
    return DefUp(
        half("labeled", labeled, pasting, of),
        half("unlabeled", unlabeled, pasting, of),
        share_of_batch(budget(labeled, unlabeled), range(labeled + unlabeled)),
        replace(RECIPE, strong_augment=strong, loss=PAPER),
        MIX,
        of,
        mean_teacher,
    )


@pytest.mark.parametrize(("labeled", "unlabeled"), [(4, 4), (2, 3), (1, 4), (3, 1)])
def test_the_loss_is_one_cross_entropy_over_both_halves(
    network: SegmentationNetwork, labeled: int, unlabeled: int
) -> None:
    step = step_of(labeled, unlabeled)
    given, other = next_of("labeled", labeled)[:2], next_of("unlabeled", unlabeled)[:2]
    images, masks = perturbed(network, MIX, given, other)
    expected = cross_entropy(
        network(torch.cat([given[0], images])), torch.cat([given[1], masks]), PAPER
    )
    loss = step(network)
    assert loss.requires_grad
    torch.testing.assert_close(loss, expected)


def test_labeled_images_are_strongly_augmented_too_where_asked(
    network: SegmentationNetwork,
) -> None:
    strong = STRONG.model_copy(update={"of_labeled": True})
    step = step_of(3, 4, strong=strong)
    given, other = next_of("labeled", 3)[:2], next_of("unlabeled", 4)[:2]
    # what is mixed into unlabeled images is the labeled image as it is
    images, masks = perturbed(network, MIX, given, other)
    of_labeled = draw_strong(3, strong, drawn("strong of labeled"))
    stronger = strong_augment(given[0], of_labeled)
    assert not torch.equal(stronger, given[0])
    logits = network(torch.cat([stronger, images]))
    expected = cross_entropy(logits, torch.cat([given[1], masks]), PAPER)
    torch.testing.assert_close(step(network), expected)


@pytest.mark.parametrize("relabels", [False, True])
def test_defects_are_pasted_into_both_halves_before_they_are_mixed(
    network: SegmentationNetwork, relabels: bool
) -> None:
    """And after the mean of the student's weights has labeled: what is pasted is known."""
    black = torch.tensor([0, 1], dtype=torch.uint8).expand(3, 3, 2)
    bank = {2: [Defect(2, black, margin=0)]}
    pasting = Pasting(NOTHING_PASTED.model_copy(update={"probability": 0.7}), bank, draws(4))
    mean = MeanTeacher(network, MASKS_STAY) if relabels else None
    found = step_of(4, 4, pasting=pasting, mean_teacher=mean)(network)
    again = Pasting(pasting.settings, bank, draws(4))
    batches = [next_of(which, 4) for which in ("labeled", "unlabeled")]
    if mean is not None:
        seen = mean.labels(batches[1].images, batches[1].masks)
        assert not torch.equal(seen, batches[1].masks)
        batches[1] = batches[1]._replace(masks=seen)
    halves = [again(batch, again.draw(4)) for batch in batches]
    images, masks = perturbed(network, MIX, *halves)
    logits = network(torch.cat([halves[0][0], images]))
    expected = cross_entropy(logits, torch.cat([halves[0][1], masks]), PAPER)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("enabled", [True, False])
def test_cutmix_shifts_no_draw_of_the_strong_augmentation(
    network: SegmentationNetwork, enabled: bool
) -> None:
    found, expected = draws(2), draws(2)
    mix = MIX.model_copy(update={"enabled": enabled})
    share = share_of_batch(budget(4, 4), range(8))
    Perturbation(STRONG, mix, share, found, draws(3))(network, batch(0), batch(1))
    draw_strong(4, STRONG, expected)
    assert torch.equal(found.get_state(), expected.get_state())
