"""Asking DVC: one that fails or never answers is asked again, where that does no harm."""

import sys
import time
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.tools.commands import ask_dvc

SLOW_ONCE = """
import pathlib, sys, time
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    time.sleep(600)
print("answer")
"""

FAILS_ONCE = """
import pathlib, sys
mark = pathlib.Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    sys.exit("ERROR: failed to show experiments - directory '.dvc' does not exist")
print("answer")
"""


def test_a_command_that_hangs_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.tools.commands.DVC", (sys.executable, "-c", SLOW_ONCE))
    began = time.monotonic()
    assert ask_dvc(tmp_path / "asked", seconds=5) == "answer\n"
    assert time.monotonic() - began < 60


def test_a_command_that_hangs_each_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ppl.tools.commands.DVC", (sys.executable, "-c", "import time; time.sleep(600)")
    )
    with pytest.raises(InputError, match=r"`dvc exp show` did not answer within 0\.5 seconds"):
        ask_dvc("exp", "show", seconds=0.5)


def test_a_question_that_fails_is_put_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.tools.commands.DVC", (sys.executable, "-c", FAILS_ONCE))
    assert ask_dvc(tmp_path / "asked", seconds=60) == "answer\n"


def test_a_question_that_fails_each_time_is_put_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    script = "import sys; open(sys.argv[1], 'a').write('.'); sys.exit('ERROR: no such thing')"
    monkeypatch.setattr("ppl.tools.commands.DVC", (sys.executable, "-c", script))
    with pytest.raises(InputError, match="no such thing"):
        ask_dvc(asked, seconds=60)
    assert asked.read_text(encoding="utf-8") == "..."


def test_what_may_have_changed_something_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.tools.commands.DVC", (sys.executable, "-c", FAILS_ONCE))
    with pytest.raises(InputError, match="failed to show experiments"):
        ask_dvc(tmp_path / "asked")


def test_an_error_is_said_without_an_offer_of_help(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: unexpected error - no file\n\nHaving any troubles? Hit us up"
    monkeypatch.setattr("ppl.tools.commands.DVC", (sys.executable, "-c", f"exit({said!r})"))
    with pytest.raises(InputError, match=r"^unexpected error - no file$"):
        ask_dvc("get")
