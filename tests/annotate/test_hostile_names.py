"""An image whose name is a formula goes all the way, and no table has a cell that is one."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl.annotate.next import Doubt, write_table
from ppl.core.cells import as_cell
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, load_samples
from ppl.data.held import Held, read_held, write_held
from ppl.images.files import read_stored_mask, write_mask
from ppl.images.sets import mask_file, read_dataset_info, read_image_set
from ppl.review.items import to_annotate
from ppl.review.pictures import read_indices
from ppl.review.review import Home, Review, checked_reviewer
from ppl.tools.annotate_next import hand_out
from ppl.tools.handed_out import LIST, digest, went_out
from ppl.tools.own_folders import HANDED_OUT
from ppl.tools.report import next_rows
from ppl.tools.to_annotate import to_do
from tests.data.test_prepare import Workspace

SIGNS = ("=", "+", "-", "@", "\t", "\r")
HOSTILE = ["=cmd|x", "+1+1", "-2+3", "@SUM(1)", "day/=1", "=day/a", "a;=1+1", "a,=1", 'a"=1']


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `prepare` and `annotate_next` leave of images with such names, a mask of each."""
    monkeypatch.chdir(tmp_path)
    made = Workspace(tmp_path)
    made.params["data"] |= {"classes": ["background", "=scratch", "-dent"], "same_part": 0.9}
    made.out = tmp_path / "data" / "prepared"
    for number in range(8):
        made.add(f"scratch{number}", 1)
        made.add(f"sound{number}")
    for name in HOSTILE:
        made.add(name, masked=False)
    made.run()
    info = read_dataset_info(made.out / "dataset.json")
    images = read_image_set(made.out / "unlabeled")
    listed = [entry for entry in images.entries if entry.id in HOSTILE]
    for number, entry in enumerate(listed):
        mask = torch.full((entry.height, entry.width), number % 3)
        mask[0, :] = torch.arange(entry.width) == number
        write_mask(mask_file(HANDED_OUT / "masks", entry.id), mask, info.colours)
    signs = {"reliability": 0.5, "disagreement": 0.5}
    doubts = [Doubt(entry, f"={entry.id}", signs, 0.5) for entry in listed]
    write_table(HANDED_OUT / "list.csv", doubts, doubts, list(signs), HANDED_OUT / "masks", info)
    return tmp_path


def cells(file: Path) -> list[list[str]]:
    """The rows of a table; none has a cell that a spreadsheet would run."""
    text = file.read_text(encoding="utf-8")
    for separator in ",;":
        for row in csv.reader(text.splitlines(), delimiter=separator):
            assert not any(cell.startswith(SIGNS) for cell in row), row
    return list(csv.reader(text.splitlines()))


def test_the_list_names_every_image_in_cells_that_are_no_formula(project: Path) -> None:
    rows = cells(HANDED_OUT / "list.csv")[1:]
    assert {row[1] for row in rows} == set(map(as_cell, HOSTILE))
    assert {row[7] for row in rows} == {"./=scratch", "./-dent", "./=scratch; \\x2ddent"}
    shown = next_rows(HANDED_OUT / "list.csv")[1:]
    assert {row[1] for row in shown} <= set(HOSTILE)


def test_who_reads_the_list_finds_the_right_image_and_mask(project: Path) -> None:
    work = to_annotate("next")
    assert {item.id for item in work.items} == set(HOSTILE)
    for item in work.items:
        raw = project / "raw" / "images" / f"{item.id}.png"
        assert np.array_equal(read_indices(item.source), read_indices(mask_of(item.id)))
        assert item.image.read_bytes() == raw.read_bytes()
    data = section("data", DataSettings)
    samples = load_samples(Path("raw"), data)
    assert set(to_do(Path("raw"), data, samples).open) == set(HOSTILE)


def mask_of(id: str) -> Path:
    return mask_file(HANDED_OUT / "masks", id)


def test_masks_go_out_and_are_known_when_they_come_back(project: Path) -> None:
    hand_out(Path("out"))
    cells(Path("out", LIST))
    known = went_out(Path("out"))
    assert known.keys() == set(HOSTILE)
    for id in HOSTILE:
        assert Path("out", f"{id}.png").read_bytes() == mask_of(id).read_bytes()
        assert known[id] == {digest(read_stored_mask(mask_of(id)).values.numpy())}
    # a second round keeps what the first one noted
    shutil.rmtree("out/day")
    hand_out(Path("out"))
    assert went_out(Path("out")) == known


def test_decisions_name_the_image_and_are_found_again(project: Path) -> None:
    home = Home(Path("raw", "review"), Path("raw", "corrected"))
    work = to_annotate("next")
    review = Review(work, home, "Berg")
    for item in work.items:
        review.decide(item, "wrong" if item.id == "=cmd|x" else "right", review.state(item).seen)
    cells(home.decisions)
    assert all(Path("raw", "corrected", f"{id}.png").is_file() for id in HOSTILE[1:])
    again = Review(work, home, "Berg")
    assert sorted(again.decided()) == ["right"] * (len(HOSTILE) - 1) + ["wrong"]
    said = hand_out(Path("rejected"))
    assert "left out whose images have a mask" in said
    assert "=cmd|x" in said
    assert not Path("rejected", "=cmd|x.png").exists()


@pytest.mark.parametrize("name", ["=1+1", "@me", "Berg;=1"])
def test_a_reviewer_is_no_formula(name: str) -> None:
    with pytest.raises(ValueError, match="is a formula to a spreadsheet"):
        checked_reviewer(name)
    for plain in ("Berg, A.", "works\\berg", "a-b"):
        assert checked_reviewer(plain) == plain


def test_what_is_held_is_read_again_by_id(tmp_path: Path) -> None:
    names = {*HOSTILE, "tab\tname", "./=x", "back\\slash"}
    held = Held("", frozenset(names), frozenset({"=trained"}))
    file = write_held(tmp_path, held)
    cells(file)
    for ids in (names | {"=trained"}, set[str]()):
        found = read_held(tmp_path, ids)
        assert (found.test, found.train) == (held.test, held.train)
