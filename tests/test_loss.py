"""The loss: the formula by loops; ignored pixels count nowhere, alone they teach nothing."""

import math

import pytest
import torch
import torch.nn.functional as F

from ppl.image_files import IGNORE
from ppl.loss import LossSettings, cross_entropy

EVEN = LossSettings(defect_weight=1.0)


def batch(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    masks = torch.randint(classes, (2, 5, 4), generator=draws)
    masks[torch.rand(masks.shape, generator=draws) < 0.3] = IGNORE
    return torch.randn(2, classes, 5, 4, generator=draws), masks


@pytest.mark.parametrize("classes", [2, 3, 11])
def test_the_loss_equals_the_formula_by_loops(classes: int) -> None:
    logits, masks = batch(classes)
    losses = []
    for b in range(2):
        for y in range(5):
            for x in range(4):
                values, true = logits[b, :, y, x].double().tolist(), int(masks[b, y, x])
                if true != IGNORE:
                    losses.append(math.log(sum(math.exp(v) for v in values)) - values[true])
    assert cross_entropy(logits, masks, EVEN).item() == pytest.approx(
        sum(losses) / len(losses), rel=1e-5
    )


def test_the_loss_and_its_gradient_equal_pytorchs_mean() -> None:
    logits, masks = batch()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    cross_entropy(ours, masks, EVEN).backward()
    F.cross_entropy(theirs, masks, ignore_index=IGNORE).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_ignored_pixels_have_no_gradient() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    cross_entropy(logits, masks, EVEN).backward()
    assert logits.grad is not None
    silent = (logits.grad == 0).all(dim=1)
    assert torch.equal(silent, masks == IGNORE)


def test_a_batch_of_ignored_pixels_teaches_nothing_and_is_finite() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.full_like(masks, IGNORE), EVEN)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    logits, masks = batch()
    assert cross_entropy(logits * float("nan"), masks, EVEN).isnan()


@pytest.mark.parametrize("defect_weight", [2.0, 7.5])
def test_defects_weigh_as_much_as_asked(defect_weight: float) -> None:
    logits, masks = batch()
    weights = torch.tensor([1.0, defect_weight, defect_weight])
    ours = cross_entropy(logits, masks, LossSettings(defect_weight=defect_weight))
    theirs = F.cross_entropy(logits, masks, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
