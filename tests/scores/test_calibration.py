"""Calibration: against torchmetrics where both have the same bins, else against exact fractions."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from ppl.images.pictures import IGNORE
from ppl.judge.plots import reliability_rows
from ppl.scores.calibration import (
    BINS,
    CalibrationBins,
    calibration_bins,
    expected_calibration_error,
)

CLASSES = 4
EDGES = [Fraction(b, BINS) for b in range(BINS + 1)]


def drawn_image(seed: int, height: int = 40, width: int = 30) -> tuple[Tensor, Tensor]:
    """A softmax from flat to saturated, and a target that is often right and sometimes ignored."""
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn((CLASSES, height, width), generator=draws)
    prob_CHW = (logits * 4 * torch.rand((height, width), generator=draws)).softmax(dim=0)
    other = torch.randint(CLASSES, (height, width), generator=draws)
    target_HW = prob_CHW.argmax(0).where(torch.rand(other.shape, generator=draws) < 0.6, other)
    target_HW[torch.rand(other.shape, generator=draws) < 0.1] = IGNORE
    return prob_CHW, target_HW


def with_confidence(confidences: list[float], predicted: int = 1) -> Tensor:
    """A (CLASSES, 1, N) float32 softmax of those confidences, all above 1/2, in one class."""
    confidence = torch.tensor(confidences)
    prob_CHW = ((1 - confidence) / (CLASSES - 1)).expand(CLASSES, 1, -1).clone()
    prob_CHW[predicted, 0] = confidence
    return prob_CHW


def torchmetrics_error(prob_CHW: Tensor, target_HW: Tensor) -> float:
    error = multiclass_calibration_error(
        prob_CHW[None],
        target_HW[None].long(),
        CLASSES,
        n_bins=BINS,
        norm="l1",
        ignore_index=IGNORE,
    )
    return float(error)


def slow_error(confidences: list[float], right: list[bool]) -> float:
    """Guo et al., equation 3, in exact fractions, each bin with its upper and no lower edge."""
    error = Fraction(0)
    for low, high in itertools.pairwise(EDGES):
        pairs = zip(map(Fraction, confidences), right, strict=True)
        gaps = [int(hit) - value for value, hit in pairs if low < value <= high]
        error += abs(sum(gaps, Fraction(0)))
    return float(error / len(confidences))


@pytest.mark.parametrize("seed", range(20))
def test_the_error_equals_torchmetrics(seed: int) -> None:
    prob_CHW, target_HW = drawn_image(seed)
    found = expected_calibration_error(calibration_bins(prob_CHW, target_HW.byte()))
    assert found == pytest.approx(torchmetrics_error(prob_CHW, target_HW), abs=1e-6)


def near_edges() -> list[float]:
    """The float32 nearest to each bin edge above 1/2, 1 included, and the ones beside it."""
    nearest = torch.arange(8, BINS + 1).float() / BINS
    below, above = nearest.nextafter(torch.tensor(0.0)), nearest.nextafter(torch.tensor(2.0))
    return torch.cat([below, nearest, above[:-1]]).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_confidences_at_the_edges_and_of_one_fall_into_their_true_bins(seed: int) -> None:
    confidences = near_edges()
    right = torch.rand(len(confidences), generator=torch.Generator().manual_seed(seed)) < 0.5
    bins = calibration_bins(with_confidence(confidences), right.byte().view(1, -1))
    assert bins.pixels[1].tolist() == [
        sum(low < Fraction(value) <= high for value in confidences)
        for low, high in itertools.pairwise(EDGES)
    ]
    assert expected_calibration_error(bins) == pytest.approx(
        slow_error(confidences, right.tolist()), abs=1e-15
    )


def test_full_confidence_belongs_to_the_last_bin() -> None:
    """torchmetrics 1.9 gives 1.0 a bin of its own (its issue 3510); just below, it agrees."""
    prob_CHW, target_HW = with_confidence([1.0, 1.0, 0.95, 0.95]), torch.tensor([[1, 0, 1, 1]])
    bins = calibration_bins(prob_CHW, target_HW)
    assert bins.pixels[1].tolist() == [0] * (BINS - 1) + [4]
    found = expected_calibration_error(bins)
    assert found == pytest.approx(0.9 / 4, abs=1e-6)
    assert found == pytest.approx(
        torchmetrics_error(prob_CHW.clamp(max=0.9999999), target_HW), abs=1e-6
    )


def test_a_softmax_just_above_one_is_in_the_last_bin() -> None:
    bins = calibration_bins(with_confidence([1.0000001]), torch.tensor([[1]]))
    assert int(bins.pixels[1, BINS - 1]) == 1


def equal(one: CalibrationBins, other: CalibrationBins) -> bool:
    return (
        torch.equal(one.pixels, other.pixels)
        and torch.equal(one.right, other.right)
        and torch.equal(one.confidence, other.confidence)
    )


def test_images_add_up_to_the_bit_in_any_order() -> None:
    images = [drawn_image(seed) for seed in range(3)]
    first, second, third = (calibration_bins(*image) for image in images)
    together = calibration_bins(
        torch.cat([prob for prob, _ in images], dim=1), torch.cat([truth for _, truth in images])
    )
    assert equal(first + second + third, together)
    assert equal(third + (second + first), together)
    prob_CHW, target_HW = images[0]
    assert equal(calibration_bins(prob_CHW.flip(1, 2), target_HW.flip(0, 1)), first)


def test_predicted_defects_are_judged_alone() -> None:
    prob_CHW, target_HW = drawn_image(0)
    only_defects = target_HW.where(prob_CHW.argmax(0) != 0, IGNORE)
    found = calibration_bins(prob_CHW, target_HW).predicted_defect
    assert equal(found, calibration_bins(prob_CHW, only_defects).predicted_defect)
    assert expected_calibration_error(found) == pytest.approx(
        torchmetrics_error(prob_CHW, only_defects), abs=1e-6
    )


def test_a_sure_background_hides_an_overconfident_defect() -> None:
    prob_CHW = torch.cat([with_confidence([1.0] * 98, 0), with_confidence([0.9, 0.9])], dim=2)
    found = calibration_bins(prob_CHW, torch.zeros(1, 100, dtype=torch.uint8))
    assert expected_calibration_error(found) == pytest.approx(0.018, abs=1e-6)
    assert expected_calibration_error(found.predicted_defect) == pytest.approx(0.9, abs=1e-6)


def test_ignored_pixels_count_nowhere_and_nothing_has_no_error() -> None:
    prob_CHW, target_HW = drawn_image(1)
    nothing = calibration_bins(prob_CHW, torch.full_like(target_HW, IGNORE))
    assert nothing.pixels.shape == nothing.confidence.shape == (CLASSES, BINS)
    assert math.isnan(expected_calibration_error(nothing))
    assert reliability_rows("final", nothing) == []
    found = calibration_bins(prob_CHW, target_HW)
    assert int(found.pixels.sum()) == int((target_HW != IGNORE).sum())
    assert equal(found + nothing, found)


def test_rows_give_each_bin_that_holds_pixels() -> None:
    prob_CHW = with_confidence([0.75, 0.75, 0.78, 0.97])
    rows = reliability_rows("final", calibration_bins(prob_CHW, torch.tensor([[1, 0, 1, 1]])))
    assert rows == [
        {"model": "final", "confidence": 0.76, "accuracy": 0.666667, "pixels": 3, "share": 0.75},
        {"model": "final", "confidence": 0.97, "accuracy": 1.0, "pixels": 1, "share": 0.25},
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_rows_say_what_the_error_is(seed: int) -> None:
    bins = calibration_bins(*drawn_image(seed))
    gaps = [
        float(row["share"] or 0) * abs(float(row["accuracy"] or 0) - float(row["confidence"] or 0))
        for row in reliability_rows("final", bins)
    ]
    assert sum(gaps) == pytest.approx(expected_calibration_error(bins), abs=1e-5)


def test_probabilities_that_are_no_numbers_stop_the_run() -> None:
    prob_CHW, target_HW = drawn_image(2)
    with pytest.raises(AssertionError, match="not above 0"):
        calibration_bins(prob_CHW * math.nan, target_HW)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ignored", [True, False])
def test_counts_are_those_of_the_long_way(kind: torch.dtype, ignored: bool) -> None:
    prob, target = drawn_image(5)
    target = target if ignored else target.where(target != IGNORE, 0)
    found = calibration_bins(prob, target.to(kind))
    counted = target != IGNORE
    highest = prob.max(dim=0)
    confidence, predicted = highest.values[counted].double(), highest.indices[counted]
    cell = predicted * BINS + (confidence * BINS).long().clamp(max=BINS - 1)

    def by_cell(cells: Tensor, weights: Tensor | None = None) -> Tensor:
        return torch.bincount(cells, weights, CLASSES * BINS).view(CLASSES, BINS)

    assert torch.equal(found.pixels, by_cell(cell))
    assert torch.equal(found.right, by_cell(cell[predicted == target[counted]]))
    assert torch.equal(found.confidence, by_cell(cell, confidence))
