"""A stage whose code, settings or inputs changed while it ran is found out."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.run.ahead import VARIABLE, told_of_ahead
from ppl.run.guard import Guard
from tests.pipeline.project import write_project

PIPELINE = """
stages:
  rank:
    cmd: python -m stages.rank
    deps:
      - images
      - ppl/rank.py
      - ppl/labeling
    params:
      - ranking
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = [
        "ppl/rank.py",
        "ppl/other.py",
        "ppl/labeling/masks.py",
        "ppl/labeling/deep/votes.py",
        "images/a.png",
        "images/b.png",
    ]
    params = "ranking: {share: 0.5}\nother: 1\n"
    write_project(tmp_path, pipeline=PIPELINE, params=params, files=files)
    for name in files:
        # as in a real project: older than the process
        os.utime(tmp_path / name, (1, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_changed_says_nothing(project: Path) -> None:
    Guard("rank").stop_if_changed()


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("ppl/rank.py", "# edited", "ppl/rank.py"),
        ("params.yaml", "ranking: {share: 0.4}\nother: 1\n", "section `ranking`"),
        ("images/a.png", "corrected", "images/a.png"),
        ("images/new.png", "added", "images/new.png"),
        ("ppl/labeling/masks.py", "# edited", "ppl/labeling/masks.py"),
        ("ppl/labeling/deep/votes.py", "# edited", "ppl/labeling/deep/votes.py"),
        ("ppl/labeling/new.py", "# added", "ppl/labeling/new.py"),
    ],
)
def test_a_changed_dependency_is_named(project: Path, file: str, content: str, named: str) -> None:
    guard = Guard("rank")
    (project / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="changed while this stage ran") as caught:
        guard.stop_if_changed()
    assert named in str(caught.value)


@pytest.mark.parametrize("file", ["images/b.png", "ppl/labeling/masks.py"])
def test_a_removed_dependency_is_named(project: Path, file: str) -> None:
    guard = Guard("rank")
    (project / file).unlink()
    with pytest.raises(InputError, match=re.escape(file)):
        guard.stop_if_changed()


def test_what_the_stage_does_not_depend_on_may_change(project: Path) -> None:
    guard = Guard("rank")
    for name in ("ppl/other.py", "ppl/labeling/notes.md", "ppl/labeling/.hidden.py"):
        (project / name).write_text("# edited", encoding="utf-8")
    text = "# a comment\nother: 2\nranking: {share: 0.50}\n"
    (project / "params.yaml").write_text(text, encoding="utf-8")
    guard.stop_if_changed()


def test_touched_code_is_not_changed_code(project: Path) -> None:
    guard = Guard("rank")
    os.utime(project / "ppl" / "rank.py")
    guard.stop_if_changed()


def test_code_edited_while_the_process_started_is_found(project: Path) -> None:
    os.utime(project / "ppl" / "rank.py", (time.time() + 5, time.time() + 5))
    with pytest.raises(InputError, match=r"ppl/rank\.py"):
        Guard("rank")


def test_code_from_the_future_is_compared_by_what_it_was_at_the_start(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "ppl/rank.py"
    in_a_year = time.time() + 3e7
    os.utime(file, (in_a_year, in_a_year))
    handed_on = told_of_ahead(Path())
    assert list(json.loads(handed_on[VARIABLE])) == ["ppl/rank.py"]
    monkeypatch.setenv(VARIABLE, handed_on[VARIABLE])
    Guard("rank").stop_if_changed()
    file.write_text("# edited while the process started", encoding="utf-8")
    os.utime(file, (in_a_year, in_a_year))
    with pytest.raises(InputError, match=r"changed while this stage ran: ppl/rank\.py"):
        Guard("rank")


@pytest.mark.parametrize("handed_on", ["", "{", "[]", "{}"])
def test_without_what_was_handed_on_the_time_decides(
    project: Path, monkeypatch: pytest.MonkeyPatch, handed_on: str
) -> None:
    monkeypatch.setenv(VARIABLE, handed_on)
    Guard("rank").stop_if_changed()
    os.utime(project / "ppl/labeling/masks.py", (time.time() + 5, time.time() + 5))
    with pytest.raises(InputError, match=r"ppl/labeling/masks\.py"):
        Guard("rank")


def test_more_future_code_than_a_variable_holds_is_cut(project: Path) -> None:
    for number in range(900):
        file = project / f"ppl/{'long_' * 10}{number}.py"
        file.touch()
        os.utime(file, (time.time() + 99, time.time() + 99))
    assert len(told_of_ahead(Path())[VARIABLE]) < 32_000
