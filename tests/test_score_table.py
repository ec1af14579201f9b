"""The printed table: a row a model, in percent, undefined scores as a dash."""

from pathlib import Path

import pytest

from ppl.errors import InputError
from ppl.score_table import read_scores, score_table


def test_rows_are_models_and_undefined_is_a_dash() -> None:
    scores = {
        "miou": 0.5,
        "iou": {"background": 0.75, "crack": None},
        "image_recall": 1.0,
        "image_false_alarm_rate": None,
    }
    header, row = score_table({"teacher": scores}).splitlines()
    assert header.split() == [
        "model",
        "mIoU",
        "background",
        "crack",
        "image",
        "recall",
        "false",
        "alarms",
    ]
    assert row.split() == ["teacher", "50.0", "75.0", "-", "100.0", "-"]
    assert len(header) == len(row)


def test_missing_scores_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no scores at .*final\.json: run `dvc repro` first"):
        read_scores([tmp_path / "final.json"])
