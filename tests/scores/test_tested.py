"""Test sets: the same images and masks are the same set, and two say what they share."""

from dataclasses import replace
from pathlib import Path

import torch

from ppl.scores.tested import Change, ScoredImages, change, fingerprint, read_tested, write_tested

OLD = ScoredImages(["b", "a", "c"], ["two", "one", "one"], ["11", "22", "33"])


def test_a_record_names_images_parts_and_masks_in_any_order() -> None:
    turned = ScoredImages(["c", "b", "a"], ["one", "two", "one"], ["33", "11", "22"])
    assert OLD.record == turned.record
    assert (OLD.record["images"], OLD.record["parts"]) == (3, 2)
    for other in (
        replace(OLD, ids=["b", "a", "d"]),
        replace(OLD, masks=["11", "22", "34"]),
        replace(OLD, masks=None),
    ):
        assert other.record["digest"] != OLD.record["digest"]


def test_a_fingerprint_is_of_pixels_and_size() -> None:
    mask = torch.arange(12, dtype=torch.uint8).view(3, 4)
    image = mask.repeat(3, 1, 1)

    def of(mask: torch.Tensor, image: torch.Tensor = image) -> str:
        return fingerprint(mask, image)

    assert of(mask) == of(mask.clone(), image.clone())
    assert of(mask) == of(mask.T.contiguous().T), "however it lies in memory"
    assert of(mask) != of(mask.view(4, 3))
    assert of(mask) != of(mask + 1)
    assert of(mask) != of(mask, image + 1), "a photo taken again is another one"
    assert len(of(mask)) == 16


def test_what_two_sets_share() -> None:
    new = ScoredImages(["a", "b", "d", "e"], ["one", "two", "d", "e"], ["22", "12", "4", "5"])
    found = change(OLD, new)
    assert found == Change(
        frozenset("a"), redrawn=frozenset("b"), gone=frozenset("c"), new=frozenset("de")
    )
    assert str(found) == "test: 1 of 3 kept, 1 with another picture or mask, 2 new"
    assert str(change(OLD, OLD)) == "test: 3 of 3 kept, 0 new"
    # an earlier version knew no masks
    assert change(replace(OLD, masks=None), new).kept == {"a", "b"}


def test_rows_are_in_the_order_of_the_ids() -> None:
    assert OLD.rows({"c", "a", "b"}).tolist() == [1, 0, 2]
    assert OLD.rows(set()).tolist() == []


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for number, tested in enumerate([OLD, replace(OLD, masks=None)]):
        write_tested(tmp_path / f"{number}" / "images.json", tested)
        assert read_tested(tmp_path / f"{number}" / "images.json") == tested
