"""Start workers for the queued experiments.

Two trainings that each take all cores run many times slower than one after the other, and two
workers that start together both compute what their experiments have in common. So each worker gets
its share of the cores, and its own GPU where there are several; and what experiments share is
computed before, once, with as many threads: their number changes the last bits of a result.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml

from ppl.core.declared import dependencies
from ppl.core.errors import InputError
from ppl.tools.commands import DVC, ask_dvc, ask_git

QUEUE = "refs/exps/celery/stash"
"""Where DVC keeps queued experiments: a commit each, in the reference's log."""

GATE = "check_settings"
"""Its output is always the same, so a stage behind it does not depend on what it checked."""

COPIES = Path(".dvc/tmp/shared")
"""Where copies of the project, as queued, are made to compute shared stages in."""

WORKER_START = 60.0
"""Seconds within which a worker is expected to answer."""


def queued_revisions() -> list[str]:
    """The commits of the queued experiments, the oldest first."""
    if not ask_git("for-each-ref", QUEUE):
        return []
    return ask_git("log", "--walk-reflogs", "--format=%H", QUEUE).split()[::-1]


def stage_origins(revision: str) -> dict[str, str]:
    """Stage -> a hash of all that its result comes from at `revision`: equal for equal results.

    That is its command, settings, code and data, and the stages before it but the gate. Data that
    Git does not know counts by its path.
    """
    stages = yaml.safe_load(ask_git("show", f"{revision}:dvc.yaml"))["stages"]
    params = yaml.safe_load(ask_git("show", f"{revision}:params.yaml"))
    blob_of = {}
    for line in ask_git("ls-tree", "-r", "-z", revision).split("\0")[:-1]:
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
                    path.as_posix(): origin(maker[path.as_posix()])
                    if path.as_posix() in maker
                    else blobs(path.as_posix())
                    for path in [*needed.code, *needed.inputs]
                },
            }
            text = json.dumps(facts, sort_keys=True)
            origins[stage] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return origins[stage]

    def blobs(path: str) -> dict[str, str]:
        own = {path, f"{path}.dvc"}
        return {
            file: blob
            for file, blob in blob_of.items()
            if file in own or file.startswith(f"{path}/")
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


def compute(revision: str, stages: list[str], environment: dict[str, str]) -> bool:
    """Run `stages` in a copy of the project at `revision`, into this project's cache.

    Checkpoints lie where those of the experiments do. Whether all went well.
    """
    cache = str(Path(ask_dvc("cache", "dir").strip()).absolute())
    COPIES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COPIES) as copy:
        ask_git("clone", "--quiet", "--shared", "--no-checkout", ".", copy)
        ask_git("-C", copy, "checkout", "--quiet", "--detach", revision)
        steps = [
            ["cache", "dir", "--local", cache],
            ["checkout", "--quiet", "--force", "--allow-missing"],
            ["repro", *stages],
        ]
        own = environment | {"DVC_ROOT": str(Path.cwd())}
        return all(_dvc(*step, cwd=copy, env=own) == 0 for step in steps)


def worker_environments(jobs: int) -> list[dict[str, str]]:
    """The environment variables of each of `jobs` workers: its share of the cores, its GPU."""
    base = {"OMP_NUM_THREADS": str(max(1, _cores() // jobs))} | os.environ
    gpus = torch.cuda.device_count()
    if gpus < 2:
        return [base] * jobs
    # those that a batch system granted, by number or by name, else all
    granted = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = granted.split(",") if granted else [str(number) for number in range(gpus)]
    return [base | {"CUDA_VISIBLE_DEVICES": names[n % len(names)]} for n in range(jobs)]


def start_workers(environments: list[dict[str, str]]) -> None:
    """Start a worker with each environment, in the background; it ends when the queue is empty.

    Raises:
        InputError: DVC did not start them.
    """
    if all(one == environments[0] for one in environments):
        _start(len(environments), environments[0])
        return
    # DVC gives all workers that it starts at once the same variables: so one by one
    for number, environment in enumerate(environments, start=1):
        _start(number, environment)
        _wait_for_workers(number)


def _start(jobs: int, environment: dict[str, str]) -> None:
    # their output must not be captured: the workers inherit it, and it ends with them
    if _dvc("queue", "start", "--jobs", str(jobs), env=environment) != 0:
        raise InputError("`dvc queue start` failed: no worker was started")


def _wait_for_workers(count: int) -> None:
    deadline = time.monotonic() + WORKER_START
    while time.monotonic() < deadline:
        status = ask_dvc("queue", "status", seconds=WORKER_START).splitlines()[-1]
        # "Worker status: 1 active, 0 idle"
        if sum(int(word) for word in status.split() if word.isdigit()) >= count:
            return
        time.sleep(1)
    raise InputError(
        f"worker {count} did not answer within {WORKER_START:.0f} seconds: see the files "
        f".dvc/tmp/exps/celery/dvc-exp-worker-{count}.*"
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


def _dvc(*arguments: str, **options: Any) -> int:
    """The exit status of `dvc`, which speaks to the user itself."""
    return subprocess.run([*DVC, *arguments], check=False, **options).returncode


def run_queued(jobs: int) -> None:
    """Compute what the queued experiments share, then start at most `jobs` workers.

    Raises:
        InputError: nothing is queued, or DVC or Git do not answer.
    """
    revisions = queued_revisions()
    if not revisions:
        raise InputError(
            "no experiment is queued. For example: "
            "dvc exp run --queue -S 'split.labeled_fraction=1/8,1/4,1/2'"
        )
    environments = worker_environments(min(jobs, len(revisions)))
    if len(environments) > 1:
        for revision, stages in shared_stages(revisions):
            print(f"first, for several experiments at once: {', '.join(stages)}", flush=True)
            if not compute(revision, stages, environments[0]):
                print("that failed: now each experiment tries it by itself", file=sys.stderr)
    start_workers(environments)
    print(
        f"{len(revisions)} experiments, {len(environments)} at a time, in the background. "
        "`dvc queue status` shows them, `dvc queue logs NAME` what one says, `make compare` their "
        "scores."
    )
