"""One matrix, pooled over all pixels: counts against a loop, mIoU against torchmetrics."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from ppl.images.confusion import confusion_matrix, counted_pixels
from ppl.images.miou import iou_per_class, miou
from ppl.images.pictures import IGNORE

CLASSES = 4


def masks(seed: int, *, images: int = 3, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Random predictions and targets (images, 9, 7) uint8; about a tenth of the target is 255."""
    draws = torch.Generator().manual_seed(seed)
    shape = (images, 9, 7)
    prediction = torch.randint(classes, shape, generator=draws, dtype=torch.uint8)
    target = torch.randint(classes, shape, generator=draws, dtype=torch.uint8)
    target[torch.rand(shape, generator=draws) < 0.1] = IGNORE
    return prediction, target


def test_counts_equal_a_plain_loop() -> None:
    prediction, target = masks(0)
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for predicted, true in zip(
        prediction.flatten().tolist(), target.flatten().tolist(), strict=True
    ):
        if true != IGNORE:
            expected[true, predicted] += 1
    matrix = confusion_matrix(prediction, target, CLASSES)
    assert matrix.dtype == torch.int64
    assert torch.equal(matrix, expected)


def test_counts_equal_torchmetrics() -> None:
    prediction, target = masks(1)
    reference = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
    assert torch.equal(
        confusion_matrix(prediction, target, CLASSES), reference(prediction.long(), target.long())
    )


def test_many_classes_in_uint8_do_not_wrap_around() -> None:
    prediction, target = masks(2, classes=30)
    assert torch.equal(
        confusion_matrix(prediction, target, 30),
        confusion_matrix(prediction.long(), target.long(), 30),
    )


def test_counts_of_single_images_add_up_to_those_of_the_set() -> None:
    prediction, target = masks(3)
    single = [confusion_matrix(p, t, CLASSES) for p, t in zip(prediction, target, strict=True)]
    assert torch.equal(torch.stack(single).sum(0), confusion_matrix(prediction, target, CLASSES))


def test_ignored_pixels_change_nothing() -> None:
    prediction, target = masks(4)
    changed = torch.where(target == IGNORE, (prediction + 1) % CLASSES, prediction)
    assert not torch.equal(changed, prediction)
    assert torch.equal(
        confusion_matrix(prediction, target, CLASSES), confusion_matrix(changed, target, CLASSES)
    )


def test_iou_equals_torchmetrics() -> None:
    prediction, target = masks(5)
    reference = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=IGNORE)
    torch.testing.assert_close(
        iou_per_class(confusion_matrix(prediction, target, CLASSES)).float(),
        reference(prediction.long(), target.long()),
    )


def test_a_class_absent_from_both_is_left_out_of_the_mean() -> None:
    """torchmetrics scores such a class 0 in `none`, but leaves it out of `macro` as we do."""
    prediction, target = masks(6, classes=3)
    matrix = confusion_matrix(prediction, target, CLASSES)
    assert iou_per_class(matrix).isnan().tolist() == [False, False, False, True]
    reference = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=IGNORE)
    assert miou(matrix) == pytest.approx(float(reference(prediction.long(), target.long())))
    assert miou(matrix) == pytest.approx(miou(matrix[:3, :3]))


def test_a_class_in_prediction_or_truth_alone_scores_zero() -> None:
    empty, full = torch.zeros(2, 2, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8)
    assert miou(confusion_matrix(empty, full, 2)) == 0
    assert miou(confusion_matrix(full, empty, 2)) == 0


def test_a_perfect_prediction_scores_one() -> None:
    _, target = masks(7)
    prediction = torch.where(target == IGNORE, 0, target)
    assert miou(confusion_matrix(prediction, target, CLASSES)) == 1


def test_nothing_counted_is_undefined_rather_than_zero_or_one() -> None:
    ignored = torch.full((2, 2), IGNORE)
    assert math.isnan(miou(confusion_matrix(torch.zeros_like(ignored), ignored, CLASSES)))


@pytest.mark.parametrize(("prediction", "target"), [(2, 0), (IGNORE, 0), (0, 2), (-1, 0)])
def test_an_index_beyond_the_classes_never_lands_in_another_cell(
    prediction: int, target: int
) -> None:
    with pytest.raises(AssertionError, match="lies outside 0-1"):
        confusion_matrix(torch.tensor([prediction]), torch.tensor([target]), 2)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("classes", [2, 6, 182, 254])
def test_counts_are_those_of_the_long_way_in_every_kind(kind: torch.dtype, classes: int) -> None:
    draws = torch.Generator().manual_seed(classes)
    most = min(classes, 127) if kind == torch.uint8 else classes
    prediction, target = torch.randint(0, most, (2, 40, 30), generator=draws)
    for ignored in (0, 7, 40):
        target[:ignored] = IGNORE
        counted = target != IGNORE
        cell = target[counted] * classes + prediction[counted]
        slow = torch.bincount(cell, minlength=classes**2).view(classes, classes)
        assert torch.equal(confusion_matrix(prediction.to(kind), target.to(kind), classes), slow)


def test_pixels_are_not_copied_where_all_count() -> None:
    target, other = torch.zeros(4, 5, dtype=torch.uint8), torch.rand(4, 5)
    [flat] = counted_pixels(target, other)
    assert flat.data_ptr() == other.data_ptr()
    assert torch.equal(flat, other.flatten())
    target[1, 2] = IGNORE
    assert torch.equal(counted_pixels(target, other)[0], other[target != IGNORE])
