"""Masks of 0 and 255 with one class of defect: the defect where all are so, else refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.data.adapters.base import distinct_colours
from ppl.data.prepare import SetPaths, write_sets
from ppl.images.files import read_mask, write_mask
from ppl.images.pictures import IGNORE
from tests.data.test_scans import MASKED, SIZE, Parts, parts, warnings

__all__ = ["parts"]

DEFECT = 84
ALL = SIZE[0] * SIZE[1]


@pytest.fixture
def binary(parts: Parts) -> Parts:
    """One class of defect, drawn white; every third image is sound."""
    parts.changes["classes"] = ["background", "defect"]
    parts.draw_masks(lambda _, mask: np.minimum(mask, 1) * np.uint8(255))
    return parts


def test_white_is_the_defect_and_said_once(
    binary: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = binary.run()
    told = capsys.readouterr()
    assert plan.scans["im01"].pixels == {0: ALL - DEFECT, 1: DEFECT}
    assert plan.scans["im00"].pixels == {0: ALL}
    [line] = [line for line in told.err.splitlines() if "255" in line]
    assert line.startswith("prepare: note: ")
    assert "255 is taken as defect in 6 masks" in line
    assert told.out.splitlines()[-1] == (
        "pixels of all masks in percent: background 92.7, defect 7.29, ignored 0"
    )


def test_the_sets_hold_what_the_scans_say(binary: Parts, tmp_path: Path) -> None:
    plan = binary.run()
    out = tmp_path / "out"
    names = ("labeled", "validation", "unlabeled", "hidden", "test")
    write_sets(
        plan,
        SetPaths(
            dataset=out / "dataset.json",
            record=out / "split.json",
            **{name: out / name for name in names},
        ),
    )
    written = {file.stem: read_mask(file) for file in out.rglob("masks/*.png")}
    assert len(written) == MASKED
    for id, mask in written.items():
        drawn = read_mask(binary.root / f"masks/{id}.png")
        assert torch.equal(mask, (drawn == IGNORE).to(torch.uint8)), id


def test_grey_stored_as_colours_may_be_white_too(binary: Parts) -> None:
    binary.draw_masks(
        lambda _, mask: Image.fromarray(np.minimum(mask, 1) * np.uint8(255)).convert("RGB")
    )
    assert binary.run().scans["im02"].values == {0, 1}


def test_white_masks_beside_indices_are_refused(binary: Parts) -> None:
    binary.draw_masks(
        lambda number, mask: np.minimum(mask, 1) * np.uint8(1 if number == 4 else 255)
    )
    said = binary.refused("5 masks hold 255 .* so their images would count as sound")
    assert "im04" not in said


def test_images_that_ignored_txt_names_keep_their_255(binary: Parts) -> None:
    def with_border(number: int, mask: np.ndarray) -> np.ndarray:
        mask = np.minimum(mask, 1) * np.uint8(255)
        if number % 3 == 0:
            mask[0] = 255
        return mask

    binary.draw_masks(with_border)
    assert binary.run().scans["im00"].pixels == {0: ALL - 32, 1: 32}, "nothing says otherwise"
    (binary.root / "ignored.txt").write_text("im00\nim03\nim06\n", encoding="utf-8")
    plan = binary.run()
    assert plan.scans["im00"].pixels == {0: ALL - 32, IGNORE: 32}
    assert plan.scans["im01"].pixels == {0: ALL - DEFECT, 1: DEFECT}
    (binary.root / "ignored.txt").write_text("*\n", encoding="utf-8")
    binary.refused(r"the 9 masks hold 0 and 255 \(ignored\) alone")


def test_masks_that_began_as_the_projects_may_stand_beside(
    binary: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    (binary.root / "corrected").mkdir()
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    mask[4:9, 3:8], mask[0] = 1, IGNORE
    write_mask(binary.root / "corrected/im12.png", mask, distinct_colours(2))
    plan = binary.run()
    assert plan.scans["im12"].pixels == {0: ALL - 25 - 32, 1: 25, IGNORE: 32}
    assert plan.scans["im01"].values == {0, 1}
    assert warnings(capsys) == []


def test_two_classes_of_defect_leave_it_open(binary: Parts) -> None:
    binary.changes["classes"] = ["background", "scratch", "dent"]
    binary.refused(r"the 9 masks hold 0 and 255 \(ignored\) alone")


def test_colours_of_classes_leave_nothing_open(binary: Parts) -> None:
    binary.changes["colours"] = {"defect": [255, 0, 0]}
    binary.refused(r"the 9 masks hold 0 and 255 \(ignored\) alone")
    binary.changes["colours"] = {"defect": [255, 255, 255]}
    assert binary.run().scans["im01"].pixels == {0: ALL - DEFECT, 1: DEFECT}


def test_masks_that_are_all_white_are_refused(
    binary: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    binary.draw_masks(lambda number, mask: np.full_like(mask, 255 * (number % 3 > 0)))
    said = binary.refused("6 masks hold 255 in every pixel")
    assert "im01.png" in said
    binary.draw_masks(lambda number, mask: np.maximum(mask > 0, number == 1) * np.uint8(255))
    binary.run()
    assert any("in 1 masks hardly a pixel is background: im01" in w for w in warnings(capsys))


def test_sound_masks_alone_are_still_refused(binary: Parts) -> None:
    binary.draw_masks(lambda _, mask: mask * 0)
    binary.refused("the 9 masks hold background alone")
