"""A clean copy of the project on a tiny configuration, for tests that run `dvc`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
CODE = [
    "ppl",
    "stages",
    "data/lists",
    "data/sound",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
    "params.yaml",
]

TINY = {
    "synthetic": {"images": 40, "height": 48, "width": 48, "defective_fraction": 0.6},
    "split": {"labeled_fraction": "1/2", "validation_fraction": 0.2},
    "model": {"architecture": "Linknet", "encoder": "tu-test_resnet", "options": {}},
    "image": {"height": 32, "width": 32},
    "selection": {"every": 2},
    "train_supervised": {"iterations": 3, "batch": 2},
    "retrain_reliable": {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2},
    "retrain_final": {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2},
    "supervised": {"iterations": 2, "labeled_batch": 2},
    **{
        name: {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2}
        for name in ("cps", "cps_cutmix", "fixmatch", "unimatch", "unimatch_v2")
    },
    "prevmatch": {"iterations": 2, "labeled_batch": 2, "unlabeled_batch": 2, "every": 1},
    "evaluate": {"overlays": 3},
    "intervals": {"resamples": 100},
}


def paths(listed: list[Any]) -> set[str]:
    """The paths of a list of deps, outs, metrics or plots of dvc.yaml, with or without options."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in listed}


def outputs(stage: dict[str, Any]) -> set[str]:
    """All paths that a stage of dvc.yaml writes."""
    return paths(stage.get("outs", []) + stage.get("metrics", []) + stage.get("plots", []))


def write_project(folder: Path, *, pipeline: str, params: str, files: list[str]) -> Path:
    """No project but the files of one: each of `files` holds its own name."""
    for name, content in {
        "dvc.yaml": pipeline,
        "params.yaml": params,
        **{f: f for f in files},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def edit_params(workspace: Path, changes: dict[str, dict[str, object]]) -> None:
    file = workspace / "params.yaml"
    params = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section, values in changes.items():
        params[section].update(values)
    file.write_text(yaml.safe_dump(params), encoding="utf-8")


def environment() -> dict[str, str]:
    """This process's variables, its Python first; tiny networks are fastest on one thread."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}


def module(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m` of these arguments in `workspace`."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=workspace,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def dvc(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return module(workspace, "dvc", *arguments)


def repro(workspace: Path) -> list[str]:
    """The stages that ran, in order."""
    done = dvc(workspace, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '(\w+)'", done.stdout)


def copy_project(folder: Path, *, changes: dict[str, dict[str, Any]] | None = None) -> Path:
    """The project's files without data, cache or results, as a Git repository at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CODE:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    edit_params(folder, TINY | (changes or {}))
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "tiny")
    return folder


def draw_own_data(folder: Path, *, annotated: int, bare: int) -> None:
    """A data set of two classes as `folder` reads it, the first `annotated` images with masks."""
    draws = np.random.default_rng(0)
    for number in range(annotated + bare):
        image = folder / "images" / f"line {number % 2}" / f"part {number}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 120, (40 + number % 3, 48), dtype=np.uint8)
        pixels[5:20, 8:30] += 100 if number % 3 else 0
        Image.fromarray(pixels).save(image)
        if number < annotated:
            mask = np.zeros(pixels.shape, dtype=np.uint8)
            mask[5:20, 8:30] = number % 3
            target = folder / "masks" / f"line {number % 2}" / f"part {number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)


def git(workspace: Path, *arguments: str) -> str:
    """What `git` prints; the author is made up for the copy."""
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *author, *arguments], cwd=workspace, check=True, capture_output=True, text=True
    )
    return done.stdout
