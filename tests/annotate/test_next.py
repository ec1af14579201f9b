"""Annotate next: the doubtful images first, one a part, none twice, each with a start mask."""

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import stages.annotate_next
from ppl.annotate.next import (
    SHOWN,
    AnnotateSettings,
    Doubt,
    Signs,
    choose,
    doubts,
    signs_of,
    write_sheet,
    write_table,
)
from ppl.core.errors import InputError
from ppl.data.near_duplicates import oriented
from ppl.images.files import read_mask, write_mask
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import (
    DatasetInfo,
    Entry,
    ImageSet,
    mask_file,
    masked_ids,
    read_image_set,
    write_dataset_info,
    write_index,
)
from ppl.labeling.part_agreement import lone
from ppl.labeling.pseudo_masks import ONE_LOOK, PseudoLabelSettings
from ppl.labeling.ranking import Ranked, write_reliability
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import predict
from ppl.network.runtime import InferenceSettings
from tests.conftest import whole
from tests.data.test_near_duplicates import photo_again, texture

INFO = DatasetInfo("made", ("background", "dark", "bright"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))


class ByBrightness(nn.Module):
    """Dark pixels are class 1, bright ones class 2."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(dim=1)
        defects = torch.stack([0.25 - grey, grey - 0.75], dim=1) * 100
        return torch.cat([torch.zeros_like(grey)[:, None], defects], dim=1)


HEADER = [
    *("rank", "image", "part", "photos_of_part", "priority", "reliability", "disagreement"),
    *("predicted_classes", "mask"),
]
FLIPPED = ONE_LOOK.model_copy(update={"flip": True})


def settings(count: int) -> AnnotateSettings:
    return AnnotateSettings(count=count, similarity=0.9)


def write_set(folder: Path, images: dict[str, Tensor]) -> ImageSet:
    entries = []
    for id, image in images.items():
        file = folder / "images" / f"{id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file)
        entries.append(Entry(id, f"{id}.png", *image.shape[1:]))
    write_index(folder, entries)
    return read_image_set(folder)


def block(value: int) -> Tensor:
    """(3, 64, 48) grey with a block of grey level `value`."""
    image = torch.full((3, 64, 48), 128, dtype=torch.uint8)
    image[:, 16:32, 16:32] = value
    return image


def truth(value: int) -> Tensor:
    """What `ByBrightness` sees in `block(value)`."""
    mask = torch.zeros((64, 48), dtype=torch.uint8)
    mask[16:32, 16:32] = {0: 1, 255: 2, 128: 0}[value]
    return mask


def order_of(images: ImageSet, ids: Sequence[str], parts: Sequence[str]) -> list[Doubt]:
    """The images in the given order of priority."""
    entry_of = {entry.id: entry for entry in images.entries}
    return [
        Doubt(entry_of[id], part, {}, 1 - place / len(ids))
        for place, (id, part) in enumerate(zip(ids, parts, strict=True))
    ]


def ids_of(found: Sequence[Doubt]) -> list[str]:
    return [doubt.image.id for doubt in found]


def entries(names: str) -> list[Entry]:
    return [Entry(name, f"{name}.png", 64, 48) for name in names]


def signs(reliability: dict[str, float], disagreement: dict[str, float]) -> Signs:
    return {"reliability": reliability, "disagreement": disagreement}


def test_the_priority_is_the_mean_rank_by_unreliability_and_disagreement() -> None:
    reliability = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.5, "e": 0.8}
    disagreement = {"a": 0.0, "b": 0.001, "c": 0.9, "d": 0.0, "e": 0.0}
    found = doubts(entries("abcde"), list("vwxyz"), signs(reliability, disagreement))

    def share_below(values: list[float], own: float) -> float:
        """Of the others, those lower; a tie counts half."""
        lower = sum(value < own for value in values)
        equal = sum(value == own for value in values) - 1
        return (lower + equal / 2) / (len(values) - 1)

    doubted = [-value for value in reliability.values()]
    expected = {
        id: (
            share_below(doubted, -reliability[id])
            + share_below([*disagreement.values()], disagreement[id])
        )
        / 2
        for id in "abcde"
    }
    assert {doubt.image.id: doubt.priority for doubt in found} == pytest.approx(expected)
    assert ids_of(found) == ["b", "c", "d", "e", "a"]
    assert [doubt.part for doubt in found] == ["w", "x", "y", "z", "v"]


def test_equal_images_come_by_id_whatever_the_order_of_the_input() -> None:
    reliability = {id: 0.1 * place for place, id in enumerate("abcdefg")}
    disagreement = {id: 0.1 * place for place, id in enumerate("abcdefg")}
    listed = entries("abcdefg")
    random.Random(0).shuffle(listed)
    found = doubts(listed, [entry.id for entry in listed], signs(reliability, disagreement))
    assert ids_of(found) == list("abcdefg")
    assert {doubt.priority for doubt in found} == {0.5}


def test_one_image_alone_has_a_priority_and_none_has_none() -> None:
    [doubt] = doubts(entries("a"), ["a"], signs({"a": 0.2}, {"a": 0.7}))
    assert doubt.priority == 0.5
    assert doubts([], [], signs({}, {})) == []


def look(images: ImageSet, folder: Path, reliability: dict[str, float]) -> Signs:
    """What `ByBrightness` makes of them, beside the pseudo-masks in two folders."""
    taught = [folder / "reliable", folder / "hard"]
    network: SegmentationNetwork = ByBrightness()  # type: ignore[assignment]
    return signs_of(network, lone(images), whole(64, 48), ONE_LOOK, reliability, taught, 3)


def test_disagreement_is_what_the_final_model_contradicts(tmp_path: Path) -> None:
    images = write_set(tmp_path / "set", {"a/dark": block(0), "bright": block(255)})
    write_mask(mask_file(tmp_path / "reliable", "a/dark"), truth(0), INFO.colours)
    write_mask(mask_file(tmp_path / "hard", "bright"), truth(128), INFO.colours)
    reliability = dict.fromkeys(images.ids, 0.5)
    found = look(images, tmp_path, reliability)
    assert list(found) == ["reliability", "disagreement"]
    assert found["reliability"] == reliability
    # the block is missed, the rest agrees; the class that neither sees is left out
    missed = 1 - (0 + (64 * 48 - 256) / (64 * 48)) / 2
    assert found["disagreement"] == {"a/dark": 0, "bright": pytest.approx(missed, abs=1e-8)}
    write_mask(mask_file(tmp_path / "hard", "bright"), torch.full((64, 48), 255), INFO.colours)
    found = look(images, tmp_path, reliability)
    assert found["disagreement"]["bright"] == 1, "no pixel taught anything"
    mask_file(tmp_path / "hard", "bright").unlink()
    with pytest.raises(InputError, match=r"bright\.png does not exist"):
        look(images, tmp_path, reliability)


def test_without_a_ranking_the_final_models_confidence_takes_its_place(tmp_path: Path) -> None:
    # 64 is near 0.25, where the network does not know background from dark
    images = write_set(tmp_path / "set", {"sure": block(0), "unsure": block(64)})
    for name in ("reliable", "hard"):
        (tmp_path / name).mkdir()
    found = look(images, tmp_path, {})
    assert list(found) == ["confidence"]
    network: SegmentationNetwork = ByBrightness()  # type: ignore[assignment]
    for entry, [prob] in predict([network], images, whole(64, 48), ONE_LOOK, what="again"):
        # pixel by pixel, from the definition
        p = prob.double().flatten(1)
        entropy = -(p * p.clamp(min=1e-300).log()).sum(dim=0) / math.log(3)
        expected = float(((1 - entropy) * p.amax(dim=0)).mean())
        assert found["confidence"][entry.id] == pytest.approx(expected, abs=1e-5)
    ordered = doubts(images.entries, images.ids, found)
    assert ids_of(ordered) == ["unsure", "sure"]
    assert [doubt.priority for doubt in ordered] == [1, 0]


def test_masks_of_one_labeler_and_no_scores_give_confidence_and_disagreement(
    tmp_path: Path,
) -> None:
    images = write_set(tmp_path / "set", {"a/dark": block(0), "bright": block(255)})
    for id in images.ids:
        write_mask(mask_file(tmp_path / "reliable", id), truth(0), INFO.colours)
    (tmp_path / "hard").mkdir()
    found = look(images, tmp_path, {})
    assert list(found) == ["confidence", "disagreement"]
    assert found["disagreement"]["a/dark"] == 0 < found["disagreement"]["bright"]


def test_scores_without_masks_are_the_only_sign_and_nothing_is_predicted(
    tmp_path: Path,
) -> None:
    images = write_set(tmp_path / "set", {"a": block(0)})
    (images.folder / "images" / "a.png").unlink()
    assert look(images, tmp_path, {"a": 0.25}) == {"reliability": {"a": 0.25}}


@pytest.fixture
def tiles(tmp_path: Path) -> ImageSet:
    """Photos of six tiles; of tile 0 three, one of them turned."""
    images = {f"{seed}": texture(seed, 90, 90) for seed in range(6)}
    images["0again"] = photo_again(images["0"], 1)
    images["0turned"] = oriented(photo_again(images["0"], 2), 5)
    return write_set(tmp_path / "tiles", images)


def test_there_is_one_image_a_part(tiles: ImageSet) -> None:
    ordered = order_of(tiles, ["1", "2", "3", "4"], ["p", "q", "p", "q"])
    assert ids_of(choose(ordered, tiles, settings(4))) == ["1", "2"]


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
def test_what_looks_like_a_chosen_image_is_skipped(tiles: ImageSet, batch: int) -> None:
    ids = ["0", "0turned", "1", "0again", "2", "3"]
    ordered = order_of(tiles, ids, ids)
    assert ids_of(choose(ordered, tiles, settings(3), batch=batch)) == ["0", "1", "2"]
    assert ids_of(choose(ordered, tiles, settings(99), batch=batch)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_a_part_whose_first_photo_was_skipped_may_send_another(tiles: ImageSet, batch: int) -> None:
    ordered = order_of(tiles, ["0", "0again", "1", "2", "3"], ["p", "q", "q", "q", "p"])
    assert ids_of(choose(ordered, tiles, settings(9), batch=batch)) == ["0", "1"]


def test_no_more_files_are_read_than_needed(tiles: ImageSet) -> None:
    ordered = order_of(tiles, ["1", "2", "3", "4"], ["p", "q", "r", "s"])
    for id in ("3", "4"):
        (tiles.folder / "images" / f"{id}.png").unlink()
    assert ids_of(choose(ordered, tiles, settings(2), batch=2)) == ["1", "2"]
    assert choose(ordered, tiles, settings(0)) == []


def read_table(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_the_table_says_what_to_annotate_and_where_the_mask_is(tmp_path: Path) -> None:
    images = write_set(tmp_path / "set", {"a/one": block(0), "b": block(128), "c": block(0)})
    both = truth(0)
    both[40:50, 16:32] = 2
    write_mask(mask_file(tmp_path / "masks", "a/one"), both, INFO.colours)
    write_mask(mask_file(tmp_path / "masks", "b"), truth(128), INFO.colours)
    ordered = [
        Doubt(images.entries[0], "p", {"reliability": 0.25, "disagreement": 0.75}, 1.0),
        Doubt(images.entries[2], "p", {"reliability": 0.5, "disagreement": 0.5}, 0.5),
        Doubt(images.entries[1], "q", {"reliability": 0.75, "disagreement": 1 / 3}, 0.0),
    ]
    chosen = [ordered[0], ordered[2]]
    names = ["reliability", "disagreement"]
    write_table(tmp_path / "out" / "t.csv", chosen, ordered, names, tmp_path / "masks", INFO)
    assert read_table(tmp_path / "out" / "t.csv") == [
        HEADER,
        ["1", "a/one", "p", "2", "1.0000", "0.2500", "0.7500", "dark; bright", "a/one.png"],
        ["2", "b", "q", "1", "0.0000", "0.7500", "0.3333", "", "b.png"],
    ]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 3, 1), (4, 4, 1), (SHOWN + 3, 6, 6)])
def test_the_sheet_has_a_panel_an_image(
    tmp_path: Path, count: int, columns: int, rows: int
) -> None:
    images = write_set(tmp_path / "set", {f"{n:02d}": block(0) for n in range(count)})
    for id in images.ids:
        write_mask(mask_file(tmp_path / "masks", id), truth(0), INFO.colours)
    chosen = order_of(images, images.ids, images.ids)
    write_sheet(tmp_path / "sheet.png", chosen, images, tmp_path / "masks", INFO)
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.load()
        # panels of 256 with gaps of 8 and captions of 23, between margins, title and legend
        assert sheet.width == columns * 256 + (columns - 1) * 8 + 32
        assert sheet.height == rows * (256 + 23 + 8) + 16 + 30 + 24 + 8


def run_stage(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    images: dict[str, Tensor],
    count: int,
    labeling: PseudoLabelSettings = FLIPPED,
    *,
    ranked: bool = True,
) -> ImageSet:
    """The stage on these images, with `ByBrightness` as the final model.

    Args:
        ranked: whether there are a ranking and pseudo-masks, reliable by turns.
    """
    found = write_set(folder / "unlabeled", images)
    write_dataset_info(folder / "dataset.json", INFO)
    write_split_record(folder / "split.json", SplitRecord("image", {}, {}))
    scores = {id: Ranked(1 / (2 + n), ()) for n, id in enumerate(found.ids)}
    write_reliability(folder / "scores.json", scores if ranked else {})
    for name in ("reliable", "hard"):
        (folder / name).mkdir()
    for number, entry in enumerate(found.entries if ranked else ()):
        mask = torch.zeros((entry.height, entry.width))
        half = folder / ("reliable", "hard")[number % 2]
        write_mask(mask_file(half, entry.id), mask, INFO.colours)
    sections = {
        "annotate_next": settings(count),
        "pseudo_label": labeling,
        "inference": InferenceSettings(runtime="pytorch"),
        "image": whole(64, 64),
    }
    monkeypatch.setattr(stages.annotate_next, "section", lambda name, _: sections[name])
    monkeypatch.setattr(stages.annotate_next, "load_network", lambda *_: ByBrightness())
    stages.annotate_next.main(
        final=folder / "final",
        unlabeled=folder / "unlabeled",
        dataset=folder / "dataset.json",
        record=folder / "split.json",
        scores=folder / "scores.json",
        reliable_masks=folder / "reliable",
        hard_masks=folder / "hard",
        table=folder / "out" / "table.csv",
        sheet=folder / "out" / "sheet.png",
        masks=folder / "out" / "masks",
    )
    return found


def test_the_stage_leaves_the_predictions_of_the_chosen_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the last image is the least reliable one, "a" the only one that is contradicted
    images = {"a": block(0), "b/c": texture(1, 64, 64) // 3 + 90, "d": texture(2, 80, 64) // 3 + 90}
    found = run_stage(monkeypatch, tmp_path, images, count=2)
    rows = read_table(tmp_path / "out" / "table.csv")
    assert [row[1] for row in rows] == ["image", "d", "a"]
    masks = tmp_path / "out" / "masks"
    assert masked_ids(masks) == ["a", "d"]
    assert read_mask(masks / "d.png").shape == (80, 64)
    network: SegmentationNetwork = ByBrightness()  # type: ignore[assignment]
    for entry, [prob] in predict([network], found, whole(64, 64), FLIPPED, what="again"):
        if entry.id in ("a", "d"):
            assert torch.equal(read_mask(mask_file(masks, entry.id)).long(), prob.argmax(dim=0))
    with Image.open(masks / "a.png") as mask:
        assert mask.mode == "P"
        assert mask.convert("RGB").getpixel((24, 24)) == INFO.colours[1]


def test_the_stage_orders_by_confidence_where_the_method_ranks_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = {"sure": texture(1, 64, 64) // 3 + 90, "unsure": texture(2, 64, 64) // 3 + 20}
    run_stage(monkeypatch, tmp_path, images, count=2, ranked=False)
    header, *rows = read_table(tmp_path / "out" / "table.csv")
    assert header == [*HEADER[:5], "confidence", *HEADER[7:]]
    assert [row[1] for row in rows] == ["unsure", "sure"]
    assert 0 < float(rows[0][5]) < float(rows[1][5]) <= 1


def test_masks_to_start_from_leave_no_pixel_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = {f"{seed}": texture(seed, 64, 48) for seed in range(3)}
    doubting = FLIPPED.model_copy(update={"ignore_fraction": 0.9, "background_from": 1.0})
    run_stage(monkeypatch, tmp_path, images, 3, doubting)
    masks = tmp_path / "out" / "masks"
    assert len(masked_ids(masks)) == 3
    assert not any((read_mask(mask_file(masks, id)) == 255).any() for id in masked_ids(masks))


def test_more_than_there_are_gives_all_and_two_runs_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = {f"{seed}": texture(seed, 64, 48) for seed in range(5)}
    for name, listed in (("one", images), ("two", dict(reversed(images.items())))):
        (tmp_path / name).mkdir()
        run_stage(monkeypatch, tmp_path / name, listed, count=10_000)
    assert len(read_table(tmp_path / "one" / "out" / "table.csv")) == 1 + 5
    left = [
        {f.relative_to(out): f.read_bytes() for f in sorted(out.rglob("*")) if f.is_file()}
        for out in (tmp_path / "one" / "out", tmp_path / "two" / "out")
    ]
    assert left[0] == left[1]
    assert len(left[0]) == 2 + 5


@pytest.mark.parametrize(("images", "count"), [({}, 20), ({"a": block(0)}, 0)])
def test_an_empty_list_leaves_a_header_and_a_picture_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: dict[str, Tensor], count: int
) -> None:
    run_stage(monkeypatch, tmp_path, images, count)
    assert read_table(tmp_path / "out" / "table.csv") == [HEADER]
    assert list((tmp_path / "out" / "masks").iterdir()) == []
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        sheet.load()
        assert sheet.width < 700
        assert sheet.height < 120
