"""The printed table: a row a model, in percent, undefined scores as a dash."""

import re
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.judge.table import read_scores, score_table

SCORES = {
    "miou": 0.5,
    "miou_low": 0.4,
    "miou_high": 0.6,
    "iou": {"background": 0.75, "crack": None},
    "parts": {"background": 30, "crack": 10},
    "few_parts": 10,
    "image_auroc": 0.9,
    "image_miss_rate": 0.25,
    "image_recall": 1.0,
    "image_false_alarm_rate": None,
    "defect_recall": 0.5,
    "false_alarms_per_image": 1.5,
    "calibration_error": 0.01,
}


def test_rows_are_models_and_undefined_is_a_dash() -> None:
    student = SCORES | {"gain": 0.0, "gain_low": -0.02, "gain_high": 0.031}
    lines = score_table({"teacher": SCORES, "final": student}).splitlines()
    assert re.split(r"  +", lines[0]) == [
        "model",
        "mIoU (interval)",
        "gain over teacher",
        "background",
        "crack",
    ]
    assert re.split(r"  +", lines[1]) == ["teacher", "50.0 (40.0-60.0)", "-", "75.0", "-"]
    assert re.split(r"  +", lines[2])[2] == "+0.0 (-2.0 to +3.1)"
    assert re.split(r"  +", lines[5]) == [
        "teacher",
        "90.0",
        "25.0",
        "100.0",
        "-",
        "50.0",
        "150.0",
        "1.0",
    ]
    assert lines[3] == ""
    assert len(lines) == 7


def test_a_model_in_anothers_place_is_named() -> None:
    lines = score_table({"teacher": SCORES, "final": SCORES | {"fallen_back_to": "teacher"}})
    assert lines.splitlines()[-1] == "final: teacher in its place (fall_back)"
    assert "fall_back" not in score_table({"teacher": SCORES, "final": SCORES})


def test_a_model_that_was_not_trained_has_a_line_and_no_row() -> None:
    none = {"absent": "cps trains once"}
    lines = score_table({"teacher": none, "student_1": none, "final": SCORES}).splitlines()
    assert re.split(r"  +", lines[0]) == ["model", "mIoU (interval)", "background", "crack"]
    assert [line.split()[0] for line in lines if line][:4] == ["model", "final", "model", "final"]
    assert lines[-1] == "no teacher, no student_1: cps trains once"
    student = SCORES | {"gain": 0.1, "gain_low": 0.0, "gain_high": 0.2}
    lines = score_table({"teacher": SCORES, "student_1": none, "final": student}).splitlines()
    assert "gain over teacher" in lines[0]
    assert lines[-1] == "no student_1: cps trains once"
    assert score_table({"teacher": none}) == "no teacher: cps trains once"


def test_reasons_that_differ_have_a_line_each() -> None:
    scores_of = {"teacher": {"absent": "one"}, "student_1": {"absent": "two"}}
    assert score_table(scores_of).splitlines() == ["no teacher: one", "no student_1: two"]


def test_a_class_on_few_parts_is_marked_and_an_undefined_score_explained() -> None:
    few = SCORES | {"few_parts": 11, "image_auroc": None, "undefined": {"image_auroc": "no defect"}}
    lines = score_table({"final": few}).splitlines()
    assert lines[0].endswith("crack*")
    assert lines[2] == "* fewer than 11 test parts show it"
    assert lines[-1] == "undefined: no defect"


def test_a_copycat_has_pixels_alone() -> None:
    copycat = {key: value for key, value in SCORES.items() if "image" not in key}
    lines = score_table({"copycat": copycat, "final": SCORES}).splitlines()
    names = [line.split()[0] for line in lines if line]
    assert names == ["model", "copycat", "final", "model", "final"]


def test_missing_scores_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores at .*final\.json: run `dvc repro` first"):
        read_scores([tmp_path / "final.json"])


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"test": 10, "validation": 10}, None),
        ({"test": 10, "validation": None}, None),
        ({"test": 9, "validation": 10}, "test 9, by which models are judged"),
        ({"test": 9, "validation": None}, "test 9, by which models are judged"),
        ({"test": 12, "validation": 0}, "validation 0, by which they are chosen"),
        (
            {"test": 3, "validation": 2},
            "test 3, by which models are judged; validation 2, by which they are chosen",
        ),
    ],
)
def test_a_line_says_where_few_parts_show_a_defect(
    counts: dict[str, int | None], said: str | None
) -> None:
    copycat = {key: value for key, value in SCORES.items() if not key.startswith("image")}
    table = score_table({"copycat": copycat, "final": SCORES | {"defective_parts": counts}})
    lines = [line for line in table.splitlines() if "parts with a defect" in line]
    assert lines == ([f"fewer than 10 parts with a defect: {said}"] if said else [])
