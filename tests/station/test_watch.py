"""A watched folder: files are taken once they are whole, and every one is taken."""

import csv
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.station import command
from ppl.station.arrivals import Arrivals
from ppl.station.folder import Found, stamp_of
from ppl.station.options import Request
from tests.station.bright import Bright
from tests.station.test_predict import (
    lit,
    no_entry,
    picture,
    predict,
    rows,
    save,
    state,
    station,
)

Rows = Callable[[], dict[str, dict[str, str]]]


def as_png(number: int) -> bytes:
    content = io.BytesIO()
    picture(number, 60, 90).save(content, format="PNG")
    return content.getvalue()


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Rows]:
    """A run that watches tmp_path/images; gives the rows of its table by image."""
    (tmp_path / "images").mkdir()
    stop, status = threading.Event(), list[int]()
    asked = Request(
        (tmp_path / "images",), tmp_path / "out", True, True, every=0.02, settle=0.2, patience=0.9
    )
    run = threading.Thread(
        target=lambda: status.append(command.predict(Bright, Path("bright"), asked, stop))
    )

    def rows() -> dict[str, dict[str, str]]:
        file = tmp_path / "out/results.csv"
        if not file.exists():
            return {}
        with file.open(encoding="utf-8", newline="") as stream:
            table = list(csv.DictReader(stream))
        assert len({row["image"] for row in table}) == len(table)
        return {row["image"]: row for row in table}

    run.start()
    try:
        yield rows
    finally:
        stop.set()
        run.join()
    assert status == [0]


def test_what_arrives_is_taken_and_what_is_no_image_left_alone(
    watched: Rows, tmp_path: Path
) -> None:
    for number in range(6):
        save(tmp_path / f"images/{number % 2}/{number}.png", picture(number))
        (tmp_path / f"images/{number}.txt").write_text("no image", encoding="utf-8")
    until(lambda: len(watched()) == 6)
    assert not any(row["error"] for row in watched().values())


def test_a_file_that_grows_is_taken_when_it_is_whole(watched: Rows, tmp_path: Path) -> None:
    content, file = as_png(1), tmp_path / "images/slow.png"
    with file.open("wb", buffering=0) as stream:
        for start in range(0, len(content), len(content) // 12):
            stream.write(content[start : start + len(content) // 12])
            assert watched() == {}
            time.sleep(0.1)
    until(lambda: "slow.png" in watched())
    assert watched()["slow.png"]["error"] == ""


def test_a_writer_that_pauses_longer_than_a_file_settles_is_waited_for(
    watched: Rows, tmp_path: Path
) -> None:
    content, file = as_png(1), tmp_path / "images/pause.png"
    file.write_bytes(content[:500])
    time.sleep(0.5)
    assert watched() == {}
    with file.open("ab") as stream:
        stream.write(content[500:])
    until(lambda: "pause.png" in watched())
    assert watched()["pause.png"]["error"] == ""


def test_a_file_that_is_renamed_into_place_is_taken_whole(watched: Rows, tmp_path: Path) -> None:
    (tmp_path / "images/.new").write_bytes(as_png(2))
    time.sleep(0.4)
    assert watched() == {}
    (tmp_path / "images/.new").rename(tmp_path / "images/here.png")
    until(lambda: "here.png" in watched())


def test_a_new_version_takes_the_place_of_the_old(watched: Rows, tmp_path: Path) -> None:
    file = tmp_path / "images/part.png"
    file.write_bytes(as_png(1))
    until(lambda: "part.png" in watched())
    assert watched()["part.png"]["verdict"] == "defective"
    (tmp_path / "images/.part").write_bytes(as_png(3))
    (tmp_path / "images/.part").replace(file)
    until(lambda: watched().get("part.png", {}).get("verdict") == "sound")
    assert (tmp_path / "out/defects.csv").read_text(encoding="utf-8").count("\n") == 1
    file.unlink()
    time.sleep(0.3)
    assert "part.png" in watched()


def test_a_file_that_stays_broken_gets_a_row_after_a_while(watched: Rows, tmp_path: Path) -> None:
    began = time.monotonic()
    (tmp_path / "images/broken.png").write_bytes(as_png(1)[:700])
    until(lambda: "broken.png" in watched())
    assert time.monotonic() - began > 0.8
    assert "cut short" in watched()["broken.png"]["error"]
    (tmp_path / "images/broken.png").write_bytes(as_png(1))
    until(lambda: watched().get("broken.png", {}).get("error") == "")


def test_a_broken_new_version_takes_the_verdict_of_the_old_at_once(
    watched: Rows, tmp_path: Path
) -> None:
    for name in ("a.png", "part.png"):
        (tmp_path / "images" / name).write_bytes(as_png(1))
    until(lambda: len(watched()) == 2)
    began = time.monotonic()
    (tmp_path / "images/part.png").write_bytes(as_png(1)[:700])
    until(lambda: "part.png" not in watched())
    assert time.monotonic() - began < 0.8
    assert not (tmp_path / "out/masks/part.png").exists()
    assert "part.png" not in (tmp_path / "out/defects.csv").read_text(encoding="utf-8")
    until(lambda: "part.png" in watched())
    assert "cut short" in watched()["part.png"]["error"]
    assert watched()["a.png"]["verdict"] == "defective"


def test_what_may_not_be_read_is_said_once_and_the_rest_taken(
    watched: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    save(tmp_path / "images/closed/b.png", picture(1))
    no_entry(monkeypatch, tmp_path / "images/closed")
    (tmp_path / "images/link.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("k.jpg", "k.png/a.png", r"b\n.png", "b\n.png"):
        save(tmp_path / "images" / name, picture(1))
    until(lambda: len(watched()) == 4)
    time.sleep(0.3)
    said = capfd.readouterr().err
    assert said.count("closed may not be read: change its permissions") == 1
    assert said.count("link.png: not predicted: is a link that leads nowhere") == 1
    assert not any(row["error"] for row in watched().values())


def test_two_images_of_one_name_end_no_watching(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for side in ("x", "y"):
        save(tmp_path / side / "one/a.png", picture(1))
    save(tmp_path / "y/one/b.png", picture(1))
    roots = (tmp_path / "x/one", tmp_path / "y/one")
    asked = Request(roots, tmp_path / "out", True, True, every=0.02, settle=0.1)
    stop = threading.Event()
    run = threading.Thread(target=lambda: command.predict(Bright, Path("bright"), asked, stop))
    run.start()
    table = tmp_path / "out/results.csv"
    try:
        until(lambda: table.exists() and table.read_text(encoding="utf-8").count("\n") == 3)
    finally:
        stop.set()
        run.join()
    assert capfd.readouterr().err.count("would both be one/a.png in the results") == 1
    with pytest.raises(InputError, match=r"would both be one/a\.png"):
        command.predict(Bright, Path("bright"), Request(roots, tmp_path / "new"))


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_a_later_run_finds_all_done(
    tmp_path: Path, name: signal.Signals
) -> None:
    for number in range(5):
        save(tmp_path / f"images/{number}.png", picture(number))
    words = ("--watch", "--no-overlays", "--settle", "0.1", "--every", "0.05")
    run = station(tmp_path / "images", "--out", tmp_path / "out", *words)
    try:
        assert run.stdout is not None
        lines = [run.stdout.readline() for _ in range(5)]
        assert lines[0].startswith("0.png: sound, score 0.000000")
        run.send_signal(name)
        _, said = run.communicate(timeout=10)
    finally:
        run.kill()
    assert run.returncode == 0
    assert "Traceback" not in said
    before = state(tmp_path / "out")
    assert predict(tmp_path / "images", tmp_path / "out") == 0
    assert state(tmp_path / "out") == before


def test_only_folders_can_be_watched(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(1))
    asked = Request((tmp_path / "a.png",), tmp_path / "out", watch=True)
    with pytest.raises(InputError, match="--watch takes folders"):
        command.predict(Bright, Path("bright"), asked)


def test_a_file_is_tried_when_it_has_settled_and_then_ever_more_rarely(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    found, arrivals, tried, up = Found("a.png", file), Arrivals(2, 30), list[float](), list[float]()
    for now in range(40):
        if now == 3:
            file.write_bytes(b"12")
        for one in arrivals.ready([found], lambda *_, late=now > 36: late, now):
            tried.append(now)
            if arrivals.given_up(one, stamp_of(file), now):
                up.append(now)
    assert tried == [2, 5, 7, 11, 19, 33, 34, 35, 36]
    assert up == [33, 34, 35, 36]
    os.utime(file, ns=(0, 0))
    assert arrivals.ready([found], lambda *_: False, 50) == []
    assert arrivals.ready([found], lambda *_: False, 52) == [found]


def test_a_shift_is_said_when_it_is_seen_and_rows_of_before_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Request((tmp_path / "images",), tmp_path / "out", True, True, every=0.02, settle=0)

    def darker_after(count: int) -> list[str]:
        """What a run says of darker images that watches until there are so many."""
        lit(tmp_path / "images", count, 10)
        stop = threading.Event()
        run = threading.Thread(target=command.predict, args=(Bright, Path("trained"), asked, stop))
        run.start()
        table = tmp_path / "out/results.csv"
        until(lambda: table.exists() and len(rows(table)) == count)
        stop.set()
        run.join()
        return [x for x in capsys.readouterr().err.splitlines() if "images are darker" in x]

    assert darker_after(6) == []
    [said] = darker_after(14)
    # each adds 1.7 at most, with a model of 40 training images
    assert said.startswith("drift: since 00.png the 10 images are darker")
