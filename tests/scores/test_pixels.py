"""What the report says: pixel scores against torchmetrics, image calls against counting by hand."""

import json

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from ppl.images.confusion import confusion_matrix
from ppl.images.miou import iou_per_class, mean_iou, miou, shown_iou
from ppl.images.pictures import IGNORE
from ppl.scores.image_detection import DetectionCounts, detection
from ppl.scores.pixels import (
    dice_per_class,
    pixel_accuracy,
    precision_per_class,
    recall_per_class,
    scores,
)

CLASSES = 4
NAMES = ("background", "crack", "fray", "break")


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    prediction = torch.randint(CLASSES, (3, 9, 7), generator=draws)
    target = torch.randint(CLASSES, (3, 9, 7), generator=draws)
    target[torch.rand(target.shape, generator=draws) < 0.1] = IGNORE
    return prediction, target


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (precision_per_class, MulticlassPrecision),
        (recall_per_class, MulticlassRecall),
        (dice_per_class, MulticlassF1Score),
    ],
)
def test_class_scores_equal_torchmetrics(pair, ours, reference) -> None:  # type: ignore[no-untyped-def]
    prediction, target = pair
    expected = reference(CLASSES, average="none", ignore_index=IGNORE)(prediction, target)
    torch.testing.assert_close(
        ours(confusion_matrix(prediction, target, CLASSES)).float(), expected
    )


def test_pixel_accuracy_equals_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    reference = MulticlassAccuracy(CLASSES, average="micro", ignore_index=IGNORE)
    assert pixel_accuracy(confusion_matrix(*pair, CLASSES)) == pytest.approx(
        float(reference(*pair))
    )


def test_dice_is_the_known_function_of_iou(pair: tuple[Tensor, Tensor]) -> None:
    matrix = confusion_matrix(*pair, CLASSES)
    iou = shown_iou(matrix)
    torch.testing.assert_close(dice_per_class(matrix), 2 * iou / (1 + iou), equal_nan=True)


def test_a_perfect_prediction_scores_one_everywhere() -> None:
    target = torch.arange(CLASSES).view(2, 2)
    report = scores(confusion_matrix(target, target, CLASSES), NAMES)
    ones = dict.fromkeys(NAMES, 1.0)
    assert report == {
        "miou": 1.0,
        "pixel_accuracy": 1.0,
        "iou": ones,
        "precision": ones,
        "recall": ones,
        "dice": ones,
    }


def test_undefined_scores_are_none_and_each_for_its_own_reason() -> None:
    # rows are the truth: class 1 is never predicted, class 2 never true, class 3 neither
    matrix = torch.tensor([[5, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    report = scores(matrix, NAMES)
    assert report["precision"] == {
        "background": round(5 / 7, 6), "crack": None, "fray": 0.0, "break": None
    }  # fmt: skip
    assert report["recall"] == {
        "background": round(5 / 6, 6), "crack": 0.0, "fray": None, "break": None
    }  # fmt: skip
    assert report["iou"] == {"background": 0.625, "crack": 0.0, "fray": None, "break": None}
    assert report["dice"]["break"] is report["dice"]["fray"] is None  # type: ignore[index]
    assert report["miou"] == 0.3125


def test_where_every_class_is_shown_the_mean_is_the_papers(pair: tuple[Tensor, Tensor]) -> None:
    matrix = confusion_matrix(*pair, CLASSES) + torch.eye(CLASSES, dtype=torch.int64)
    assert float(mean_iou(shown_iou(matrix))) == pytest.approx(miou(matrix))
    assert torch.equal(shown_iou(torch.stack([matrix, matrix]))[1], iou_per_class(matrix))


def test_background_alone_has_no_mean() -> None:
    matrix = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    matrix[0] = torch.tensor([90, 10, 0, 0])
    report = scores(matrix, NAMES)
    assert report["miou"] is None
    assert report["pixel_accuracy"] == 0.9
    assert report["iou"] == {"background": 0.9, "crack": None, "fray": None, "break": None}


def test_a_report_on_nothing_is_still_valid_json() -> None:
    report = scores(torch.zeros(CLASSES, CLASSES, dtype=torch.int64), NAMES)
    assert json.loads(json.dumps(report, allow_nan=False))["miou"] is None


def defect_pixels(count: int) -> Tensor:
    """A (10, 10) mask with `count` pixels of class 2."""
    mask = torch.zeros(100, dtype=torch.int64)
    mask[:count] = 2
    return mask.view(10, 10)


@pytest.mark.parametrize(("predicted", "called"), [(0, 0), (4, 0), (5, 1), (100, 1)])
def test_an_image_is_called_from_the_stated_share_of_pixels_on(predicted: int, called: int) -> None:
    sound = detection(defect_pixels(predicted), defect_pixels(0), min_defect_fraction=0.05)
    assert sound == DetectionCounts(sound_called=called, sound_passed=1 - called)
    defective = detection(defect_pixels(predicted), defect_pixels(1), min_defect_fraction=0.05)
    assert defective == DetectionCounts(defective_called=called, defective_missed=1 - called)


def test_detection_adds_up_over_images() -> None:
    counts = DetectionCounts()
    for predicted, true in [(9, 9), (0, 9), (9, 1), (9, 0), (0, 0), (0, 0), (0, 0)]:
        counts += detection(defect_pixels(predicted), defect_pixels(true), min_defect_fraction=0.05)
    assert counts == DetectionCounts(2, 1, 1, 3)
    assert counts.image_recall == round(2 / 3, 6)
    assert counts.image_false_alarm_rate == 0.25


def test_detection_without_such_images_is_undefined() -> None:
    assert DetectionCounts().image_recall is None
    assert DetectionCounts().image_false_alarm_rate is None


def test_ignored_pixels_neither_make_an_image_defective_nor_get_it_called() -> None:
    target = defect_pixels(0)
    target[0] = IGNORE
    assert detection(defect_pixels(10), target, min_defect_fraction=0.01) == DetectionCounts(
        sound_passed=1
    )
    nothing = torch.full((10, 10), IGNORE)
    assert detection(defect_pixels(10), nothing, min_defect_fraction=0.01) == DetectionCounts()
