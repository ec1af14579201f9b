"""No cell of a table is a formula, and each gives back the text that it was made of."""

import csv
import io
import os
import random

import pytest

from ppl.core.cells import as_cell, as_text

SIGNS = "=+-@＝＋－＠"
LETTERS = (  # what means something to a spreadsheet, to a path or to an escape
    f"{SIGNS}./\\;, \t\r\n\0\x1f\x7f\x85\u2028\u2029\"'|nrtux0123defaä部\ud800\udce9\U0001f600"
)


def drawn(dice: random.Random) -> str:
    return "".join(dice.choice(LETTERS) for _ in range(dice.randrange(12)))


def cells_of_a_spreadsheet(line: str) -> list[str]:
    """The cells as one that splits at commas sees them, and as one that splits at semicolons."""
    return [cell for between in ",;" for cell in next(csv.reader([line], delimiter=between))]


@pytest.mark.parametrize("count", [5000, pytest.param(200_000, marks=pytest.mark.long)])
def test_any_text_comes_back_and_its_cell_is_a_line_and_no_formula(count: int) -> None:
    for seed in range(count):
        text = drawn(random.Random(seed))
        cell = as_cell(text)
        assert as_text(cell) == text, f"seed {seed}: {text!r} became {cell!r}"
        cell.encode("utf-8")
        assert len((cell + ".").splitlines()) == 1
        assert cell.isprintable() or not text.isprintable(), f"seed {seed}"
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(["7", cell])
        for each in cells_of_a_spreadsheet(line.getvalue()):
            assert not each.lstrip().startswith(tuple(SIGNS)), f"seed {seed}: {line.getvalue()!r}"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Kratzer ä/b 1.png", "Kratzer ä/b 1.png"),
        (os.fsdecode(b"caf\xe9\n.png"), r"caf\xe9\n.png"),
        ("Maß\ud800", r"Maß\ud800"),
        ("a\u2028b\x7f\r", r"a\u2028b\x7f\r"),
        *((f"{sign}1.png", f"./{sign}1.png") for sign in SIGNS),
        ("\t=1", r"\t=1"),
        ("./=1", "././=1"),
        ("./a", "./a"),
        ("a;=1", r"a;\x3d1"),
        ("scratch; -dent", r"scratch; \x2ddent"),
        ("a-b=c", "a-b=c"),
        ("", ""),
    ],
)
def test_a_cell_reads_like_its_text(text: str, cell: str) -> None:
    assert as_cell(text) == cell
    assert as_text(cell) == text


def test_no_two_texts_become_one_cell() -> None:
    texts = ["\n", r"\n", r"\\n", "\x85", r"\x85", "\udc85", r"\udc85", r"\u0085", "\\", r"\\"]
    assert len({as_cell(text) for text in texts}) == len(texts)


def test_what_a_person_typed_stays_as_it_stands() -> None:
    for typed in ("=a.png", "images\\parts\\a.png", "\\", "\\xzz", "-0.5"):
        assert as_text(typed) == typed
