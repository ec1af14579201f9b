"""The loss: the formula by loops; ignored pixels count nowhere, alone they teach nothing."""

import math

import pytest
import torch
import torch.nn.functional as F

from ppl.images.pictures import IGNORE
from ppl.training.loss import PAPER, LossSettings, cross_entropy, segmentation_loss, tversky_loss


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
    assert cross_entropy(logits, masks, PAPER).item() == pytest.approx(
        sum(losses) / len(losses), rel=1e-5
    )


def test_the_loss_and_its_gradient_equal_pytorchs_mean() -> None:
    logits, masks = batch()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    cross_entropy(ours, masks, PAPER).backward()
    F.cross_entropy(theirs, masks, ignore_index=IGNORE).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_ignored_pixels_have_no_gradient() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    cross_entropy(logits, masks, PAPER).backward()
    assert logits.grad is not None
    silent = (logits.grad == 0).all(dim=1)
    assert torch.equal(silent, masks == IGNORE)


def test_a_batch_of_ignored_pixels_teaches_nothing_and_is_finite() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.full_like(masks, IGNORE), PAPER)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    logits, masks = batch()
    assert cross_entropy(logits * float("nan"), masks, PAPER).isnan()


@pytest.mark.parametrize("defect_weight", [2.0, 7.5])
def test_defects_weigh_as_much_as_asked(defect_weight: float) -> None:
    logits, masks = batch()
    weights = torch.tensor([1.0, defect_weight, defect_weight])
    ours = cross_entropy(logits, masks, PAPER.model_copy(update={"defect_weight": defect_weight}))
    theirs = F.cross_entropy(logits, masks, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)


def focal(gamma: float) -> LossSettings:
    return PAPER.model_copy(update={"focal_gamma": gamma})


def test_the_focal_loss_equals_its_formula_and_0_is_the_cross_entropy() -> None:
    logits, masks = batch()
    counted = masks != IGNORE
    p = logits.softmax(1).gather(1, masks.where(counted, 0)[:, None])[:, 0][counted]
    found = cross_entropy(logits, masks, focal(2.0))
    torch.testing.assert_close(found, (-((1 - p) ** 2) * p.log()).mean())
    assert cross_entropy(logits, masks, focal(0.0)) == cross_entropy(logits, masks, PAPER)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_of_a_perfect_prediction_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 200
    logits.requires_grad_()
    cross_entropy(logits, torch.zeros(1, 2, 2, dtype=torch.int64), focal(gamma)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("missed", [0.3, 0.5, 0.8])
def test_the_tversky_loss_equals_the_formula_by_loops(missed: float) -> None:
    logits, masks = batch(4)
    masks[masks == 2] = 0  # a class that the batch does not show does not count
    prob = logits.softmax(1).double()
    losses = []
    for c in (1, 3):
        hit = lost = false = 0.0
        for b in range(2):
            for y in range(5):
                for x in range(4):
                    p, true = prob[b, c, y, x].item(), int(masks[b, y, x])
                    if true == c:
                        hit, lost = hit + p, lost + 1 - p
                    elif true != IGNORE:
                        false += p
        losses.append(1 - hit / (hit + missed * lost + (1 - missed) * false))
    found = tversky_loss(logits, masks, missed=missed)
    assert found.item() == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_at_a_half_it_is_the_dice_loss_of_smp() -> None:
    from segmentation_models_pytorch.losses import DiceLoss

    logits, masks = batch()
    dice = DiceLoss("multiclass", classes=[1, 2], ignore_index=IGNORE)(logits, masks)
    torch.testing.assert_close(tversky_loss(logits, masks, missed=0.5), dice)


@pytest.mark.parametrize("value", [0, IGNORE])
def test_without_a_defect_the_tversky_loss_is_0_and_teaches_nothing(value: int) -> None:
    logits, masks = batch()
    logits.requires_grad_()
    loss = tversky_loss(logits, torch.full_like(masks, value), missed=0.5)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ignored_pixels_have_no_part_in_the_tversky_loss() -> None:
    logits, masks = batch()
    other = torch.where((masks == IGNORE)[:, None], logits + torch.randn(2, 3, 5, 4), logits)
    assert tversky_loss(logits, masks, missed=0.5) == tversky_loss(other, masks, missed=0.5)


def test_the_whole_loss_is_the_sum_of_both() -> None:
    logits, masks = batch()
    settings = PAPER.model_copy(update={"tversky_weight": 1.5, "tversky_missed": 0.7})
    torch.testing.assert_close(
        segmentation_loss(logits, masks, settings),
        cross_entropy(logits, masks, PAPER) + 1.5 * tversky_loss(logits, masks, missed=0.7),
    )
    assert segmentation_loss(logits, masks, PAPER) == cross_entropy(logits, masks, PAPER)
