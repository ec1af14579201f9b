"""Start a stage so that it runs fast: python -m ppl.run STAGE --OPTION PATH ...

How a stage is started changes its time and never its result, but for the rounding of sums, so no
stage depends on this file. It imports nothing heavy, since it runs before every stage. The
environment says with how many processes, so dvc.yaml is the same on every machine:

PPL_PROCESSES  on each machine, one a GPU (1)
PPL_HOSTS      the machines, separated by commas, this one first; they share the project's folder
PPL_REMOTE     what starts a command on another, {host} being its name (ssh {host})
PPL_PORT       of the first machine, over which they find each other (29500)
"""

import os
import re
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppl.run.ahead import told_of_ahead

PIPELINE = Path("dvc.yaml")

MEMORY = {
    # huge pages on request: a training touches gigabytes at every step
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # freed tensors stay with the process: given back and fetched again, every page of them costs
    # a page fault, which took half the time of training at 512 x 512
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""Variables of glibc's malloc, in bytes; it reads them once, when a process starts."""

TORCHRUN = "torch.distributed.run"

SHARED_VARIABLES = ("PPL_", "OMP_", "NCCL_", "GLOO_", "DVC_")
"""How those variables begin that count on every machine."""

LOOK_SECONDS = 0.2
"""Between two looks at whether a machine's part has ended."""

PARALLEL = {
    "train_supervised",
    "rank_stability",
    "pseudo_label_reliable",
    "retrain_reliable",
    "pseudo_label_hard",
    "retrain_final",
    "evaluate",
    "annotate_next",
}
"""Stages that several processes share; the others take one."""


def position(stage: str, pipeline: str) -> str:
    """Where `stage` stands among the stages of dvc.yaml, whose text is `pipeline`: stage 5 of 13.

    Without a number where the text does not name it so. Its lines are looked at alone: to import a
    reader of YAML and parse all of it before every stage would take longer than all else here.
    """
    below = re.split(r"^stages:\s*$", pipeline, maxsplit=1, flags=re.MULTILINE)[-1]
    section = re.split(r"^\w", below, maxsplit=1, flags=re.MULTILINE)[0]
    names = re.findall(r"^ {2}([\w-]+):", section, flags=re.MULTILINE)
    number = f"{names.index(stage) + 1} of {len(names)}: " if stage in names else ""
    return f"stage {number}{stage}"


def memory_settings(given: Mapping[str, str]) -> dict[str, str]:
    """What to add to the variables `given`, so that malloc keeps its memory; yours stay."""
    return {name: value for name, value in MEMORY.items() if name not in given}


def commands(
    stage: str, options: Sequence[str], given: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """What starts `stage` here, and what starts its part on each of the other machines.

    Raises:
        ValueError: PPL_PROCESSES is no number, or no machine is named.
    """
    alone = [sys.executable, "-m", f"stages.{stage}", *options]
    number = given.get("PPL_PROCESSES", "1")
    if not number.isdecimal() or int(number) == 0:
        raise ValueError(f"PPL_PROCESSES is {number!r}; expected a number of processes, 1 or more")
    hosts = [host.strip() for host in given.get("PPL_HOSTS", "").split(",") if host.strip()]
    if stage not in PARALLEL or (int(number) == 1 and len(hosts) < 2):
        return alone, []
    torchrun = [sys.executable, "-m", TORCHRUN, "--nproc-per-node", number]
    if len(hosts) < 2:
        return [*torchrun, "--standalone", *alone[1:]], []
    meet = ["--master-addr", hosts[0], "--master-port", given.get("PPL_PORT", "29500")]
    parts = [
        [*torchrun, "--nnodes", str(len(hosts)), "--node-rank", str(rank), *meet, *alone[1:]]
        for rank in range(len(hosts))
    ]
    remote = given.get("PPL_REMOTE", "ssh {host}")
    return parts[0], [
        [*shlex.split(remote.replace("{host}", host)), _elsewhere(part, given)]
        for host, part in zip(hosts[1:], parts[1:], strict=True)
    ]


def _elsewhere(command: Sequence[str], given: Mapping[str, str]) -> str:
    """`command` for the shell of another machine, in the same folder with the same settings."""
    own = {name: value for name, value in given.items() if name.startswith(SHARED_VARIABLES)}
    settings = [f"{name}={value}" for name, value in (own | MEMORY).items()]
    return f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(['env', *settings, *command])}"  # noqa: PTH109


def main() -> None:
    """Run the stage that the first argument names, with the rest as its options."""
    if len(sys.argv) < 2:
        sys.exit(f"{__doc__}\nwhich stage? they are those of {PIPELINE}")
    stage, *options = sys.argv[1:]
    try:
        here, elsewhere = commands(stage, options, os.environ)
    except ValueError as error:
        sys.exit(f"\n{error}")
    if "DVC_STAGE" in os.environ:
        print(position(stage, PIPELINE.read_text(encoding="utf-8")), flush=True)
    settings = memory_settings(os.environ) if sys.platform == "linux" else {}
    settings |= told_of_ahead(Path())
    if TORCHRUN in here:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        threads = max(1, cores // int(os.environ.get("PPL_PROCESSES", "1")))
        settings = {"OMP_NUM_THREADS": str(threads)} | settings
        settings = {k: v for k, v in settings.items() if k not in os.environ}
    if elsewhere or (sys.platform == "win32" and TORCHRUN in here):
        sys.exit(_run_with_others(here, elsewhere, os.environ | settings))
    if sys.platform == "linux" or TORCHRUN in here:
        # in place of this process: signals, exit status and parent stay as DVC knows them
        os.execve(sys.executable, here, os.environ | settings)
    module = f"stages.{stage}"
    os.environ.update(settings)
    sys.argv = [module, *options]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _run_with_others(
    here: Sequence[str], elsewhere: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> int:
    """Run this machine's part and the others'; the first part that fails ends them all."""
    running = [subprocess.Popen(command, env=environment) for command in (here, *elsewhere)]
    try:
        while True:
            states = [one.poll() for one in running]
            failed = next((state for state in states if state), 0)
            if failed or None not in states:
                return failed
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        return 130
    finally:
        alive = [one for one in running if one.poll() is None]
        for one in alive:
            one.terminate()
        for one in alive:
            one.wait()
