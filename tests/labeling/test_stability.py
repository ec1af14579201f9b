"""Stability and reliability: sets in plain Python, classes absent from both left out."""

import pytest
import torch
from torch import Tensor

from ppl.labeling.stability import predicted_defects, reliability, stability
from ppl.network.confidence import certainty, confidence


def predictions(seed: int, *, snapshots: int = 3, classes: int = 4) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [torch.randint(classes, (6, 5), generator=draws) for _ in range(snapshots)]


def set_miou(first: Tensor, second: Tensor, classes: int) -> float:
    scores = []
    for k in range(classes):
        a = {place for place, value in enumerate(first.flatten().tolist()) if value == k}
        b = {place for place, value in enumerate(second.flatten().tolist()) if value == k}
        if a | b:
            scores.append(len(a & b) / len(a | b))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 4, 9])
def test_stability_equals_the_overlap_of_sets(seed: int, classes: int) -> None:
    # five classes drawn, so that of nine some are absent from both
    first, second, last = predictions(seed, classes=min(classes, 5))
    expected = (set_miou(first, last, classes) + set_miou(second, last, classes)) / 2
    assert stability([first, second, last], classes) == pytest.approx(expected)


def test_identical_snapshots_score_one() -> None:
    first = predictions(0)[0]
    assert stability([first, first.clone(), first.clone()], 4) == 1


def test_pure_background_scores_one_since_absent_classes_are_left_out() -> None:
    assert stability([torch.zeros(5, 5, dtype=torch.long)] * 3, 6) == 1


def test_snapshots_that_agree_nowhere_score_zero() -> None:
    first = predictions(0)[0]
    assert stability([(first + 1) % 4, (first + 2) % 4, first], 4) == 0


def test_the_last_snapshot_is_the_reference_and_the_order_of_the_others_is_not_read() -> None:
    first, second, last = predictions(1)
    assert stability([first, second, last], 4) == stability([second, first, last], 4)
    assert stability([last, second, first], 4) != stability([first, second, last], 4)


@pytest.mark.parametrize("snapshots", [2, 5])
def test_any_number_of_snapshots_is_averaged(snapshots: int) -> None:
    *earlier, last = predictions(2, snapshots=snapshots)
    expected = sum(set_miou(y, last, 4) for y in earlier) / len(earlier)
    assert stability([*earlier, last], 4) == pytest.approx(expected)


def test_reliability_is_stability_times_the_last_snapshots_confidence() -> None:
    draws = torch.Generator().manual_seed(0)
    probabilities = [torch.randn(3, 6, 7, generator=draws).softmax(0) for _ in range(3)]
    hard = [prob.argmax(0) for prob in probabilities]
    stable = reliability(probabilities, use_confidence=False)
    assert stable == stability(hard, 3)
    assert reliability(probabilities, use_confidence=True) == pytest.approx(
        stable * confidence(probabilities[2][None]).item()
    )


def test_a_stable_but_unsure_image_is_less_reliable_than_a_stable_and_sure_one() -> None:
    logits = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(0))
    unsure, sure = (
        reliability([(sharpness * logits).softmax(0)] * 3, use_confidence=True)
        for sharpness in (1.0, 10.0)
    )
    assert 0 < unsure < sure <= 1


def one_hot(prediction: Tensor, sharpness: float = 20.0) -> Tensor:
    return (sharpness * torch.nn.functional.one_hot(prediction, 4).permute(2, 0, 1)).softmax(0)


def defect(start: int, value: int = 1, size: int = 50) -> Tensor:
    """A prediction of background with one row of a defect."""
    prediction = torch.zeros(size, size, dtype=torch.long)
    prediction[3, start : start + 4] = value
    return prediction


@pytest.mark.parametrize("seed", range(3))
def test_stability_of_the_foreground_leaves_background_out(seed: int) -> None:
    first, second, last = predictions(seed)

    def defects_miou(first: Tensor, second: Tensor) -> float:
        scores = []
        for k in (1, 2, 3):
            a, b = first == k, second == k
            if (a | b).any():
                scores.append((a & b).sum().item() / (a | b).sum().item())
        return sum(scores) / len(scores)

    expected = (defects_miou(first, last) + defects_miou(second, last)) / 2
    found = stability([first, second, last], 4, foreground=True)
    assert found == pytest.approx(expected)


def test_a_defect_that_moves_is_reliable_as_a_whole_image_and_not_as_foreground() -> None:
    moving = [one_hot(defect(start)) for start in (0, 3, 6)]
    steady = [one_hot(defect(6))] * 3
    for use_confidence in (True, False):
        kind = {"use_confidence": use_confidence, "foreground": True}
        assert reliability(moving, **kind) < 0.1
        assert reliability(steady, **kind) > 0.99
        assert reliability(moving, use_confidence=use_confidence) > 0.4


def test_the_foregrounds_confidence_is_that_of_the_last_snapshots_defects() -> None:
    unsure = one_hot(defect(6), sharpness=2.0)
    unsure[:, 10:] = one_hot(torch.zeros(40, 50, dtype=torch.long))
    expected = certainty(unsure[None])[0][defect(6) > 0].mean().item()
    found = reliability([unsure] * 3, use_confidence=True, foreground=True)
    assert found == pytest.approx(expected)
    assert found < reliability([unsure] * 3, use_confidence=True)


def test_without_a_predicted_defect_the_foreground_is_the_whole_image() -> None:
    probabilities = [one_hot(defect(3)), one_hot(defect(0, value=0))]
    whole = reliability(probabilities, use_confidence=True)
    assert reliability(probabilities, use_confidence=True, foreground=True) == whole


def test_predicted_defects_are_named_without_background() -> None:
    assert predicted_defects(one_hot(defect(0, value=0))) == ()
    assert predicted_defects(one_hot(defect(0, 3) + 2 * defect(9, 1))) == (2, 3)
