"""Rows for the plots, and that DVC's templates find in them what they draw."""

import json
import re
from pathlib import Path

import pytest
import torch
from dvc_render import VegaRenderer

from ppl.images.miou import iou_per_class
from ppl.judge.plots import (
    HARD,
    RELIABLE,
    Row,
    iou_bars,
    pixel_confusion,
    reliability_points,
    reliability_rows,
    verdict_rows,
)
from ppl.scores.calibration import CalibrationBins, calibration_bins
from ppl.scores.counts import ModelResult
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts
from ppl.scores.pixels import recall_per_class
from ppl.station.thresholds import ClassLimits, Thresholds

TEMPLATES = Path(__file__).parent.parent.parent / ".dvc" / "plots"
NAMES = ("background", "scratch", "break")
# rows are the truth: `scratch` is never true, so its shares are undefined
MATRIX = torch.tensor([[90, 3, 1], [0, 0, 0], [2, 0, 4]])


def bars() -> list[Row]:
    return iou_bars({"teacher": MATRIX, "final": MATRIX.T}, NAMES)


def points() -> list[Row]:
    return reliability_points({"b": 0.9, "a": 0.25}, {"a": 0.3, "b": 0.81234567}, ["b"])


def curves() -> list[Row]:
    return [
        {"model": "teacher", "iteration": 10, "training_loss": 0.7, "validation_miou": None},
        {"model": "teacher", "iteration": 20, "training_loss": 0.5, "validation_miou": 0.6},
    ]


def test_bars_hold_each_models_iou_in_the_order_of_the_classes() -> None:
    rows = bars()
    assert [(row["model"], row["class"]) for row in rows] == [
        (model, name) for model in ("teacher", "final") for name in NAMES
    ]
    background, _, broken = iou_per_class(MATRIX).tolist()
    assert [row["iou"] for row in rows[:3]] == [
        pytest.approx(background, abs=1e-6),
        None,
        pytest.approx(broken, abs=1e-6),
    ]


def test_a_class_absent_from_both_has_a_bar_without_value() -> None:
    rows = iou_bars({"final": torch.diag(torch.tensor([5, 0]))}, NAMES[:2])
    assert [row["iou"] for row in rows] == [1.0, None]


def test_confusion_shares_of_a_true_class_sum_to_one() -> None:
    rows = pixel_confusion(MATRIX, NAMES)
    assert sum(int(row["pixels"] or 0) for row in rows) == int(MATRIX.sum())
    for actual in ("background", "break"):
        shares = [float(row["share"] or 0) for row in rows if row["actual"] == actual]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert [row["share"] for row in rows if row["actual"] == "scratch"] == [None] * 3


def test_the_confusions_diagonal_is_the_recall() -> None:
    diagonal = [
        row["share"] for row in pixel_confusion(MATRIX, NAMES) if row["actual"] == row["predicted"]
    ]
    recall = recall_per_class(MATRIX).tolist()
    assert diagonal == [
        pytest.approx(recall[0], abs=1e-6),
        None,
        pytest.approx(recall[2], abs=1e-6),
    ]


def test_reliability_points_are_sorted_and_say_their_half() -> None:
    assert points() == [
        {"id": "a", "reliability": 0.25, "miou_true": 0.3, "half": HARD},
        {"id": "b", "reliability": 0.9, "miou_true": 0.812346, "half": RELIABLE},
    ]


def test_images_without_a_hidden_label_have_no_point() -> None:
    assert reliability_points({"a": 0.25, "b": 0.9}, {"a": 0.3}, []) == [
        {"id": "a", "reliability": 0.25, "miou_true": 0.3, "half": HARD}
    ]
    assert reliability_points({"a": 0.25}, {}, []) == []


def calibrated() -> list[Row]:
    prob = torch.tensor([[0.9, 0.6, 0.2], [0.1, 0.4, 0.8]])[:, None]
    bins = calibration_bins(prob, torch.tensor([[0, 1, 1]]))
    return [*reliability_rows("teacher", bins), *reliability_rows("final", bins)]


def judged(score: list[float], defective: list[bool]) -> ModelResult:
    """What a model did on images of one pixel each."""
    count = len(score)
    return ModelResult(
        torch.zeros((count, 2, 2), dtype=torch.int64),
        torch.zeros(count, dtype=torch.float64),
        torch.tensor(defective),
        DetectionCounts(),
        DefectCounts.nothing(2),
        CalibrationBins.nothing(2),
        torch.tensor(score, dtype=torch.float64),
    )


def verdicts() -> list[Row]:
    result = judged([0.0, 0.2, 0.7, 0.4, 0.9], [False, False, False, True, True])
    return verdict_rows(result, Thresholds((ClassLimits(0.0, 1),), 0.5, None))


def test_the_curve_of_verdicts_holds_the_chosen_point() -> None:
    rows = verdicts()
    assert [(row["point"], row["threshold"]) for row in rows[:-1]] == [
        ("any threshold", each) for each in (0.0, 0.2, 0.4, 0.7, 0.9, 1.0)
    ]
    curve = [(row["false_alarms"], row["miss_rate"]) for row in rows[:-1]]
    third = round(1 / 3, 6)
    assert curve == [
        (0.666667, 0.0),
        (third, 0.0),
        (third, 0.5),
        (0.0, 0.5),
        (0.0, 1.0),
        (0.0, 1.0),
    ]
    assert rows[-1] == {
        "point": "chosen",
        "threshold": 0.5,
        "false_alarms": third,
        "miss_rate": 0.5,
    }
    assert verdict_rows(judged([0.5, 0.6], [True, True]), rows_without_promise()) == []


def rows_without_promise() -> Thresholds:
    return Thresholds((ClassLimits(0.0, 1),), 0.0, None)


TEMPLATE_DATA = [
    ("calibration", calibrated, "confidence", "accuracy"),
    ("grouped_bar", bars, "iou", "class"),
    ("pixel_confusion", lambda: pixel_confusion(MATRIX, NAMES), "predicted", "actual"),
    ("scatter_half", points, "reliability", "miou_true"),
    ("training_curves", curves, "iteration", "training_loss"),
    ("verdicts", verdicts, "false_alarms", "miss_rate"),
]


@pytest.mark.parametrize(("template", "rows", "x", "y"), TEMPLATE_DATA)
def test_a_template_draws_fields_that_the_rows_have(template, rows, x, y) -> None:  # type: ignore[no-untyped-def]
    compared = [{**row, "rev": rev} for rev in ("workspace", "main") for row in rows()]
    json.dumps(compared, allow_nan=False)
    spec = VegaRenderer(
        compared,
        template,
        template=template,
        template_dir=str(TEMPLATES),
        x=x,
        y=y,
        x_label="X in units",
        y_label="Y in units",
        title="A title",
    ).get_filled_template()
    text = json.dumps({key: value for key, value in spec.items() if key != "data"})
    assert spec["data"]["values"] == compared
    assert "<DVC_METRIC" not in text, "an anchor was left unfilled"
    calculated = set(re.findall(r'"as": "(\w+)"', text))
    drawn = set(re.findall(r'"field": "(\w+)"', text)) | set(re.findall(r"datum\.(\w+)", text))
    drawn |= set(re.findall(r"datum\['(\w+)'\]", text))
    assert drawn - calculated <= set(compared[0]), "the template draws a field that no row has"
    assert {"rev", x} <= drawn, "revisions must be told apart"


def test_every_template_is_tested() -> None:
    assert {file.stem for file in TEMPLATES.glob("*.json")} == {row[0] for row in TEMPLATE_DATA}


def test_the_scatters_colours_know_both_halves() -> None:
    text = (TEMPLATES / "scatter_half.json").read_text(encoding="utf-8")
    assert f'"{RELIABLE}"' in text
    assert f'"{HARD}"' in text
