"""Images go out to a tool and masks come back, and nobody's work is lost or mistaken on the way."""

import csv
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from ppl.__main__ import main
from ppl.data.adapters.base import DataSettings, distinct_colours, load_samples
from ppl.data.image_names import ImageNames
from ppl.formats.base import Mask
from ppl.formats.known import FORMATS
from ppl.images.files import read_stored_mask
from ppl.images.pictures import write_indices
from ppl.tools.annotate_next import HANDED_OUT
from tests.formats.masks import drawn
from tests.pipeline.project import ROOT

CLASSES = ["background", "dent", "fine crack"]
COLOURS = distinct_colours(3)
START = drawn("........", ".111....", ".1.1.2..", ".111..2.", ".......2", "........")

IMAGES = ["line 1/p 1.jpg", "line 1/p(2).png", "line 2/p(2).png", "turned.jpg", "sound.bmp"]
"""The last three columns of START fit no turned photo: it has its sides exchanged."""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's own images, all of them handed out with masks to start from."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": "folder", "root": "parts", "classes": CLASSES}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in IMAGES:
        file = Path("parts", "images", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if name == "turned.jpg":
            exif[0x0112] = 6
        Image.new("RGB", (8, 6)).save(file, exif=exif)
        write_indices((HANDED_OUT / "masks" / name).with_suffix(".png"), start(name), COLOURS)
    with (HANDED_OUT / "list.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["rank", "mask"])
        for rank, name in enumerate(IMAGES, start=1):
            rows.writerow([rank, Path(name).with_suffix(".png").as_posix()])
    return tmp_path / "parts"


def start(name: str) -> Mask:
    if name == "sound.bmp":
        return np.zeros_like(START)
    return START.T.copy() if name == "turned.jpg" else START


def call(*words: object) -> tuple[int, str]:
    """Exit status and what was said."""
    done = CliRunner().invoke(main, list(map(str, words)), prog_name="python -m ppl")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def masks(folder: Path) -> dict[str, Mask]:
    """Every file of a folder of masks, by its path."""
    return {
        file.relative_to(folder).as_posix(): read_stored_mask(file).values.numpy()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def decide(parts: Path, *rows: str) -> None:
    (parts / "review").mkdir(exist_ok=True)
    text = "\n".join(["image,decision,by", *rows]) + "\n"
    (parts / "review" / "decisions.csv").write_text(text, encoding="utf-8")


def came_back(format: str, out: Path) -> Path:
    """What a person names, as the tool leaves it: everything was looked at, nothing changed."""
    if format == "label-studio":
        tasks = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
        for task in tasks:
            [prediction] = task.pop("predictions", None) or [{"result": []}]
            task["annotations"] = [{"result": prediction["result"]}]
        file = out / "export.json"
        file.write_text(json.dumps(tasks), encoding="utf-8")
        return file
    return out / "annotations.zip" if format == "cvat-mask" else out


@pytest.mark.parametrize("format", FORMATS)
def test_out_and_in_by_the_command_line(format: str, parts: Path) -> None:
    status, said = call("annotate", "out", format, "round 1")
    assert status == 0, said
    status, said = call("annotate", "in", format, came_back(format, Path("round 1")), "--checked")
    assert status == 0, said
    assert said.startswith("parts/corrected: 5 taken, 0 as it is, 0 left out, 0 error")
    found = masks(parts / "corrected")
    assert found.keys() == {Path(name).with_suffix(".png").as_posix() for name in IMAGES}
    for name in IMAGES:
        assert np.array_equal(found[Path(name).with_suffix(".png").as_posix()], start(name)), name
    status, said = call("annotate", "in", format, came_back(format, Path("round 1")), "--checked")
    assert (status, said.splitlines()[0]) == (
        0,
        "parts/corrected: 0 taken, 5 as it is, 0 left out, 0 error",
    )
    status, said = call("annotate", "out", format, "round 2")
    assert "5 left out whose images have a mask" in said


@pytest.mark.parametrize("format", ["png", "labelme", "coco", "coco-polygons", "cvat-mask"])
def test_what_nobody_corrected_is_no_label(format: str, parts: Path) -> None:
    call("annotate", "out", format, "out")
    status, said = call("annotate", "in", format, came_back(format, Path("out")))
    assert status == 0
    assert said.startswith("parts/corrected: 0 taken, 0 as it is, 5 left out, 0 error")
    assert "not corrected yet? --checked takes it as right" in said
    assert not (parts / "corrected").exists()


def test_label_studio_says_itself_what_is_done(parts: Path) -> None:
    call("annotate", "out", "label-studio", "out")
    status, said = call("annotate", "in", "label-studio", "out/tasks.json")
    assert (status, said.splitlines()) == (
        0,
        [
            "parts/corrected: 0 taken, 0 as it is, 5 left out, 0 error",
            "  left out     5  not annotated in the tool: " + ", ".join(sorted(IMAGES)),
        ],
    )
    status, said = call("annotate", "in", "label-studio", came_back("label-studio", Path("out")))
    assert "5 taken" in said


def test_a_labelme_file_with_its_box_ticked_is_done(parts: Path) -> None:
    call("annotate", "out", "labelme", "out")
    for name in ("turned", "sound"):
        file = Path("out", "images", f"{name}.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["flags"] == {"checked": False}
        file.write_text(json.dumps(content | {"flags": {"checked": True}}), encoding="utf-8")
    call("annotate", "in", "labelme", "out")
    assert masks(parts / "corrected").keys() == {"turned.png", "sound.png"}


def test_images_that_a_reviewer_rejected_go_out_without_a_mask(parts: Path) -> None:
    Image.new("RGB", (8, 6)).save(parts / "images" / "new.png")
    rows = [
        "sound.bmp,wrong,me",
        "sound.bmp,right,me",
        "turned.jpg,right,me",
        "turned.jpg,wrong,me",
    ]
    decide(parts, *rows, "new.png,wrong,me")
    assert "6 image(s) written" in call("annotate", "out", "labelme", "out")[1]
    for name, shapes in [("new", 0), ("turned", 0), ("line 1/p 1", 2)]:
        content = json.loads(Path("out", "images", f"{name}.json").read_text(encoding="utf-8"))
        assert len(content["shapes"]) == shapes
    call("annotate", "out", "label-studio", "studio")
    tasks = json.loads(Path("studio", "tasks.json").read_text(encoding="utf-8"))
    assert [len(task.get("predictions", ())) for task in tasks] == [1, 1, 1, 0, 1, 0]
    said = call("annotate-next", "--to", "pngs")[1]
    assert "Draw these anew: turned.png, new.png." in said
    assert not Path("pngs", "turned.png").exists()
    decide(parts)
    (parts / "review" / "decisions.csv").write_text("name,verdict\nx,y\n", encoding="utf-8")
    assert "other columns than image,decision" in call("annotate", "out", "png", "again")[1]


def test_images_that_are_gone_are_said(parts: Path) -> None:
    (parts / "images" / "turned.jpg").unlink()
    status, said = call("annotate", "out", "labelme", "out")
    assert (status, "holds no such image" in said) == (1, True)


def correct(name: str, mask: Mask) -> None:
    write_indices(Path("back", name), mask, COLOURS)


def test_a_mask_that_differs_is_written_over_only_when_told(parts: Path) -> None:
    (parts / "corrected").mkdir()
    correct("turned.png", start("turned.jpg") // 2)
    write_indices(parts / "corrected" / "turned.png", start("turned.jpg"), COLOURS)
    status, said = call("annotate", "in", "png", "back")
    assert status == 3
    assert "a mask in corrected/ that differs: --replace writes over it: turned.jpg" in said
    assert np.array_equal(masks(parts / "corrected")["turned.png"], start("turned.jpg"))
    status, said = call("annotate", "in", "png", "back", "--replace")
    assert (status, "1 taken" in said) == (0, True)
    assert np.array_equal(masks(parts / "corrected")["turned.png"], start("turned.jpg") // 2)


def test_no_image_comes_to_have_two_masks(parts: Path) -> None:
    correct("turned.png", start("turned.jpg") // 2)
    call("annotate", "in", "png", "back", "--drawn")
    assert masks(parts / "masks").keys() == {"turned.png"}
    status, said = call("annotate", "in", "png", "back", "--replace")
    assert (status, "has a mask in masks/ already: take it in with --drawn" in said) == (3, True)
    assert not (parts / "corrected").exists()
    (parts / "masks" / "turned.png").unlink()
    Image.fromarray(start("turned.jpg")).save(parts / "masks" / "turned.bmp")
    status, said = call("annotate", "in", "png", "back", "--drawn", "--replace")
    assert (status, "has a .bmp mask that differs: remove that one" in said) == (3, True)
    assert masks(parts / "masks").keys() == {"turned.bmp"}


def test_a_kill_leaves_no_half_of_a_mask(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(file: Path, mask: object, colours: object) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    correct("turned.png", start("turned.jpg") // 2)
    with monkeypatch.context() as patch:
        patch.setattr("ppl.tools.annotate_in.write_indices", killed)
        CliRunner().invoke(main, ["annotate", "in", "png", "back"])
    assert not list((parts / "corrected").iterdir())
    assert call("annotate", "in", "png", "back")[0] == 0
    assert [file.name for file in (parts / "corrected").iterdir()] == ["turned.png"]


def coco(*names: str, size: tuple[int, int] = (6, 8)) -> Path:
    """A COCO file with an object on each image."""
    content = {
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": 4, "name": "dent"}],
        "annotations": [
            {"image_id": number, "category_id": 4, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
            for number in range(len(names))
        ],
    }
    Path("c.json").write_text(json.dumps(content), encoding="utf-8")
    return Path("c.json")


def test_what_is_wrong_with_one_image_stops_no_other(parts: Path) -> None:
    names = ["line 1/p 1.jpg", "gone.jpg", "../secret.jpg", "/etc/passwd", "p(2).png", "sound.bmp"]
    status, said = call("annotate", "in", "coco", coco(*names, "images/sound.png", "turned.jpg"))
    assert status == 3
    assert said.splitlines()[0] == "parts/corrected: 1 taken, 0 as it is, 0 left out, 6 error"
    assert masks(parts / "corrected").keys() == {"line 1/p 1.png"}
    for words in [
        "taken        1  line 1/p 1.jpg",
        "no image below parts/images has this name: gone.jpg",
        "leads out of the images: expected one below images/: ../secret.jpg",
        "leads out of the images: expected one below images/: /etc/passwd",
        "2 images have this name in other folders",
        "2 annotations of one image: keep one file or entry of it: sound.bmp",
        "annotated at 8 x 6, but the image is 6 x 8: the tool did not turn the photo by its EXIF "
        "tag, as viewers do: save it upright: turned.jpg",
    ]:
        assert words in said, said


def test_an_image_that_cannot_be_read_is_said(parts: Path) -> None:
    (parts / "images" / "turned.jpg").write_bytes(b"no image")
    status, said = call("annotate", "in", "coco", coco("turned.jpg", "sound.bmp"))
    assert (status, "1 taken" in said, "cannot be read" in said) == (3, True, True)


def test_two_labelme_files_of_one_image_are_refused(parts: Path) -> None:
    call("annotate", "out", "labelme", "out")
    shutil.copytree("out/images", "out/again/images")
    status, said = call("annotate", "in", "labelme", "out", "--checked")
    assert status == 3
    assert "0 taken, 0 as it is, 0 left out, 5 error" in said
    assert "2 annotations of one image" in said


def test_a_labelme_file_that_is_cut_short_is_told_with_its_image(parts: Path) -> None:
    call("annotate", "out", "labelme", "out")
    file = Path("out", "images", "turned.json")
    file.write_text(file.read_text(encoding="utf-8")[:100], encoding="utf-8")
    Path("out", "images", "settings.json").write_text("{}", encoding="utf-8")
    status, said = call("annotate", "in", "labelme", "out/images", "--checked")
    assert status == 3
    assert "4 taken, 0 as it is, 0 left out, 2 error" in said
    [line] = [line for line in said.splitlines() if line.endswith(": turned.jpg")]
    assert "turned.json is cut short or no JSON" in line
    assert "settings.json is not as expected: shapes: Field required: settings" in said


def test_labelme_paths_that_lead_up_are_followed_within_the_folder_alone(parts: Path) -> None:
    shapes = [{"label": "dent", "points": [[0, 0], [2, 0], [2, 2]], "shape_type": "polygon"}]
    Path("back", "json").mkdir(parents=True)
    paths = {"a": "..\\images\\line 1\\p 1.jpg", "b": "..\\..\\sound.bmp", "c": "C:\\turned.jpg"}
    for name, path in paths.items():
        content = {"shapes": shapes, "imagePath": path, "imageData": None}
        Path("back", "json", f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    status, said = call("annotate", "in", "labelme", "back")
    assert status == 3
    assert masks(parts / "corrected").keys() == {"line 1/p 1.png"}
    assert said.count("leads out of the images") == 2


def test_what_label_studio_renamed_is_found_when_only_one_can_be_meant(parts: Path) -> None:
    names = ImageNames(
        Path("images"),
        {id: Path(id) for id in ["a/p 1", "b/p(2)", "c/p(2)", "abcd1234-x", "x", "d/abcd1234-y"]},
    )
    for name, id in {
        "0123abcd-p_1.jpg": "a/p 1",
        "p_1.jpg": "a/p 1",
        "abcd1234-x.jpg": "abcd1234-x",
        "0123abcd-x.jpg": "x",
        "abcd1234-y.jpg": "d/abcd1234-y",
        "images/0123abcd-p_1.jpg": "a/p 1",
        "b/p(2).png": "b/p(2)",
        "images/c/p(2)": "c/p(2)",
        "train/images/c/p(2).png": "c/p(2)",
        "train/x.jpg": "x",
    }.items():
        assert names.id(name) == id, name
    for name, said in [
        ("0123abcd-p2.jpg", "2 images have this name"),
        ("0123abcd-z.jpg", "no image"),
        ("0123ABCDE-x.jpg", "no image"),
        ("e/p(2).jpg", "no image"),
        ("e/p_1.jpg", "no image"),
    ]:
        with pytest.raises(ValueError, match=said):
            names.id(name)


def test_uploaded_images_come_back_from_label_studio(parts: Path) -> None:
    call("annotate", "out", "label-studio", "out")
    file = came_back("label-studio", Path("out"))
    tasks = json.loads(file.read_text(encoding="utf-8"))
    for task, name in zip(tasks, ["p_1.jpg", "p2.png", "p2.png", "turned.jpg"], strict=False):
        task["data"]["image"] = f"/data/upload/7/0123abcd-{name}"
    with zipfile.ZipFile("export.zip", "w") as archive:
        archive.writestr("project-1.json", json.dumps(tasks))
    status, said = call("annotate", "in", "label-studio", "export.zip")
    assert status == 3
    assert masks(parts / "corrected").keys() == {"line 1/p 1.png", "turned.png", "sound.png"}
    assert "error        2  2 images have this name in other folders" in said


def test_other_data_have_masks_of_their_own(parts: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load(text)
    params["data"] |= {"name": "synthetic", "classes": []}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    assert "set `data.name: folder`" in call("annotate", "in", "coco", coco("turned.jpg"))[1]


def test_a_root_without_images_is_said(parts: Path) -> None:
    status, said = call("annotate", "in", "coco", coco("turned.jpg"), "--root", "elsewhere")
    assert (status, said) == (
        1,
        "Error: elsewhere/images holds no image: name the data's folder with --root\n",
    )


def set_data(**changes: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= changes
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


@pytest.mark.parametrize("place", ["masks", "images"])
def test_a_mask_with_a_suffix_is_a_mask_of_its_image(parts: Path, place: str) -> None:
    set_data(mask_suffix="_mask")
    there = parts / place / "line 1/p 1_mask.png"
    write_indices(there, np.zeros_like(START), COLOURS)
    write_indices(Path("back/line 1/p 1.png"), START, COLOURS)
    status, said = call("annotate", "in", "png", "back", "--checked")
    assert status == 3
    assert "has a mask in masks/ already" in said
    assert not (parts / "corrected").exists()
    status, said = call("annotate", "in", "png", "back", "--checked", "--drawn", "--replace")
    assert status == 0, said
    assert np.array_equal(read_stored_mask(there).values.numpy(), START)
    assert not (parts / "masks/line 1/p 1.png").exists()
    assert "1 left out whose images have a mask" in call("annotate", "out", "labelme", "out")[1]


def test_an_image_that_labels_call_good_stays_so(parts: Path) -> None:
    (parts / "labels.csv").write_text("image,label\nsound.bmp,good\n", encoding="utf-8")
    write_indices(Path("back/sound.png"), np.zeros_like(START), COLOURS)
    status, said = call("annotate", "in", "png", "back", "--checked")
    assert (status, said.splitlines()[0].split(": ")[1][:20]) == (0, "0 taken, 1 as it is,")
    write_indices(Path("back/sound.png"), START, COLOURS)
    status, said = call("annotate", "in", "png", "back", "--checked", "--replace")
    assert status == 3
    assert "labels.csv calls it good" in said
    assert not (parts / "corrected").exists()


def test_masks_in_colours_are_compared_by_what_they_mean(parts: Path) -> None:
    set_data(colours={"dent": [255, 0, 0], "fine crack": [0, 0, 255]})
    shown = np.zeros((*START.shape, 3), dtype=np.uint8)
    shown[START == 1], shown[START == 2] = (255, 0, 0), (0, 0, 255)
    there = parts / "corrected/sound.png"
    there.parent.mkdir()
    Image.fromarray(shown).save(there)
    write_indices(Path("back/sound.png"), START, COLOURS)
    assert "0 taken, 1 as it is" in call("annotate", "in", "png", "back", "--checked")[1]
    other = np.where(START == 1, 2, START).astype(np.uint8)
    write_indices(Path("back/sound.png"), other, COLOURS)
    status, said = call("annotate", "in", "png", "back", "--checked")
    assert status == 3
    assert "differs: --replace" in said
    status, said = call("annotate", "in", "png", "back", "--checked", "--replace")
    assert status == 0, said
    assert np.array_equal(read_stored_mask(there).values.numpy(), other)


def test_white_without_a_class_is_no_mask(parts: Path) -> None:
    white = np.zeros_like(START)
    white[2] = 255
    write_indices(Path("back/sound.png"), white, COLOURS)
    status, said = call("annotate", "in", "png", "back", "--checked")
    assert status == 3
    assert "holds 255, which is ignored, and no defect" in said


def test_a_decision_that_is_cut_short_does_not_count(parts: Path) -> None:
    decide(parts, "sound,wrong,Anna", "sound,right")
    with (parts / "review/decisions.csv").open("ab") as table:
        table.write(b'"\xff')
    assert call("annotate", "out", "png", "out")[0] == 0
    assert not Path("out/sound.png").exists()


def rerun() -> None:
    """The next run of the pipeline: its model makes other masks."""
    for name in IMAGES:
        file = (HANDED_OUT / "masks" / name).with_suffix(".png")
        write_indices(file, (start(name) + 1) % 3, COLOURS)


@pytest.mark.parametrize("format", FORMATS)
def test_what_went_out_before_a_rerun_is_still_known(format: str, parts: Path) -> None:
    call("annotate", "out", format, "out")
    rerun()
    back = came_back(format, Path("out"))
    if format != "label-studio":
        said = call("annotate", "in", format, back)[1]
        assert said.startswith("parts/corrected: 0 taken, 0 as it is, 5 left out, 0 error"), said
        elsewhere = shutil.move(str(back), f"downloads{back.suffix}")
        said = call("annotate", "in", format, elsewhere)[1]
        assert said.startswith("parts/corrected: 0 taken, 0 as it is, 5 left out, 0 error"), said
        shutil.rmtree(".scratch")
        # nothing is left to tell by where a tool's file came back alone
        back = Path(elsewhere)
        alone = back.is_file()
        said = call("annotate", "in", format, back)[1]
        assert ("5 left out" in said) != alone, said
    assert not (parts / "corrected").exists() or format in ("label-studio", "cvat-mask")


def test_what_was_corrected_after_a_rerun_is_taken(parts: Path) -> None:
    call("annotate", "out", "png", "out")
    rerun()
    write_indices(Path("out/sound.png"), START, COLOURS)
    status, said = call("annotate", "in", "png", "out")
    assert (status, "1 taken, 0 as it is, 4 left out" in said) == (0, True)
    for content in [b"", b"\xff\xfe", b"image,mask\nsound\n", b"\0"]:
        Path("out/handed_out.csv").write_bytes(content)
        assert call("annotate", "in", "png", "out")[0] == 0


def test_a_round_that_stops_half_way_has_its_list(parts: Path) -> None:
    (parts / "images/turned.jpg").write_bytes(b"no image")
    assert call("annotate", "out", "labelme", "out")[0] == 1
    rerun()
    said = call("annotate", "in", "labelme", "out")[1]
    assert "0 taken, 0 as it is, 3 left out" in said


def test_images_that_were_rejected_and_are_gone_stop_no_other(parts: Path) -> None:
    decide(parts, "gone,wrong,me", "line 9/gone too.jpg,wrong,me", "turned.jpg,wrong,me")
    status, said = call("annotate", "out", "labelme", "out")
    assert status == 0, said
    assert "5 image(s) written" in said
    assert "  left out     2  rejected, but no such image: gone, line 9/gone too.jpg\n" in said
    assert json.loads(Path("out/images/turned.json").read_text(encoding="utf-8"))["shapes"] == []


def test_decisions_on_published_data_are_seen(parts: Path) -> None:
    set_data(name="neu_seg", classes=[], root="steel")
    for folder in ("training", "test"):
        file = Path("steel/images", folder, "1.jpg")
        file.parent.mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(file)
    (HANDED_OUT / "list.csv").write_text("rank,mask\n1,training/1.png\n", encoding="utf-8")
    write_indices(HANDED_OUT / "masks/training/1.png", START, COLOURS)
    assert "predictions" in json.loads(studio_tasks("before"))[0]
    Path("data/review").mkdir()
    Path("data/review/decisions.csv").write_text(
        "image,decision,reviewer,time,judged,written\n"
        "training/1,wrong,me,2024-01-01T00:00:00+00:00,ab,\ngone,wrong,me,x,ab,\n",
        encoding="utf-8",
    )
    assert "predictions" not in json.loads(studio_tasks("after"))[0]
    assert "rejected, but no such image: gone" in call("annotate", "out", "labelme", "again")[1]


def studio_tasks(folder: str) -> str:
    status, said = call("annotate", "out", "label-studio", folder)
    assert status == 0, said
    return Path(folder, "tasks.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("format", FORMATS)
def test_names_that_end_like_a_file_twice_go_out_and_come_in(format: str, parts: Path) -> None:
    for name in ("photo.jpg.png", "photo.png", "empty.jpg.png", "rejected.jpg.png"):
        Image.new("RGB", (8, 6)).save(parts / "images" / name)
    write_indices(HANDED_OUT / "masks/photo.jpg.png", START, COLOURS)
    write_indices(HANDED_OUT / "masks/photo.png", START // 2, COLOURS)
    write_indices(HANDED_OUT / "masks/empty.jpg.png", START * 0, COLOURS)
    rows = "rank,mask\n1,photo.jpg.png\n2,photo.png\n3,empty.jpg.png\n"
    (HANDED_OUT / "list.csv").write_text(rows, encoding="utf-8")
    decide(parts, "rejected.jpg,wrong,me")
    status, said = call("annotate", "out", format, "out")
    assert (status, "no such image" in said) == (0, False), said
    status, said = call("annotate", "in", format, came_back(format, Path("out")), "--checked")
    assert status == 0, said
    found = masks(parts / "corrected")
    names = {"photo.jpg.png", "photo.png", "empty.jpg.png"}
    assert found.keys() == names | (set() if format == "png" else {"rejected.jpg.png"})
    assert np.array_equal(found["photo.jpg.png"], START)
    assert np.array_equal(found["photo.png"], START // 2)


@pytest.mark.parametrize("name", ["\ud800.jpg", "a\nb\x1b[31m.jpg", "x" * 5000])
def test_a_name_that_no_terminal_shows_is_told_in_a_line(name: str, parts: Path) -> None:
    status, said = call("annotate", "in", "coco", coco(name, "sound.bmp"))
    assert status == 3
    assert len(said.splitlines()) == 3
    assert max(map(len, said.splitlines())) < 300
    assert "\x1b" not in said
    said.encode("utf-8")


@pytest.mark.parametrize(
    ("went", "named", "said"),
    [
        ("labelme", "coco", "It holds 5 .json, 4 .jpg, .* as labelme does"),
        ("labelme", "cvat-mask", "as labelme does: `python -m ppl annotate in labelme out`"),
        ("labelme", "png", "as labelme does"),
        ("labelme", "label-studio", "as labelme does"),
        ("coco", "labelme", "as coco does"),
        ("coco", "label-studio", "as coco does"),
        ("coco-polygons", "png", "as coco does"),
        ("label-studio", "coco", "as label-studio does"),
        ("label-studio", "labelme", "as label-studio does"),
        ("png", "cvat-mask", "as png does"),
        ("png", "labelme", "as png does"),
        ("cvat-mask", "coco", "as cvat-mask does"),
        ("cvat-mask", "png", "as cvat-mask does"),
    ],
)
def test_another_format_than_was_named_is_told(
    went: str, named: str, said: str, parts: Path
) -> None:
    for name in ("line 2/p(2)", "line 1/p(2)"):
        (parts / "images" / f"{name}.png").rename(parts / "images" / f"{name}.jpg")
    call("annotate", "out", went, "out")
    back = came_back(went, Path("out")) if went in ("cvat-mask", "label-studio") else Path("out")
    back = Path("out/instances.json") if went == "coco" else back
    status, spoken = call("annotate", "in", named, back)
    assert status in (1, 3)
    assert re.search(said, spoken), spoken


def test_what_no_format_has_is_said(parts: Path) -> None:
    Path("export").mkdir()
    Path("export/annotations.xml").touch()
    said = call("annotate", "in", "cvat-mask", "export")[1]
    assert "It holds 1 .xml: of CVAT, export Segmentation mask 1.1 or COCO 1.0" in said
    Path("empty").mkdir()
    assert "It holds no file" in call("annotate", "in", "labelme", "empty")[1]


def test_folders_are_walked_as_a_run_walks_them(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[str] = []
    walk = os.walk

    def counted(top: str, **options: Any) -> Any:
        walked.append(str(top))
        return walk(top, **options)

    monkeypatch.setattr(os, "walk", counted)
    load_samples(parts, DataSettings(**yaml.safe_load(Path("params.yaml").read_text())["data"]))
    once = [folder for folder in walked if folder.startswith(("parts", str(parts)))]
    walked.clear()
    call("annotate", "in", "coco", coco("turned.jpg", "sound.bmp"))
    now = [folder for folder in walked if folder.startswith(("parts", str(parts)))]
    assert len(now) == len(once)
