"""Progress: a bar on a terminal, whole lines elsewhere, nothing where it is switched off."""

import io
import re
import sys
from collections.abc import Iterator

import pytest

from ppl.core import progress
from ppl.core.progress import bar


class Clock:
    """A clock that each work of `seconds` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def work(self, count: int, seconds: float) -> Iterator[int]:
        for number in range(count):
            self.now += seconds
            yield number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delenv("TQDM_MININTERVAL", raising=False)
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_in_a_file_it_is_a_line_every_ten_seconds_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    work = bar(clock.work(96, 0.25), desc="read images", unit="image", total=96)
    assert list(work) == [*range(96)]
    said = capsys.readouterr().err
    assert "\r" not in said
    assert said.endswith("\n")
    lines = said.splitlines()
    assert [re.findall(r"(\d+)/96", line) for line in lines] == [["40"], ["80"], ["96"]]
    assert lines[0] == "read images:  42% 40/96 [00:10<00:14,  4.00 image/s]"


def test_work_of_less_than_ten_seconds_is_one_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in bar([1, 2, 3], desc="read"):
        pass
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_of_no_work_nothing_is_said(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(bar([], desc="read")) == []
    assert capsys.readouterr().err == ""


def test_work_may_tell_by_itself_how_far_it_is(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar(total=100, initial=40, desc="train teacher", unit="step") as shown:
        for _ in clock.work(6, 5.0):
            shown.update(10)
            shown.set_postfix_str("loss=0.5", refresh=False)
    lines = capsys.readouterr().err.splitlines()
    assert [re.findall(r"\d+/100", line) for line in lines] == [["60/100"], ["80/100"], ["100/100"]]
    # the speed is this run's, not that of the one before
    assert lines[-1].endswith("2.00 step/s, loss=0.5]")


def test_work_that_breaks_off_says_how_far_it_came(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    work = bar((1 // (2 - number) for number in range(5)), desc="read", total=5)
    with pytest.raises(ZeroDivisionError):
        list(work)
    assert "2/5" in capsys.readouterr().err


def test_more_lines_may_be_asked_for(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_MININTERVAL", "1")
    list(bar(clock.work(4, 1.0), desc="read"))
    assert len(capsys.readouterr().err.splitlines()) == 4


@pytest.mark.parametrize("terminal", [False, True])
def test_it_can_be_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(bar(range(3), desc="read")) == [0, 1, 2]
    with bar(total=3, desc="read") as shown:
        shown.update(3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_of_several_processes_the_first_one_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(progress.processes, "is_first", lambda: False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(bar(range(3), desc="read")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(bar(range(3), desc="read")) == [0, 1, 2]
    assert isinstance(sys.stderr, Terminal)
    assert "\rread:" in sys.stderr.getvalue()
