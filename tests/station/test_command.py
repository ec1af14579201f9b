"""The project's command line and a station's: the same words mean the same."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppl.__main__ import main as project
from ppl.station import command, exported
from ppl.station.options import OPTIONS, Request
from ppl.station.progress import Progress, duration
from tests.station.bright import Bright
from tests.station.test_predict import ROOT, picture, save

WORDS = [
    "m a",
    "m a b --out o --no-overlays",
    "m a --watch --every 0.5 --settle 3 --patience 10",
    "--patience 0 m a/b.png",
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Request]]:
    """What a command line asked for, in place of its being done."""
    found: list[tuple[Path, Request]] = []

    def predict(load: Any, model: Path, request: Request) -> int:
        found.append((model, request))
        return 3

    monkeypatch.setattr(command, "predict", predict)
    return found


@pytest.mark.parametrize("words", WORDS)
def test_both_command_lines_ask_for_the_same(asked: list[tuple[Path, Request]], words: str) -> None:
    assert command.main(Bright, words.split()) == 3
    with pytest.raises(SystemExit) as ended:
        project.main(["predict", *words.split()])
    assert ended.value.code == 3
    assert asked[0] == asked[1]


def test_the_table_of_options_is_that_of_the_request() -> None:
    default = Request((), Path())
    for option in OPTIONS:
        assert getattr(default, option.name) == option.default
    assert {option.name for option in OPTIONS} == Request.__dataclass_fields__.keys() - {
        "images",
        "out",
    }


@pytest.mark.parametrize("words", ["", "m", "m a --sinc 3", "m a --over 2", "m a --pat 3"])
def test_wrong_words_end_with_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(Bright, words.split())
    assert ended.value.code == 2
    assert "usage: predict.py" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "x", "inf", "1e300", "nan", "86401", "-inf"])
@pytest.mark.parametrize("option", ["--every", "--settle", "--patience"])
def test_seconds_are_a_number_up_to_a_day(
    option: str, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["m", "a", f"{option}={seconds}"]
    for run in (lambda: command.main(Bright, words), lambda: project.main(["predict", *words])):
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 2
        assert f"{seconds} is no number of seconds from 0 to 86,400" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--check --runtme openvino bla", "unrecognized arguments: --runtme"),
        ("--run openvino day1", "unrecognized arguments: --run"),
        ("--check day1", "--check takes --runtime and --int8, but images came with it"),
        ("--check --watch --out o", "but out, watch came with it"),
        ("--chec day1", "unrecognized arguments: --chec"),
        ("--runtime tvm day1", "invalid choice: 'tvm'"),
        ("", "name IMAGES"),
    ],
)
def test_mistyped_words_of_an_export_end_with_usage(
    tmp_path: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        exported.run(tmp_path, words.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "usage: predict.py" in said
    assert told in said


def test_an_export_asks_for_the_same(
    asked: list[tuple[Path, Request]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert exported.run(tmp_path, ["a", "--watch", "--runtime", "openvino", "--settle", "3"]) == 3
    assert asked == [(tmp_path, Request((Path("a"),), Path("predicted"), watch=True, settle=3))]


def test_what_a_user_can_mend_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(Bright, ["m", str(tmp_path / "nowhere")]) == 1
    said = capsys.readouterr().err
    assert (
        said == f"Error: {tmp_path}/nowhere does not exist: name a folder of images, or an image\n"
    )


def test_a_station_needs_numpy_and_pillow_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(1))
    script = (
        "import sys; from tests.station.bright import Bright; from ppl.station.command import main;"
        f"status = main(Bright, ['m', {str(tmp_path)!r}, '--out', {str(tmp_path / 'out')!r}]);"
        "heavy = {'torch', 'scipy', 'click', 'tqdm', 'yaml', 'pydantic'} & sys.modules.keys();"
        "print(status, heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_progress_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shown = [0.0], io.StringIO()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Progress(1_000, shown) as progress:
        for _ in range(100):
            now[0] += 0.5
            progress.update()
    lines = shown.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[0] == "20 of 1,000 images, 2.0 a second, 8 min left"
    assert lines[-1] == "100 of 1,000 images, 2.0 a second, 8 min left"
    assert [duration(seconds) for seconds in (0, 99, 600, 12_000)] == [
        *("0 s", "99 s", "10 min", "3 h 20 min")
    ]
