"""The launcher sets malloc up, leaves what the user set, and is otherwise not there."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppl.run.launch import MEMORY, commands, memory_settings, position
from tests.pipeline.project import ROOT, module

ECHO = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getpid(), {k: os.environ.get(k) for k in %r}]))
sys.exit(7)
"""


def workspace(folder: Path) -> Path:
    """A folder whose only stage prints what it was given and ends with status 7."""
    (folder / "stages").mkdir()
    (folder / "stages" / "echo.py").write_text(ECHO % list(MEMORY), encoding="utf-8")
    (folder / "ppl").symlink_to(Path(__file__).parent.parent.parent / "ppl")
    return folder


def test_what_the_user_set_stays() -> None:
    added = memory_settings({"MALLOC_TOP_PAD_": "1", "HOME": "/"})
    assert added.keys() == MEMORY.keys() - {"MALLOC_TOP_PAD_"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_stage_gets_its_options_the_settings_and_the_launchers_own_process(
    tmp_path: Path,
) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in MEMORY}
    started = subprocess.Popen(
        [sys.executable, "-m", "ppl.run", "echo", "--out", "a b"],
        cwd=workspace(tmp_path),
        env=clean,
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = started.communicate()
    assert started.returncode == 7
    assert said.strip() == (
        f'[["--out", "a b"], {started.pid}, ' + str(MEMORY).replace("'", '"') + "]"
    )


PIPELINE = """# stages:
#   none: here
stages:
  prepare:
    cmd: split
  # a thought
  train-all:
    cmd: train

    deps: [labeled]
plots:
  - curves:
      x: iteration
"""


def test_a_stage_is_told_by_its_place_in_the_pipeline() -> None:
    assert position("prepare", PIPELINE) == "stage 1 of 2: prepare"
    assert position("train-all", PIPELINE) == "stage 2 of 2: train-all"
    assert position("curves", PIPELINE) == "stage curves"
    pipeline = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    stages = list(yaml.safe_load(pipeline)["stages"])
    assert [position(stage, pipeline) for stage in stages] == [
        f"stage {number} of {len(stages)}: {stage}" for number, stage in enumerate(stages, start=1)
    ]


@pytest.mark.parametrize("started_by_dvc", [False, True])
def test_dvcs_stage_says_its_place_before_all_else(tmp_path: Path, started_by_dvc: bool) -> None:
    folder = workspace(tmp_path)
    (folder / "dvc.yaml").write_text("stages:\n  echo:\n    cmd: x\n", encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    done = subprocess.run(
        [sys.executable, "-m", "ppl.run", "echo"],
        cwd=folder,
        env=clean | ({"DVC_STAGE": "echo"} if started_by_dvc else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("stage 1 of 1: echo\n[[]" if started_by_dvc else "[[]")


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    done = module(workspace(tmp_path), "ppl.run", "no_such_stage")
    assert done.returncode != 0
    assert "stages.no_such_stage" in done.stderr


def test_glibc_takes_the_settings() -> None:
    """Without them, an array of 64 MiB is mapped and given back; with them it stays on the heap."""
    script = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "block = libc.malloc(ctypes.c_size_t(64 << 20))\n"
        "ctypes.memset(block, 1, 64 << 20)\n"
        "libc.free(block)\n"
        "pages = int(open('/proc/self/statm').read().split()[1])\n"
        "print(pages * os.sysconf('SC_PAGE_SIZE') >> 20)\n"
    )
    if sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("no glibc here")
    clean = {name: value for name, value in os.environ.items() if name not in MEMORY}
    resident = [
        int(
            subprocess.run(
                [sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True
            ).stdout
        )
        for env in (clean, clean | MEMORY)
    ]
    assert resident[0] < 64 <= resident[1]


SOLO = [sys.executable, "-m", "stages.retrain_final", "--out", "a b"]


def started(stage: str = "retrain_final", **given: str) -> tuple[list[str], list[list[str]]]:
    return commands(stage, ["--out", "a b"], given)


def test_one_process_is_started_plainly() -> None:
    assert started() == (SOLO, [])
    assert started(PPL_PROCESSES="1", PPL_HOSTS="here") == (SOLO, [])


def test_stages_that_are_not_shared_take_one_process() -> None:
    assert started("prepare", PPL_PROCESSES="8")[0] == [*SOLO[:2], "stages.prepare", *SOLO[3:]]


def test_several_processes_are_started_by_torchrun() -> None:
    here, elsewhere = started(PPL_PROCESSES="8")
    assert elsewhere == []
    assert here[1:6] == ["-m", "torch.distributed.run", "--nproc-per-node", "8", "--standalone"]
    assert here[6:] == SOLO[1:]


def test_each_machine_gets_its_part_of_the_same_command() -> None:
    here, [there] = started(
        PPL_PROCESSES="4", PPL_HOSTS="one, two", PPL_REMOTE="srun -w {host} sh -c"
    )
    for option, value in {"--nnodes": "2", "--node-rank": "0", "--master-addr": "one"}.items():
        assert here[here.index(option) + 1] == value
    assert there[:5] == ["srun", "-w", "two", "sh", "-c"]
    assert f"cd {os.getcwd()} && exec env " in there[5]  # noqa: PTH109
    assert "--node-rank 1" in there[5]
    assert "PPL_PROCESSES=4" in there[5]
    assert there[5].endswith("-m stages.retrain_final --out 'a b'")


@pytest.mark.parametrize("number", ["0", "-1", "two", ""])
def test_a_number_of_processes_that_is_none_is_refused(number: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ppl.run", "echo"],
        cwd=workspace(tmp_path),
        env=os.environ | {"PPL_PROCESSES": number},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"\nPPL_PROCESSES is {number!r}; expected a number of processes, 1 or more\n"
    )


TALK = """
import os, sys
from ppl.core import processes
processes.start()
import torch
rank, total = processes.rank(), processes.total(torch.tensor(1.0)).item()
if rank == int(sys.argv[2]) and int(sys.argv[1]):
    sys.exit(int(sys.argv[1]))
sys.stdout.write(f"rank {rank} {total} {sys.argv[1:]}\\n")
processes.wait()
processes.stop()
"""


@pytest.mark.parametrize(("status", "where"), [(0, 0), (3, 1)])
def test_two_machines_work_together_and_a_failure_on_one_ends_both(
    tmp_path: Path, status: int, where: int
) -> None:
    """The second machine is this one again, by a shell instead of ssh."""
    folder = workspace(tmp_path)
    (folder / "stages" / "retrain_final.py").write_text(TALK, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "PPL_HOSTS": "127.0.0.1,other",
        "PPL_REMOTE": "sh -c",
        "PPL_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ppl.run", "retrain_final", str(status), str(where)],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode != 0) == (status != 0), done.stderr
    if status == 0:
        assert sorted(line for line in done.stdout.splitlines() if line.startswith("rank")) == [
            f"rank {rank} 2.0 ['0', '0']" for rank in (0, 1)
        ]


def test_a_machine_that_cannot_be_reached_ends_the_waiting_for_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ppl.run", "retrain_final"],
        cwd=workspace(tmp_path),
        env=os.environ | {"PPL_HOSTS": "127.0.0.1,other", "PPL_REMOTE": "sh -c 'exit 5'"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,  # torchrun by itself would wait 15 minutes for the other
    )
    assert done.returncode == 5
