"""Confidence: the formula by plain loops, its ends, and what it must not depend on."""

import math

import pytest
import torch
from torch import Tensor

from ppl.network.confidence import confidence, defect_confidence, likeliest


def softmax(*shape: int, sharpness: float = 2.0) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return (sharpness * torch.randn(shape, generator=draws)).softmax(dim=1)


@pytest.mark.parametrize("classes", [2, 3, 11])
def test_confidence_equals_the_formula_by_loops(classes: int) -> None:
    prob = softmax(3, classes, 4, 5).double()
    expected = []
    for image in prob.tolist():
        total = 0.0
        for row in range(4):
            for column in range(5):
                p = [image[k][row][column] for k in range(classes)]
                entropy = -sum(value * math.log(value) for value in p)
                total += (1 - entropy / math.log(classes)) * max(p)
        expected.append(total / 20)
    torch.testing.assert_close(confidence(prob), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("classes", [2, 7])
def test_a_uniform_prediction_scores_zero(classes: int) -> None:
    uniform = torch.full((2, classes, 4, 4), 1 / classes)
    torch.testing.assert_close(confidence(uniform), torch.zeros(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("classes", [2, 7])
def test_a_one_hot_prediction_scores_one(classes: int) -> None:
    one_hot = torch.zeros(2, classes, 4, 4)
    one_hot[:, 1] = 1
    assert confidence(one_hot).tolist() == [1.0, 1.0]


def test_confidence_lies_between_zero_and_one() -> None:
    for sharpness in [0.0, 1e-4, 1.0, 30.0, 1e4]:
        score = confidence(softmax(4, 5, 6, 6, sharpness=sharpness))
        assert ((score >= 0) & (score <= 1)).all()


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    prob = softmax(4, 3, 5, 5)
    single = torch.cat([confidence(image[None]) for image in prob])
    torch.testing.assert_close(confidence(prob), single)


def test_the_names_of_the_classes_do_not_matter() -> None:
    prob = softmax(4, 5, 6, 6)
    torch.testing.assert_close(confidence(prob[:, [3, 0, 4, 1, 2]]), confidence(prob))


def test_sharper_predictions_are_surer() -> None:
    scores = [confidence(softmax(1, 4, 8, 8, sharpness=s)).item() for s in (0.5, 1.0, 2.0, 4.0)]
    assert scores == sorted(scores)


def test_the_likeliest_class_is_the_argmax_and_of_equal_ones_the_first() -> None:
    prob = torch.rand(5, 30, 40).softmax(dim=0)
    assert torch.equal(likeliest(prob), prob.argmax(dim=0))
    even = torch.full((3, 2, 2), 1 / 3)
    assert (likeliest(even) == 0).all()


def test_of_defects_the_confidence_is_that_of_their_pixels() -> None:
    prob = softmax(4, 3, 6, 5)
    prob[2, 0] += 10
    prob = prob / prob.sum(dim=1, keepdim=True)
    found = defect_confidence(prob)
    for image, sure in zip(prob, found.tolist(), strict=True):
        pixels = [image[:, y, x] for y in range(6) for x in range(5)]
        defects = [p for p in pixels if p.argmax() > 0]
        chosen = torch.stack(defects or pixels, dim=1)[None, :, :, None]
        assert sure == pytest.approx(confidence(chosen).item(), abs=1e-6)
    # without a defect, of the whole image
    assert found[2].item() == pytest.approx(confidence(prob[2:3]).item())
