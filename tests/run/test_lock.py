"""One run of a stage at a time in a workspace."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.run import lock as module
from ppl.run.lock import only_run

ROOT = Path(__file__).parent.parent.parent

HOLD = """
import sys, time
from ppl.run.lock import only_run
import os
os.chdir(sys.argv[1])
with only_run("evaluate"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_names_the_first_and_goes_on_after_its_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "WAIT", 0.1)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {first.pid}"), only_run("evaluate"):
        pass
    with only_run("prepare"):
        pass  # another stage may run
    first.kill()
    first.wait()
    with only_run("evaluate"):
        pass


def test_an_error_inside_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyError), only_run("evaluate"):
        raise KeyError
    with only_run("evaluate"):
        pass


def test_a_stage_stops_when_its_dvc_is_gone(tmp_path: Path) -> None:
    holder = [sys.executable, "-c", HOLD, str(tmp_path)]
    starter = f"import subprocess, time; subprocess.Popen({holder!r}); time.sleep(60)"
    dvc = subprocess.Popen(
        [sys.executable, "-c", starter],
        cwd=ROOT,
        env=os.environ | {"DVC_STAGE": "evaluate"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dvc.stdout is not None
    assert dvc.stdout.readline() == "held\n"
    orphan = int((tmp_path / ".scratch" / "evaluate.pid").read_text(encoding="utf-8"))
    dvc.kill()
    dvc.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and Path(f"/proc/{orphan}").exists():
        time.sleep(0.1)
    assert not Path(f"/proc/{orphan}").exists()
