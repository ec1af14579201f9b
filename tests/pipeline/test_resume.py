"""Trainings killed at random moments end with the bytes of an uninterrupted one.

PPL_KILLS says how often each kind of run is killed (default 2).
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest
import yaml

from tests.pipeline.project import ROOT, copy_project, dvc, environment, git

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("PPL_KILLS", "2"))
STAGE = "train_supervised"
LONG = {"selection": {"every": 50}, "train_supervised": {"iterations": 250, "batch": 4}}
LEAST_SECONDS = "0.2"
"""Between two checkpoints, so that short trainings have some."""
HANGS = 600
"""Seconds after which something hangs, on a busy machine, too."""
SHOW = {"TQDM_DISABLE": "", "TQDM_MININTERVAL": "0.1"}
"""Variables for a line of progress soon after a training has begun."""


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


def start_dvc(workspace: Path, stream: IO[bytes], *arguments: str) -> "subprocess.Popen[bytes]":
    """`dvc` in a process group of its own, its progress bars and messages into `stream`."""
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=workspace,
        env=environment() | SHOW,
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for_training(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the training has begun, or when `process` has ended."""
    deadline = time.monotonic() + HANGS
    while "train teacher" not in log.read_text(encoding="utf-8", errors="replace"):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        if process.poll() is not None:
            break
        time.sleep(0.05)


def run_and_kill(
    workspace: Path, log: Path, draws: random.Random, *arguments: str
) -> tuple[bool, str]:
    """Start `dvc`, kill it in the middle of the training; whether that came in time, and output."""
    with log.open("wb") as stream:
        process = start_dvc(workspace, stream, *arguments)
        wait_for_training(process, log)
        time.sleep(draws.uniform(0.0, 2.0))
        in_time = process.poll() is None
        if in_time:
            draws.choice(WAYS)(process)
        process.wait(timeout=HANGS)
    subprocess.run(["make", "-s", "-f", ROOT / "Makefile", "unlock"], cwd=workspace, check=True)
    return in_time, log.read_text(encoding="utf-8", errors="replace")


def start_queued(workspace: Path, name: str, *, until: Callable[[str], bool]) -> str:
    """Queue the training under `name`, start a worker, wait; what the experiment says."""
    queued = dvc(workspace, "exp", "run", "--queue", "-n", name, STAGE)
    assert queued.returncode == 0, queued.stderr
    began = time.time()
    subprocess.run(
        [sys.executable, "-m", "ppl", "queue"],
        cwd=workspace,
        env=environment() | SHOW,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    deadline = time.monotonic() + HANGS
    while not until(said := queue_log(workspace, since=began)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    return said


def result_of(workspace: Path, name: str) -> str | None:
    """The reference of experiment `name`, once it has succeeded."""
    found = re.findall(rf"refs/exps/\S+/{name}\n", git(workspace, "for-each-ref"))
    return found[0].strip() if found else None


def queue_log(workspace: Path, *, since: float) -> str:
    """What queued experiments have said that started after `since`."""
    files = (workspace / ".dvc" / "tmp" / "exps" / "run").glob("*/*.out")
    new = [file for file in files if file.stat().st_mtime >= since]
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in new)


def queue_processes(workspace: Path) -> list[psutil.Process]:
    """Workers of this workspace's queue, what runs their experiments, and the stages."""
    found = []
    for process in psutil.process_iter():
        ours = {"queue-worker", "exec-run", f"stages.{STAGE}"} & set(words_of(process))
        with contextlib.suppress(psutil.Error):
            if ours and Path(process.cwd()).is_relative_to(workspace):
                found.append(process)
    return found


def kill_stage(workspace: Path, name: str) -> None:
    for process in queue_processes(workspace):
        with contextlib.suppress(psutil.Error):
            if f"stages.{STAGE}" in words_of(process):
                process.kill()


def kill_all_of_queue(workspace: Path, name: str) -> None:
    for process in queue_processes(workspace):
        with contextlib.suppress(psutil.Error):
            process.kill()


def terminate_all_of_queue(workspace: Path, name: str) -> None:
    for process in queue_processes(workspace):
        with contextlib.suppress(psutil.Error):
            process.terminate()


def end_queue(workspace: Path) -> None:
    """Wait for the stage, if it was told to end, and do not wait for idle workers."""
    deadline = time.monotonic() + HANGS
    while any(f"stages.{STAGE}" in words for words in map(words_of, queue_processes(workspace))):
        assert time.monotonic() < deadline, "the stage goes on"
        time.sleep(0.1)
    kill_all_of_queue(workspace, "")
    subprocess.run(["make", "-s", "-f", ROOT / "Makefile", "unlock"], cwd=workspace, check=True)


def has_result(workspace: Path, name: str, said: str) -> bool:
    return result_of(workspace, name) is not None


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def dvc_queue_kill(workspace: Path, name: str) -> None:
    dvc(workspace, "queue", "kill", name)


QUEUE_WAYS: list[Callable[[Path, str], None]] = [
    kill_stage,
    kill_all_of_queue,
    terminate_all_of_queue,
    dvc_queue_kill,
]


def commit_forgotten(workspace: Path) -> None:
    forget(workspace)
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "--allow-empty", "-m", "forgotten")


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
        commit_forgotten(workspace)
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
            lock = git(workspace, "show", f"{result_of(workspace, 'again')}:dvc.lock")
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


def test_a_queued_training_that_was_killed_ends_with_the_same_bytes_when_queued_again(
    workspace: Path, uninterrupted: list[object]
) -> None:
    draws = random.Random("queue")
    kills = resumes = differing = 0
    for _ in range(10 * KILLS):
        commit_forgotten(workspace)
        name = f"first-{kills}"
        start_queued(workspace, name, until=lambda said: "train teacher" in said)
        time.sleep(draws.uniform(0.0, 2.0))
        if result_of(workspace, name) is None:
            draws.choice(QUEUE_WAYS)(workspace, name)
            kills += 1
        end_queue(workspace)
        if result_of(workspace, name) is None:
            name = f"again-{kills}"
            said = start_queued(workspace, name, until=partial(has_result, workspace, name))
            resumes += "goes on from iteration" in said
            end_queue(workspace)
        lock = git(workspace, "show", f"{result_of(workspace, name)}:dvc.lock")
        differing += hashes(lock) != uninterrupted
        dvc(workspace, "exp", "remove", name)
        if kills >= KILLS and resumes:
            break
    print(f"queue: {kills} kills, {resumes} resumes, {differing} runs with other bytes")
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


@pytest.mark.parametrize(
    ("file", "named"),
    [("params.yaml", "optimizer"), ("ppl/training/loss.py", "ppl/training/loss.py")],
)
def test_what_is_edited_while_a_stage_runs_is_recorded_nowhere(
    workspace: Path, uninterrupted: list[object], tmp_path: Path, file: str, named: str
) -> None:
    commit_forgotten(workspace)
    edited = workspace / file
    before = edited.read_text(encoding="utf-8")
    log = tmp_path / "log"
    with log.open("wb") as stream, start_dvc(workspace, stream, "repro", STAGE) as process:
        wait_for_training(process, log)
        edited.write_text(before.replace("momentum: 0.9", "momentum: 0.8") + "\n# edited\n")
        process.wait(timeout=HANGS)
    edited.write_text(before, encoding="utf-8")
    said = log.read_text(encoding="utf-8", errors="replace")
    assert process.returncode != 0
    assert f"{STAGE}: changed while this stage ran:" in said
    assert named in said.partition("changed while this stage ran:")[2]
    assert STAGE not in yaml.safe_load((workspace / "dvc.lock").read_text())["stages"]


@pytest.mark.parametrize("full", [".scratch", "data/models"])
def test_a_full_disk_is_said_and_leaves_nothing_half_done(
    workspace: Path, uninterrupted: list[object], full: str
) -> None:
    """A disk of 64 KB under the checkpoints or under the models; then the usual one again."""
    commit_forgotten(workspace)
    (workspace / full).mkdir(parents=True, exist_ok=True)
    own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=64k tmpfs {full}"
    if subprocess.run([*own_mounts, mount], cwd=workspace, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    done = subprocess.run(
        [*own_mounts, f"{mount} && {sys.executable} -m dvc repro {STAGE}"],
        cwd=workspace,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"{STAGE}: no space left on the disk" in done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert STAGE not in yaml.safe_load((workspace / "dvc.lock").read_text())["stages"]
    again = dvc(workspace, "repro", STAGE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert hashes((workspace / "dvc.lock").read_text(encoding="utf-8")) == uninterrupted
