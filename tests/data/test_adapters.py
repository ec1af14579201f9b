"""Adapters: each reads exactly its published layout and names what is wrong with another."""

import os
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import ppl.data.adapters.synthetic
from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.data.adapters.base import (
    DataSettings,
    adapter_names,
    dataset_info,
    distinct_colours,
    load_adapter,
    load_samples,
    paired_samples,
)


def settings(name: str, **changes: object) -> DataSettings:
    own = name in ("folder", "mvtec")
    classes = ["background", "scratch", "dent"] if own else []
    values = {
        "name": name,
        "root": "raw",
        "mask_threshold": 128,
        "classes": classes,
        "groups": "own",
        "group_pattern": "",
        "same_part": 0.9,
    }
    return DataSettings(**{**values, **changes})


def draw(file: Path, values: object = 0, size: tuple[int, int] = (6, 4)) -> Path:
    """A grey image of `size` (width, height), or of the given rows of values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.broadcast_to(np.array(values, dtype=np.uint8), (height, width))
    Image.fromarray(pixels.copy()).save(file)
    return file


def read(root: Path, name: str) -> dict[str, tuple[str | None, set[int] | None]]:
    """The published part and the classes in the mask (None: not annotated), by id."""
    chosen = settings(name)
    adapter = load_adapter(name)
    found = {}
    for sample in load_samples(root, chosen):
        values = None
        if sample.annotated:
            mask = adapter.read_mask(sample, chosen).values
            assert mask.dtype == torch.uint8
            assert mask.shape == (4, 6)
            values = set(mask.unique().tolist())
        found[sample.id] = (sample.part, values)
    return found


def test_masks_of_a_corrected_model_are_told_by_their_folder(tmp_path: Path) -> None:
    for id in ("line/a", "line/b", "c", "d"):
        draw(tmp_path / f"images/{id}.png")
    draw(tmp_path / "masks/line/a.png", 1)
    corrected = draw(tmp_path / "corrected/line/b.png", 2)
    draw(tmp_path / "corrected/c.bmp", 1)
    samples = {sample.id: sample for sample in load_samples(tmp_path, settings("folder"))}
    assert [id for id, sample in samples.items() if sample.annotated] == ["c", "line/a", "line/b"]
    assert [id for id, sample in samples.items() if sample.corrected] == ["c", "line/b"]
    assert samples["line/b"].mask == corrected
    drawn = draw(tmp_path / "masks/line/b.png", 1)
    with pytest.raises(InputError) as caught:
        load_samples(tmp_path, settings("folder"))
    assert f"image line/b has two masks, {drawn} and {corrected}: keep" in str(caught.value)
    drawn.unlink()
    stray = draw(tmp_path / "corrected/e.png", 1)
    with pytest.raises(InputError, match=rf"mask {stray} has no image"):
        load_samples(tmp_path, settings("folder"))


def test_every_module_of_the_package_is_an_adapter() -> None:
    published = {"dagm", "magnetic_tile", "msdd3", "neu_seg"}
    assert {*published, "folder", "mvtec", "synthetic"} <= set(adapter_names())
    for name in adapter_names():
        info = dataset_info(settings(name))
        assert info.classes[0] == "background"
        assert info.colours[0] == (0, 0, 0)
        assert len(set(info.colours)) == len(info.colours) == len(info.classes)
        assert load_adapter(name).LAYOUT
        assert load_adapter(name).__doc__


def test_one_more_file_is_one_more_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Path(ppl.data.adapters.synthetic.__file__).read_text(encoding="utf-8")
    (tmp_path / "my_parts.py").write_text(code.replace("stain", "rust"), encoding="utf-8")
    monkeypatch.setattr(ppl.data.adapters, "__path__", [*ppl.data.adapters.__path__, str(tmp_path)])
    assert "rust" in dataset_info(settings("my_parts")).classes
    monkeypatch.delitem(sys.modules, "ppl.data.adapters.my_parts")


def test_magnetic_tile_takes_the_class_from_the_folder(tmp_path: Path) -> None:
    folders = ["Blowhole", "Break", "Crack", "Fray", "Uneven"]
    for folder in folders:
        draw(tmp_path / f"MT_{folder}/Imgs/exp1_num_1.jpg")
        draw(tmp_path / f"MT_{folder}/Imgs/exp1_num_1.png", [0, 127, 128, 255, 1, 0])
    draw(tmp_path / "MT_Free/Imgs/exp1_num_1.JPG")
    draw(tmp_path / "MT_Free/Imgs/exp1_num_1.png")
    draw(tmp_path / "MT_Uneven/Imgs/empty.jpg")
    draw(tmp_path / "MT_Uneven/Imgs/empty.png")
    draw(tmp_path / "MT_Crack/Imgs/no_mask.jpg")
    # strays that the published folder holds, and others like them
    draw(tmp_path / "dataset.jpg")
    draw(tmp_path / "MT_Crack/Imgs/lonely_mask.png")
    (tmp_path / "MT_Crack/Imgs/Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.md").write_text("x")
    assert read(tmp_path, "magnetic_tile") == {
        **{f"MT_{name}/exp1_num_1": (None, {0, i}) for i, name in enumerate(folders, start=1)},
        "MT_Free/exp1_num_1": (None, {0}),
        "MT_Uneven/empty": (None, {0}),
        "MT_Crack/no_mask": (None, None),
    }


def test_magnetic_tile_threshold_is_the_lowest_defect_grey(tmp_path: Path) -> None:
    draw(tmp_path / "MT_Crack/Imgs/a.jpg")
    draw(tmp_path / "MT_Crack/Imgs/a.png", [0, 1, 127, 128, 254, 255])
    for threshold, expected in (1, 5), (128, 3), (255, 1):
        chosen = settings("magnetic_tile", mask_threshold=threshold)
        (sample,) = load_samples(tmp_path, chosen)
        mask = load_adapter("magnetic_tile").read_mask(sample, chosen).values
        assert int((mask == 3).sum()) == 4 * expected


def test_magnetic_tile_refuses_a_defect_among_free_tiles(tmp_path: Path) -> None:
    draw(tmp_path / "MT_Free/Imgs/a.jpg")
    draw(tmp_path / "MT_Free/Imgs/a.png", 255)
    with pytest.raises(InputError, match="MT_Free holds defect-free"):
        read(tmp_path, "magnetic_tile")


def test_magnetic_tile_refuses_a_folder_of_no_class(tmp_path: Path) -> None:
    draw(tmp_path / "MT_Dent/Imgs/a.jpg")
    with pytest.raises(InputError, match=r"MT_Dent names no class.*MT_Blowhole"):
        read(tmp_path, "magnetic_tile")


@pytest.mark.parametrize(("name", "test_part"), [("neu_seg", "test"), ("msdd3", "validation")])
def test_recurring_base_names_stay_apart(tmp_path: Path, name: str, test_part: str) -> None:
    for part in "training", test_part:
        draw(tmp_path / f"images/{part}/000001.jpg")
        draw(tmp_path / f"annotations/{part}/000001.png", [0, 1, 2, 3, 0, 0])
    draw(tmp_path / "images/training/000002.jpg")
    assert read(tmp_path, name) == {
        "training/000001": ("train", {0, 1, 2, 3}),
        "training/000002": ("train", None),
        f"{test_part}/000001": ("test", {0, 1, 2, 3}),
    }


@pytest.mark.parametrize("upload", ["", "DAGM_KaggleUpload/"])
def test_dagm_image_without_label_file_is_defect_free(tmp_path: Path, upload: str) -> None:
    root = tmp_path / upload
    for texture in "Class1", "Class10":
        for part in "Train", "Test":
            folder = root / texture / part
            draw(folder / "0576.PNG")
            draw(folder / "0577.PNG")
            draw(folder / "Label/0577_label.PNG", [0, 127, 128, 255, 0, 0])
            (folder / "Label/Labels.txt").write_text("1\n576 0 0576.PNG 0 0\n")
    assert read(tmp_path, "dagm") == {
        f"{texture}/{folder}/{name}": (part, {0, number} if name == "0577" else {0})
        for texture, number in (("Class1", 1), ("Class10", 10))
        for folder, part in (("Train", "train"), ("Test", "test"))
        for name in ("0576", "0577")
    }


def test_dagm_refuses_a_label_without_image(tmp_path: Path) -> None:
    draw(tmp_path / "Class1/Train/Label/0577_label.PNG")
    with pytest.raises(InputError, match=r"0577_label.PNG has no image Class1/Train/0577.PNG"):
        read(tmp_path, "dagm")


def test_dagm_refuses_an_eleventh_class(tmp_path: Path) -> None:
    (tmp_path / "Class11").mkdir()
    with pytest.raises(InputError, match="Class11 is none of Class1 to Class10"):
        read(tmp_path, "dagm")


def test_folder_image_without_mask_is_unlabeled(tmp_path: Path) -> None:
    draw(tmp_path / "images/line 1/a.JPG")
    draw(tmp_path / "images/line 1/b.c.bmp")
    draw(tmp_path / "images/d.TIFF")
    draw(tmp_path / "images/.hidden.png")
    (tmp_path / "images/notes.txt").write_text("x")
    draw(tmp_path / "masks/line 1/b.c.png", [0, 1, 2, 255, 0, 0])
    palette = Image.fromarray(np.full((4, 6), 2, dtype=np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 200, 0, 0])
    palette.save(tmp_path / "masks/d.png")
    assert read(tmp_path, "folder") == {
        "line 1/a": (None, None),
        "line 1/b.c": (None, {0, 1, 2, 255}),
        "d": (None, {2}),
    }


def test_a_data_set_may_be_a_link_but_hold_none(tmp_path: Path) -> None:
    draw(tmp_path / "disk/images/a.png")
    (tmp_path / "raw").symlink_to(tmp_path / "disk")
    assert list(read(tmp_path / "raw", "folder")) == ["a"]
    (tmp_path / "disk/images/more").symlink_to(tmp_path / "disk/images")
    with pytest.raises(InputError, match="images/more is a link to another folder"):
        read(tmp_path / "raw", "folder")


def test_a_linked_folder_of_tiles_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "disk/Imgs/a.jpg")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/MT_Free").symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match="MT_Free is a link to another folder"):
        read(tmp_path / "raw", "magnetic_tile")


LAYOUTS = {
    "folder": ["images/a.png", "masks/a.png", "images/b.png", "corrected/b.png"],
    "synthetic": ["images/a.png", "masks/a.png"],
    "msdd3": ["images/training/a.jpg", "annotations/training/a.png"],
    "neu_seg": ["images/test/a.jpg", "annotations/test/a.png"],
    "dagm": [
        "DAGM_KaggleUpload/Class1/Train/1.PNG",
        "DAGM_KaggleUpload/Class1/Train/Label/1_label.PNG",
    ],
    "magnetic_tile": ["MT_Break/Imgs/a.jpg", "MT_Break/Imgs/a.png"],
    "mvtec": [
        "train/good/a.png",
        "test/good/b.png",
        "test/scratch/c.png",
        "test/dent/d.png",
        "ground_truth/scratch/c_mask.png",
    ],
}
"""Files of each layout, which between them lie in every folder that it reads."""

FOLDERS = sorted(
    {
        (name, folder.as_posix())
        for name, files in LAYOUTS.items()
        for file in files
        for folder in list(Path(file).parents)[:-1]
    }
)


def test_every_adapter_has_its_layout_here() -> None:
    assert LAYOUTS.keys() == set(adapter_names())


@pytest.mark.parametrize(("name", "folder"), FOLDERS)
def test_a_link_in_the_place_of_any_folder_is_refused(
    tmp_path: Path, name: str, folder: str
) -> None:
    root = tmp_path / "raw"
    for file in LAYOUTS[name]:
        draw(root / file)
    chosen = settings(name)
    if name == "mvtec":
        chosen = settings(name, classes=["background", "dent", "scratch"])
    assert load_samples(root, chosen)
    (root / folder).rename(tmp_path / "elsewhere")
    (root / folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{folder} is a link to another folder"):
        load_samples(root, chosen)


@pytest.mark.parametrize("folder", ["annotations", "corrected"])
def test_a_link_that_holds_nothing_yet_is_refused(tmp_path: Path, folder: str) -> None:
    draw(tmp_path / "raw/images/a.png")
    draw(tmp_path / "raw/masks/a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "raw/notes").symlink_to(tmp_path / "empty")
    assert list(read(tmp_path / "raw", "folder")) == ["a"], "what no layout reads may be a link"
    (tmp_path / "raw" / folder).symlink_to(tmp_path / "empty")
    with pytest.raises(InputError, match=f"{folder} is a link to another folder"):
        read(tmp_path / "raw", "folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
@pytest.mark.parametrize("name", ["images/b.png", "masks/a.tif", "images/.hidden", "notes/x.txt"])
def test_a_pipe_is_named_before_anybody_waits_for_it(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "images/a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"pipes, sockets or devices.*remove .*{name}"):
        read(tmp_path, "folder")


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    draw(tmp_path / "images" / (unicodedata.normalize("NFD", "übel") + ".png"))
    draw(tmp_path / "masks" / (unicodedata.normalize("NFC", "übel") + ".png"), [0, 1] * 3)
    found = read(tmp_path, "folder")
    assert list(found) == [unicodedata.normalize("NFC", "übel")]
    assert found["übel"][1] == {0, 1}


def test_notes_beside_the_folders_of_dagm_are_left_alone(tmp_path: Path) -> None:
    draw(tmp_path / "Class1/Train/0001.PNG")
    (tmp_path / "Class_notes.txt").write_text("mine", encoding="utf-8")
    assert list(read(tmp_path, "dagm")) == ["Class1/Train/0001"]


def test_a_one_bit_mask_is_black_and_white_to_a_threshold(tmp_path: Path) -> None:
    draw(tmp_path / "MT_Break/Imgs/a.jpg")
    shape = Image.open(tmp_path / "MT_Break/Imgs/a.jpg").size
    white = Image.new("L", shape, 255).convert("1")
    white.save(tmp_path / "MT_Break/Imgs/a.png")
    assert read(tmp_path, "magnetic_tile")["MT_Break/a"][1] == {2}


def test_synthetic_has_the_layout_of_folder_with_its_own_classes(tmp_path: Path) -> None:
    draw(tmp_path / "images/0001.png")
    draw(tmp_path / "masks/0001.png", [0, 1, 2, 3, 4, 0])
    assert read(tmp_path, "synthetic") == {"0001": (None, {0, 1, 2, 3, 4})}
    assert dataset_info(settings("synthetic")).classes[1:] == (
        "pore",
        "scratch",
        "stain",
        "edge_break",
    )


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("folder", ["images/a.jpg", "images/a.png"]),
        ("folder", ["images/a.png", "masks/a.png", "masks/a.bmp"]),
        ("synthetic", ["images/b/a.png", "images/b/a.tif"]),
        ("neu_seg", ["images/test/1.jpg", "images/test/1.JPEG"]),
        ("msdd3", ["images/training/1.jpg", "images/training/1.png"]),
        ("magnetic_tile", ["MT_Crack/Imgs/a.jpg", "MT_Crack/Imgs/a.jpeg"]),
        ("dagm", ["Class1/Test/1.PNG", "Class1/Test/1.png"]),
    ],
)
def test_a_file_name_twice_is_refused(tmp_path: Path, name: str, files: list[str]) -> None:
    for file in files:
        draw(tmp_path / file)
    with pytest.raises(InputError, match="file name twice"):
        read(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("folder", "masks/b.png"),
        ("synthetic", "masks/b.png"),
        ("neu_seg", "annotations/training/b.png"),
        ("msdd3", "annotations/validation/b.png"),
    ],
)
def test_a_mask_without_image_is_refused(tmp_path: Path, name: str, mask: str) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / mask)
    with pytest.raises(InputError, match=r"b\.png has no image"):
        read(tmp_path, name)


def test_a_jpeg_mask_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png")
    draw(tmp_path / "masks/a.jpg")
    with pytest.raises(InputError, match="save masks as PNG"):
        read(tmp_path, "folder")


@pytest.mark.parametrize("name", adapter_names())
def test_missing_and_empty_folders_name_the_layout_and_the_default(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="does not exist") as missing:
        load_samples(tmp_path / "absent", settings(name))
    with pytest.raises(InputError, match="holds no image") as empty:
        load_samples(tmp_path, settings(name))
    for message in str(missing.value), str(empty.value):
        assert load_adapter(name).LAYOUT in message
        assert "data.root" in message
        assert "`data.name: synthetic`" in message
        assert "`data.root: data/raw/synthetic`" in message


def test_unknown_data_set_lists_the_known_ones() -> None:
    section = {"name": "mtd", "root": "x", "mask_threshold": 128, "classes": []}
    with pytest.raises(InputError, match=r"data\.name.*'mtd'.*dagm, folder, magnetic_tile"):
        check("data", section, DataSettings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask_threshold": 0},
        {"mask_threshold": 256},
        {"mask_threshold": 1.5},
        {"root": ""},
        {"classes": ["background"]},
        {"classes": ["background", "a", "a"]},
        {"classes": ["background", " "]},
        {"classes": [str(number) for number in range(256)]},
        {"stray": 1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings("folder", **wrong)


def test_classes_are_for_data_sets_without_their_own() -> None:
    with pytest.raises(InputError, match=r"neu_seg has classes of its own.*classes: \[\]"):
        dataset_info(settings("neu_seg", classes=["background", "scratch"]))
    with pytest.raises(InputError, match=r"data\.classes is empty.*background first"):
        dataset_info(settings("folder", classes=[]))


def test_colours_differ_and_extend() -> None:
    colours = distinct_colours(255)
    assert len(set(colours)) == 255
    assert (255, 255, 255) not in colours
    assert distinct_colours(7) == colours[:7]


def test_magnetic_tile_as_published() -> None:
    root = os.environ.get("PPL_MTD")
    if not root:
        pytest.skip("set PPL_MTD to the published magnetic tile folder to check the real files")
    samples = load_samples(Path(root), settings("magnetic_tile"))
    assert all(sample.annotated and sample.part is None for sample in samples)
    assert Counter(sample.id.split("/")[0] for sample in samples) == {
        "MT_Blowhole": 115,
        "MT_Break": 85,
        "MT_Crack": 57,
        "MT_Fray": 32,
        "MT_Uneven": 103,
        "MT_Free": 952,
    }


def test_masks_that_began_as_a_models_are_never_asked_to_be_renamed(tmp_path: Path) -> None:
    """Without masks/ nothing can be tested on, and corrected/ must not become masks/."""
    for folder in ("images", "corrected"):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / folder / "a.png")
    [sample] = paired_samples(
        tmp_path, images="images", masks="masks", corrected="corrected", parts={}
    )
    assert (sample.annotated, sample.corrected) == (True, True)
