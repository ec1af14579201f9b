"""What goes out and comes back untouched is the same mask, in every format, whatever its shape."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

from ppl.formats.base import Mask
from ppl.formats.known import FORMATS
from ppl.formats.options import NAMES as FORMAT_NAMES
from ppl.images.pictures import IGNORE
from tests.formats.masks import NAMES, SHAPES, items, painted, random_masks

CASES: dict[str, Mask] = {
    **{f"shapes/{name}": mask for name, mask in SHAPES.items()},
    **{f"random/{number}": mask for number, mask in enumerate(random_masks(60))},
}
SIZES = {name: (mask.shape[0], mask.shape[1]) for name, mask in CASES.items()}


def what_comes_back(format: str, out: Path) -> Path:
    """What a person would name to `in`."""
    return out / "annotations.zip" if format == "cvat-mask" else out


def annotate_all(tasks: Path) -> None:
    """What Label Studio exports where every prediction was submitted as it is."""
    content = json.loads(tasks.read_text(encoding="utf-8"))
    for task in content:
        task["annotations"] = task.pop("predictions")
    tasks.write_text(json.dumps(content), encoding="utf-8")


def test_the_command_line_names_all_formats() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES


@pytest.mark.parametrize("format", FORMATS)
def test_every_mask_comes_back_as_it_went_out(format: str, tmp_path: Path) -> None:
    """Polygons, too: their outlines pass no pixel's centre."""
    out = tmp_path / "out"
    written = FORMATS[format].write(out, items(tmp_path, CASES), NAMES)
    assert written.files == len(CASES)
    if format == "label-studio":
        annotate_all(out / "tasks.json")
    found = painted(FORMATS[format].read, what_comes_back(format, out), SIZES)
    assert found.keys() == CASES.keys()
    for name, mask in CASES.items():
        assert np.array_equal(found[name].mask, mask), name
        assert found[name].notes == (), name


@pytest.mark.parametrize("format", ["labelme", "coco", "coco-polygons", "label-studio"])
def test_no_object_is_told_from_a_mask_of_zeros(format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    FORMATS[format].write(out, items(tmp_path, {"x": SHAPES["empty"]}), NAMES)
    if format == "label-studio":
        annotate_all(out / "tasks.json")
    assert painted(FORMATS[format].read, out, {"x": (5, 7)})["x"].empty
    FORMATS["png"].write(tmp_path / "png", items(tmp_path, {"x": SHAPES["empty"]}), NAMES)
    assert not painted(FORMATS["png"].read, tmp_path / "png", {"x": (5, 7)})["x"].empty


def near_boundary(mask: Mask) -> np.ndarray:
    """Pixels that an edge of a region touches: their centres lie half a pixel from it."""
    padded = np.pad(mask, 1, mode="edge")
    lowest = ndimage.minimum_filter(padded, 3)[1:-1, 1:-1]
    highest = ndimage.maximum_filter(padded, 3)[1:-1, 1:-1]
    border = np.zeros(mask.shape, dtype=bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    return (lowest != highest) | border


def test_cocos_own_reader_finds_the_same_run_lengths(tmp_path: Path) -> None:
    FORMATS["coco"].write(tmp_path / "out", items(tmp_path, CASES), NAMES)
    coco = COCO(tmp_path / "out" / "instances.json")
    for id, image in coco.imgs.items():
        mask = CASES[image["file_name"].removesuffix(".jpg")]
        found = np.zeros_like(mask)
        for annotation in coco.imgToAnns[id]:
            part = coco.annToMask(annotation)
            assert part.sum() == annotation["area"]
            found[part == 1] = annotation["category_id"]
        assert np.array_equal(found, mask)
    names = {each["id"]: each["name"] for each in coco.dataset["categories"]}
    assert names == {1: "dent", 2: "fine crack", 3: "Rost & Öl", IGNORE: "__ignore__"}


def test_cocos_own_polygons_differ_at_boundaries_alone(tmp_path: Path) -> None:
    """Its rule which pixels a polygon holds is another one, and loses thin lines."""
    FORMATS["coco-polygons"].write(tmp_path / "out", items(tmp_path, CASES), NAMES)
    coco = COCO(tmp_path / "out" / "instances.json")
    for id, image in coco.imgs.items():
        mask = CASES[image["file_name"].removesuffix(".jpg")]
        for value in np.unique(mask[mask > 0]).tolist():
            found = np.zeros(mask.shape, dtype=bool)
            for annotation in coco.imgToAnns[id]:
                if annotation["category_id"] == value:
                    found |= coco.annToMask(annotation) == 1
            wrong = found != (mask == value)
            assert not (wrong & ~near_boundary(mask)).any(), image["file_name"]


def test_pillows_polygons_differ_at_boundaries_alone(tmp_path: Path) -> None:
    """It is how LabelMe itself makes a mask of a polygon."""
    FORMATS["labelme"].write(tmp_path / "out", items(tmp_path, CASES), NAMES)
    for name, mask in CASES.items():
        file = tmp_path / "out" / "images" / f"{name}.json"
        shapes = json.loads(file.read_text(encoding="utf-8"))["shapes"]
        for value in np.unique(mask[mask > 0]).tolist():
            picture = Image.new("L", mask.shape[::-1])
            for shape in shapes:
                if shape["label"] == NAMES.name(value):
                    points = [tuple(point) for point in shape["points"]]
                    ImageDraw.Draw(picture).polygon(points, outline=1, fill=1)
            wrong = (np.array(picture) == 1) != (mask == value)
            assert not (wrong & ~near_boundary(mask)).any(), name


def test_pycocotools_packs_the_same_text() -> None:
    from ppl.formats import coco_rle
    from ppl.formats.canvas import Patch

    for mask in random_masks(40, seed=1):
        inside = mask == 1
        ours = coco_rle.encode(Patch(0, 0, inside), inside.shape)
        theirs = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
        assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
        assert np.array_equal(coco_rle.decode(ours, inside.shape).inside, inside)
