"""The judgement: one record of three models and their pseudo-masks, and the files made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ppl.images.files import write_mask
from ppl.images.record import SplitRecord
from ppl.images.sets import ImageSet, mask_file
from ppl.judge.evaluation import evaluate_models, pseudo_mask_metrics
from ppl.judge.judgement import (
    Judgement,
    JudgeSettings,
    PseudoMasks,
    judge_models,
    write_judgement,
)
from ppl.labeling.pseudo_masks import ONE_LOOK
from ppl.network.network import Origin
from ppl.network.predict import PLAIN
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.counts import read_result
from ppl.scores.tested import fingerprint, read_tested
from ppl.station.thresholds import ClassLimits, Promise, Thresholds
from tests.conftest import whole
from tests.judge.test_evaluation import INFO, SETTINGS, ByBrightness, make_set

SECTIONS = JudgeSettings(
    whole(64, 48),
    PLAIN,
    SETTINGS,
    ONE_LOOK,
    IntervalSettings(confidence=0.9, resamples=100, few_parts=2),
)
VERDICTS = Thresholds((ClassLimits(0.5, 4),) * 2, 0.5, Promise(0.3, 0.95, 8, 0))
MODELS = {
    "teacher": ByBrightness(blind=True),
    "student_1": ByBrightness(blind=True),
    "final": ByBrightness(),
}
ORIGINS = {name: Origin(name, 3) for name in MODELS} | {"student_1": Origin("teacher", 3)}
PARTS = {"a/dark": "one", "a/bright": "two", "b/sound": "two"}
Halves = dict[str, list[str]]
BOTH: Halves = {"reliable": ["a/dark"], "hard": ["a/bright", "b/sound"]}
RELIABILITY = {"a/dark": 0.9, "a/bright": 0.4, "b/sound": 0.2}


@pytest.fixture
def made(tmp_path: Path) -> ImageSet:
    return make_set(tmp_path / "set")


def judge(
    made: ImageSet, folder: Path, absent: tuple[str, ...] = (), halves: Halves = BOTH
) -> Judgement:
    """Three images that are tested and, as if they were others, unlabeled: one reliable."""
    for half, ids in halves.items():
        (folder / half).mkdir()
        for id in ids:
            write_mask(mask_file(folder / half, id), torch.zeros(64, 48), INFO.colours)
    masks = PseudoMasks(made, folder / "reliable", folder / "hard", made.folder / "masks")
    split = SplitRecord("group", PARTS, PARTS, defective_validation_parts=4)
    models = {name: model for name, model in MODELS.items() if name not in absent}
    return judge_models(models, ORIGINS, made, masks, split, INFO, SECTIONS, VERDICTS)  # type: ignore[arg-type]


def test_each_model_is_scored_and_a_stand_in_is_named(made: ImageSet, tmp_path: Path) -> None:
    judged = judge(made, tmp_path)
    assert list(judged.metrics) == list(judged.results) == list(MODELS)
    assert judged.metrics["final"]["miou"] == 1.0
    assert "gain" not in judged.metrics["teacher"]
    assert judged.metrics["student_1"]["gain"] == 0.0
    assert judged.metrics["student_1"]["fallen_back_to"] == "teacher"
    assert "fallen_back_to" not in judged.metrics["final"]
    assert judged.tested.ids == made.ids
    assert judged.tested.parts == [PARTS[id] for id in made.ids]
    assert judged.tested.masks == [
        fingerprint(made.mask(entry), made.image(entry)) for entry in made.entries
    ]
    for found in judged.metrics.values():
        assert found["test_set"] == judged.tested.record
        # a/dark and a/bright show defects
        assert found["defective_parts"] == {"test": 2, "validation": 4}
    alone = evaluate_models(MODELS, made, 3, whole(64, 48), SETTINGS)  # type: ignore[arg-type]
    assert torch.equal(alone["final"].matrices, judged.results["final"].matrices)


def test_each_half_is_judged_by_who_labeled_it(made: ImageSet, tmp_path: Path) -> None:
    quality = judge(made, tmp_path).quality
    assert {name: sorted(found.miou_of) for name, found in quality.items()} == {
        "reliable_by_teacher": ["a/dark"],
        "hard_by_teacher": ["a/bright", "b/sound"],
        "hard_by_student_1": ["a/bright", "b/sound"],
    }
    # the blind teacher would have drawn what the empty masks of the hard half hold
    assert quality["hard_by_teacher"].miou_of == quality["hard_by_student_1"].miou_of


def test_what_is_written_is_what_was_judged(made: ImageSet, tmp_path: Path) -> None:
    judged = judge(made, tmp_path)
    folders = {name: tmp_path / name for name in ("metrics", "plots", "evaluation")}
    write_judgement(judged, RELIABILITY, INFO, **folders)
    left = {
        f"{name}/{file.name}": file for name, folder in folders.items() for file in folder.iterdir()
    }
    assert sorted(left) == [
        "evaluation/final.safetensors",
        "evaluation/images.json",
        "evaluation/student_1.safetensors",
        "evaluation/teacher.safetensors",
        "metrics/final.json",
        "metrics/pseudo_masks.json",
        "metrics/student_1.json",
        "metrics/teacher.json",
        "plots/calibration.json",
        "plots/confusion.json",
        "plots/iou_per_class.json",
        "plots/reliability.json",
        "plots/verdicts.json",
    ]
    for name in MODELS:
        assert json.loads(left[f"metrics/{name}.json"].read_text()) == judged.metrics[name]
        found = read_result(left[f"evaluation/{name}.safetensors"])
        assert torch.equal(found.matrices, judged.results[name].matrices)
    of_masks = json.loads(left["metrics/pseudo_masks.json"].read_text())
    assert of_masks == pseudo_mask_metrics(judged.quality, INFO)
    assert read_tested(left["evaluation/images.json"]) == judged.tested
    points = json.loads(left["plots/reliability.json"].read_text())
    assert {point["id"]: point["half"] for point in points} == {
        "a/bright": "hard",
        "a/dark": "reliable",
        "b/sound": "hard",
    }
    assert {point["id"]: point["reliability"] for point in points} == RELIABILITY


def left_by(judged: Judgement, folder: Path, absent: dict[str, str]) -> dict[str, Any]:
    """The content of each JSON file that is written of it, without scores of a ranking."""
    folders = {name: folder / name for name in ("metrics", "plots", "evaluation")}
    write_judgement(judged, {}, INFO, absent, **folders)
    return {
        f"{name}/{file.stem}": json.loads(file.read_text())
        for name, of in folders.items()
        for file in of.glob("*.json")
    }


def test_a_model_alone_is_scored_as_with_others_but_for_the_gain(
    made: ImageSet, tmp_path: Path
) -> None:
    absent = dict.fromkeys(("teacher", "student_1"), "it trains once")
    judged = judge(made, tmp_path, tuple(absent), {"reliable": [], "hard": []})
    assert list(judged.metrics) == ["final"]
    assert judged.quality == {}
    (tmp_path / "others").mkdir()
    with_others = judge(made, tmp_path / "others").metrics["final"]
    gains = {"gain", "gain_low", "gain_high"}
    assert judged.metrics["final"] == {k: v for k, v in with_others.items() if k not in gains}
    left = left_by(judged, tmp_path, absent)
    assert left["metrics/teacher"] == left["metrics/student_1"] == {"absent": "it trains once"}
    assert left["metrics/pseudo_masks"] == {"absent": "it trains once"}
    assert left["plots/reliability"] == []
    assert {row["model"] for row in left["plots/iou_per_class"]} == {"final"}
    assert {row["model"] for row in left["plots/calibration"]} == {"final"}
    found = {file.name for file in (tmp_path / "evaluation").iterdir()}
    assert found == {"final.safetensors", "images.json"}


def test_masks_of_a_teacher_alone_are_judged_and_no_ranking_is(
    made: ImageSet, tmp_path: Path
) -> None:
    everything = {"reliable": [*made.ids], "hard": []}
    judged = judge(made, tmp_path, ("student_1",), everything)
    assert list(judged.metrics) == ["teacher", "final"]
    assert judged.metrics["final"]["gain"] == pytest.approx(
        judged.metrics["final"]["miou"] - judged.metrics["teacher"]["miou"],  # type: ignore[operator]
        abs=1e-6,
    )
    assert {name: sorted(found.miou_of) for name, found in judged.quality.items()} == {
        "reliable_by_teacher": sorted(made.ids)
    }
    left = left_by(judged, tmp_path, {"student_1": "one student is all"})
    assert list(left["metrics/pseudo_masks"]) == ["reliable_by_teacher"]
    assert left["metrics/pseudo_masks"]["reliable_by_teacher"]["images"] == 3
    assert left["metrics/student_1"] == {"absent": "one student is all"}
    assert left["plots/reliability"] == []
