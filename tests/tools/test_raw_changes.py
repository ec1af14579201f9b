"""What people did to the raw data since the last run, told by content, or else by name."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ppl.data.adapters.base import DataSettings, load_samples
from ppl.tools.raw_changes import RawChanges, raw_changes
from ppl.tools.raw_counts import last_sets
from tests.tools.raw_project import (
    RAW,
    Stages,
    draw_image,
    draw_mask,
    make_project,
    md5_of,
    recorded_run,
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    return make_project(tmp_path, monkeypatch.chdir)


@pytest.fixture
def stages(data: DataSettings) -> Stages:
    (RAW / "to_correct").mkdir()
    (RAW / "to_correct" / "u1.png").touch()
    return recorded_run()


def found(data: DataSettings, stages: Stages) -> RawChanges:
    changes = raw_changes(RAW, load_samples(RAW, data), last_sets(), stages)
    assert changes is not None
    return changes


def test_as_it_was_nothing_changed(data: DataSettings, stages: Stages) -> None:
    assert not found(data, stages)
    assert found(data, stages).by_content
    for file in RAW.rglob("*.png"):
        os.utime(file, (1, 1))
    assert not found(data, stages)


def _replace_image() -> None:
    draw_image("u1", level=3)


def _another_suffix() -> None:
    (RAW / "images/u1.png").unlink()
    draw_image("u1", suffix=".bmp")


def _correct() -> None:
    draw_mask("u2", 1, folder="corrected")


def _began_as_a_models() -> None:
    (RAW / "corrected").mkdir()
    (RAW / "masks/a.png").rename(RAW / "corrected/a.png")


def _remove() -> None:
    (RAW / "images/t1.png").unlink()
    (RAW / "masks/t1.png").unlink()


def _table() -> None:
    (RAW / "groups.csv").write_text("image,group\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda: draw_image("new/x"), RawChanges(images_added=("new/x",))),
        (_replace_image, RawChanges(images_replaced=("u1",))),
        (_another_suffix, RawChanges(images_replaced=("u1",))),
        (lambda: draw_mask("u3", 2), RawChanges(masks_added=("u3",))),
        (_correct, RawChanges(masks_corrected=("u2",))),
        (lambda: draw_mask("t2", 1), RawChanges(masks_changed=("t2",))),
        (_began_as_a_models, RawChanges(masks_changed=("a",))),
        ((RAW / "masks/d.png").unlink, RawChanges(masks_gone=("d",))),
        (_remove, RawChanges(images_gone=("t1",), masks_gone=("t1",))),
        (_table, RawChanges(others=("groups.csv",))),
        (lambda: (RAW / "to_correct/u2.png").touch(), RawChanges()),
    ],
)
def test_each_edit_is_told_and_nothing_else(
    data: DataSettings, stages: Stages, edit: Callable[[], object], expected: RawChanges
) -> None:
    edit()
    assert found(data, stages) == expected


def test_an_image_that_no_set_took_is_not_new(data: DataSettings) -> None:
    """As other photos of a tested part, which are left out."""
    draw_image("left_out")
    assert not found(data, recorded_run())


def test_the_record_of_another_run_is_not_believed(data: DataSettings, stages: Stages) -> None:
    draw_mask("t2", 1)
    draw_image("new")
    # another machine ran on this, and its dvc.lock came by Git
    stages["prepare"]["deps"][0]["md5"] = md5_of(RAW)
    draw_mask("t1", 2)
    changes = found(data, stages)
    assert changes == RawChanges(images_added=("new",), by_content=False)


def test_without_a_record_names_tell(data: DataSettings, stages: Stages) -> None:
    shutil.rmtree(".scratch")
    draw_image("x")
    draw_mask("x", 1)
    draw_mask("u1", 1, folder="corrected")
    draw_mask("a", 2)
    (RAW / "masks/d.png").unlink()
    assert found(data, stages) == RawChanges(
        images_added=("x",),
        masks_added=("x",),
        masks_corrected=("u1",),
        masks_gone=("d",),
        by_content=False,
    )


def test_after_a_run_that_stopped_the_record_alone_tells(
    data: DataSettings, stages: Stages
) -> None:
    shutil.rmtree("data/prepared")
    assert not found(data, stages)
    draw_image("x")
    (RAW / "images/u1.png").unlink()
    assert found(data, stages) == RawChanges(images_added=("x",), others=("images/u1.png",))
    shutil.rmtree(".scratch")
    assert raw_changes(RAW, load_samples(RAW, data), last_sets(), stages) is None


@pytest.mark.parametrize("below", ["images", "masks"])
def test_a_folder_named_to_correct_among_images_is_one_like_any_other(
    data: DataSettings, below: str
) -> None:
    draw_image("to_correct/x")
    if below == "masks":
        draw_mask("to_correct/x", 1)
    from ppl.tools.raw_changes import _ignored

    ignored = _ignored()
    assert not ignored(RAW / below / "to_correct" / "x.png")
    assert ignored(RAW / "to_correct" / "x.png")
    assert not ignored(Path("/elsewhere/to_correct/x.png"))


def test_masks_in_files_of_tools_are_told_like_others(data: DataSettings) -> None:
    shape = {"label": "dent", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"}
    shapes = {"shapes": [shape], "imagePath": "x.png", "imageData": None}
    (RAW / "masks/a.png").unlink()
    (RAW / "images/a.json").write_text(json.dumps(shapes), encoding="utf-8")
    listed = {"id": 1, "file_name": "d.png"}, {"id": 2, "file_name": "u2.png"}
    content = {"images": listed[:1], "categories": [], "annotations": []}
    (RAW / "masks/d.png").unlink()
    (RAW / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    stages = recorded_run()
    assert found(data, stages) == RawChanges()
    (RAW / "images/a.json").write_text(json.dumps(shapes | {"flags": {}}), encoding="utf-8")
    (RAW / "images/u1.json").write_text(json.dumps(shapes), encoding="utf-8")
    (RAW / "instances.json").write_text(json.dumps(content | {"images": listed}), "utf-8")
    changes = found(data, stages)
    assert changes.masks_changed == ("a", "d")
    assert changes.masks_added == ("u1", "u2")
    assert changes.others == ()
