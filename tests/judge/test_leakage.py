"""The audit: who of test was seen in training, and a copycat that lives on it."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ppl.data.near_duplicates import Pair, oriented
from ppl.data.shared_parts import NAMES, REGIONS
from ppl.images.files import write_mask
from ppl.images.miou import miou
from ppl.images.record import SplitRecord
from ppl.images.sets import DatasetInfo, Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.judge.leakage import (
    SETS,
    AuditSettings,
    Twins,
    copycat_matches,
    copycat_matrices,
    find_twins,
    leakage_metrics,
    marked,
    summary,
    write_pair_pictures,
    write_pairs,
)
from tests.data.test_near_duplicates import photo_again, texture

INFO = DatasetInfo("made", ("background", "spot"), ((0, 0, 0), (255, 0, 0)))
SETTINGS = AuditSettings(similarity=0.9, pictures=4)


def blob(seed: int) -> Tensor:
    """(90, 120) mask with a block of its own place."""
    mask = torch.zeros((90, 120), dtype=torch.uint8)
    mask[10 + 5 * seed : 30 + 5 * seed, 20 + 8 * seed : 50 + 8 * seed] = 1
    return mask


def write_set(folder: Path, images: dict[str, tuple[Tensor, Tensor]]) -> ImageSet:
    entries = []
    for id, (image, mask) in images.items():
        file = folder / "images" / f"{id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file)
        write_mask(mask_file(folder / "masks", id), mask, INFO.colours)
        entries.append(Entry(id, f"{id}.png", *image.shape[1:]))
    write_index(folder, entries)
    return read_image_set(folder)


def part(seed: int) -> tuple[Tensor, Tensor]:
    return texture(seed, 90, 120), blob(seed)


def again(seed: int, orientation: int = 0) -> tuple[Tensor, Tensor]:
    return oriented(photo_again(texture(seed, 90, 120), seed), orientation), oriented(
        blob(seed), orientation
    )


def counts(by_name: int, by_content: int, *, by_part: int = 0, twin_pairs: int) -> dict[str, int]:
    return {
        "by_name": by_name,
        "by_content": by_content,
        "by_part": by_part,
        "twin_pairs": twin_pairs,
    }


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, ImageSet]:
    """Test shows part 1, turned, and part 2, which are labeled and unlabeled, and 3 and 4."""
    content = {
        "labeled": {"l1": part(1), "l5": part(5)},
        "validation": {"v6": part(6)},
        "unlabeled": {"u2": part(2), "u5": again(5)},
        "test": {"t1": again(1, 5), "t2": again(2), "t3": part(3), "t4": part(4)},
    }
    return {name: write_set(tmp_path / name, content[name]) for name in SETS}


RECORD = SplitRecord(
    "lists",
    groups={"l1": "p1", "t1": "p1", "l5": "p5", "u5": "p5", "v6": "p6", "u2": "p2", "t2": "p2b",
            "t3": "p3", "t4": "p5"},
    parts={},
)  # fmt: skip


@pytest.fixture
def twins(sets: dict[str, ImageSet]) -> Twins:
    return find_twins(sets, RECORD, SETTINGS)


def test_images_seen_in_training_are_counted_by_name_and_by_content(twins: Twins) -> None:
    found = leakage_metrics(twins, RECORD)
    assert found["split_by"] == "lists"
    assert found["test_images"] == 4
    assert found["test_images_seen_in_training"] == {"by_name": 2, "by_content": 2, "by_part": 0}
    assert found["test_in_labeled"] == {
        "by_name": 2,
        "by_content": 1,
        "by_part": 0,
        "twin_pairs": 1,
    }
    assert found["test_in_unlabeled"] == {
        "by_name": 1,
        "by_content": 1,
        "by_part": 0,
        "twin_pairs": 1,
    }
    assert found["test_in_validation"] == {
        "by_name": 0,
        "by_content": 0,
        "by_part": 0,
        "twin_pairs": 0,
    }
    assert found["unlabeled_in_labeled"] == {
        "by_name": 1,
        "by_content": 1,
        "by_part": 0,
        "twin_pairs": 1,
    }


def test_without_names_only_content_counts(sets: dict[str, ImageSet]) -> None:
    record = SplitRecord("image", {}, {})
    found = leakage_metrics(find_twins(sets, record, SETTINGS), record)
    assert found["test_images_seen_in_training"] == {"by_name": None, "by_content": 2, "by_part": 0}


def test_of_many_pairs_the_most_similar_are_listed_and_all_are_counted(
    sets: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    low = AuditSettings(similarity=0.5, pictures=4)
    whole = find_twins(sets, RECORD, low)
    monkeypatch.setattr("ppl.judge.leakage._LISTED_PAIRS", 2)
    cut = find_twins(sets, RECORD, low)
    assert len(whole.pairs) > 2
    assert list(cut.pairs) == list(whole.pairs)[:2]
    assert leakage_metrics(cut, RECORD) == leakage_metrics(whole, RECORD)


def test_the_copycat_is_right_where_it_saw_the_part_and_nowhere_else(
    twins: Twins, sets: dict[str, ImageSet]
) -> None:
    matches = copycat_matches(twins, SETTINGS)
    assert [twins.images[pair.one].entry.id for pair in matches] == sets["test"].ids
    assert twins.images[matches[0].other].entry.id == "l1"
    matrices = copycat_matrices(twins, matches, sets, 2)
    assert matrices.shape == (4, 2, 2)
    assert miou(matrices[0]) == 1.0
    assert all(miou(matrix) < 0.9 for matrix in matrices[1:])
    assert int(matrices.sum()) == 4 * 90 * 120
    # an unlabeled twin gives no mask away
    assert twins.images[matches[1].other].set in ("labeled", "validation")


def test_ignored_pixels_of_a_match_are_no_defect(sets: dict[str, ImageSet]) -> None:
    labeled = sets["labeled"]
    mask = labeled.mask(labeled.entries[0])
    write_mask(mask_file(labeled.folder / "masks", "l1"), mask.where(mask == 0, 255), INFO.colours)
    twins = find_twins(sets, RECORD, SETTINGS)
    matrices = copycat_matrices(twins, copycat_matches(twins, SETTINGS), sets, 2)
    assert matrices[0, :, 1].tolist() == [0, 0]


def test_pairs_and_pictures(twins: Twins, sets: dict[str, ImageSet], tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.csv", twins)
    with (tmp_path / "pairs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["image"], row["other_image"]) for row in rows} == {
        ("t1", "l1"),
        ("t2", "u2"),
        ("u5", "l5"),
    }
    similarities = [float(row["similarity"]) for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    matches = copycat_matches(twins, SETTINGS)
    write_pair_pictures(tmp_path / "pictures", twins, matches, sets, 2)
    names = sorted(file.name for file in (tmp_path / "pictures").iterdir())
    assert names == ["pair_01.png", "pair_02.png"]
    write_pair_pictures(tmp_path / "none", twins, matches, sets, 0)
    assert list((tmp_path / "none").iterdir()) == []


def test_a_pair_of_images_called_like_formulas_is_none_in_the_csv(tmp_path: Path) -> None:
    content = {
        "labeled": {"=1+1": part(1)},
        "validation": {"v3": part(3)},
        "unlabeled": {"u4": part(4)},
        "test": {"@SUM(1)": again(1)},
    }
    sets = {name: write_set(tmp_path / name, content[name]) for name in SETS}
    write_pairs(tmp_path / "pairs.csv", find_twins(sets, SplitRecord("image", {}, {}), SETTINGS))
    with (tmp_path / "pairs.csv").open() as stream:
        [row] = csv.DictReader(stream)
    assert (row["image"], row["other_image"]) == ("./@SUM(1)", "./=1+1")


@pytest.fixture
def joined(tmp_path: Path) -> Twins:
    """A test image has halves of two labeled ones, turned; another looks like an unlabeled one."""
    one, other = part(1), part(2)
    image, mask = (
        oriented(torch.cat([a[..., :60], b[..., 60:]], dim=-1), 3)
        for a, b in zip(one, other, strict=True)
    )
    content = {
        "labeled": {"l1": one, "l2": other},
        "validation": {"v3": part(3)},
        "unlabeled": {"u4": part(4)},
        "test": {"t12": (image, mask), "t4": again(4), "t5": part(5)},
    }
    sets = {name: write_set(tmp_path / name, content[name]) for name in SETS}
    twins = find_twins(sets, SplitRecord("image", {}, {}), SETTINGS)
    write_pairs(tmp_path / "pairs.csv", twins)
    write_pair_pictures(tmp_path / "pictures", twins, [], sets, 3)
    return twins


def test_images_that_share_a_half_are_counted_beside_those_alike_as_a_whole(joined: Twins) -> None:
    found = leakage_metrics(joined, SplitRecord("image", {}, {}))
    seen = {"by_name": None, "by_content": 1, "by_part": 1}
    assert found["test_images_seen_in_training"] == seen
    assert found["test_in_labeled"] == {**seen, "by_content": 0, "twin_pairs": 0}
    assert found["test_in_unlabeled"] == {**seen, "by_part": 0, "twin_pairs": 1}
    assert summary(found, {"miou": None}).splitlines()[1] == "1 more share a half or a quarter"


def test_a_shared_half_is_listed_and_framed(joined: Twins, tmp_path: Path) -> None:
    with (tmp_path / "pairs.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["image"] == "t12"]
    # turned by three quarters counterclockwise, the left half is the top one
    assert {(row["other_image"], row["region"], row["other_region"]) for row in rows} == {
        ("l1", "top half", "left half"),
        ("l2", "bottom half", "right half"),
    }
    red = torch.tensor([230, 60, 60])
    pictures = [
        torch.from_numpy(np.array(Image.open(file)))
        for file in sorted((tmp_path / "pictures").iterdir())
    ]
    framed = [int((picture == red).all(dim=-1).sum()) > 300 for picture in pictures]
    # each part once: one of the two pairs of t12, and the twins
    assert [pair.region > 0 for pair in joined.pairs] == [True, True, False]
    assert framed == [True, False]


@pytest.mark.parametrize("region", range(9))
def test_a_frame_lies_in_the_region_alone(region: int) -> None:
    image = torch.zeros((3, 41, 80), dtype=torch.uint8)
    drawn = marked(image, region)
    rows, columns = REGIONS[NAMES[region]]
    inside = torch.zeros((41, 80), dtype=torch.bool)
    inside[
        rows.start * 41 // 96 : rows.stop * 41 // 96,
        columns.start * 80 // 96 : columns.stop * 80 // 96,
    ] = True
    changed = drawn.any(dim=0)
    assert not image.any()
    assert bool(changed.any()) == (region > 0)
    assert not (changed & ~inside).any()


def test_a_similarity_below_the_threshold_never_reads_as_if_it_were_reached(
    sets: dict[str, ImageSet], twins: Twins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    titles = []
    monkeypatch.setattr(
        "ppl.judge.leakage.side_by_side",
        lambda panels, title: titles.append(title) or Image.new("L", (1, 1)),
    )
    none = replace(twins, pairs=[])
    near = [Pair(pair.one, pair.other, 0.8999, 0) for pair in copycat_matches(twins, SETTINGS)]
    write_pair_pictures(tmp_path, none, near, sets, 1)
    assert titles == ["similarity 0.899"]


def test_the_summary_reads_well(twins: Twins) -> None:
    text = summary(leakage_metrics(twins, RECORD), {"miou": 0.476})
    assert text.splitlines() == [
        "4 test images, seen in training: 2 by name, 2 by content (split by lists)",
        "a copycat that returns the mask of the most similar labeled image: 47.6 % mIoU",
    ]
