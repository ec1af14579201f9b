"""Trainings killed at random moments end with the bytes of an uninterrupted one.

PPL_KILLS says how often each kind of run is killed (default 2).
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, copy_project, dvc, environment, git

KILLS = int(os.environ.get("PPL_KILLS", "2"))
STAGE = "train_supervised"
LONG = {"selection": {"every": 50}, "train_supervised": {"iterations": 250, "batch": 4}}
LEAST_SECONDS = "0.2"
"""Between two checkpoints, so that short trainings have some."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with all that the teacher needs, on a training of a few seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPL_CHECKPOINT_SECONDS", LEAST_SECONDS)
        yield copy_project(tmp_path_factory.mktemp("project"), changes=LONG)


@pytest.fixture(scope="module")
def uninterrupted(workspace: Path) -> list[object]:
    """The hashes of the teacher's outputs, trained in one go."""
    done = dvc(workspace, "repro", STAGE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on from iteration" not in done.stdout
    return hashes((workspace / "dvc.lock").read_text(encoding="utf-8"))


def hashes(lock: str) -> list[object]:
    outs: list[object] = yaml.safe_load(lock)["stages"][STAGE]["outs"]
    return outs


def forget(workspace: Path) -> None:
    """Leave no trace of the teacher, so that it has to be trained again."""
    lock = workspace / "dvc.lock"
    known = yaml.safe_load(lock.read_text(encoding="utf-8"))
    known["stages"].pop(STAGE, None)
    lock.write_text(yaml.safe_dump(known), encoding="utf-8")
    shutil.rmtree(workspace / "data" / "models", ignore_errors=True)
    shutil.rmtree(workspace / ".dvc" / "cache" / "runs", ignore_errors=True)


def kill_dvc(process: "subprocess.Popen[bytes]") -> None:
    process.kill()


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)


def ctrl_c(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def terminate(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGTERM)


WAYS: list[Callable[["subprocess.Popen[bytes]"], None]] = [kill_dvc, kill_all, ctrl_c, terminate]


def run_and_kill(
    workspace: Path, log: Path, draws: random.Random, *arguments: str
) -> tuple[bool, str]:
    """Start `dvc`, kill it in the middle of the training; whether that came in time, and output."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=workspace,
            env=environment() | {"TQDM_DISABLE": ""},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while "train teacher" not in log.read_text(encoding="utf-8", errors="replace"):
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            if process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(draws.uniform(0.0, 2.0))
        in_time = process.poll() is None
        if in_time:
            draws.choice(WAYS)(process)
        process.wait(timeout=60)
    subprocess.run(["make", "-s", "-f", ROOT / "Makefile", "unlock"], cwd=workspace, check=True)
    return in_time, log.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("way", ["plain", "temp"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    workspace: Path, uninterrupted: list[object], tmp_path: Path, way: str
) -> None:
    arguments = (
        ["repro", STAGE] if way == "plain" else ["exp", "run", "--temp", "-n", "again", STAGE]
    )
    draws = random.Random(way)
    kills = resumes = differing = 0
    for _ in range(10 * KILLS):
        forget(workspace)
        git(workspace, "add", "-A")
        git(workspace, "commit", "-q", "--allow-empty", "-m", "forgotten")
        for _ in range(3):
            if kills >= KILLS and resumes:
                break
            in_time, text = run_and_kill(workspace, tmp_path / "log", draws, *arguments)
            resumes += "goes on from iteration" in text
            if not in_time:
                break
            kills += 1
        done = dvc(workspace, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        resumes += "goes on from iteration" in done.stdout
        if way == "plain":
            lock = (workspace / "dvc.lock").read_text(encoding="utf-8")
        else:
            (found,) = re.findall(r"refs/exps/\S+/again", git(workspace, "for-each-ref"))
            lock = git(workspace, "show", f"{found}:dvc.lock")
            dvc(workspace, "exp", "remove", "again")
        differing += hashes(lock) != uninterrupted
        # a kill before the first checkpoint leaves nothing to resume from: one more, then
        if kills >= KILLS and resumes:
            break
    print(f"{way}: {kills} kills, {resumes} resumes, {differing} runs with other bytes")
    assert differing == 0
    assert kills >= KILLS
    assert resumes > 0
    assert not list((workspace / ".scratch").glob("*.pt"))


def test_other_settings_never_resume_from_it(
    workspace: Path, uninterrupted: list[object], tmp_path: Path
) -> None:
    forget(workspace)
    _, _ = run_and_kill(workspace, tmp_path / "log", random.Random(1), "repro", STAGE)
    params = workspace / "params.yaml"
    before = params.read_text(encoding="utf-8")
    changed = yaml.safe_load(before)
    changed["optimizer"]["encoder_lr"] = 0.02
    params.write_text(yaml.safe_dump(changed), encoding="utf-8")
    done = dvc(workspace, "repro", STAGE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on from iteration" not in done.stdout
    assert hashes((workspace / "dvc.lock").read_text(encoding="utf-8")) != uninterrupted
    params.write_text(before, encoding="utf-8")
