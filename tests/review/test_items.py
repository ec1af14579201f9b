"""What is reviewed, in which order; and damaged lists say what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppl.core.errors import InputError
from ppl.images.pictures import write_indices
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.review.items import predictions, to_annotate
from ppl.review.prepared import (
    PREPARED,
    checked_classes,
    image_files,
    inside,
    read_classes,
    read_parts,
)
from ppl.station.results import opened
from tests.review.conftest import NAMES
from tests.review.project import CLASSES, COLOURS, bars, write_project
from tests.review.shift import write_predictions


def names(project: Path, masks: str = "next") -> list[str]:
    return [item.name for item in to_annotate(masks, folder=project).items]


def pseudo(project: Path, half: str, *ids: str) -> None:
    for id in ids:
        file = project / "data" / "pseudo" / half / f"{id}.png"
        write_indices(file, bars(0, (24, 32))[1], COLOURS)


def test_the_list_is_taken_in_its_order_with_its_masks(project: Path) -> None:
    work = to_annotate("next", folder=project)
    assert [item.name for item in work.items] == NAMES
    b = work.items[1]
    assert b.image == project / "data/prepared/unlabeled/images/line 1/b.png"
    assert b.source == project / "data/annotate_next/masks/line 1/b.png"
    assert b.saved_as == "line 1/b.png"
    assert b.words == "predicted: dent, priority 0.7500, reliability 0.5000"
    assert (work.classes.names, work.classes.colours) == (CLASSES, COLOURS)


def test_pseudo_masks_come_instead_or_after_each_image_once(project: Path) -> None:
    pseudo(project, "reliable", "c")
    pseudo(project, "hard", "a", "line 1/b")
    assert names(project, "pseudo") == ["c", "a", "line 1/b"]
    assert names(project, "both") == NAMES
    listed = project / "data/annotate_next/list.csv"
    listed.write_text("image,mask\nc,c.png\n", encoding="utf-8")
    assert names(project, "both") == ["c", "a", "line 1/b"]
    work = to_annotate("both", folder=project)
    assert work.items[0].source == project / "data/annotate_next/masks/c.png"
    assert work.items[1].words == "pseudo-mask, hard half"


def test_where_the_teacher_labeled_all_there_are_no_halves(project: Path) -> None:
    pseudo(project, "reliable", "a", "c")
    (project / "data/pseudo/hard").mkdir()
    work = to_annotate("pseudo", folder=project)
    assert [item.words for item in work.items] == ["pseudo-mask", "pseudo-mask"]


def test_a_method_without_pseudo_masks_is_told_where_masks_are(project: Path) -> None:
    for half in ("reliable", "hard"):
        (project / "data/pseudo" / half).mkdir(parents=True)
    with pytest.raises(InputError, match=r"trains once makes none.*`--masks next` takes"):
        to_annotate("pseudo", folder=project)
    assert names(project, "both") == NAMES


def test_the_confidence_of_a_list_without_a_ranking_is_told(project: Path) -> None:
    text = "image,priority,confidence,predicted_classes,mask\na,1.0000,0.8125,,a.png\n"
    (project / "data/annotate_next/list.csv").write_text(text, encoding="utf-8")
    [item] = to_annotate("next", folder=project).items
    assert item.words == "predicted: no defect, priority 1.0000, confidence 0.8125"


def test_images_that_have_a_mask_are_left_out_and_counted(project: Path) -> None:
    work = to_annotate("next", {"a", "stranger"}, project)
    assert [item.name for item in work.items] == NAMES[1:]
    assert work.notes == ("1 left out whose images have a mask",)


def test_the_other_photos_of_a_part_are_those_of_all_sets(tmp_path: Path) -> None:
    parts = {"a": "P", "c": "P", "l": "P", "b": "Q"}
    project = write_project(tmp_path, ["a", "b", "c"], parts=parts, labeled=["l"])
    known = to_annotate("next", folder=project).parts
    assert known.others("a") == [
        ("c", project / "data/prepared/unlabeled/images/c.png"),
        ("l", project / "data/prepared/labeled/images/l.png"),
    ]
    assert known.others("b") == []
    assert known.others("stranger") == []


def test_what_prepare_left_is_read_as_the_stages_read_it(tmp_path: Path) -> None:
    folder = write_project(tmp_path, NAMES, parts=dict.fromkeys(NAMES, "P")) / PREPARED
    info = read_dataset_info(folder / "dataset.json")
    classes = read_classes(folder / "dataset.json")
    assert (classes.names, classes.colours) == (info.classes, info.colours)
    held = read_image_set(folder / "unlabeled")
    assert image_files(folder / "unlabeled") == {
        entry.id: held.image_file(entry) for entry in held.entries
    }
    assert read_parts(folder).part_of == read_split_record(folder / "split.json").parts


def _put(path: str, text: str) -> Callable[[Path], object]:
    return lambda project: (project / path).write_text(text, encoding="utf-8")


def _remove(path: str) -> Callable[[Path], object]:
    return lambda project: (project / path).unlink()


LIST, SETS = "data/annotate_next/list.csv", "data/prepared"

DAMAGED: list[tuple[str, Callable[[Path], object]]] = [
    ("there is no .*list.csv: run `make repro`", _remove(LIST)),
    ("an empty list; run `make repro`", _put(LIST, "image,mask\n")),
    ("has no column image", _put(LIST, "")),
    ("has no column mask", _put(LIST, "image,part\na,b\n")),
    ("leads out of", _put(LIST, "image,mask\na,../../../x.png\n")),
    ("leads out of", _put(LIST, "image,mask\na,/etc/passwd\n")),
    ("no unlabeled image any more", _put(LIST, "image,mask\n../x,x.png\n")),
    ("no UTF-8", lambda p: (p / LIST).write_bytes(b"image,mask\n\xfc,\xfc.png\n")),
    ("there is no .*index.json", _remove(f"{SETS}/unlabeled/index.json")),
    ("index.json is damaged", _put(f"{SETS}/unlabeled/index.json", "[{")),
    ("index.json is damaged", _put(f"{SETS}/unlabeled/index.json", '[{"id": "a"}]')),
    ("index.json is damaged", _put(f"{SETS}/unlabeled/index.json", "[" * 100_000)),
    ("leads out", _put(f"{SETS}/unlabeled/index.json", '[{"id": "a", "image": "../a.png"}]')),
    ("dataset.json is damaged", _put(f"{SETS}/dataset.json", '{"classes": ["a"], "colours": []}')),
    ("split.json is damaged", _put(f"{SETS}/split.json", "{}")),
    ("split.json is damaged", _put(f"{SETS}/split.json", "[]")),
]


@pytest.mark.parametrize(("said", "damage"), DAMAGED)
def test_what_is_damaged_is_named(
    project: Path, said: str, damage: Callable[[Path], object]
) -> None:
    damage(project)
    with pytest.raises(InputError, match=said):
        to_annotate("next", folder=project)


def test_a_row_that_is_cut_short_is_left_out(project: Path) -> None:
    with (project / LIST).open("a", encoding="utf-8") as stream:
        stream.write("4,c")
    assert names(project) == NAMES


def test_without_pseudo_masks_that_is_said(project: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*reliable"):
        to_annotate("pseudo", folder=project)


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../../b", "a\0b", "."])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="leads out"):
        inside(Path("folder"), path)


@pytest.mark.parametrize(
    ("names", "colours"),
    [(["a"], [(0, 0, 0)]), (["a", "b"], [(0, 0, 0)]), (["a", "b"], [(0, 0, 0), (0, 0, 256)])],
)
def test_classes_without_a_colour_each_are_none(
    names: list[str], colours: list[tuple[int, int, int]]
) -> None:
    with pytest.raises(ValueError, match=r"classes|levels"):
        checked_classes(names, colours)


SHIFT = ["a.jpg", "=b c.png", "line 1/ü #1.png"]


def test_predictions_are_taken_in_the_order_of_their_table(tmp_path: Path) -> None:
    out = write_predictions(tmp_path, SHIFT)
    work = predictions(out)
    # as the results show a name that a spreadsheet would take for a formula
    assert {item.name for item in work.items} == {"a.jpg", "./=b c.png", "line 1/ü #1.png"}
    by_name = {item.name: item for item in work.items}
    a = by_name["a.jpg"]
    assert a.image == tmp_path / "photos" / "a.jpg"
    assert (a.source, a.saved_as) == (out / "masks" / "a.png", "a.png")
    assert a.words.startswith("verdict: ")
    assert by_name["./=b c.png"].image == tmp_path / "photos" / "=b c.png"
    assert all(item.image.is_file() and item.source.is_file() for item in work.items)
    assert (work.classes.names[0], work.classes.colours[0]) == ("background", (0, 0, 0))
    boxes = [box for item in work.items for box in item.boxes]
    assert boxes
    assert all(box.name in work.classes.names for box in boxes)


def test_predictions_without_a_mask_or_an_image_are_counted(tmp_path: Path) -> None:
    out = write_predictions(tmp_path, SHIFT, broken=["d.png"])
    (tmp_path / "photos" / "a.jpg").unlink()
    work = predictions(out)
    assert len(work.items) == 2
    assert work.notes == ("1 left out that were not predicted", "1 left out that are gone")


NOTHING: list[tuple[str, Callable[[Path], object]]] = [
    ("holds no results", lambda out: (out / "predicted_by.json").unlink()),
    ("is damaged", lambda out: (out / "predicted_by.json").write_text("{}", "utf-8")),
    ("there is no .*results.csv", lambda out: (out / "results.csv").unlink()),
    ("there is no .*defects.csv", lambda out: (out / "defects.csv").unlink()),
    ("no image to review", lambda out: (out / "results.csv").write_text("image,verdict,mask\n")),
    (
        "leads out",
        lambda out: (out / "results.csv").write_text("image,verdict,mask\na.jpg,sound,../a.png\n"),
    ),
    ("which is gone", lambda out: (out.parent / "photos").rename(out.parent / "moved")),
    (
        "none of the masks can be read",
        lambda out: [file.write_bytes(b"") for file in (out / "masks").rglob("*.png")],
    ),
]


@pytest.mark.parametrize(("said", "damage"), NOTHING)
def test_results_that_are_none_are_named(
    tmp_path: Path, said: str, damage: Callable[[Path], object]
) -> None:
    out = write_predictions(tmp_path, SHIFT)
    damage(out)
    with pytest.raises(InputError, match=said):
        predictions(out)


def test_the_mark_that_predict_writes_is_the_one_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with opened(tmp_path / "out", "digest", ["background", "dent"], [tmp_path / "photos"]):
        pass
    mark = json.loads((tmp_path / "out" / "predicted_by.json").read_text(encoding="utf-8"))
    assert (mark["classes"], mark["images"]) == (
        ["background", "dent"],
        [(tmp_path / "photos").as_posix()],
    )


def test_no_class_of_a_mask_is_lost_on_its_way(project: Path) -> None:
    from ppl.review.pictures import read_indices

    mask = np.arange(24 * 32, dtype=np.int64).reshape(24, 32) % 3
    file = project / "mask.png"
    write_indices(file, mask.astype(np.uint8), COLOURS)
    assert np.array_equal(read_indices(file), mask)


@pytest.mark.parametrize("mask", ["overlays/a.png", "a.png", "masks", "../a.png", "/a.png"])
def test_a_mask_that_does_not_lie_among_the_masks_is_named(tmp_path: Path, mask: str) -> None:
    out = write_predictions(tmp_path, ["a.png"])
    table = out / "results.csv"
    text = table.read_text(encoding="utf-8-sig")
    assert "masks/a.png" in text
    table.write_text(text.replace("masks/a.png", mask), encoding="utf-8")
    with pytest.raises(InputError, match=r"does not lie in|leads out of") as raised:
        predictions(out)
    assert "\n" not in str(raised.value)
