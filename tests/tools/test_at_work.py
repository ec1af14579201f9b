"""A run that goes on is seen, one that was killed is not."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppl.core.declared import SCRATCH
from ppl.tools.at_work import at_work, locks_are_broken
from ppl.tools.unlock import DVC_FILES


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    DVC_FILES.mkdir(parents=True)
    SCRATCH.mkdir()
    return tmp_path


@contextmanager
def process(*words: str) -> Iterator[int]:
    """A process with these words on its command line."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert running.stdout is not None
        running.stdout.readline()
        yield running.pid
    finally:
        running.communicate()


def noted(pid: int) -> None:
    (DVC_FILES / "lock").write_text(f" {pid}\n", encoding="utf-8")


def test_nothing_goes_on_where_dvc_never_ran_or_notes_are_odd() -> None:
    assert at_work() is None
    for lock, rwlock in [("", ""), ("x", "{"), ("-5", "[]"), ("9" * 40, '{"write": {"a": 1}}')]:
        (DVC_FILES / "lock").write_text(lock, encoding="utf-8")
        (DVC_FILES / "rwlock").write_text(rwlock, encoding="utf-8")
        assert at_work() is None


def test_a_run_is_seen_with_its_stage_and_not_after_its_end() -> None:
    with process("-m", "dvc", "repro", "--force") as dvc:
        noted(dvc)
        found = at_work()
        assert found is not None
        assert (found.command, found.process, found.stage) == ("dvc repro", dvc, None)
        with process("-m", "stages.rank_stability") as stage:
            (SCRATCH / "rank_stability.pid").write_text(f"{stage}\n", encoding="utf-8")
            found = at_work()
            assert found is not None
            assert found.stage == "rank_stability"
            assert found.since is not None
        # its number stands there still
        found = at_work()
        assert found is not None
        assert found.stage is None
    assert at_work() is None


def test_who_writes_a_path_is_at_work_and_who_reads_one_is_not() -> None:
    with process("/usr/bin/dvc", "exp", "run", "-S", "seed=1") as dvc:
        info = {"pid": dvc, "cmd": "dvc"}
        file = DVC_FILES / "rwlock"
        file.write_text(json.dumps({"read": {"a": [info]}, "write": {}}), encoding="utf-8")
        assert at_work() is None
        file.write_text(json.dumps({"write": {"a": info}, "read": {}}), encoding="utf-8")
        found = at_work()
        assert found is not None
        assert found.command == "dvc exp run"


def test_a_number_that_another_process_has_by_now_is_no_run() -> None:
    noted(os.getpid())
    assert at_work() is None
    with process("-m", "dvc", "exp", "queue-worker", "x") as worker:
        noted(worker)
        assert at_work() is None


def test_an_empty_list_of_locks_is_broken() -> None:
    assert not locks_are_broken()
    (DVC_FILES / "rwlock").touch()
    assert locks_are_broken()
    (DVC_FILES / "rwlock").write_text("{}", encoding="utf-8")
    assert not locks_are_broken()
