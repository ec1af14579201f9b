"""Results: written and read back, pooled over folds as if they were one set."""

from pathlib import Path

import pytest
import torch

from ppl.images.confusion import confusion_matrix
from ppl.judge.table import few_parts
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.calibration import calibration_bins
from ppl.scores.counts import (
    ModelResult,
    pooled,
    read_result,
    write_result,
)
from ppl.scores.defects import DefectCounts, defect_counts
from ppl.scores.image_detection import DetectionCounts, detection, evidence
from ppl.scores.metrics import model_metrics

NAMES = ("background", "pore", "crack")
INTERVALS = IntervalSettings(confidence=0.9, resamples=200, few_parts=3)


def result(seed: int, images: int, *, sound: bool = False) -> ModelResult:
    """Of random predictions of random 16 x 16 masks."""
    draws = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(images):
        prob = torch.randn((3, 16, 16), generator=draws).softmax(dim=0)
        truth = torch.randint(3, (16, 16), generator=draws) * int(not sound)
        predicted = prob.argmax(dim=0)
        found.append(
            ModelResult(
                confusion_matrix(predicted, truth, 3)[None],
                torch.tensor([evidence(1 - prob[0], truth, min_defect_fraction=0.01)]).double(),
                torch.tensor([not sound]),
                detection(predicted, truth, min_defect_fraction=0.01),
                defect_counts(predicted, truth, 3, min_overlap=0.25),
                calibration_bins(prob, truth),
                torch.tensor([float(prob[1:].max())]).double(),
            )
        )
    return pooled(found)


def metrics(found: ModelResult, **options: object) -> dict[str, object]:
    groups = [f"part{number // 2}" for number in range(len(found.matrices))]
    return model_metrics(found, groups, NAMES, INTERVALS, false_alarm_rate=0.1, **options)  # type: ignore[arg-type]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = pooled([result(1, 4), result(2, 3, sound=True)])
    write_result(tmp_path / "a/teacher.safetensors", found)
    assert metrics(read_result(tmp_path / "a/teacher.safetensors")) == metrics(found)
    once = (tmp_path / "a/teacher.safetensors").read_bytes()
    write_result(tmp_path / "again.safetensors", found)
    assert (tmp_path / "again.safetensors").read_bytes() == once


def test_folds_pooled_are_one_set() -> None:
    one = pooled([result(seed, 1) for seed in range(6)])
    first, second = ([result(seed, 1) for seed in seeds] for seeds in ((0, 1), (2, 3, 4, 5)))
    folds = pooled([pooled(first), pooled(second)])
    assert metrics(one) == metrics(folds)
    assert metrics(one)["parts"] == {"background": 3, "pore": 3, "crack": 3}


def test_intervals_hold_their_score_and_gains_are_paired() -> None:
    teacher, student = result(1, 8), result(2, 8)
    found = metrics(student, teacher=teacher)
    assert found["miou_low"] < found["miou"] < found["miou_high"]  # type: ignore[operator]
    for name in NAMES:
        assert found["iou_low"][name] <= found["iou"][name] <= found["iou_high"][name]  # type: ignore[index]
    same = metrics(student, teacher=student)
    assert (same["gain"], same["gain_low"], same["gain_high"]) == (0.0, 0.0, 0.0)


def test_a_test_set_of_sound_images_has_no_detection_and_says_why() -> None:
    found = metrics(result(3, 4, sound=True))
    assert found["image_auroc"] is found["image_miss_rate"] is found["defect_recall"] is None
    reason = "no test image shows a defect"
    undefined = found["undefined"]
    assert isinstance(undefined, dict)
    assert {"miou", "image_auroc", "image_recall", "defect_recall"} <= undefined.keys()
    assert set(undefined.values()) <= {reason, "no pixel is predicted as a defect"}
    assert all(found[key] is None for key in undefined)
    assert found["image_false_alarm_rate"] == 1.0
    background = pytest.approx(1 / 3, abs=0.05)
    assert found["recall"] == {"background": background, "pore": None, "crack": None}


def test_a_class_on_few_parts_is_known() -> None:
    assert few_parts(metrics(result(1, 4))) == ["pore", "crack"]
    assert few_parts(metrics(result(1, 6))) == []


def test_a_test_set_of_ignored_pixels_is_null_throughout() -> None:
    nothing = ModelResult(
        torch.zeros((2, 3, 3), dtype=torch.int64),
        torch.full((2,), torch.nan, dtype=torch.float64),
        torch.zeros(2, dtype=torch.bool),
        DetectionCounts(),
        DefectCounts.nothing(3),
        calibration_bins(torch.full((3, 2, 2), 1 / 3), torch.full((2, 2), 255)),
        torch.zeros(2, dtype=torch.float64),
    )
    found = metrics(nothing)
    for key in ("miou", "miou_low", "image_auroc", "calibration_error", "false_alarms_per_image"):
        assert found[key] is None
