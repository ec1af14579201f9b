"""A preset names settings that exist, with values that they take."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.accuracy import preset as preset_changes
from benchmarks.accuracy import read_plan
from ppl.all_settings import check_all
from ppl.labeling import ranking
from ppl.labeling.part_agreement import NOBODY
from ppl.training import loss, strong_augment
from tests.pipeline.project import ROOT

PRESETS = sorted((ROOT / "presets").iterdir())


def changes(preset: Path) -> dict[str, Any]:
    words = shlex.split(preset.read_text(encoding="utf-8"))
    assert words[::2] == ["-S"] * (len(words) // 2)
    found = preset_changes(preset.name)
    assert len(found) == len(words) // 2, "a setting is named twice"
    return found


# source: Wu et al., TNNLS 2024, and the paper's code where that says more
METHOD = {
    "method.name": "ppl",
    "train_supervised.batch": 8,
    "train_supervised.snapshots": 3,
    "retrain_reliable.labeled_batch": 4,
    "retrain_reliable.unlabeled_batch": 4,
    "retrain_final.labeled_batch": 4,
    "retrain_final.unlabeled_batch": 4,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "optimizer.poly_power": 0.9,
    "weak_augment.flip_probability": 0.5,
    "ranking.reliable_fraction": 0.5,
    "cutmix.enabled": True,
    "cutmix.order": "after_strong",
    "cutmix.combine": "xor",
    "cutmix.boxes": 3,
    "cutmix.area_min": 0.25,
    "cutmix.area_max": 0.5,
    # all labels train, and none chooses
    "split.validation_fraction": 0.0,
    "selection.by": "last",
}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_changes_settings_that_exist_to_values_they_take(preset: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in changes(preset).items():
        section, name = key.split(".")
        assert name in params[section], key
        params[section][name] = value
    check_all(params)


def test_without_unlabeled_images_a_step_has_as_many() -> None:
    """The benchmark's row is the same change."""
    alone = changes(ROOT / "presets" / "labeled_only")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for stage in ("retrain_reliable", "retrain_final"):
        assert alone[f"{stage}.unlabeled_batch"] == 0
        whole = params[stage]["labeled_batch"] + params[stage]["unlabeled_batch"]
        assert alone[f"{stage}.labeled_batch"] == whole
    assert read_plan()["variants"]["labeled_only"] == alone


def test_the_papers_preset_switches_off_all_that_the_paper_does_not_have() -> None:
    paper = changes(ROOT / "presets" / "paper")
    assert {key: paper[key] for key in METHOD} == METHOD
    for name, settings in {
        "loss": loss.PAPER.model_dump(exclude={"tversky_missed"}),
        "ranking": ranking.PAPER.model_dump(),
        "strong_augment": strong_augment.PAPER.model_dump(),
    }.items():
        for key, value in settings.items():
            assert paper[f"{name}.{key}"] == value, f"{name}.{key}"
    off = {
        "weak_augment.vertical_flip_probability",
        "sampling.repeat_below",
        "paste.probability",
        "loss.focal_gamma",
        "loss.tversky_weight",
        "ranking.foreground",
        "ranking.per_class",
        "pseudo_label.ignore_fraction",
        "pseudo_label.background_from",
        "fall_back.enabled",
        "mean_teacher.enabled",
    }
    assert not any(paper[key] for key in off)
    assert paper["loss.defect_weight"] == 1
    assert paper["pseudo_label.alike"] == NOBODY
    assert paper["retrain_final.start"] == paper["retrain_reliable.start"] == "fresh"
