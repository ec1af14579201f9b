"""What a stage leaves behind of itself: its time, and which files `prepare` read."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from ppl.core.declared import SCRATCH
from ppl.run import record
from ppl.run.record import (
    TakenFile,
    checkpoints,
    files_taken,
    taken_now,
    times_taken,
    write_record,
)
from tests.pipeline.project import write_project

PIPELINE = """
stages:
  prepare:
    cmd: python -m stages.prepare
    deps:
      - ${data.root}
      - ppl/rank.py
    params: [data]
  rank:
    cmd: python -m stages.rank
    deps: [ppl/rank.py]
"""

FILES = ["raw/images/a.png", "raw/masks/a.png", "raw/groups.csv", "ppl/rank.py"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path, pipeline=PIPELINE, params="data: {root: raw}\n", files=FILES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_that_ended_leaves_its_time_and_no_files(project: Path) -> None:
    write_record("rank", checkpoints("rank"))
    assert times_taken().keys() == {"rank"}
    took = times_taken()["rank"]
    assert took.seconds > 0
    assert abs(took.ended - time.time()) < 5
    assert files_taken() is None


def test_prepare_leaves_what_it_read_of_yours_and_no_code(project: Path) -> None:
    write_record("prepare", set())
    taken = files_taken()
    assert taken is not None
    assert taken.keys() == {name for name in FILES if name.startswith("raw/")}
    for name, file in taken.items():
        content = (project / name).read_bytes()
        assert file.size == len(content)
        assert file.md5 == hashlib.md5(content).hexdigest()
        assert file.looks_like(project / name)


def test_a_stage_that_went_on_from_a_checkpoint_leaves_the_time_before(project: Path) -> None:
    SCRATCH.mkdir()
    (SCRATCH / "rank-0123.pt").touch()
    before = checkpoints("rank")
    (SCRATCH / "rank-0123.pt").unlink()
    write_record("rank", before)
    assert times_taken() == {}
    # one of other settings lies there still: it began anew
    (SCRATCH / "rank-4567.pt").touch()
    write_record("rank", checkpoints("rank"))
    assert times_taken().keys() == {"rank"}


def test_times_are_of_this_machine_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record("rank", set())
    monkeypatch.setattr("platform.node", lambda: "../another machine")
    assert times_taken() == {}
    write_record("rank", set())
    assert times_taken().keys() == {"rank"}
    assert {path.parent.parent for path in SCRATCH.rglob("rank.json")} == {SCRATCH / "ran"}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "7", '{"seconds": "x", "ended": 1}', '{"ended": 1}']
)
def test_what_is_no_record_counts_as_none(project: Path, content: str) -> None:
    write_record("prepare", set())
    write_record("rank", set())
    for file in SCRATCH.rglob("*.json"):
        if file.stem != "prepare":
            file.write_text(content, encoding="utf-8")
    assert times_taken().keys() == {"prepare"}
    assert not files_taken()


@pytest.mark.parametrize("value", [1, [1, 2], [1, 2, "a", 3], {"a": 1}, ["x", 2, "a"]])
def test_a_file_that_is_told_otherwise_makes_the_record_none(project: Path, value: object) -> None:
    write_record("prepare", set())
    file = SCRATCH / "ran" / "files.json"
    file.write_text(json.dumps({"raw/images/a.png": value}), encoding="utf-8")
    assert files_taken() is None


def test_a_record_that_is_too_large_is_not_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record("prepare", set())
    monkeypatch.setattr(record, "_READ_BYTES", 10)
    assert files_taken() is None
    assert times_taken() == {}


def test_no_stage_fails_for_a_record_that_cannot_be_written(project: Path) -> None:
    SCRATCH.write_text("no folder", encoding="utf-8")
    write_record("prepare", set())
    assert SCRATCH.read_text(encoding="utf-8") == "no folder"


def test_a_file_is_read_again_only_where_size_or_time_differ(project: Path) -> None:
    file = project / "raw/images/a.png"
    stat = file.stat()
    known = {file.as_posix(): TakenFile(stat.st_size, stat.st_mtime_ns, "as it was")}
    assert taken_now([file], known)[file.as_posix()].md5 == "as it was"
    os.utime(file, (1, 1))
    found = taken_now([file], known)[file.as_posix()]
    assert found.md5 == hashlib.md5(file.read_bytes()).hexdigest()
    assert found.changed == 10**9
