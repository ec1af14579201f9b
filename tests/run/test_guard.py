"""A stage whose code, settings or inputs changed while it ran is found out."""

import os
import re
import time
from pathlib import Path

import pytest

from ppl.core.errors import InputError
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
