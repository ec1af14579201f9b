"""Masks named like their image and a suffix: below masks/, beside the images, corrected."""

from pathlib import Path
from typing import Any

import pytest

from ppl.core.errors import InputError
from ppl.data.adapters.base import Sample, load_samples, masked_ids
from tests.data.test_adapters import draw, settings
from tests.data.test_scans import MASKED, Parts, parts, warnings

__all__ = ["parts"]


def found(root: Path, **changes: Any) -> dict[str, Sample]:
    chosen = settings("folder", **{"mask_suffix": "_mask", **changes})
    return {sample.id: sample for sample in load_samples(root, chosen)}


def masks(root: Path, **changes: Any) -> dict[str, str | None]:
    return {
        id: sample.mask and sample.mask.relative_to(root).as_posix()
        for id, sample in found(root, **changes).items()
    }


def refused(root: Path, match: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=match):
        found(root, **changes)


def test_masks_below_masks_may_have_a_suffix_or_not(tmp_path: Path) -> None:
    for id in ("a", "line 1/b", "c", "d", "label_mask_3"):
        draw(tmp_path / f"images/{id}.jpg")
    draw(tmp_path / "masks/a_mask.png")
    draw(tmp_path / "masks/line 1/b_mask.tif")
    draw(tmp_path / "masks/c.png")
    draw(tmp_path / "corrected/d.png")
    assert masks(tmp_path) == {
        "a": "masks/a_mask.png",
        "line 1/b": "masks/line 1/b_mask.tif",
        "c": "masks/c.png",
        "d": "corrected/d.png",
        "label_mask_3": None,
    }
    assert found(tmp_path)["d"].corrected


@pytest.mark.parametrize("suffix", ["_label", ".mask", "-gt"])
def test_masks_may_lie_beside_the_images(tmp_path: Path, suffix: str) -> None:
    draw(tmp_path / "images/a.jpg")
    draw(tmp_path / f"images/a{suffix}.png", [0, 1] * 3)
    draw(tmp_path / "images/line/b.png")
    draw(tmp_path / f"images/line/b{suffix}.png")
    draw(tmp_path / "images/line/c.png")
    # not asked to rename: the masks are where they should be
    draw(tmp_path / "other/x.png")
    assert masks(tmp_path, mask_suffix=suffix) == {
        "a": f"images/a{suffix}.png",
        "line/b": f"images/line/b{suffix}.png",
        "line/c": None,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("masks/a.png", "masks/a_mask.png"),
        ("masks/a_mask.png", "masks/a_mask.tif"),
        ("images/a_mask.png", "masks/a.png"),
        ("images/a_mask.png", "masks/a_mask.png"),
    ],
)
def test_two_masks_of_one_image_are_refused(tmp_path: Path, one: str, other: str) -> None:
    for file in ("images/a.jpg", one, other):
        draw(tmp_path / file)
    refused(tmp_path, "mask file name twice: .* would both be mask 'a'")


def test_a_drawn_and_a_corrected_mask_are_refused(tmp_path: Path) -> None:
    for file in ("images/a.jpg", "images/a_mask.png", "corrected/a.png"):
        draw(tmp_path / file)
    refused(tmp_path, "image a has two masks")


def test_a_mask_without_its_image_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.jpg")
    draw(tmp_path / "images/b_mask.png")
    refused(tmp_path, r"b_mask\.png has no image .*images/b with any")
    (tmp_path / "images/b_mask.png").rename(tmp_path / "images/_mask.png")
    refused(tmp_path, r"_mask\.png has no image")


def test_a_lossy_mask_beside_the_images_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "images/a_mask.jpg")
    refused(tmp_path, r"a_mask\.jpg is a \.jpg file, which alters class indices")


def test_a_suffix_in_capitals_is_refused_rather_than_an_image(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "images/a_Mask.png")
    refused(tmp_path, "but for capitals: rename it, or write `mask_suffix: _Mask`")


@pytest.mark.parametrize("suffix", ["_mask.png", ".PNG", " _mask", "a/b", "a\\b", "\n", 3])
def test_a_suffix_that_ends_no_name_is_refused(suffix: object) -> None:
    with pytest.raises(ValueError, match=r"mask_suffix"):
        settings("folder", mask_suffix=suffix)


def test_masks_among_images_are_pointed_at(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in sorted((parts.root / "masks").iterdir())[5:]:
        mask.rename(parts.root / "images" / f"{mask.stem}_mask.png")
    parts.run()
    [said] = [line for line in warnings(capsys) if "named like" in line]
    assert (
        "4 images are named like another and _mask: im05_mask, im06_mask, im07_mask and 1" in said
    )
    assert said.endswith("if these are masks, set `mask_suffix: _mask` in section data")
    parts.changes["mask_suffix"] = "_mask"
    plan = parts.run()
    assert sum(scan.mask_orientation is not None for scan in plan.scans.values()) == MASKED
    assert warnings(capsys) == []


def test_without_any_mask_those_among_images_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "images/a_label.png")
    refused(
        tmp_path, "1 are named like another and _label, .*`mask_suffix: _label`", mask_suffix=""
    )


def test_masks_of_a_usual_ending_say_what_to_set(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "masks/a_label.png")
    refused(
        tmp_path,
        r"has no image of its name, .*images/a\.png: set `mask_suffix: _label`",
        mask_suffix="",
    )
    (tmp_path / "masks/a_label.png").rename(tmp_path / "masks/b_label.png")
    refused(tmp_path, r"b_label\.png has no image .* with any of the suffixes", mask_suffix="")


def test_images_that_have_a_mask_are_known_whatever_it_is_called(tmp_path: Path) -> None:
    for file in ("images/a.jpg", "images/a_mask.png", "images/b.jpg", "masks/b_mask.png"):
        draw(tmp_path / file)
    for file in ("images/c.jpg", "images/d.jpg", "corrected/c.png"):
        draw(tmp_path / file)
    assert masked_ids(settings("folder", root=str(tmp_path), mask_suffix="_mask")) == set("abc")
