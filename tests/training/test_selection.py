"""No model knows the labels of test: noise in their place changes no byte of what is trained."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.project import copy_project, dvc, edit_params, git, repro

TRAINED = ("data/models", "data/ranking", "data/pseudo")


def digests(project: Path) -> dict[str, str]:
    """SHA-256 of every file of models, ranking and pseudo-masks."""
    return {
        file.relative_to(project).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in TRAINED
        for file in sorted((project / folder).rglob("*"))
        if file.is_file() and file.name != ".gitignore"
    }


def with_own_data(project: Path, raw: Path, test: list[str]) -> Path:
    """The project on a copy of `raw`, tested on the listed images."""
    shutil.copytree(raw, project / "data/raw/parts")
    (project / "data/lists/val.txt").write_text("".join(f"{id}.png\n" for id in test))
    edit_params(project, {"data": {"root": "data/raw/parts"}})
    git(project, "add", "-A")
    return project


@pytest.mark.long
def test_noise_for_the_labels_of_test_changes_no_trained_byte(tmp_path: Path) -> None:
    changes = {
        "selection": {"by": "validation", "every": 1},
        "split": {"labeled_fraction": "1/2", "validation_fraction": 0.4},
    }
    source = copy_project(tmp_path / "source", changes=changes)
    assert dvc(source, "repro", "prepare").returncode == 0
    index = json.loads((source / "data/prepared/test/index.json").read_text(encoding="utf-8"))
    ids = [entry["id"] for entry in index]
    raw = source / "data/raw/synthetic"
    true = with_own_data(copy_project(tmp_path / "true", changes=changes), raw, ids)
    noisy = with_own_data(copy_project(tmp_path / "noisy", changes=changes), raw, ids)
    draws = np.random.default_rng(0)
    for id in ids:
        file = noisy / "data/raw/parts/masks" / f"{id}.png"
        with Image.open(file) as mask:
            noise = draws.integers(0, 5, np.asarray(mask).shape, dtype=np.uint8)
        Image.fromarray(noise).save(file)
    for project in (true, noisy):
        assert "train_supervised" in repro(project)
    assert digests(true) == digests(noisy)
    assert len(digests(true)) >= 30
    scores = [json.loads((p / "metrics/final.json").read_text()) for p in (true, noisy)]
    assert scores[0]["miou"] != scores[1]["miou"], "the noise was not seen by evaluate either"
