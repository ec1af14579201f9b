"""Repeated runs: seeds and folds as experiments, found again, judged together."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ppl.images.sets import DatasetInfo, write_dataset_info
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.calibration import CalibrationBins
from ppl.scores.counts import ModelResult, write_result
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts
from ppl.scores.tested import ScoredImages, write_tested
from ppl.tools.compare import Run
from ppl.tools.repeat import (
    _runs,
    fold_variants,
    folds_report,
    means_of_folds,
    pool_folds,
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


def alone(one: Run) -> Run:
    """The same of a method that trains once."""
    final = {k: v for k, v in one.scores["final"].items() if not k.startswith("gain")}
    none = {"absent": "cps trains once"}
    return replace(one, scores={"final": final}, absent={"teacher": none, "student_1": none})


def test_seeds_of_a_method_without_a_teacher_have_no_verdict() -> None:
    text = seeds_report([alone(run(0, 0.3, 0.4)), alone(run(1, 0.4, 0.38))])
    lines = text.splitlines()
    assert lines[0].split() == ["seed", "final"]
    assert lines[1].split() == ["0", "40.0", "(35.0-45.0)"]
    assert lines[3].split() == ["mean", "39.0"]
    assert lines[4].split() == ["standard", "deviation", "1.4"]
    assert lines[-1] == "no teacher, no student_1: cps trains once"
    assert "beats" not in text


def test_seeds_of_a_method_with_one_student_have_a_verdict_and_no_column_of_the_other() -> None:
    both = []
    for one in (run(0, 0.3, 0.4), run(1, 0.4, 0.38)):
        scores = {name: one.scores[name] for name in ("teacher", "final")}
        both.append(replace(one, scores=scores, absent={"student_1": {"absent": "one is all"}}))
    lines = seeds_report(both).splitlines()
    assert lines[0].split() == ["seed", "teacher", "final", "final", "-", "teacher"]
    assert lines[3].split() == ["mean", "35.0", "39.0", "+4.0"]
    assert lines[-2].endswith("beats the teacher in 1 of 2 seeds, by +4.0 points on average.")
    assert lines[-1] == "no student_1: one is all"


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


COUNTS = ModelResult(
    torch.tensor([[[90, 1], [2, 7]], [[80, 3], [4, 13]]]),
    torch.tensor([0.9, 0.8], dtype=torch.float64),
    torch.tensor([True, True]),
    DetectionCounts(2, 0, 0, 0),
    DefectCounts.nothing(2),
    CalibrationBins.nothing(2),
    torch.tensor([0.9, 0.8], dtype=torch.float64),
)


@pytest.mark.parametrize("models", [["final"], ["teacher", "final"]])
def test_folds_pool_the_models_that_were_trained(
    monkeypatch: pytest.MonkeyPatch, models: list[str]
) -> None:
    def get(*arguments: Any) -> str:
        """As `dvc get` does: the folder of counts, or the file of class names."""
        out = Path(arguments[-1])
        if out.name == "dataset.json":
            write_dataset_info(out, DatasetInfo("x", ("ground", "crack"), ((0, 0, 0), (9, 9, 9))))
            return ""
        for model in models:
            write_result(out / f"{model}.safetensors", COUNTS)
        write_tested(out / "images.json", ScoredImages(["a", "b"], ["a", "b"], None))
        return ""

    sections: dict[str, Any] = {
        "intervals": IntervalSettings(confidence=0.9, resamples=100, few_parts=1),
        "evaluate": SimpleNamespace(false_alarm_rate=0.05),
    }
    monkeypatch.setattr("ppl.tools.repeat.ask_dvc", get)
    monkeypatch.setattr("ppl.tools.repeat.section", lambda name, _: sections[name])
    runs = []
    for number in (1, 2):
        one = alone(run(number, 0.3, 0.4))
        scores = dict.fromkeys(models, one.scores["final"])
        absent = {name: of for name, of in one.absent.items() if name not in models}
        runs.append(replace(one, scores=scores, absent=absent))
    metrics = pool_folds(runs)
    assert sorted(metrics) == ["final", "student_1", "teacher"]
    assert metrics["student_1"] == {"absent": "cps trains once"}
    assert metrics["final"]["parts"] == {"ground": 2, "crack": 2}
    assert ("gain" in metrics["final"]) == ("teacher" in models)
    text = folds_report(runs, metrics)
    assert text.splitlines()[0].split()[:2] == ["fold", models[0]]
    assert ("gain over teacher" in text) == ("teacher" in models)
    missing = "no student_1" if "teacher" in models else "no teacher, no student_1"
    assert f"\n{missing}: cps trains once\n" in text


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
