"""Rows are only added, whole or not at all, and what is half written counts for nothing."""

import csv
import errno
import os
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.review.decisions import COLUMNS, RIGHT, UNDONE, WRONG, Decisions, Row

HEAD = ",".join(COLUMNS)
DIGEST = "0123456789abcdef" * 2

NAMES = ["a", "a,b", 'say "x"', "ü #1 100%", "with space", "=1+1", "x;y", "日本/部品"]


def row(image: str, decision: str = WRONG, time: str = "t1", reviewer: str = "Berg, Anna") -> Row:
    return Row(image, decision, reviewer, time, DIGEST, DIGEST if decision == RIGHT else "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "review" / "decisions.csv"


@pytest.mark.parametrize("name", NAMES)
def test_a_row_comes_back_as_it_was_written(file: Path, name: str) -> None:
    Decisions(file).append([row(name), row("other", RIGHT)])
    assert Decisions(file).current(name) == row(name)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [each["image"] for each in rows] == [name, "other"]
    assert rows[0]["reviewer"] == "Berg, Anna"


def test_the_last_row_of_an_image_counts_and_an_undone_one_is_none(file: Path) -> None:
    known = Decisions(file)
    known.append([row("a", WRONG, "t1")])
    known.append([row("a", RIGHT, "t2")])
    assert known.current("a") == row("a", RIGHT, "t2")
    known.append([row("a", UNDONE, "t3")])
    assert known.current("a") is None
    assert known.current("never") is None
    assert known.images() == {"a"}


def test_before_is_what_undo_brings_back_however_often(file: Path) -> None:
    known = Decisions(file)
    first, second, third = (row("a", WRONG, f"t{number}") for number in range(3))
    known.append([first])
    assert known.before("a") is None
    known.append([second])
    known.append([third])
    assert known.before("a") == second
    known.append([row("a", UNDONE, "t4"), second])
    assert known.current("a") == second
    assert known.before("a") == first
    known.append([row("a", UNDONE, "t5"), first])
    assert known.before("a") is None


CUT = f"b,right,Anna,t2,{DIGEST},{DIGEST}\n"


@pytest.mark.parametrize("length", range(1, len(CUT)))
def test_a_row_that_was_cut_short_anywhere_counts_for_nothing_and_harms_no_other(
    file: Path, length: int
) -> None:
    Decisions(file).append([row("a")])
    with file.open("a", encoding="utf-8") as stream:
        stream.write(CUT[:length])
    known = Decisions(file)
    # with the line break alone missing, the row is whole
    whole = length == len(CUT) - 1
    assert (known.current("b") is not None) == whole
    assert known.skipped == (not whole)
    known.append([row("c")])
    again = Decisions(file)
    assert again.current("a") == row("a")
    assert again.current("c") == row("c")
    assert (again.current("b") is not None) == whole


@pytest.mark.parametrize("length", range(len(HEAD) + 1))
def test_a_head_that_was_cut_short_is_written_anew(file: Path, length: int) -> None:
    file.parent.mkdir()
    file.write_text(HEAD[:length], encoding="utf-8")
    known = Decisions(file)
    known.append([row("a")])
    assert file.read_text(encoding="utf-8").startswith(f"{HEAD}\na,wrong,")
    assert Decisions(file).current("a") == row("a")


def test_an_open_quote_ends_with_its_line(file: Path) -> None:
    Decisions(file).append([row("a")])
    with file.open("a", encoding="utf-8") as stream:
        stream.write('"b,wro')
    Decisions(file).append([row("c")])
    assert Decisions(file).current("c") == row("c")


EDITED = {
    "a mark and carriage returns": f"\ufeff{HEAD}\r\na,wrong,me,t,{DIGEST},\r\n",
    "other order and a column more": f"note,decision,image,written,judged,time,reviewer\n"
    f"blurred,wrong,a,,{DIGEST},t,me\n",
    "empty lines": f"{HEAD}\n\n,,,,,\na,wrong,me,t,{DIGEST},\n\n",
    "no end of line": f"{HEAD}\na,wrong,me,t,{DIGEST},",
}


@pytest.mark.parametrize("text", EDITED.values(), ids=EDITED)
def test_a_table_that_a_person_edited_is_read_and_gone_on_with(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_bytes(text.encode())
    known = Decisions(file)
    assert known.current("a") == Row("a", "wrong", "me", "t", DIGEST)
    assert known.skipped == 0
    known.append([row("b", RIGHT)])
    again = Decisions(file)
    assert again.current("a") == Row("a", "wrong", "me", "t", DIGEST)
    assert again.current("b") == row("b", RIGHT)


@pytest.mark.parametrize(
    "line",
    ["a,perhaps,me,t,,", "a,right,me,t,d,", f",wrong,me,t,{DIGEST},", "a,wrong", "\x00\x00", "a;b"],
)
def test_a_line_that_is_no_decision_is_counted_and_left(file: Path, line: str) -> None:
    file.parent.mkdir()
    file.write_text(f"{HEAD}\n{line}\n", encoding="utf-8")
    known = Decisions(file)
    assert (known.images(), known.skipped) == (set(), 1)
    known.append([row("b")])
    assert f"{line}\n" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,verdict\na,wrong\n", "has no column image"),
        (b"image;decision;reviewer;time;judged;written\n", "has no column image"),
        (f"{HEAD}\n\xfc\n".encode("latin-1"), "no UTF-8"),
    ],
)
def test_another_table_is_refused(file: Path, content: bytes, said: str) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        Decisions(file)
    assert file.read_bytes() == content


def test_what_another_process_added_is_seen(file: Path) -> None:
    one, other = Decisions(file), Decisions(file)
    one.append([row("a")])
    other.refresh()
    assert other.current("a") == row("a")
    other.append([row("b")])
    one.refresh()
    assert one.current("b") == row("b")


@pytest.mark.parametrize("written", [0, 7])
def test_a_full_disk_leaves_the_table_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    known = Decisions(file)
    known.append([row("a")])
    before = file.read_bytes()
    real = os.write
    room = [written]

    def full(descriptor: int, content: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        fits, room[0] = room[0], 0
        return real(descriptor, content[:fits])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        known.append([row("b")])
    monkeypatch.undo()
    assert file.read_bytes() == before
    known.append([row("c")])
    assert Decisions(file).images() == {"a", "c"}


def test_a_decision_is_synced_before_append_returns(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    Decisions(file).append([row("a")])
    assert file.stat().st_ino in synced
