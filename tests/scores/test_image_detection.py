"""Image-level detection: against slow references, counting pixels, and where torchmetrics slips."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from ppl.images.pictures import IGNORE
from ppl.scores.image_detection import (
    DetectionCounts,
    DetectionScores,
    detection,
    detection_scores,
    evidence,
)


def slow_auroc(values: list[float], defective: list[bool]) -> float:
    """The share of (defective, sound) pairs in the right order; a tie is half a pair."""
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, is_defective in zip(values, defective, strict=True)
        if is_defective
        for low, other_is_defective in zip(values, defective, strict=True)
        if not other_is_defective
    ]
    return sum(pairs) / len(pairs)


def slow_average_precision(values: list[float], defective: list[bool]) -> float:
    """Sum over the thresholds, from high to low, of the precision times the gain in recall."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        called = [
            truth for value, truth in zip(values, defective, strict=True) if value >= threshold
        ]
        recall = sum(called) / sum(defective)
        total += (recall - recall_before) * sum(called) / len(called)
        recall_before = recall
    return total


def slow_miss_rate(values: list[float], defective: list[bool], rate: float) -> float:
    """The least share of defective images missed over all thresholds, and over calling none."""
    positive, negative = sum(defective), len(defective) - sum(defective)
    misses = []
    for threshold in [*values, math.inf]:
        called = [
            truth for value, truth in zip(values, defective, strict=True) if value >= threshold
        ]
        if (len(called) - sum(called)) / negative <= rate:
            misses.append((positive - sum(called)) / positive)
    return min(misses)


@pytest.mark.parametrize("seed", range(60))
def test_scores_equal_slow_references_with_many_ties(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    images = int(torch.randint(2, 60, (1,), generator=draws))
    levels = int(torch.randint(1, 12, (1,), generator=draws))
    values = torch.randint(levels + 1, (images,), generator=draws).double() / levels
    defective = torch.rand(images, generator=draws) < 0.4
    defective[:2] = torch.tensor([True, False])
    rate = int(torch.randint(11, (1,), generator=draws)) / 10
    as_lists = values.tolist(), defective.tolist()
    found = detection_scores(values, defective, false_alarm_rate=rate)
    assert found.reason is None
    assert found.auroc == pytest.approx(slow_auroc(*as_lists), abs=2e-6)
    assert found.average_precision == pytest.approx(slow_average_precision(*as_lists), abs=2e-6)
    assert found.miss_rate == round(slow_miss_rate(*as_lists, rate), 6)


@pytest.mark.parametrize("sound", [1, 3, 7, 10, 20, 49])
def test_a_false_alarm_rate_just_reached_is_allowed(sound: int) -> None:
    """In float32, the dtype of torchmetrics' curve, 1 / 20 is a little more than 0.05."""
    values = torch.linspace(0, 0.5, sound + 1, dtype=torch.float64)
    for calls in range(sound):
        # the one defective image is called together with the `calls` surest sound ones
        values[-1] = values[sound - calls] if calls else 1.0
        defective = torch.arange(sound + 1) == sound
        assert detection_scores(values, defective, false_alarm_rate=calls / sound).miss_rate == 0


@pytest.mark.parametrize(
    ("values", "miss_rate"),
    [([0.5, 0.5, 0.9], 0.5), ([0.5, 0.4, 0.9], 0.0), ([0.5, 0.5, 0.5], 1.0)],
)
def test_images_of_equal_evidence_are_called_together(
    values: list[float], miss_rate: float
) -> None:
    defective = torch.tensor([True, False, True])
    found = detection_scores(torch.tensor(values), defective, false_alarm_rate=0.0)
    assert found.miss_rate == miss_rate


def test_perfect_separation_scores_one_and_its_reverse_the_least() -> None:
    values = torch.tensor([0.0, 0.1, 0.8, 1.0])
    defective = torch.tensor([False, False, True, True])
    assert detection_scores(values, defective, false_alarm_rate=0.0) == DetectionScores(1, 1, 0)
    reverse = detection_scores(values, ~defective, false_alarm_rate=0.4)
    assert reverse == DetectionScores(0.0, round((1 / 3 + 2 / 4) / 2, 6), 1.0)


@pytest.mark.parametrize(
    ("values", "defective", "reason"),
    [
        ([0.2, 0.9], [False, False], "no test image shows a defect"),
        ([0.2, 0.9], [True, True], "every test image shows a defect"),
        ([0.2], [True], "every test image shows a defect"),
        ([0.2], [False], "no test image shows a defect"),
        ([0.2, math.nan], [True, False], "every test image shows a defect"),
        ([math.nan], [True], "no test image has a counted pixel"),
        ([], [], "no test image has a counted pixel"),
    ],
)
def test_without_both_kinds_of_image_there_is_a_reason_and_no_score(
    values: list[float], defective: list[bool], reason: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = detection_scores(
            torch.tensor(values), torch.tensor(defective, dtype=torch.bool), false_alarm_rate=0.1
        )
    assert found == DetectionScores(None, None, None, reason)


def test_images_without_evidence_change_nothing() -> None:
    values, defective = torch.tensor([0.3, 0.7, 0.5]), torch.tensor([True, False, True])
    more = torch.tensor([0.3, math.nan, 0.7, 0.5, math.nan])
    more_defective = torch.tensor([True, True, False, True, False])
    assert detection_scores(more, more_defective, false_alarm_rate=0.1) == detection_scores(
        values, defective, false_alarm_rate=0.1
    )


def test_evidence_outside_0_1_is_refused_rather_than_squashed() -> None:
    with pytest.raises(AssertionError, match="outside 0-1"):
        detection_scores(
            torch.tensor([0.5, 1.5]), torch.tensor([True, False]), false_alarm_rate=0.1
        )


def drawn_image(seed: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Defect probabilities of few levels, so with many ties, and a target with ignored pixels."""
    draws = torch.Generator().manual_seed(seed)
    prob_HW = torch.randint(21, (height, width), generator=draws).float() / 20
    target_HW = torch.randint(3, (height, width), generator=draws)
    target_HW[torch.rand(target_HW.shape, generator=draws) < 0.2] = IGNORE
    return prob_HW, target_HW


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("fraction", [0.0001, 0.01, 0.05, 0.07, 0.29, 0.5, 1.0])
def test_evidence_reaches_a_threshold_when_enough_pixels_do(seed: int, fraction: float) -> None:
    prob_HW, target_HW = drawn_image(seed, 7 + seed, 9)
    value = evidence(prob_HW, target_HW, min_defect_fraction=fraction)
    counted = prob_HW[target_HW != IGNORE].double()
    for threshold in set(counted.tolist()):
        share = int((counted >= threshold).sum()) / len(counted)
        assert (value >= threshold) == (share >= fraction)


@pytest.mark.parametrize("seed", range(20))
def test_evidence_and_the_mask_judge_a_two_class_image_alike(seed: int) -> None:
    """With two classes a pixel is predicted as a defect when its probability is above 0.5."""
    prob_HW, target_HW = drawn_image(seed, 12, 11)
    target_HW[target_HW != IGNORE] = 0
    value = evidence(prob_HW, target_HW, min_defect_fraction=0.45)
    by_mask = detection((prob_HW > 0.5).long(), target_HW, min_defect_fraction=0.45)
    called = int(value > 0.5)
    assert by_mask == DetectionCounts(sound_called=called, sound_passed=1 - called)


def test_evidence_counts_pixels_without_a_rounding_error() -> None:
    """0.07 * 100 is 7.000000000000001, which must not ask for 8 pixels."""
    for pixels in range(1, 200):
        sure = torch.arange(pixels).float().view(1, -1) / pixels
        nothing_ignored = torch.zeros((1, pixels), dtype=torch.uint8)
        for asked in range(1, pixels + 1, 7):
            found = evidence(sure, nothing_ignored, min_defect_fraction=asked / pixels)
            assert found == float(sure[0, pixels - asked])


def test_ignored_pixels_are_no_evidence() -> None:
    prob_HW, target_HW = torch.tensor([[0.9, 0.2]]), torch.tensor([[IGNORE, 0]], dtype=torch.uint8)
    assert evidence(prob_HW, target_HW, min_defect_fraction=0.5) == pytest.approx(0.2)
    ignored = torch.full_like(target_HW, IGNORE)
    assert math.isnan(evidence(prob_HW, ignored, min_defect_fraction=0.5))


def test_a_softmax_just_above_one_is_no_evidence_below_zero() -> None:
    prob_HW = 1 - torch.full((2, 2), 1.0000001)
    assert float(prob_HW.max()) < 0
    assert evidence(prob_HW, torch.zeros(2, 2), min_defect_fraction=1.0) == 0


def test_a_probability_that_is_no_number_stops_the_run() -> None:
    prob_HW = torch.tensor([[math.nan, 0.2]])
    with pytest.raises(AssertionError, match="not a number"):
        evidence(prob_HW, torch.zeros(1, 2), min_defect_fraction=0.5)
