"""Asking DVC: one that never answers is ended and asked again."""

import sys
import time
from pathlib import Path

import pytest

from ppl.commands import ask_dvc
from ppl.errors import InputError

SLOW_ONCE = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    time.sleep(600)
print("answer")
"""


def test_a_command_that_hangs_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.commands.DVC", (sys.executable, "-c", SLOW_ONCE))
    began = time.monotonic()
    assert ask_dvc(tmp_path / "asked", seconds=5) == "answer\n"
    assert time.monotonic() - began < 60


def test_a_command_that_hangs_each_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl.commands.DVC", (sys.executable, "-c", "import time; time.sleep(600)"))
    with pytest.raises(InputError, match=r"did not answer 3 times within 0\.5 seconds"):
        ask_dvc("exp", "show", seconds=0.5)
