"""The printed table: a row a model, in percent, undefined scores as a dash."""

import re
from pathlib import Path

import pytest

from ppl.errors import InputError
from ppl.score_table import read_scores, score_table


def test_rows_are_models_and_undefined_is_a_dash() -> None:
    scores = {
        "miou": 0.5,
        "miou_low": 0.4,
        "miou_high": 0.6,
        "iou": {"background": 0.75, "crack": None},
        "image_recall": 1.0,
        "image_false_alarm_rate": None,
    }
    student = scores | {"gain": 0.0, "gain_low": -0.02, "gain_high": 0.031}
    header, row, below = score_table({"teacher": scores, "final": student}).splitlines()
    assert re.split(r"  +", header) == [
        "model",
        "mIoU (interval)",
        "gain over teacher",
        "background",
        "crack",
        "image recall",
        "false alarms",
    ]
    cells = ["teacher", "50.0 (40.0-60.0)", "-", "75.0", "-", "100.0", "-"]
    assert re.split(r"  +", row) == cells
    assert re.split(r"  +", below)[2] == "+0.0 (-2.0 to +3.1)"
    assert len(header) == len(row) == len(below)


def test_missing_scores_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores at .*final\.json: run `dvc repro` first"):
        read_scores([tmp_path / "final.json"])
