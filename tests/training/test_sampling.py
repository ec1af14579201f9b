"""Labeled images with rare defects come more often, the others as ever."""

import math
from collections import Counter

import pytest
import torch

from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import ImageSet, mask_file
from ppl.training.decoded import keep
from ppl.training.sampling import SamplingSettings, labeled_repeats, repeat_factors
from ppl.training.stream import BatchStream
from tests.conftest import COLOURS, MakeSet
from tests.training.test_stream import STILL, of

CPU = torch.device("cpu")


def test_factors_are_those_of_the_formula() -> None:
    shown = [[], [], [], [], [1], [1], [1], [1], [2, 1], [3, 3]]
    # 1 in five of ten, 2 and 3 in one each
    rare = math.sqrt(0.4 / 0.1)
    assert repeat_factors(shown, 0.4) == [1.0] * 8 + [pytest.approx(rare)] * 2
    assert repeat_factors(shown, 0.0) == [1.0] * 10
    assert repeat_factors(shown, 0.9)[4] == pytest.approx(math.sqrt(0.9 / 0.5))
    assert repeat_factors([], 0.5) == []


def test_without_a_bound_each_is_shown_once_a_pass() -> None:
    assert labeled_repeats([[1], []], SamplingSettings(repeat_below=0.0)) is None


def test_classes_come_from_the_masks_and_ignored_pixels_are_none(make_set: MakeSet) -> None:
    labeled = make_set(["a", "b", "c", "d"])
    for id, value in {"a": 0, "b": 0, "c": 255, "d": 2}.items():
        mask = torch.zeros(32, 32)
        mask[3, 4] = value
        write_mask(mask_file(labeled.folder / "masks", id), mask, COLOURS)
    shown: dict[int, list[int]] = {}
    keep(of(labeled), look=lambda index, opened: shown.update({index: opened.defects}))
    repeats = labeled_repeats([shown[k] for k in range(4)], SamplingSettings(repeat_below=1.0))
    assert repeats == [1.0, 1.0, 1.0, 2.0]


def stream(labeled: ImageSet, repeats: list[float], draws: Draws | None = None) -> BatchStream:
    draws = draws or Draws(0, "test")
    return BatchStream(
        keep(of(labeled, weak=STILL)),
        4,
        order=draws("order"),
        augment=draws("augment"),
        repeats=repeats,
        device=CPU,
    )


def test_a_pass_shows_each_image_as_often_as_asked(make_set: MakeSet) -> None:
    repeated = stream(make_set(["a", "b", "c"]), [1.0, 2.0, 2.5])
    drawn = Counter(k for _ in range(1000) for k in repeated._pass())
    assert (drawn[0], drawn[1]) == (1000, 2000)
    assert 2400 < drawn[2] < 2600
    passes = {tuple(repeated._pass()) for _ in range(50)}
    assert len(passes) > 10, "the order is random"


def test_factors_of_one_show_every_image_once_a_pass(make_set: MakeSet) -> None:
    even = stream(make_set(["a", "b", "c"]), [1.0] * 3)
    assert all(sorted(even._pass()) == [0, 1, 2] for _ in range(100))


def test_a_repeating_stream_goes_on_where_it_stood(make_set: MakeSet) -> None:
    labeled = make_set(["a", "b", "c"])
    draws, others = Draws(0, "test"), Draws(1, "test")
    first = stream(labeled, [1.0, 2.0, 2.5], draws)
    for _ in range(3):
        first.next()
    second = stream(labeled, [1.0, 2.0, 2.5], others)
    second.load_state_dict(first.state_dict())
    others.load_state_dict(draws.state_dict())
    for _ in range(5):
        for mine, other in zip(first.next()[:2], second.next()[:2], strict=True):
            assert torch.equal(mine, other)
