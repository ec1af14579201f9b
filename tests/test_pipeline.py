"""The whole pipeline on a tiny configuration: what runs, what it leaves, what a change reruns."""

import json
import re
from pathlib import Path

import pytest

from ppl.image_files import read_mask
from ppl.image_set import masked_ids, read_image_set
from tests.project import copy_project, dvc, edit_params, repro

ALL = [
    "check_settings",
    "synthesize",
    "import_encoder",
    "prepare",
    "train_supervised",
    "rank_stability",
    "pseudo_label_reliable",
    "retrain_reliable",
    "pseudo_label_hard",
    "retrain_final",
    "evaluate",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the project, reproduced once on the tiny configuration."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    assert repro(folder) == ALL
    return folder


def test_a_second_repro_runs_nothing(workspace: Path) -> None:
    assert repro(workspace) == []


def test_every_model_is_scored(workspace: Path) -> None:
    for model in ("teacher", "student_1", "final"):
        found = json.loads((workspace / "metrics" / f"{model}.json").read_text(encoding="utf-8"))
        assert 0 <= found["miou"] <= 1
        assert set(found["iou"]) == {"background", "pore", "scratch", "stain", "edge_break"}
    pseudo = json.loads((workspace / "metrics" / "pseudo_masks.json").read_text(encoding="utf-8"))
    assert set(pseudo) == {"reliable_by_teacher", "hard_by_teacher", "hard_by_student_1"}
    assert pseudo["hard_by_teacher"]["images"] == pseudo["hard_by_student_1"]["images"] > 0


def test_halves_are_the_unlabeled_images_and_each_has_a_mask_of_its_own_size(
    workspace: Path,
) -> None:
    unlabeled = read_image_set(workspace / "data" / "prepared" / "unlabeled")
    reliable = masked_ids(workspace / "data" / "pseudo" / "reliable")
    hard = masked_ids(workspace / "data" / "pseudo" / "hard")
    assert sorted(reliable + hard) == sorted(unlabeled.ids)
    for entry in unlabeled.entries:
        half = "reliable" if entry.id in reliable else "hard"
        mask = read_mask(workspace / "data" / "pseudo" / half / f"{entry.id}.png")
        assert mask.shape == (entry.height, entry.width)
        assert int(mask.max()) < 5


def test_plots_and_pictures_are_there(workspace: Path) -> None:
    shown = dvc(workspace, "plots", "show")
    assert shown.returncode == 0, shown.stderr
    assert "failed" not in (shown.stdout + shown.stderr).lower()
    page = (workspace / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for title in ("Training loss and validation mIoU", "IoU per class", "Final model"):
        assert title in page
    pictures = sorted(file.name for file in (workspace / "data" / "overlays").iterdir())
    assert pictures == ["overlay_01.png", "overlay_02.png", "overlay_03.png"]


def test_metrics_show_lists_the_models(workspace: Path) -> None:
    shown = dvc(workspace, "metrics", "show", "--json")
    files = json.loads(shown.stdout)[""]["data"]
    assert {Path(file).name for file in files} == {
        "teacher.json",
        "student_1.json",
        "final.json",
        "pseudo_masks.json",
    }


def test_an_evaluation_threshold_trains_nothing(workspace: Path) -> None:
    edit_params(workspace, {"evaluate": {"min_defect_fraction": 0.01}})
    assert repro(workspace) == ["check_settings", "evaluate"]


def test_a_reliable_fraction_retrains_no_teacher(workspace: Path) -> None:
    edit_params(workspace, {"ranking": {"reliable_fraction": 0.3}})
    ran = repro(workspace)
    assert ran[:2] == ["check_settings", "rank_stability"]
    assert "train_supervised" not in ran
    assert "retrain_reliable" in ran


def test_a_wrong_setting_stops_before_anything_runs(workspace: Path) -> None:
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    edit_params(workspace, {"ranking": {"reliable_fracton": 0.5}, "split": {"test_fraction": 7}})
    done = dvc(workspace, "repro")
    assert done.returncode != 0
    assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["check_settings"]
    assert "ranking.reliable_fracton: unknown key (did you mean reliable_fraction?)" in done.stderr
    assert "split.test_fraction: got 7" in done.stderr
    (workspace / "params.yaml").write_text(before, encoding="utf-8")


def test_a_missing_data_folder_says_where_to_put_it(workspace: Path) -> None:
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    edit_params(workspace, {"data": {"name": "neu_seg", "root": "data/raw/neu_seg"}})
    done = dvc(workspace, "repro")
    assert done.returncode != 0
    assert "data/raw/neu_seg" in done.stderr
    assert "images/training" in done.stderr
    assert "data.name: synthetic" in done.stderr
    (workspace / "params.yaml").write_text(before, encoding="utf-8")
