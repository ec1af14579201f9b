"""The whole pipeline on a tiny configuration: what runs, what it leaves, what a change reruns."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppl.image_files import read_mask
from ppl.image_set import masked_ids, read_image_set

ROOT = Path(__file__).parent.parent
CODE = ["ppl", "stages", ".dvc/config", ".dvc/plots", ".dvcignore", "dvc.yaml", "data/lists"]

TINY = {
    "synthetic": {"images": 40, "height": 48, "width": 48, "defective_fraction": 0.6},
    "split": {"labeled_fraction": "1/2", "validation_fraction": 0.2},
    "model": {"architecture": "Linknet", "encoder": "tu-test_resnet", "options": {}},
    "image": {"height": 32, "width": 32},
    "selection": {"every": 2},
    "train_supervised": {"iterations": 3, "batch": 2},
    "retrain_reliable": {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2},
    "retrain_final": {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2},
    "evaluate": {"overlays": 3},
}

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


def edit_params(workspace: Path, changes: dict[str, dict[str, object]]) -> None:
    file = workspace / "params.yaml"
    params = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section, values in changes.items():
        params[section].update(values)
    file.write_text(yaml.safe_dump(params), encoding="utf-8")


def dvc(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "2",
    }
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def repro(workspace: Path) -> list[str]:
    """The stages that ran, in order."""
    done = dvc(workspace, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '(\w+)'", done.stdout)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the project, reproduced once on the tiny configuration."""
    folder = tmp_path_factory.mktemp("project")
    for name in CODE:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(ROOT / "params.yaml", folder)
    edit_params(folder, TINY)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
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
