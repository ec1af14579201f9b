"""Masks and images as tools leave them: what trains something else than was drawn is named."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    DataSettings,
    dataset_info,
    distinct_colours,
    load_adapter,
    load_samples,
)
from ppl.data.prepare import SetsPlan, plan_sets, report
from ppl.data.scans import scan_one
from ppl.data.split_settings import SplitSettings
from ppl.images.files import write_mask
from tests.pipeline.project import dvc, git

CLASSES = ["background", "scratch", "dent"]
MASKED, ALL = 9, 14
SIZE = (24, 32)

Change = Callable[[int, np.ndarray], np.ndarray | Image.Image]


class Parts:
    """A data set in the layout of `folder`: of its images the first `MASKED` have masks.

    The defect of image i is of class i % 3; 0 is a sound image.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "parts"
        self.changes: dict[str, Any] = {}
        (self.root / "images").mkdir(parents=True)
        (self.root / "masks").mkdir()
        (folder / "lists").mkdir()
        draws = np.random.default_rng(0)
        for number in range(ALL):
            pixels = draws.integers(90, 130, SIZE, dtype=np.uint8)
            Image.fromarray(pixels).save(self.root / f"images/im{number:02}.png")
        self.draw_masks(lambda _, mask: mask)

    def draw_masks(self, change: Change) -> None:
        """Write all masks, each as `change` makes it from its number and its class indices."""
        for number in range(MASKED):
            mask = np.zeros(SIZE, dtype=np.uint8)
            mask[5:12, 8:20] = number % 3
            made = change(number, mask)
            made = made if isinstance(made, Image.Image) else Image.fromarray(made)
            made.save(self.root / f"masks/im{number:02}.png")

    def settings(self) -> DataSettings:
        values: dict[str, Any] = {
            "name": "folder",
            "root": str(self.root),
            "mask_threshold": 128,
            "classes": CLASSES,
            "groups": "own",
            "group_pattern": "",
            "same_part": None,
        }
        return DataSettings(**(values | self.changes))

    def run(self) -> SetsPlan:
        """Check and split the data set, and report."""
        split = SplitSettings(
            by="lists",
            labeled_fraction=1,
            validation_fraction=0.2,
            test_fraction=0.25,
            folds=0,
            fold=1,
            use_published_test=True,
            lists=str(self.root.parent / "lists"),
        )
        lists = self.root.parent / "lists"
        (lists / "val.txt").write_text("im01.png\nim02.png\n", encoding="utf-8")
        plan = plan_sets(self.root, lists, self.settings(), split, seed=0)
        report(plan)
        return plan

    def refused(self, match: str) -> str:
        with pytest.raises(InputError, match=match) as caught:
            self.run()
        return str(caught.value)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `report` found worth a look."""
    said = capsys.readouterr().err.splitlines()
    return [line for line in said if line.startswith("prepare: warning")]


def as_palette(mask: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    made = Image.fromarray(mask, mode="P")
    made.putpalette([level for colour in colours for level in colour])
    return made


def adaptive(_: int, mask: np.ndarray) -> Image.Image:
    """What a tool makes of a colour mask that is to become indices."""
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], dtype=np.uint8)
    return Image.fromarray(colours[mask]).quantize(3)


def test_masks_in_order_raise_no_warning_and_say_their_shares(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.run()
    said = capsys.readouterr()
    assert "warning" not in said.err
    # of three masks each 84 of 768 pixels, of nine
    assert said.out.splitlines()[-1] == (
        "pixels of all masks in percent: background 92.7, scratch 3.65, dent 3.65, ignored 0"
    )


def test_some_masks_of_0_and_255_are_named(parts: Parts) -> None:
    parts.draw_masks(lambda number, mask: mask * 255 if number == 4 else mask)
    said = parts.refused("1 masks hold 255 .* and no defect, so their images would count as sound")
    assert "im04.png" in said
    assert "1 scratch, 2 dent" in said
    assert str(parts.root / "ignored.txt") in said


def test_one_class_drawn_as_255_is_named(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    def change(number: int, mask: np.ndarray) -> np.ndarray:
        return np.where(mask == 2, 255, mask).astype(np.uint8)

    parts.draw_masks(change)
    said = parts.refused("3 masks hold 255")
    assert all(f"im0{number}.png" in said for number in (2, 5, 8))

    def beside_the_other(number: int, mask: np.ndarray) -> np.ndarray:
        mask = change(number, mask)
        mask[0, :3] = 1
        return mask

    parts.draw_masks(beside_the_other)
    parts.run()
    assert "no mask holds dent, but 3 hold 255 (ignored): im02, im05, im08; is dent" in "".join(
        warnings(capsys)
    )


def test_ten_masks_are_named_at_most(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl.data.scans.SHOWN", 2)
    parts.draw_masks(
        lambda number, mask: np.minimum(mask, 1) * np.uint8(255) if number > 2 else mask
    )
    assert parts.refused("masks hold 255").count(".png") == 2


def test_255_beside_a_defect_is_ignored_as_documented(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_border(number: int, mask: np.ndarray) -> np.ndarray:
        if number % 3:
            mask[0] = 255
        return mask

    parts.draw_masks(with_border)
    parts.run()
    assert warnings(capsys) == []


@pytest.mark.parametrize("lines", ["im00.png\nim03\r\nimages/im06.png\n", "\ufeff*\n"])
def test_ignored_borders_of_sound_images_pass_where_a_file_names_them(
    parts: Parts, lines: str
) -> None:
    def with_border(number: int, mask: np.ndarray) -> np.ndarray:
        mask[0] = 255
        return mask

    parts.draw_masks(with_border)
    assert "im00.png" in parts.refused("3 masks hold 255")
    (parts.root / "ignored.txt").write_text(lines, encoding="utf-8")
    parts.run()
    (parts.root / "ignored.txt").write_text("im00.png\nim99.png\n", encoding="utf-8")
    parts.refused(r"ignored\.txt: the data set holds no image im99\.png")


def test_a_palette_made_for_each_mask_is_refused(parts: Parts) -> None:
    parts.draw_masks(adaptive)
    said = parts.refused("palettes number colours otherwise: index")
    assert said.count(".png") == 2
    assert "write all masks with one palette" in said


def test_one_palette_in_all_masks_is_as_good_as_none(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    parts.draw_masks(lambda number, mask: as_palette(mask, tool))
    parts.run()
    # colours that a mask does not show may differ
    parts.draw_masks(lambda number, mask: as_palette(mask, tool[: 1 + number % 3]))
    parts.run()
    assert warnings(capsys) == []


def test_masks_to_start_from_may_stand_beside_those_of_a_tool(parts: Parts) -> None:
    tool = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    greys = [(level, level, level) for level in range(256)]
    parts.draw_masks(lambda number, mask: as_palette(mask, greys if number > 6 else tool))
    for number in (1, 2):
        mask = torch.zeros(SIZE)
        mask[3:9, 4:9] = number
        write_mask(parts.root / f"masks/im0{number}.png", mask, distinct_colours(len(CLASSES)))
    parts.run()


def test_inverted_masks_are_seen_by_their_shares(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.draw_masks(lambda number, mask: (mask == 0).astype(np.uint8) + (number % 3 == 2))
    parts.run()
    said = capsys.readouterr()
    assert "scratch has more pixels than background: are masks inverted" in said.err
    assert "background 3.65, " in said.out


def test_a_few_inverted_masks_are_named(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    def change(number: int, mask: np.ndarray) -> np.ndarray:
        small = np.zeros_like(mask)
        small[:2, :3] = number % 3
        return 1 - small if number == 4 else small

    parts.draw_masks(change)
    parts.run()
    [said] = warnings(capsys)
    assert "in 1 masks hardly a pixel is background: im04; are they inverted?" in said


def test_a_turned_image_and_a_mask_that_is_not_are_named(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for number in (3, 5, 12):
        file = parts.root / f"images/im{number:02}.png"
        Image.open(file).save(file, exif=exif)
    mask = parts.root / "masks/im03.png"
    Image.open(mask).save(mask, exif=exif)
    parts.run()
    [said] = warnings(capsys)
    assert "1 images were turned by their EXIF orientation" in said
    assert "im05; look whether they fit" in said


def test_a_turned_mask_and_an_image_that_is_not_are_named(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for number in (4, 5):
        file = parts.root / f"masks/im{number:02}.png"
        Image.open(file).save(file, exif=exif)
    image = parts.root / "images/im05.png"
    Image.open(image).save(image, exif=exif)
    parts.run()
    [said] = warnings(capsys)
    assert "1 masks were turned by their EXIF orientation" in said
    assert "their images have none: im04; look whether they fit" in said


def test_a_scan_opens_each_file_once_and_keeps_the_colours_that_occur(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    parts.draw_masks(lambda number, mask: as_palette(mask, tool))
    opened = []
    open_image = Image.open

    def counted(file: Path, **options: Any) -> Image.Image:
        opened.append(file)
        return open_image(file, **options)

    monkeypatch.setattr(Image, "open", counted)
    settings = parts.settings()
    [_, sample, *_] = load_samples(parts.root, settings)
    scan = scan_one(sample, load_adapter("folder"), settings, dataset_info(settings))
    assert opened == [sample.image, sample.mask]
    assert scan.colours == {0: (0, 0, 0), 1: (128, 0, 0)}
    assert scan.pixels == {0: 24 * 32 - 84, 1: 84}


def test_a_turned_image_whose_mask_has_other_sides_is_refused(parts: Parts) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = parts.root / "images/im03.png"
    Image.open(file).save(file, exif=exif)
    parts.refused(
        r"im03\.png has 24 x 32 pixels \(width x height, turned by its EXIF orientation\), but "
        r"its mask .*im03\.png has 32 x 24"
    )


def test_transparent_images_are_named(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    for number, alpha in [(3, 0), (10, 0), (4, 128)]:
        file = parts.root / f"images/im{number:02}.png"
        image = Image.open(file).convert("RGBA")
        image.putpixel((2, 3), (200, 0, 0, alpha))
        image.save(file)
    parts.run()
    [said] = warnings(capsys)
    assert "2 images have fully transparent pixels" in said
    assert "these hide: im03, im10; save" in said


def test_what_is_not_read_is_named(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (3, 4):
        (parts.root / f"masks/im0{number}.png").rename(parts.root / f"masks/im0{number}.json")
    (parts.root / "masks/im05.json").write_text("{}", encoding="utf-8")
    for name in ("a.heic", "b.gif", ".hidden", "Thumbs.db"):
        (parts.root / "images" / name).write_bytes(b"x")
    for folder in ("@eaDir/im00.png", "__MACOSX", ".thumbnails"):
        (parts.root / "images" / folder).mkdir(parents=True)
        Image.new("L", (8, 8)).save(parts.root / "images" / folder / "thumb.png")
    parts.run()
    said = warnings(capsys)
    assert len(said) == 2
    assert said[0].endswith("2 files below images/ are not read: images/a.heic, images/b.gif")
    assert said[1].endswith(
        "3 files below masks/ are not read: masks/im03.json, masks/im04.json, masks/im05.json; 2 "
        "are named like images that have no mask"
    )


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".JPE", ".mpo"])
def test_images_of_more_suffixes_are_read(
    parts: Parts, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10, ALL):
        file = parts.root / f"images/im{number}.png"
        Image.open(file).save(file.with_suffix(suffix), "WEBP" if suffix == ".webp" else "JPEG")
        file.unlink()
    parts.run()
    assert f"unlabeled {ALL - MASKED}" in capsys.readouterr().out


def test_a_webp_mask_is_refused(parts: Parts) -> None:
    mask = parts.root / "masks/im03.png"
    Image.open(mask).save(mask.with_suffix(".webp"), lossless=True)
    mask.unlink()
    parts.refused(r"im03\.webp is a \.webp file.*save masks as PNG")


def test_what_is_not_read_in_corrected_is_named(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    (parts.root / "corrected").mkdir()
    (parts.root / "corrected/im10.json").write_text("{}", encoding="utf-8")
    parts.run()
    [said] = warnings(capsys)
    assert said.endswith(
        "1 files below corrected/ are not read: corrected/im10.json; 1 are named like images that "
        "have no mask"
    )


@pytest.mark.parametrize("name", ["images", "masks", "corrected"])
def test_a_folder_named_in_capitals_beside_those_read_is_named(parts: Parts, name: str) -> None:
    other = parts.root / name.capitalize()
    other.mkdir()
    (other / ".hidden").touch()
    parts.run()
    (other / "im10.png").write_bytes((parts.root / "masks/im00.png").read_bytes())
    said = parts.refused(rf"{other} is not read: rename it to {name}/, in small letters")
    assert ("move its files" in said) == (parts.root / name).is_dir()


@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_folder_of_another_case_is_named(parts: Parts, name: str) -> None:
    (parts.root / name).rename(parts.root / name.upper())
    parts.refused(rf"{name.upper()} is not read: rename it to {name}/, in small letters$")


@pytest.mark.parametrize(("name", "other"), [("masks", "labels"), ("images", "photos")])
def test_a_folder_of_another_name_is_named(parts: Parts, name: str, other: str) -> None:
    (parts.root / name).rename(parts.root / other)
    parts.refused(rf"holds no folder {name}/, but {other}/: rename .* to {name}/")


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a\nb.png", "a\u2028b.png".encode()])
def test_a_name_that_no_list_and_no_lock_can_hold_is_named(parts: Parts, name: bytes) -> None:
    place = os.fsencode(parts.root / "images") + b"/" + name
    with open(place, "wb") as stream:  # noqa: PTH123 - no text
        stream.write((parts.root / "images/im00.png").read_bytes())
    said = parts.refused("1 names below .*: rename")
    assert len(said.splitlines()) == 1
    json.dumps(said).encode("utf-8")


@pytest.mark.parametrize("folder", [".hidden", "images/@eaDir"])
def test_an_odd_name_among_what_is_left_alone_is_named_since_dvc_stops_at_it(
    parts: Parts, folder: str
) -> None:
    (parts.root / folder).mkdir()
    (parts.root / folder / "plain").touch()
    project = parts.root.parent
    git(project, "init", "-q")
    assert dvc(project, "init", "-q").returncode == 0
    parts.run()
    assert dvc(project, "add", "parts").returncode == 0
    Path(os.fsdecode(os.fsencode(parts.root / folder) + b"/\xff")).touch()
    parts.refused("1 names below .* hold bytes that are no UTF-8 text")
    assert dvc(project, "add", "parts").returncode != 0


def test_a_tilde_in_the_root_is_refused() -> None:
    with pytest.raises(ValueError, match="only a shell knows what ~ means: write the whole path"):
        DataSettings(
            name="synthetic",
            root="~/parts",
            mask_threshold=128,
            classes=[],
            groups="own",
            group_pattern="",
            same_part=None,
        )
