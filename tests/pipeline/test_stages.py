"""Every stage's entry point in one process, on somebody's own data: a few masks, many images."""

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ppl.core.declared import declared, named_setting
from ppl.methods.choose import NAMES, PHASED
from ppl.run.stage import arguments
from tests.pipeline.project import ROOT, TINY, draw_own_data, edit_params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def run_stage(name: str) -> None:
    """What `dvc repro` does for one stage, without the process."""
    given = {
        option.replace("-", "_"): named_setting(word)
        for option, word in re.findall(r"--([a-z0-9-]+) (\S+)", STAGES[name]["cmd"])
    }
    main = importlib.import_module(f"stages.{name}").main
    main(**arguments(main, given))


def own_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, object]]
) -> None:
    """A project in `folder`, which becomes the working directory: a few masks, many images."""
    draw_own_data(folder / "data" / "raw" / "my parts", annotated=15, bare=9)
    for name in ("ppl", "stages"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / "params.yaml", folder)
    for name in ("lists", "sound"):
        (folder / "data" / name).mkdir()
    edit_params(folder, TINY)
    own = {"name": "folder", "root": "data/raw/my parts", "classes": ["background", "dent", "rust"]}
    edit_params(
        folder,
        {
            "data": own,
            # all masks outside test are used, so no unlabeled image has a hidden one
            "split": {"labeled_fraction": 1, "validation_fraction": 0.0},
            "selection": {"by": "last"},
            **changes,
        },
    )
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def test_a_method_that_trains_once_says_which_defects_vanish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, dict[str, object]] = {
        "method": {"name": "supervised"},
        "image": {"height": 32, "width": 32},
    }
    own_project(tmp_path, monkeypatch, changes)
    for file in (tmp_path / "data" / "raw" / "my parts" / "masks").rglob("*.png"):
        with Image.open(file) as picture:
            mask = np.array(picture)
        # a hair, which no mask of fewer rows holds
        mask[:] = 0
        mask[1, 1] = 1
        Image.fromarray(mask).save(file)
    for name in ("import_encoder", "prepare", "choose_method", "train_at_once"):
        run_stage(name)
    said = capsys.readouterr().err
    assert "train_at_once: warning: of " in said
    assert "labeled masks with dent" in said


@pytest.mark.parametrize("starts", [("fresh", "labeler"), ("labeler", "fresh")])
def test_own_data_with_few_masks_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: tuple[str, str]
) -> None:
    first, second = starts
    budgets = {"retrain_reliable": {"start": first}, "retrain_final": {"start": second}}
    own_project(tmp_path, monkeypatch, budgets)
    for name in STAGES:
        run_stage(name)
        for path in declared(name).inputs:
            assert path.exists(), f"{name} depends on {path}, which no stage before it left"

    scores = json.loads((tmp_path / "metrics" / "final.json").read_text(encoding="utf-8"))
    assert list(scores["iou"]) == ["background", "dent", "rust"]
    assert 0 <= scores["miou"] <= 1
    pseudo = json.loads((tmp_path / "metrics" / "pseudo_masks.json").read_text(encoding="utf-8"))
    assert pseudo["hard_by_teacher"]["images"] == 0
    assert pseudo["hard_by_teacher"]["miou"] is None
    assert json.loads((tmp_path / "metrics" / "plots" / "reliability.json").read_text()) == []
    masks = sorted((tmp_path / "data" / "pseudo").rglob("*.png"))
    assert len(masks) == 9


LONG = ("supervised", "cps", "fixmatch", "unimatch", "unimatch_v2")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
        for name in NAMES
        if name != "ppl"
    ],
)
def test_every_method_goes_all_the_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
) -> None:
    own_project(tmp_path, monkeypatch, {"method": {"name": method}})
    for name in STAGES:
        run_stage(name)
    scores = json.loads((tmp_path / "metrics" / "final.json").read_text(encoding="utf-8"))
    assert 0 <= scores["miou"] <= 1
    assert "fallen_back_to" not in scores
    curve = json.loads((tmp_path / "metrics/plots/training_final.json").read_text())
    assert [point["model"] for point in curve] == ["final", "final"]
    teacher = json.loads((tmp_path / "metrics" / "teacher.json").read_text(encoding="utf-8"))
    assert ("miou" in teacher) == (method in PHASED)
    student = json.loads((tmp_path / "metrics" / "student_1.json").read_text(encoding="utf-8"))
    assert ("miou" in student) == (method == "st++")
    masks = sorted((tmp_path / "data" / "pseudo").rglob("*.png"))
    assert len(masks) == (9 if method in PHASED else 0)
    assert sorted((tmp_path / "data/models/final").iterdir()) == [
        tmp_path / "data/models/final/model.json",
        tmp_path / "data/models/final/model.safetensors",
    ]
    said = capsys.readouterr().out
    assert "nothing to do: the method (method.name)" in said
