"""Repeated runs: seeds and folds as experiments, found again, judged together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ppl.tools.compare import Run
from ppl.tools.repeat import (
    _runs,
    fold_variants,
    folds_report,
    means_of_folds,
    seed_variants,
    seeds_report,
)
from tests.pipeline.project import copy_project, dvc, module


def run(seed: int, teacher: float, final: float) -> Run:
    def metrics(miou: float, **gain: float) -> dict[str, Any]:
        return {"miou": miou, "miou_low": miou - 0.05, "miou_high": miou + 0.05, **gain}

    gain = {"gain": final - teacher, "gain_low": -0.01, "gain_high": 0.1}
    return Run(
        f"run{seed}",
        {"seed": seed, "split.fold": seed},
        {
            "teacher": metrics(teacher),
            "student_1": metrics(0.35),
            "final": metrics(final, **gain),
        },
    )


def test_variants_change_one_thing() -> None:
    assert seed_variants(3, 4) == [{"seed": 4}, {"seed": 5}, {"seed": 6}]
    assert fold_variants(2) == [
        {"split.folds": 2, "split.fold": 1},
        {"split.folds": 2, "split.fold": 2},
    ]


def test_seeds_have_a_mean_a_spread_and_a_verdict() -> None:
    text = seeds_report([run(0, 0.3, 0.4), run(1, 0.4, 0.38), run(2, 0.5, 0.6)])
    lines = text.splitlines()
    assert lines[1].split() == (
        [
            "0",
            "30.0",
            "(25.0-35.0)",
            "35.0",
            "(30.0-40.0)",
            "40.0",
            "(35.0-45.0)",
            "+10.0",
            "(-1.0",
            "to",
            "+10.0)",
        ]
    )
    assert lines[4].split() == ["mean", "40.0", "35.0", "46.0", "+6.0"]
    assert lines[5].split() == ["standard", "deviation", "10.0", "0.0", "12.2", "6.9"]
    assert text.endswith("beats the teacher in 2 of 3 seeds, by +6.0 points on average.")
    assert "standard deviation" not in seeds_report([run(0, 0.3, 0.4)])


def repeat(folder: Path, *arguments: str) -> str:
    done = module(folder, "ppl", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_folds_pool_every_annotated_image_and_run_once(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    printed = repeat(folder, "folds", "--count", "2")
    assert "2 of 2 experiments are to be run" in printed
    assert "All folds pooled:" in printed
    assert "are means over the folds" in printed
    final = json.loads((folder / "compare/folds/final.json").read_text(encoding="utf-8"))
    # every one of the 40 images is tested once
    assert final["parts"]["background"] == 40
    again = repeat(folder, "folds", "--count", "2")
    assert "are to be run" not in again
    assert again.split("All folds pooled:")[1] == printed.split("All folds pooled:")[1]
    shown = json.loads(dvc(folder, "exp", "show", "--json").stdout)
    experiments = [name for base in shown for name in base["experiments"] or []]
    assert len(experiments) == 2


def test_folds_are_rows_above_the_pooled_scores() -> None:
    metrics = {
        "final": {
            "miou": 0.5,
            "miou_low": 0.4,
            "miou_high": 0.6,
            "iou": {"background": 0.9, "crack": 0.1},
            "parts": {"background": 30, "crack": 30},
            "few_parts": 10,
        }
    }
    lines = folds_report([run(1, 0.3, 0.4), run(2, 0.3, 0.4)], metrics).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["fold", "1", "2"]
    assert lines[4] == "All folds pooled:"
    assert lines[6].split() == ["final", "50.0", "(40.0-60.0)", "-", "90.0", "10.0"]


def test_scores_on_a_models_own_scale_are_averaged_over_folds() -> None:
    runs = [run(1, 0.3, 0.4), run(2, 0.3, 0.4), run(3, 0.3, 0.4)]
    for one, auroc in zip(runs, (0.9, 0.7, None), strict=True):
        one.scores["final"] |= {"image_auroc": auroc, "image_miss_rate": None}
    assert means_of_folds(runs, "final") == {
        "image_auroc": 0.8,
        "image_average_precision": None,
        "image_miss_rate": None,
    }


def test_a_run_of_other_code_is_none_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    old = replace(run(0, 0.3, 0.4), code={"ppl/a.py": "1" * 32})
    new = replace(run(0, 0.3, 0.5), code={"ppl/a.py": "2" * 32})
    monkeypatch.setattr("ppl.tools.repeat.read_runs", lambda _: ([old, new], []))
    assert _runs([old.settings], {"ppl/a.py": "2" * 32, "ppl/b.py": "3" * 32}, []) == [new]
    assert _runs([old.settings], {"ppl/a.py": "4" * 32}, []) == [None]
    assert _runs([old.settings], {}, []) == [None]
