"""The step of each method against a slow version that says what its source says."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from ppl.core.seeds import Draws
from ppl.images.pictures import IGNORE
from ppl.methods.cps import Cps, CpsCutMix, CpsCutMixSettings, CpsSettings
from ppl.methods.fixmatch import FixMatch, FixMatchSettings
from ppl.methods.prevmatch import PrevMatch, PrevMatchSettings, ramp
from ppl.methods.unimatch import UniMatch, UniMatchSettings
from ppl.methods.unimatch_v2 import UniMatchV2, UniMatchV2Settings, follow, running_mean
from ppl.methods.views import drawn_inside
from ppl.network.network import NetworkSettings, SegmentationNetwork
from ppl.students.cutmix import elongated_boxes
from tests.methods.given import (
    BOXES,
    SIDE,
    agree,
    batch,
    given,
    known,
    slow_consistency,
    slow_entropy,
    strong,
    taken_for,
)

TOGETHER: dict[str, Any] = {
    "iterations": 10,
    "labeled_batch": 2,
    "unlabeled_batch": 2,
    "defect_weight": 2.0,
}
# of random weights none is surer: what teaches and what does not both come up
SURE: dict[str, Any] = {"threshold": 0.4, "class_share": 0.0, **BOXES}


def unlabeled(count: int) -> tuple[Tensor, Tensor]:
    images, masks = batch(count, seed=11)
    return images, masks != IGNORE


def test_cps_crosses_both_networks_over_all_images(network_settings: NetworkSettings) -> None:
    settings = CpsSettings(**TOGETHER, weight=1.5)
    made = given(network_settings, 2, second=True)

    def slow(first: SegmentationNetwork, second: SegmentationNetwork) -> Tensor:
        images, masks = batch(2, seed=10)
        bare, shown = unlabeled(2)
        on_labeled = [first(images), second(images)]
        p = [
            torch.cat([own, network(bare)])
            for own, network in zip(on_labeled, (first, second), strict=True)
        ]
        every = torch.cat([masks != IGNORE, shown])
        crossed = [
            slow_entropy(p[0], taken_for(p[1])[1], every, every),
            slow_entropy(p[1], taken_for(p[0])[1], every, every),
        ]
        return sum(known(own, masks) for own in on_labeled) + 1.5 * sum(crossed)

    agree(Cps(made, settings), made, slow)


def test_cps_cutmix_mixes_logits_before_arg_max(network_settings: NetworkSettings) -> None:
    settings = CpsCutMixSettings(**TOGETHER, weight=2.0, boxes=3, area_min=0.25, area_max=0.5)
    made = given(network_settings, 4, second=True)

    def slow(first: SegmentationNetwork, second: SegmentationNetwork) -> Tensor:
        images, masks = batch(2, seed=10)
        bare, shown = unlabeled(4)
        draws = Draws(0, "final")("boxes")
        where = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
        for image in range(2):
            for top, left, bottom, right in elongated_boxes((SIDE, SIDE), 3, (0.25, 0.5), draws):
                where[image, top:bottom, left:right] ^= True
        mixed = torch.where(where[:, None], bare[2:], bare[:2])
        inside = torch.where(where, shown[2:], shown[:2])
        labels = []
        for network in (first, second):
            # in training mode, so that statistics are those of the batch, and they move on
            assert network.training
            with torch.no_grad():
                both = [network(bare[:2]), network(bare[2:])]
            labels.append(torch.where(where[:, None], both[1], both[0]).argmax(dim=1))
        q = [first(mixed), second(mixed)]
        crossed = slow_entropy(q[0], labels[1], inside, inside)
        crossed = crossed + slow_entropy(q[1], labels[0], inside, inside)
        return known(first(images), masks) + known(second(images), masks) + 2.0 * crossed

    agree(CpsCutMix(made, settings), made, slow)


def mixed_by(where: Tensor, below: Tensor, above: Tensor) -> Tensor:
    return torch.where(where if below.ndim == 3 else where[:, None], above, below)


class Boxed:
    """Strong views as FixMatch and UniMatch draw them, and what they are labeled as."""

    def __init__(self, settings: FixMatchSettings) -> None:
        draws = Draws(0, "final")
        self._settings = settings
        self._strong, self._boxes = draws("strong"), draws("boxes")
        self.weak, self.shown = unlabeled(4)

    def view(self) -> tuple[Tensor, Tensor]:
        where = drawn_inside(self.weak[:2], self._settings, self._boxes)
        pasted = [strong(self.weak[:2], self._strong), strong(self.weak[2:], self._strong)]
        return mixed_by(where, *pasted), where

    def loss(
        self, logits: Tensor, where: Tensor, own: Tensor, others: Tensor, threshold: float
    ) -> Tensor:
        (confidence, classes), (of_others, other_classes) = taken_for(own), taken_for(others)
        return slow_consistency(
            logits,
            mixed_by(where, confidence, of_others),
            mixed_by(where, classes, other_classes),
            mixed_by(where, self.shown[:2], self.shown[2:]),
            threshold,
        )


@torch.no_grad()
def in_eval_mode(network: SegmentationNetwork, images: Tensor) -> Tensor:
    logits: Tensor = network.eval()(images)
    network.train()
    return logits


def test_fixmatch_divides_by_all_pixels_shown(network_settings: NetworkSettings) -> None:
    settings = FixMatchSettings(**TOGETHER, **SURE)
    made = given(network_settings, 4)

    def slow(network: SegmentationNetwork) -> Tensor:
        images, masks = batch(2, seed=10)
        boxed = Boxed(settings)
        others = in_eval_mode(network, boxed.weak[2:])
        logits = network(torch.cat([images, boxed.weak[:2]]))
        view, where = boxed.view()
        unknown = boxed.loss(network(view), where, logits[2:], others, 0.4)
        return (known(logits[:2], masks) + unknown) / 2

    agree(FixMatch(made, settings), made, slow)


def slow_unimatch(
    network: SegmentationNetwork, boxed: Boxed
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """The supervised loss, and all that the unsupervised ones are made from."""
    images, masks = batch(2, seed=10)
    draws = Draws(0, "final")("features")
    others = in_eval_mode(network, boxed.weak[2:])
    both = torch.cat([images, boxed.weak[:2]])
    body: Any = network.body
    features = body.encoder((both - network.mean) / network.std)
    twice = [torch.cat([features[0], features[0]])]
    for feature in features[1:]:
        kept = (torch.rand(feature.shape[:2], generator=draws) >= 0.5).float()
        twice.append(torch.cat([feature, feature * 2 * kept[:, :, None, None]]))
    logits = body.segmentation_head(body.decoder(twice))
    views = [boxed.view() for _ in range(2)]
    strong_logits = list(network(torch.cat([view for view, _ in views])).chunk(2))
    places = [where for _, where in views]
    return known(logits[:2], masks), strong_logits, places, logits[6:], logits[2:4], others


def unimatch_terms(
    boxed: Boxed,
    strong_logits: list[Tensor],
    places: list[Tensor],
    dropped: Tensor,
    own: Tensor,
    others: Tensor,
    threshold: float,
) -> Tensor:
    first, second = (
        boxed.loss(logits, where, own, others, threshold)
        for logits, where in zip(strong_logits, places, strict=True)
    )
    nowhere = torch.zeros_like(places[0])
    of_features = boxed.loss(dropped, nowhere, own, others, threshold)
    return 0.25 * first + 0.25 * second + 0.5 * of_features


def test_unimatch_weighs_two_strong_views_and_dropped_features(
    network_settings: NetworkSettings,
) -> None:
    settings = UniMatchSettings(**TOGETHER, **SURE)
    made = given(network_settings, 4)

    def slow(network: SegmentationNetwork) -> Tensor:
        boxed = Boxed(settings)
        supervised, *seen = slow_unimatch(network, boxed)
        return (supervised + unimatch_terms(boxed, *seen, 0.4)) / 2

    agree(UniMatch(made, settings), made, slow)


def test_prevmatch_adds_the_labels_of_earlier_states(network_settings: NetworkSettings) -> None:
    settings = PrevMatchSettings(**TOGETHER, **SURE, snapshots=2, every=1, previous_threshold=0.38)
    made = given(network_settings, 4)
    step = PrevMatch(made, settings)
    earlier = copy.deepcopy(made.network)
    for parameter in earlier.parameters():
        parameter.data *= 1.1
    for _ in range(3):
        step._memory.follow(earlier)
    assert len(step._memory.earlier) == 2
    # of equal states any weights give the same mean
    state = earlier.state_dict()

    def slow(network: SegmentationNetwork) -> Tensor:
        boxed = Boxed(settings)
        supervised, *seen = slow_unimatch(network, boxed)
        before = copy.deepcopy(network)
        before.load_state_dict(state)
        *views, _, _ = seen
        own, others = (in_eval_mode(before, boxed.weak[at : at + 2]) for at in (0, 2))
        # after three of ten steps the weight has come to 0.6
        previous = 0.6 * unimatch_terms(boxed, *views, own, others, 0.38)
        return (supervised + unimatch_terms(boxed, *seen, 0.4) + previous) / 2

    # the state after this step would be among the earlier ones
    step._memory._settings = settings.model_copy(update={"every": 1000})
    agree(step, made, slow)


def test_the_weight_of_earlier_labels_rises_and_falls() -> None:
    assert [ramp(step, 10) for step in (0, 1, 5, 9)] == pytest.approx([0, 0.2, 1, 0.2])


def test_prevmatch_averages_logits_by_shares(network_settings: NetworkSettings) -> None:
    settings = PrevMatchSettings(**TOGETHER, **SURE, snapshots=3, every=2, previous_threshold=0.9)
    made = given(network_settings, 4)
    memory = PrevMatch(made, settings)._memory
    other = given(network_settings, 4, second=True).second
    assert other is not None
    images = batch(2, seed=3)[0]
    states = [made.network.state_dict(), other.state_dict()]
    found = memory.logits(states, [0.25, 0.75], images)
    expected = 0.25 * in_eval_mode(made.network, images) + 0.75 * in_eval_mode(other, images)
    torch.testing.assert_close(found, expected)
    for _ in range(9):
        memory.follow(made.network)
    assert len(memory.earlier) == 3


def test_unimatch_v2_takes_labels_from_the_running_mean(network_settings: NetworkSettings) -> None:
    settings = UniMatchV2Settings(**TOGETHER, **SURE, momentum=0.996)
    made = given(network_settings, 2)

    def slow(network: SegmentationNetwork) -> Tensor:
        images, masks = batch(2, seed=10)
        weak, shown = unlabeled(2)
        draws = Draws(0, "final")
        strong_draws, boxes, features = draws("strong"), draws("boxes"), draws("features")
        # before the first step the mean is the network itself
        own = in_eval_mode(copy.deepcopy(network), weak)
        confidence, classes = taken_for(own)
        views, labels = [], []
        for _ in range(2):
            where = drawn_inside(weak, settings, boxes)
            view = strong(weak, strong_draws)
            views.append(mixed_by(where, view, view.flip(0)))
            labels.append([mixed_by(where, of, of.flip(0)) for of in (confidence, classes, shown)])
        logits = network(images)
        body: Any = network.body
        untouched = torch.randperm(2, generator=features)[:1]
        maps = body.encoder((torch.cat(views) - network.mean) / network.std)
        drawn: dict[int, Tensor] = {}
        changed = [maps[0]]
        for feature in maps[1:]:
            channels = feature.shape[1]
            if channels not in drawn:
                mask = 2 * (torch.rand(2, channels, generator=features) >= 0.5).float()
                pair = torch.stack([mask, 2 - mask])
                pair[:, untouched] = 1
                drawn[channels] = torch.cat([pair[0], pair[1]])
            changed.append(feature * drawn[channels][:, :, None, None])
        both = body.segmentation_head(body.decoder(changed)).chunk(2)
        unknown = [slow_consistency(one, *of, 0.4) for one, of in zip(both, labels, strict=True)]
        return (known(logits, masks) + sum(unknown) / 2) / 2

    agree(UniMatchV2(made, settings), made, slow)


def test_the_running_mean_forgets_the_start(network_settings: NetworkSettings) -> None:
    network = given(network_settings, 2).network
    mean = running_mean(network)
    name, weight = next(iter(network.named_parameters()))
    values = [3.0, 7.0, 1.0, -2.0, 5.0]
    expected = 0.0
    for step, value in enumerate(values):
        weight.data.fill_(value)
        follow(mean, network, 0.6)
        # min(1 - 1 / (i + 1), momentum) of the mean is kept after optimizer step i = step - 1
        kept = min(1 - 1 / step, 0.6) if step else 0.0
        expected = kept * expected + (1 - kept) * value
        found = dict(mean.module.named_parameters())[name]
        assert found.flatten()[0].item() == pytest.approx(expected, rel=1e-5)
    counted = dict(mean.module.named_buffers())
    assert all(not of.requires_grad for of in counted.values())


def test_a_step_leaves_the_network_in_training_mode(network_settings: NetworkSettings) -> None:
    made = given(network_settings, 4)
    previous = {"snapshots": 2, "every": 1, "previous_threshold": 0.3}
    step = PrevMatch(made, PrevMatchSettings(**TOGETHER, **SURE, **previous))
    for _ in range(3):
        step(made.network)
    assert all(module.training for module in made.network.modules())
