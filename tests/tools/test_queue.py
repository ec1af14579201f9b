"""Queued experiments: shared work is done once, from the code and data of their queueing."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import ppl.tools.queue
from ppl.core.errors import InputError
from ppl.tools.queue import (
    queued_revisions,
    shared_stages,
    stage_origins,
    start_workers,
    worker_environments,
)
from tests.pipeline.project import copy_project, dvc, environment, git, write_project

PIPELINE = """
stages:
  check_settings:
    cmd: check
    deps: [check.py]
    params: [split, ranking]
    outs: [checked]
  synthesize:
    cmd: draw
    deps: [checked, draw.py]
    params: [seed]
    outs: [drawn]
  prepare:
    cmd: split
    deps:
      - checked
      - ${data.root}
      - split.py
    params: [split]
    outs: [labeled]
  train:
    cmd: train
    deps: [labeled, ppl/training, stages/train.py]
    outs: [model]
    plots:
      - curve.json:
          cache: false
  rank:
    cmd: rank
    deps: [model, curve.json, rank.py]
    params: [ranking]
    outs: [ranks]
"""
PARAMS = {"seed": 0, "data": {"root": "drawn"}, "split": {"f": 1}, "ranking": {"k": 1}}
FILES = [
    *(f"{name}.py" for name in ("check", "draw", "split", "rank")),
    "stages/train.py",
    "ppl/training/loop.py",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, pipeline=PIPELINE, params=yaml.safe_dump(PARAMS), files=FILES)
    git(tmp_path, "init", "-q")
    return tmp_path


def revision(project: Path, files: dict[str, str] | None = None, **params: object) -> str:
    """A commit of the project as the queue keeps one: with these settings and files."""
    (project / "params.yaml").write_text(yaml.safe_dump(PARAMS | params), encoding="utf-8")
    for name, content in (files or {}).items():
        (project / name).write_text(content, encoding="utf-8")
    git(project, "add", "-A")
    git(project, "commit", "-q", "--allow-empty", "-m", "queued")
    return git(project, "rev-parse", "HEAD").strip()


def test_code_counts_as_the_revision_has_it_not_the_workspace(project: Path) -> None:
    """A module of a listed folder that the workspace no longer has, say."""
    first = revision(project)
    second = revision(project, {"ppl/training/new.py": "1"})
    third = revision(project, {"ppl/training/new.py": "2"})
    (project / "ppl/training/new.py").unlink()
    origins = [stage_origins(of) for of in (first, second, third)]
    assert len({found["train"] for found in origins}) == 3
    assert len({found["rank"] for found in origins}) == 3
    assert len({found["prepare"] for found in origins}) == 1


def test_over_label_fractions_all_before_the_split_is_shared(project: Path) -> None:
    queued = [revision(project, split={"f": f}) for f in (1, 2, 3)]
    assert shared_stages(queued) == [(queued[0], ["synthesize"])]


def test_over_the_ranking_the_teacher_is_shared(project: Path) -> None:
    queued = [revision(project, ranking={"k": k}) for k in (1, 2)]
    assert shared_stages(queued) == [(queued[0], ["synthesize", "prepare", "train"])]


def test_in_a_grid_each_shared_result_is_computed_at_its_first_revision(project: Path) -> None:
    queued = [revision(project, split={"f": f}, ranking={"k": k}) for f in (1, 2) for k in (1, 2)]
    assert shared_stages(queued) == [
        (queued[0], ["synthesize", "prepare", "train"]),
        (queued[2], ["prepare", "train"]),
    ]


@pytest.mark.parametrize(
    ("file", "shared"),
    [
        ("draw.py", []),
        ("stages/train.py", ["synthesize", "prepare"]),
        ("ppl/training/loop.py", ["synthesize", "prepare"]),
        ("rank.py", ["synthesize", "prepare", "train"]),
    ],
)
def test_other_code_is_not_shared(project: Path, file: str, shared: list[str]) -> None:
    queued = [revision(project), revision(project, {file: "edited"})]
    assert dict(shared_stages(queued)).get(queued[0], []) == shared


def test_data_of_another_hash_or_place_is_not_shared(project: Path) -> None:
    root = {"root": "parts"}
    tracked = [revision(project, {"parts.dvc": text}, data=root) for text in ("one", "two")]
    origins = [stage_origins(one) for one in (*tracked, revision(project, data={"root": "/else"}))]
    assert len({origin["train"] for origin in origins}) == 3
    assert len({origin["synthesize"] for origin in origins}) == 1


def test_nothing_queued_says_how_to_queue(project: Path) -> None:
    revision(project)
    assert queued_revisions() == []
    with pytest.raises(InputError, match="dvc exp run --queue -S"):
        ppl.tools.queue.run_queued(2)


def start(monkeypatch: pytest.MonkeyPatch, *, jobs: int, gpus: int) -> list[dict[str, str]]:
    """The environments of the calls of `dvc queue start`."""
    seen = []

    def start_some(*words: str, env: dict[str, str]) -> int:
        assert words[:2] == ("queue", "start")
        seen.append(env | {"jobs": words[-1]})
        return 0

    def status(*words: str, seconds: float) -> str:
        assert words == ("queue", "status")
        assert seconds > 0  # may be asked again
        return f"Worker status: {len(seen) - 1} active, 1 idle\n"

    monkeypatch.setattr(ppl.tools.queue, "_dvc", start_some)
    monkeypatch.setattr(ppl.tools.queue, "ask_dvc", status)
    monkeypatch.setattr(ppl.tools.queue, "_cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    start_workers(worker_environments(jobs))
    return seen


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    [environment] = start(monkeypatch, jobs=3, gpus=1)
    assert (environment["OMP_NUM_THREADS"], environment["jobs"]) == ("2", "3")
    [environment] = start(monkeypatch, jobs=20, gpus=0)
    assert environment["OMP_NUM_THREADS"] == "1"


def test_of_granted_gpus_no_other_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5f")
    found = start(monkeypatch, jobs=3, gpus=2)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["2", "GPU-5f", "2"]


def test_each_worker_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = start(monkeypatch, jobs=3, gpus=2)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1", "0"]
    # `dvc queue start --jobs N` starts those of N workers that are not there yet
    assert [one["jobs"] for one in found] == ["1", "2", "3"]


@pytest.mark.long
def test_two_workers_use_code_and_data_as_they_were_queued(tmp_path: Path) -> None:
    """DVC-tracked data and data outside; code edited after queueing; shared stages; the table."""
    workspace = copy_project(tmp_path / "project")
    drawn = dvc(workspace, "repro", "synthesize")
    assert drawn.returncode == 0, drawn.stderr
    tracked, outside = workspace / "data" / "raw" / "parts", tmp_path / "outside"
    for place in (tracked, outside):
        shutil.copytree(workspace / "data" / "raw" / "synthetic", place)
    assert dvc(workspace, "add", "-q", "data/raw/parts").returncode == 0
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "parts")
    shutil.rmtree(workspace / ".dvc" / "cache" / "runs")
    inside = ["-S", "data.root=data/raw/parts"]
    experiments = {
        "inside": inside,
        "ranked": [*inside, "-S", "ranking.reliable_fraction=0.3"],
        "outside": ["-S", f"data.root={outside}"],
    }
    for name, overrides in experiments.items():
        queued = dvc(workspace, "exp", "run", "--queue", "-n", name, *overrides)
        assert queued.returncode == 0, queued.stderr
    (workspace / "ppl" / "ranking.py").write_text("raise SystemExit('edited')", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "ppl", "queue", "--jobs", "2"],
        cwd=workspace,
        env=environment(),
        stdout=(tmp_path / "log").open("w"),
        check=True,
    )
    said = (tmp_path / "log").read_text(encoding="utf-8")
    for shared in ("import_encoder", "prepare", "train_supervised"):
        assert said.count(f"Running stage '{shared}'") == 1, said
    assert not list((workspace / ".dvc" / "tmp" / "shared").iterdir())
    deadline = time.monotonic() + 300
    while re.search("Queued|Running", dvc(workspace, "queue", "status").stdout):
        assert time.monotonic() < deadline
        time.sleep(2)
    for name in experiments:
        log = dvc(workspace, "queue", "logs", name).stdout
        # run, or restored: equal pictures give equal models, wherever they lie
        assert "tage 'evaluate'" in log, log
        assert "Running stage 'import_encoder'" not in log
        assert ("Running stage 'prepare'" in log) == (name == "outside")
    compared = subprocess.run(
        [sys.executable, "-m", "ppl", "compare", "--out", str(tmp_path / "compare")],
        cwd=workspace,
        env=os.environ | environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.returncode == 0, compared.stderr
    assert "data.root=data/raw/parts, ranking.reliable_fraction=0.3" in compared.stdout
    assert f"data.root={outside}" in compared.stdout
    # the same pictures, split and seed: the place of the data is no part of the result
    shown = json.loads(dvc(workspace, "exp", "show", "--json").stdout)
    metrics = {
        revision["name"]: revision["data"]["metrics"]
        for revision in (one["revs"][0] for one in shown[1]["experiments"])
    }
    assert metrics.keys() == experiments.keys()
    assert metrics["inside"] == metrics["outside"]
