"""Start workers for the queued experiments: python -m ppl.queue [JOBS].

Two trainings that each take all cores run many times slower than one after the other, and two
workers that start together both compute what their experiments have in common. So each worker gets
its share of the cores, and its own GPU where there are several; and what experiments share is
computed before, once, with all cores.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml

from ppl.declared import dependencies

QUEUE = "refs/exps/celery/stash"
"""Where DVC keeps queued experiments: a commit each, in the reference's log."""

GATE = "check_settings"
"""Its output is always the same, so a stage behind it does not depend on what it checked."""

COPIES = Path(".dvc/tmp/shared")
"""Folder of copies of the project, as queued, in which shared stages are computed."""

WORKER_START = 60.0
"""Seconds within which a worker is expected to answer."""


def queued_revisions() -> list[str]:
    """The commits of the queued experiments, the oldest first."""
    known = subprocess.run(["git", "rev-parse", "-q", "--verify", QUEUE], capture_output=True)
    if known.returncode != 0:
        return []
    return _git("log", "--walk-reflogs", "--format=%H", QUEUE).split()[::-1]


def stage_origins(revision: str) -> dict[str, str]:
    """Stage -> a hash of all that its result comes from at `revision`: equal for equal results.

    That is its command, settings, code and data, and the stages before it but the gate. Data that
    Git does not know counts by its path.
    """
    stages = yaml.safe_load(_git("show", f"{revision}:dvc.yaml"))["stages"]
    params = yaml.safe_load(_git("show", f"{revision}:params.yaml"))
    blob_of = {}
    for line in _git("ls-tree", "-r", "-z", revision).split("\0")[:-1]:
        about, _, file = line.partition("\t")
        blob_of[file] = about.split()[2]
    maker = {
        _name(out): name for name, stage in stages.items() if name != GATE for out in _outs(stage)
    }
    origins: dict[str, str] = {}

    def origin(stage: str) -> str:
        if stage not in origins:
            needed = dependencies(stages[stage], params)
            facts = {
                "command": stages[stage]["cmd"],
                "settings": needed.params,
                "files": {
                    str(path): origin(maker[str(path)]) if str(path) in maker else blobs(path)
                    for path in [*needed.code, *needed.inputs]
                },
            }
            text = json.dumps(facts, sort_keys=True)
            origins[stage] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return origins[stage]

    def blobs(path: Path) -> dict[str, str]:
        own = {str(path), f"{path}.dvc"}
        return {
            file: blob
            for file, blob in blob_of.items()
            if file in own or file.startswith(f"{path.as_posix()}/")
        }

    return {stage: origin(stage) for stage in stages}


def shared_stages(revisions: Iterable[str]) -> list[tuple[str, list[str]]]:
    """What to compute before: (revision, stages) pairs, each result that recurs exactly once."""
    origins = {revision: stage_origins(revision) for revision in revisions}
    uses = Counter(origin for found in origins.values() for origin in found.values())
    done: set[str] = set()
    work = []
    for revision, found in origins.items():
        stages = [
            name
            for name, origin in found.items()
            if uses[origin] > 1 and origin not in done and name != GATE
        ]
        if stages:
            work.append((revision, stages))
            done |= {found[name] for name in stages}
    return work


def compute(revision: str, stages: list[str]) -> bool:
    """Run `stages` in a copy of the project at `revision` that has this project's cache.

    A copy whose run was interrupted is used again, with its checkpoints. Whether all went well.
    """
    copy = COPIES / revision[:12]
    cache = _asked("cache", "dir").strip()
    if not (copy / "dvc.yaml").is_file():
        shutil.rmtree(copy, ignore_errors=True)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", "--quiet", "--shared", "--no-checkout", ".", str(copy))
        _git("-C", str(copy), "checkout", "--quiet", "--detach", revision)
    steps = [
        ["cache", "dir", "--local", str(Path(cache).absolute())],
        ["checkout", "--quiet", "--force", "--allow-missing"],
        ["repro", *stages],
    ]
    if all(_dvc(*step, cwd=copy).returncode == 0 for step in steps):
        shutil.rmtree(copy)
        return True
    return False


def start_workers(jobs: int) -> None:
    """Start `jobs` workers in the background; each ends when the queue is empty."""
    environment = {"OMP_NUM_THREADS": str(max(1, _cores() // jobs))} | os.environ
    gpus = torch.cuda.device_count()
    if gpus < 2:
        _start(jobs, environment)
        return
    # DVC assigns no GPU: the workers start one by one, each with its own before its eyes
    for number in range(1, jobs + 1):
        environment["CUDA_VISIBLE_DEVICES"] = str((number - 1) % gpus)
        _start(number, environment)
        _wait_for_workers(number)


def _start(jobs: int, environment: dict[str, str]) -> None:
    # their output must not be captured: the workers inherit it, and it ends with them
    if _dvc("queue", "start", "--jobs", str(jobs), env=environment).returncode != 0:
        sys.exit("the workers did not start")


def _wait_for_workers(count: int) -> None:
    deadline = time.monotonic() + WORKER_START
    while time.monotonic() < deadline:
        status = _asked("queue", "status").splitlines()[-1]
        # "Worker status: 1 active, 0 idle"
        if sum(int(word) for word in status.split() if word.isdigit()) >= count:
            return
        time.sleep(1)
    sys.exit(
        f"worker {count} did not start within {WORKER_START:.0f} seconds: see `dvc queue logs`"
    )


def _cores() -> int:
    """Cores that this process may use: fewer than there are, under many batch systems."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _outs(stage: dict[str, Any]) -> list[Any]:
    return [out for key in ("outs", "metrics", "plots") for out in stage.get(key, [])]


def _name(out: str | dict[str, Any]) -> str:
    return next(iter(out)) if isinstance(out, dict) else out


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _asked(*arguments: str) -> str:
    return _dvc(*arguments, stdout=subprocess.PIPE, check=True).stdout


def _dvc(
    *arguments: str, check: bool = False, **options: Any
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, text=True, check=check, **options)


def main(jobs: int) -> None:
    """Compute what the queued experiments share, then start `jobs` workers."""
    revisions = queued_revisions()
    if not revisions:
        sys.exit(
            "no experiment is queued. For example: "
            "dvc exp run --queue -S 'split.labeled_fraction=1/8,1/4,1/2'"
        )
    if jobs > 1:
        for revision, stages in shared_stages(revisions):
            print(f"first, for several experiments at once: {', '.join(stages)}", flush=True)
            if not compute(revision, stages):
                print("that failed; the experiments will say the same", file=sys.stderr)
    start_workers(jobs)
    print(
        f"{len(revisions)} experiments, {jobs} at a time, in the background. `dvc queue status` "
        "shows them, `dvc queue logs NAME` what one says, `make compare` their scores."
    )


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else "1"
    if not given.isdecimal() or int(given) == 0:
        sys.exit(f"JOBS is the number of workers, 1 or more; got {given}")
    main(int(given))
