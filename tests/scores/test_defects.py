"""Single defects: against a slow flood fill, and one property at a time."""

import json

import pytest
import torch
from torch import Tensor

from ppl.images.pictures import IGNORE
from ppl.scores.defects import DefectCounts, defect_counts, defect_scores

CLASSES = 4
NAMES = ("background", "crack", "fray", "break")

Pixel = tuple[int, int]


def as_tuple(counts: DefectCounts) -> tuple[list[int], list[int], int, int]:
    return counts.defects.tolist(), counts.found.tolist(), counts.false_alarms, counts.images


def slow_parts(inside: set[Pixel]) -> list[set[Pixel]]:
    """Connected parts by flood fill: a pixel's eight neighbours belong to it."""
    left, parts = set(inside), []
    while left:
        waiting, part = [left.pop()], set[Pixel]()
        while waiting:
            row, column = waiting.pop()
            part.add((row, column))
            around = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= around
            waiting.extend(around)
        parts.append(part)
    return parts


def slow_counts(
    prediction: Tensor, target: Tensor, min_overlap: float
) -> tuple[list[int], list[int], int, int]:
    pixels = [(y, x) for y in range(target.shape[0]) for x in range(target.shape[1])]
    counted = [at for at in pixels if target[at] != IGNORE]
    called = {at for at in counted if prediction[at] != 0}
    defects, found = [0] * CLASSES, [0] * CLASSES
    for index in range(1, CLASSES):
        for part in slow_parts({at for at in counted if target[at] == index}):
            defects[index] += 1
            found[index] += len(part & called) / len(part) >= min_overlap
    truth = {at for at in counted if target[at] != 0}
    false_alarms = sum(not part & truth for part in slow_parts(called))
    return defects, found, false_alarms, int(bool(counted))


@pytest.mark.parametrize("seed", range(60))
def test_counts_equal_a_slow_flood_fill(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    height, width = torch.randint(1, 22, (2,), generator=draws).tolist()
    background = 0.3 + 0.65 * torch.rand(2, generator=draws)

    def mask(share_of_background: Tensor) -> Tensor:
        sound = torch.rand((height, width), generator=draws) < share_of_background
        return torch.randint(1, CLASSES, (height, width), generator=draws).masked_fill(sound, 0)

    prediction, target = mask(background[0]), mask(background[1])
    target[torch.rand(target.shape, generator=draws) < 0.1] = IGNORE
    for min_overlap in (0.01, 0.5, 1.0):
        found = defect_counts(prediction, target.byte(), CLASSES, min_overlap=min_overlap)
        assert as_tuple(found) == slow_counts(prediction, target, min_overlap)


def test_pixels_that_touch_by_a_corner_are_one_defect_and_one_alarm() -> None:
    diagonal, nothing = torch.eye(5).byte(), torch.zeros(5, 5).byte()
    assert as_tuple(defect_counts(nothing, diagonal, 2, min_overlap=0.5)) == ([0, 1], [0, 0], 0, 1)
    assert as_tuple(defect_counts(diagonal, nothing, 2, min_overlap=0.5)) == ([0, 0], [0, 0], 1, 1)


def test_touching_defects_of_two_classes_are_two_but_a_prediction_over_both_is_one_alarm() -> None:
    both = torch.tensor([[1, 1, 2, 2]])
    assert as_tuple(defect_counts(both, both, 3, min_overlap=1.0)) == ([0, 1, 1], [0, 1, 1], 0, 1)
    assert defect_counts(both, torch.zeros(1, 4), 3, min_overlap=1.0).false_alarms == 1


def test_a_defect_taken_for_another_is_found() -> None:
    target, prediction = torch.tensor([[0, 1, 1, 0]]), torch.tensor([[0, 2, 2, 0]])
    assert as_tuple(defect_counts(prediction, target, 3, min_overlap=1.0)) == (
        [0, 1, 0], [0, 1, 0], 0, 1
    )  # fmt: skip


@pytest.mark.parametrize("pixels", range(1, 60))
def test_a_defect_is_found_from_the_stated_share_of_its_pixels_on(pixels: int) -> None:
    target = torch.ones(1, pixels)
    for hit in range(1, pixels + 1):
        prediction = (torch.arange(pixels) < hit).view(1, -1)
        at, above = hit / pixels, hit / pixels + 1e-9
        assert defect_counts(prediction, target, 2, min_overlap=at).found.tolist() == [0, 1]
        if above <= 1:
            assert defect_counts(prediction, target, 2, min_overlap=above).found.tolist() == [0, 0]


def test_an_alarm_that_touches_a_defect_by_one_pixel_is_not_false() -> None:
    target, prediction = torch.tensor([[1, 1, 1, 0, 0]]), torch.tensor([[0, 0, 1, 1, 1]])
    assert as_tuple(defect_counts(prediction, target, 2, min_overlap=0.5)) == ([0, 1], [0, 0], 0, 1)
    # next to a defect is not on it
    assert defect_counts(torch.tensor([[0, 0, 0, 1, 1]]), target, 2, min_overlap=0.5).false_alarms


def test_ignored_pixels_are_in_no_defect_and_in_no_alarm() -> None:
    everywhere = torch.ones(1, 5)
    cases: list[tuple[list[int], tuple[list[int], list[int], int, int]]] = [
        ([IGNORE] * 5, ([0, 0], [0, 0], 0, 0)),
        ([IGNORE, IGNORE, 0, 0, 0], ([0, 0], [0, 0], 1, 1)),
        ([0, 0, IGNORE, 0, 0], ([0, 0], [0, 0], 2, 1)),
        ([1, 1, IGNORE, 1, 1], ([0, 2], [0, 2], 0, 1)),
    ]
    for target, expected in cases:
        assert as_tuple(defect_counts(everywhere, torch.tensor([target]), 2, min_overlap=1.0)) == (
            expected
        )
    inside = torch.tensor([[0, 1, 1, 0, 0]])
    vanishes = defect_counts(inside, torch.tensor([[0, IGNORE, IGNORE, 0, 0]]), 2, min_overlap=1.0)
    assert vanishes.false_alarms == 0


def test_a_defect_over_the_whole_image_is_one() -> None:
    full, nothing = torch.ones(9, 9), torch.zeros(9, 9)
    assert as_tuple(defect_counts(full, full, 2, min_overlap=1.0)) == ([0, 1], [0, 1], 0, 1)
    assert as_tuple(defect_counts(nothing, full, 2, min_overlap=0.01)) == ([0, 1], [0, 0], 0, 1)
    assert as_tuple(defect_counts(nothing, nothing, 2, min_overlap=0.5)) == ([0, 0], [0, 0], 0, 1)


def test_counts_add_up_and_no_image_is_nothing() -> None:
    first, second = torch.tensor([[1, 0, 1, 0, 2]]), torch.tensor([[0, 0, 3, 0, 0]])
    one = defect_counts(first, second, CLASSES, min_overlap=0.5)
    other = defect_counts(second, first, CLASSES, min_overlap=0.5)
    assert as_tuple(one + other) == ([0, 2, 1, 1], [0, 1, 0, 1], 2, 2)
    assert as_tuple(sum([one], DefectCounts.nothing(CLASSES))) == as_tuple(one)
    assert one.defects.dtype == one.found.dtype == torch.int64


def test_the_report_pools_defects_and_says_none_where_there_are_none() -> None:
    counts = DefectCounts(torch.tensor([0, 3, 1, 0]), torch.tensor([0, 1, 1, 0]), 5, 2)
    assert defect_scores(counts, NAMES) == {
        "defect_recall": 0.5,
        "defect_recall_by_class": {"crack": 0.333333, "fray": 1.0, "break": None},
        "false_alarms_per_image": 2.5,
    }
    nothing = defect_scores(DefectCounts.nothing(CLASSES), NAMES)
    assert json.loads(json.dumps(nothing, allow_nan=False)) == {
        "defect_recall": None,
        "defect_recall_by_class": dict.fromkeys(NAMES[1:]),
        "false_alarms_per_image": None,
    }
