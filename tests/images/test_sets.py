"""A prepared folder gives back what was written, whatever the ids look like."""

import json
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.images.sets import (
    DatasetInfo,
    Entry,
    mask_file,
    masked_ids,
    read_dataset_info,
    read_image_set,
    write_dataset_info,
    write_index,
    write_json,
)
from tests.conftest import MakeSet

TRICKY = ["a.b/c d", "a.b/c d.1", "a.b/c d.2", "x.1", "x.1.png", "x", "ü/ß", "a/x", "b/x"]


def test_an_index_reads_back_sorted_by_id(tmp_path: Path) -> None:
    entries = [Entry(id, f"{id}.jpg", 3, 4) for id in TRICKY]
    write_index(tmp_path, entries)
    image_set = read_image_set(tmp_path)
    assert image_set.ids == sorted(TRICKY)
    assert set(image_set.entries) == set(entries)


def test_the_bytes_of_an_index_do_not_depend_on_the_order(tmp_path: Path) -> None:
    entries = [Entry(id, f"{id}.jpg", 3, 4) for id in TRICKY]
    write_index(tmp_path / "a", entries)
    write_index(tmp_path / "b", entries[::-1])
    assert (tmp_path / "a/index.json").read_bytes() == (tmp_path / "b/index.json").read_bytes()


def test_every_id_has_a_mask_file_of_its_own_and_is_found_by_it(tmp_path: Path) -> None:
    for id in TRICKY:
        mask_file(tmp_path, id).parent.mkdir(parents=True, exist_ok=True)
        mask_file(tmp_path, id).touch()
    assert masked_ids(tmp_path) == sorted(TRICKY)


def test_a_folder_without_masks_has_no_ids(tmp_path: Path) -> None:
    assert masked_ids(tmp_path) == []


def test_images_and_masks_are_read_at_their_own_size(make_set: MakeSet) -> None:
    image_set = make_set(TRICKY, sizes=[(20 + k, 30 - k) for k in range(len(TRICKY))])
    assert len(image_set) == len(TRICKY)
    for entry in image_set.entries:
        k = TRICKY.index(entry.id)
        assert (entry.height, entry.width) == (20 + k, 30 - k)
        assert image_set.image(entry).shape == (3, 20 + k, 30 - k)
        assert image_set.mask(entry).shape == (20 + k, 30 - k)


def test_a_missing_mask_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a"], masks=False)
    with pytest.raises(InputError, match=r"a\.png does not exist"):
        image_set.mask(image_set.entries[0])


def test_a_subset_keeps_the_order_of_the_set(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b", "c", "d"])
    assert image_set.subset(["d", "a", "d"]).ids == ["a", "d"]
    assert image_set.subset([]).ids == []


def test_a_subset_of_strangers_names_the_first_and_counts_them(make_set: MakeSet) -> None:
    with pytest.raises(InputError, match=r"holds no image y \(2 such\)"):
        make_set(["a"]).subset(["a", "y", "z"])


def test_dataset_info_reads_back_the_same(tmp_path: Path) -> None:
    info = DatasetInfo("tiles", ("background", "crack"), ((0, 0, 0), (255, 0, 9)))
    write_dataset_info(tmp_path / "deep" / "dataset.json", info)
    assert read_dataset_info(tmp_path / "deep" / "dataset.json") == info


def test_json_depends_on_the_content_alone_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 0.1})
    write_json(tmp_path / "b.json", {"a": 0.1, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.1, "b": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "c.json", torch.tensor(float("nan")).item())
