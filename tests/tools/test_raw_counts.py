"""What the raw data hold, and that hidden labels of a published set are nobody's masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings, load_samples
from ppl.tools import raw_counts
from ppl.tools.raw_counts import (
    class_counts,
    counted_masks,
    known_parts,
    last_sets,
    mask_values,
)
from tests.tools.raw_project import CLASSES, RAW, draw_image, draw_mask, make_project, prepared


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    return make_project(tmp_path, monkeypatch.chdir)


def test_every_mask_of_your_own_counts_by_class(data: DataSettings) -> None:
    draw_mask("u1", 2, folder="corrected")
    draw_mask("u2", 255)
    samples = load_samples(RAW, data)
    counted = counted_masks(samples, data, last_sets())
    assert sum(one.corrected for one in counted) == 1
    values = mask_values(counted, data)
    assert values is not None
    assert values["u2"] == {0, 255}
    # of a, b, c, d, t1, t2 by their numbers 0, 1, 2, 3, 7, 8 modulo 3, and the two above
    assert class_counts(values, CLASSES) == [("sound", 3), ("scratch", 2), ("dent", 3)]


def test_no_image_is_opened(data: DataSettings) -> None:
    for file in (RAW / "images").rglob("*.png"):
        file.write_bytes(b"no picture")
    samples = load_samples(RAW, data)
    assert mask_values(counted_masks(samples, data, last_sets()), data)


def test_white_is_the_defect_where_a_run_takes_it_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_project(tmp_path, monkeypatch.chdir, classes=["background", "scratch"])
    for mask in (RAW / "masks").rglob("*.png"):
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(mask)
    white = np.zeros((8, 8), dtype=np.uint8)
    white[2:4] = 255
    Image.fromarray(white).save(RAW / "masks/d.png")
    values = mask_values(counted_masks(load_samples(RAW, data), data, last_sets()), data)
    assert values is not None
    assert values["d"] == {0, 1}
    assert class_counts(values, data.classes) == [("sound", 5), ("scratch", 1)]


def test_images_that_labels_call_good_are_sound_and_not_opened(data: DataSettings) -> None:
    (RAW / "labels.csv").write_text("image,label\nu1,good\nu2,bad\n", encoding="utf-8")
    for file in (RAW / "images").rglob("u1.*"):
        file.write_bytes(b"no picture")
    values = mask_values(counted_masks(load_samples(RAW, data), data, last_sets()), data)
    assert values is not None
    assert values["u1"] == {0}
    assert "u2" not in values


def test_labels_of_a_published_set_count_as_far_as_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_project(tmp_path, monkeypatch.chdir, name="synthetic", classes=[])
    for id in ("u1", "u2", "u3"):
        draw_mask(id, 1)
    samples = load_samples(RAW, data)
    assert all(one.annotated for one in samples)
    used = {one.id for one in counted_masks(samples, data, last_sets())}
    assert used == {"a", "day/b", "day/c", "d", "t1", "t2"}
    # before the first run nobody has drawn which are hidden
    assert counted_masks(samples, data, None) == []


def test_many_or_large_masks_are_not_read(
    data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = counted_masks(load_samples(RAW, data), data, last_sets())
    monkeypatch.setattr(raw_counts, "READ_PIXELS", 6 * 64)
    assert mask_values(counted, data) is not None
    monkeypatch.setattr(raw_counts, "READ_PIXELS", 6 * 64 - 1)
    assert mask_values(counted, data) is None
    monkeypatch.setattr(raw_counts, "READ_PIXELS", 6 * 64)
    monkeypatch.setattr(raw_counts, "READ_MASKS", 5)
    assert mask_values(counted, data) is None


def test_a_mask_that_cannot_be_read_is_named(data: DataSettings) -> None:
    (RAW / "masks/d.png").write_bytes(b"no picture")
    counted = counted_masks(load_samples(RAW, data), data, last_sets())
    with pytest.raises(InputError, match=r"masks/d\.png"):
        mask_values(counted, data)


def test_sets_that_are_not_whole_are_none(data: DataSettings) -> None:
    assert last_sets() is not None
    for content in ("", "{", "[1]", '[{"id": 1}]'):
        Path("data/prepared/test/index.json").write_text(content, encoding="utf-8")
        assert last_sets() is None
    prepared()
    Path("data/prepared/split.json").unlink()
    assert last_sets() is None


def test_parts_are_those_of_the_table_or_of_the_last_run(data: DataSettings) -> None:
    samples = load_samples(RAW, data)
    found = known_parts(RAW, samples, data, last_sets())
    assert found is not None
    assert (found.of, found.sure) == ({}, True)
    rows = "".join(f"{one.id},part {number // 2}\n" for number, one in enumerate(samples))
    (RAW / "groups.csv").write_text(f"image,group\n{rows}", encoding="utf-8")
    found = known_parts(RAW, samples, data, last_sets())
    assert found is not None
    assert len(set(found.of.values())) == 5
    draw_image("new")
    with pytest.raises(InputError, match="misses 1 of 10 images"):
        known_parts(RAW, load_samples(RAW, data), data, last_sets())
    by_looks = data.model_copy(update={"groups": "content"})
    assert known_parts(RAW, samples, by_looks, last_sets()) is None
