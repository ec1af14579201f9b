"""What tools, people and accidents put into files is refused in a line, or taken and said."""

import base64
import contextlib
import io
import json
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.formats import brush_rle, coco_rle, source
from ppl.formats.base import Item, Painted
from ppl.formats.files import whole
from ppl.formats.known import FORMATS
from tests.formats.masks import NAMES, SHAPES, drawn, items

SIZE = (4, 6)
BOX = [1, 1, 3, 1, 3, 3, 1, 3]


def wide(rle: dict[str, Any]) -> dict[str, Any]:
    return {"segmentation": rle, "category_id": 1}


def coco(file: Path, *objects: dict[str, Any], **changes: Any) -> Path:
    """A COCO file of one image."""
    content = {
        "images": [{"id": 7, "file_name": "x.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "dent"}, {"id": 2, "name": "fine crack"}],
        "annotations": [{"image_id": 7, **each} for each in objects],
    }
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return file


def labelme(file: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    """A LabelMe file."""
    content = {"shapes": list(shapes), "imagePath": "x.jpg", "imageHeight": 4, "imageWidth": 6}
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return file


def shape(points: Any = ((1, 1), (3, 1), (3, 3), (1, 3)), **changes: Any) -> dict[str, Any]:
    return {"label": "dent", "points": points, "shape_type": "polygon", **changes}


def region(value: dict[str, Any], kind: str = "brushlabels", **changes: Any) -> dict[str, Any]:
    value = {kind: ["dent"], **value}
    return {"type": kind, "value": value, "original_width": 6, "original_height": 4, **changes}


def studio(file: Path, *regions: Any, **changes: Any) -> Path:
    """An export of Label Studio of one task."""
    task = {"data": {"image": "/data/upload/1/x.jpg"}, "annotations": [{"result": list(regions)}]}
    file.write_text(json.dumps([{**task, **changes}]), encoding="utf-8")
    return file


def only(format: str, path: Path) -> Painted:
    """The one image that a file is of."""
    [found] = FORMATS[format].read(path, NAMES)
    return found.paint(SIZE)


def refused(format: str, path: Path, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        only(format, path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


NAN, FAR = float("nan"), 1e300

POLYGONS: list[tuple[Any, str]] = [
    ([1, 1, 3, 1], "2 points"),
    ([1, 1, 3], "no list of x and y"),
    ([1, 1, 3, 1, NAN, 3], "no number"),
    ([1, 1, 3, 1, float("inf"), 3], "no number"),
    ([1, 1, 3, 1, FAR, 3], "million"),
    ([1, 1, 3, 1, -FAR, 3], "million"),
    ([1, 1, 3, 1, 10**400, 3], "no numbers|no number"),
    (["a", "b"], "no numbers"),
    ([1, 1, 3, [1], 2, 3], "no numbers"),
    ({"x": 1}, "no numbers"),
]


@pytest.mark.parametrize(("points", "said"), POLYGONS)
def test_coordinates_that_are_none_are_refused(points: Any, said: str, tmp_path: Path) -> None:
    refused("coco", coco(tmp_path / "c.json", wide([points])), said)
    if isinstance(points, list) and len(points) % 2 == 0:
        pairs = [points[i : i + 2] for i in range(0, len(points), 2)]
        refused("labelme", labelme(tmp_path / "x.json", shape(pairs)), said)
        value = {"points": pairs}
        refused("label-studio", studio(tmp_path / "s.json", region(value, "polygonlabels")), said)


def test_a_polygon_that_leaves_the_image_is_cut_off_and_said(tmp_path: Path) -> None:
    outside = [-50, 1, 3, 1, 3, 900_000, -50, 900_000]
    found = only("coco", coco(tmp_path / "c.json", wide([outside])))
    assert np.array_equal(found.mask, drawn("......", "111...", "111...", "111..."))
    assert found.notes == ("an object leaves the image: cut off at its border",)
    beyond = only("coco", coco(tmp_path / "c.json", wide([[10, 10, 20, 10, 20, 20]])))
    assert not beyond.mask.any()
    assert beyond.notes
    assert only("coco", coco(tmp_path / "c.json", wide([[0, 0, 6.4, 0, 6.4, 4]]))).notes == ()


def test_an_intricate_polygon_takes_no_hours(tmp_path: Path) -> None:
    zigzag = [[x % 2, 900_000 * (x % 2)] for x in range(20_000)]
    [found] = FORMATS["labelme"].read(labelme(tmp_path / "x.json", shape(zigzag)), NAMES)
    with pytest.raises(InputError, match="too intricate"):
        found.paint((16_384, 16_384))


def test_later_objects_lie_over_earlier_ones_and_that_is_said(tmp_path: Path) -> None:
    below, above = [[0, 0, 4, 0, 4, 4, 0, 4]], [[2, 0, 6, 0, 6, 4, 2, 4]]
    first = {"segmentation": below, "category_id": 1}
    second = {"segmentation": above, "category_id": 2}
    found = only("coco", coco(tmp_path / "c.json", first, second))
    assert np.array_equal(found.mask, np.tile(drawn("112222"), (4, 1)))
    assert found.notes == ("objects of two classes overlap: the later one counts there",)
    found = only("coco", coco(tmp_path / "c.json", second, first))
    assert np.array_equal(found.mask, np.tile(drawn("111122"), (4, 1)))
    same = only("coco", coco(tmp_path / "c.json", first, first))
    assert same.notes == ()


CLASSES: list[tuple[str, int, str]] = [
    ("dent", 1, ""),
    ("Dent", 1, "taken for dent"),
    (" DENT ", 1, "taken for dent"),
    ("Rost & O\u0308l", 3, "taken for Rost"),
    ("background", 0, ""),
    ("_background_", 0, ""),
    ("__ignore__", 255, ""),
]


@pytest.mark.parametrize(("label", "value", "note"), CLASSES)
def test_classes_are_matched_by_name(label: str, value: int, note: str, tmp_path: Path) -> None:
    found = only("labelme", labelme(tmp_path / "x.json", shape(label=label)))
    assert found.mask[2, 2] == value
    assert found.mask[0, 0] == 0
    assert [note] == [word for word in [note] if word in "".join(found.notes)]
    assert bool(found.notes) == bool(note)


@pytest.mark.parametrize("label", ["dents", "", "x" * 5000, "1"])
def test_an_unknown_class_is_refused(label: str, tmp_path: Path) -> None:
    said = "none of background, dent, fine crack"
    refused("labelme", labelme(tmp_path / "x.json", shape(label=label)), said)
    refused(
        "label-studio", studio(tmp_path / "s.json", region({**RLE, "brushlabels": [label]})), said
    )
    categories = [{"id": 1, "name": label}]
    refused("coco", coco(tmp_path / "c.json", wide([BOX]), categories=categories), said)


RLE = {"format": "rle", "rle": brush_rle.encode(np.ones(SIZE, dtype=bool)), "brushlabels": ["dent"]}


def test_a_category_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    refused(
        "coco", coco(tmp_path / "c.json", wide([BOX]), categories=[]), "category 1 is not listed"
    )


RUNS: list[tuple[Any, str]] = [
    ({"size": [6, 4], "counts": [24]}, "size"),
    ({"size": [4, 6], "counts": [23]}, "do not fill"),
    ({"size": [4, 6], "counts": [25]}, "do not fill"),
    ({"size": [4, 6], "counts": [-1, 25]}, "do not fill"),
    ({"size": [4, 6], "counts": [2**62, 2**62, 2**62, 2**62, 24]}, "do not fill"),
    ({"size": [4, 6], "counts": [10**30]}, "whole numbers"),
    ({"size": [4, 6], "counts": [1.5, 22.5]}, "whole numbers"),
    ({"size": [4, 6], "counts": [[24]]}, "whole numbers"),
    ({"size": [4, 6], "counts": None}, "whole numbers"),
    ({"size": [4, 6], "counts": "h"}, "cut short"),
    ({"size": [4, 6], "counts": "h" * 9 + "0"}, "packs none"),
    ({"size": [4, 6], "counts": "\u2603"}, "packs none"),
    ({"counts": [24]}, "size"),
    ("text", "size"),
]


@pytest.mark.parametrize(("runs", "said"), RUNS)
def test_run_lengths_that_are_none_are_refused(runs: Any, said: str, tmp_path: Path) -> None:
    refused("coco", coco(tmp_path / "c.json", wide(runs)), said)


def test_run_lengths_as_a_list_are_read(tmp_path: Path) -> None:
    found = only("coco", coco(tmp_path / "c.json", wide({"size": [4, 6], "counts": [1, 2, 21]})))
    assert np.array_equal(found.mask, drawn("......", "1.....", "1.....", "......"))


def test_damaged_text_never_unpacks_to_another_image() -> None:
    draws = np.random.default_rng(0)
    for _ in range(500):
        text = "".join(map(chr, draws.integers(40, 120, draws.integers(0, 30))))
        try:
            part = coco_rle.decode({"size": [4, 6], "counts": text}, SIZE)
        except InputError:
            continue
        assert part.inside.shape == SIZE


def test_damaged_brushes_never_decode_to_another_image() -> None:
    draws = np.random.default_rng(0)
    whole = brush_rle.encode(SHAPES["a comb on the border"] == 1)
    for _ in range(500):
        bent = list(whole)
        for place in draws.integers(0, len(bent), draws.integers(1, 4)):
            bent[place] = int(draws.integers(0, 256))
        try:
            assert brush_rle.decode(bent[: draws.integers(1, len(bent) + 1)], (2, 7)).shape == (
                2,
                7,
            )
        except InputError:
            continue


@pytest.mark.parametrize("packed", [[], [0], [300], [-1], ["a"], RLE["rle"][:-2]])
def test_brushes_that_are_none_are_refused(packed: Any, tmp_path: Path) -> None:
    refused("label-studio", studio(tmp_path / "s.json", region({"rle": packed})), "brush")


def test_what_label_studio_says_of_an_image_counts(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    result = [region(RLE)]
    kept = {"result": result}
    [found] = FORMATS["label-studio"].read(studio(file, *result, annotations=[]), NAMES)
    assert found.not_annotated == "not annotated in the tool"
    skipped = [{**kept, "was_cancelled": True}]
    [found] = FORMATS["label-studio"].read(studio(file, annotations=skipped), NAMES)
    assert found.not_annotated == "skipped in the tool"
    refused("label-studio", studio(file, annotations=[kept, kept]), "2 annotations")
    chosen = only(
        "label-studio", studio(file, annotations=[kept, {"result": [], "ground_truth": True}])
    )
    assert chosen.empty
    assert (only("label-studio", studio(file, annotations=[*skipped, kept])).mask == 1).all()
    [found] = FORMATS["label-studio"].read(studio(file), NAMES)
    assert found.checked


def test_other_regions_of_label_studio(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    corners = {"x": 50.0, "y": 0.0, "width": 50.0, "height": 50.0, "rotation": 0}
    found = only("label-studio", studio(file, region(corners, "rectanglelabels")))
    assert np.array_equal(found.mask, drawn("...111", "...111", "......", "......"))
    turned = {**corners, "rotation": 90, "width": 100 / 3, "height": 50.0}
    found = only("label-studio", studio(file, region(turned, "rectanglelabels")))
    assert np.array_equal(found.mask, drawn(".11...", ".11...", "......", "......"))
    refused("label-studio", studio(file, region({}, "ellipselabels")), "draw it with the brush")
    refused("label-studio", studio(file, region({}, "keypointlabels")), "draw it with the brush")
    refused("label-studio", studio(file, region({**RLE, "brushlabels": []})), "no label")
    refused("label-studio", studio(file, region({**RLE, "brushlabels": ["a", "b"]})), "or several")
    refused("label-studio", studio(file, region(RLE, image_rotation=90)), "turned in the tool")
    refused("label-studio", studio(file, region(RLE, original_width=4, original_height=6)), "EXIF")
    refused("label-studio", studio(file, region(RLE, original_width=9)), "annotated at 9 x 4")
    brush = {key: value for key, value in RLE.items() if key != "brushlabels"}
    brush = {"type": "brush", "id": "a", "value": brush, "original_width": 6, "original_height": 4}
    labels = {"type": "labels", "id": "a", "value": {"labels": ["fine crack"]}}
    assert (only("label-studio", studio(file, brush, labels)).mask == 2).all()
    for other in [{**labels, "id": "b"}, {"type": "labels", "id": "a"}, {**labels, "value": 3}]:
        refused("label-studio", studio(file, brush, other), "no label")
    choice = {"type": "choices", "value": {"choices": ["bad"]}}
    assert only("label-studio", studio(file, choice)).empty


def test_other_shapes_of_labelme(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    box = labelme(file, shape([[3, 3], [1, 1]], shape_type="rectangle"))
    assert np.array_equal(only("labelme", box).mask, drawn("......", ".11...", ".11...", "......"))
    for kind, corners in {
        "rectangle": [[1, 1], [3, 1], [3, 3], [1, 3]],
        "rotation": [[1, 1], [3, 1], [3, 3], [1, 3]],
        "oriented_rectangle": [[1, 3], [1, 1], [3, 1], [3, 3]],
    }.items():
        turned = labelme(file, shape(corners, shape_type=kind))
        assert np.array_equal(
            only("labelme", turned).mask, drawn("......", ".11...", ".11...", "......")
        )
    refused("labelme", labelme(file, shape([[1, 1]] * 3, shape_type="rectangle")), "3 points")
    circle = labelme(file, shape([[3, 2], [4.2, 2]], shape_type="circle"))
    assert np.array_equal(
        only("labelme", circle).mask, drawn("......", "..11..", "..11..", "......")
    )
    png = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 255]], dtype=np.uint8)).save(png, "PNG")
    packed = base64.b64encode(png.getvalue()).decode()
    drawn_box = shape([[4, 2], [5, 3]], shape_type="mask", mask=packed)
    found = only("labelme", labelme(file, drawn_box))
    assert np.array_equal(found.mask, drawn("......", "......", ".....1", "....11"))
    for points, said in [([[3, 2], [5, 3]], "has a box"), ([[5, 3], [6, 4]], "outside the image")]:
        wrong = shape(points, shape_type="mask", mask=packed)
        refused("labelme", labelme(file, wrong), said)
    broken = shape([[4, 2], [5, 3]], shape_type="mask", mask="nonsense")
    refused("labelme", labelme(file, broken), "no PNG")
    for kind in ("point", "line", "linestrip", "points"):
        refused("labelme", labelme(file, shape([[1, 1], [2, 2]], shape_type=kind)), "has no area")
    refused("labelme", labelme(file, shape([[1, 1]], shape_type="circle")), "points")


WRONG_JSON: list[tuple[str, str]] = [
    ('{"shapes": [', "cut short"),
    ("", "cut short"),
    ("[" * 100_000, "nested too deeply|cut short"),
    ("[]", "not as expected"),
    ("null", "not as expected"),
    ('{"shapes": 3, "images": 3}', "not as expected"),
    ('"\xff"', "not as expected|no list"),
    ('{"a": ' + "1" * 5000 + "}", "no JSON"),
]


@pytest.mark.parametrize(("text", "said"), WRONG_JSON)
@pytest.mark.parametrize("format", ["labelme", "coco", "label-studio"])
def test_json_that_is_something_else_is_refused(
    format: str, text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.json"
    file.write_text(text, encoding="utf-8")
    if format == "label-studio" and text == "[]":
        assert list(FORMATS[format].read(file, NAMES)) == []
        return
    refused(format, file, "is no list of tasks|" + said)


def test_a_large_json_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    tracemalloc.start()
    for format in ("coco", "label-studio"):
        refused(format, file, "x.json has 200 MB, more than 100: export fewer images")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def zipped(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


@pytest.mark.parametrize(
    "name", ["../x.json", "a/../../x.json", "/x.json", "C:\\x.json", "a\\..\\x"]
)
def test_an_archive_whose_paths_lead_out_is_refused(name: str, tmp_path: Path) -> None:
    refused("coco", zipped(tmp_path / "x.zip", **{name: b"{}"}), "leads out of the archive")
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def no_archive(file: Path) -> None:
    file.write_bytes(b"Rar!" * 100)


def long_list(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.rfind(b"PK\x05\x06")
    struct.pack_into("<L", content, place + 12, source.MOST_LISTED + 1)
    file.write_bytes(content)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in range(40, 60):
        content[place] ^= 255
    file.write_bytes(content)


def encrypted(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, no_archive, long_list, flipped, encrypted])
def test_a_damaged_archive_is_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    text = coco(tmp_path / "c.json", wide([BOX])).read_bytes()
    file = zipped(tmp_path / "x.zip", **{"annotations/instances_default.json": text})
    assert only("coco", file).mask[2, 2] == 1
    damage(file)
    refused("coco", file, "x.zip")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_UNPACKED", 1_000_000)
    file = zipped(tmp_path / "x.zip", **{"x.json": b" " * 50_000_000})
    tracemalloc.start()
    refused("coco", file, "more than 1,000,000 bytes")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def cvat(folder: Path, mask: np.ndarray | None, labelmap: str | None, top: str = "") -> Path:
    """An export of CVAT of one image, its mask in colours."""
    members = {f"{top}ImageSets/Segmentation/default.txt": b"x\nsub/y\n"}
    if labelmap is not None:
        members[f"{top}labelmap.txt"] = labelmap.encode()
    png = io.BytesIO()
    if mask is not None:
        Image.fromarray(mask.astype(np.uint8)).save(png, "PNG")
        members[f"{top}SegmentationClass/x.png"] = png.getvalue()
    return zipped(folder / "x.zip", **members)


GREEN = np.zeros((*SIZE, 3), dtype=np.uint8)
GREEN[1:3, 1:3] = (10, 250, 10)
MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndent:9,9,9::\nfine crack:10,250,10::\n"


def test_colours_of_cvat_are_those_of_its_labelmap(tmp_path: Path) -> None:
    listed = list(FORMATS["cvat-mask"].read(cvat(tmp_path, GREEN, MAP, "task/"), NAMES))
    assert [each.name for each in listed] == ["x.png", "sub/y"]
    found = listed[0].paint(SIZE)
    assert np.array_equal(found.mask, drawn("......", ".22...", ".22...", "......"))
    assert not found.empty
    assert listed[1].paint(SIZE).empty


LABELMAPS: list[tuple[str, str]] = [
    (MAP.replace("10,250,10", "1,2,3"), "colour 10,250,10 is not in the labelmap"),
    (MAP.replace("fine crack", "hole"), "class 'hole' is none of"),
    (MAP.replace("9,9,9", "10,250,10"), "two classes the colour"),
    (MAP.replace("9,9,9", "9,9"), "expected name:red,green,blue::"),
    ("nonsense", "expected name:red,green,blue::"),
]


@pytest.mark.parametrize(("labelmap", "said"), LABELMAPS)
def test_labelmaps_that_do_not_fit_are_refused(labelmap: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        next(FORMATS["cvat-mask"].read(cvat(tmp_path, GREEN, labelmap), NAMES)).paint(SIZE)


def test_a_class_that_occurs_in_no_mask_may_be_any(tmp_path: Path) -> None:
    labelmap = MAP + "person:200,0,0::\n"
    found = next(FORMATS["cvat-mask"].read(cvat(tmp_path, GREEN, labelmap), NAMES)).paint(SIZE)
    assert found.mask.max() == 2


def test_without_a_labelmap_the_datas_own_colours_count(tmp_path: Path) -> None:
    own = np.zeros((*SIZE, 3), dtype=np.uint8)
    own[0, 0] = NAMES.colours[3]
    found = next(FORMATS["cvat-mask"].read(cvat(tmp_path, own, None), NAMES)).paint(SIZE)
    assert np.array_equal(found.mask, drawn("3.....", "......", "......", "......"))


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="annotated at 6 x 4, but the image is 4 x 6: the tool did"
    ):
        next(FORMATS["cvat-mask"].read(cvat(tmp_path, GREEN, MAP), NAMES)).paint((6, 4))
    FORMATS["png"].write(tmp_path / "p", items(tmp_path, {"x": SHAPES["full"]}), NAMES)
    with pytest.raises(InputError, match="annotated at 6 x 4, but the image is 8 x 8"):
        next(FORMATS["png"].read(tmp_path / "p", NAMES)).paint((8, 8))


def test_pngs_of_no_class_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.fromarray(np.full(SIZE, 4, dtype=np.uint8)).save(tmp_path / "p" / "x.png")
    refused("png", tmp_path / "p", "holds class 4")
    Image.fromarray(GREEN).save(tmp_path / "p" / "x.png")
    refused("png", tmp_path / "p", "pixel format RGB")


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_there_is_said(format: str, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=r"does not exist|holds (no|0)"):
            list(FORMATS[format].read(path, NAMES))


@pytest.mark.parametrize("format", ["coco", "coco-polygons", "cvat-mask", "label-studio"])
def test_what_went_out_once_is_not_written_over(format: str, tmp_path: Path) -> None:
    some = items(tmp_path, {"x": SHAPES["full"]})
    FORMATS[format].write(tmp_path / "out", some, NAMES)
    with pytest.raises(InputError, match="is there already"):
        FORMATS[format].write(tmp_path / "out", some, NAMES)


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("broken", ["image", "mask", "stopped"])
def test_what_stops_half_way_leaves_no_half_and_can_be_begun_again(
    format: str, broken: str, tmp_path: Path
) -> None:
    some = items(tmp_path, {"x": SHAPES["full"], "y": SHAPES["full"]})

    def stopping() -> Iterator[Item]:
        yield from some
        raise KeyboardInterrupt

    out, last = tmp_path / "out", some[-1]
    assert last.image is not None
    assert last.start is not None
    spoiled = last.image if broken == "image" else last.start
    content = spoiled.read_bytes()
    if broken != "stopped":
        spoiled.write_bytes(b"broken")
    # one that copies masks or images as they are has nothing against them
    with contextlib.suppress(InputError, KeyboardInterrupt):
        FORMATS[format].write(out, stopping() if broken == "stopped" else some, NAMES)
    assert not list(out.rglob(".*"))
    spoiled.write_bytes(content)
    if not (out / "images.zip").exists() and format == "cvat-mask":
        FORMATS[format].write(out, some, NAMES)
        assert (out / "images.zip").exists()


def test_a_file_that_cannot_be_written_leaves_no_half(tmp_path: Path) -> None:
    def fails(half: Path) -> None:
        half.write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        whole(tmp_path / "x", fails)
    assert not list(tmp_path.iterdir())


def test_a_labelme_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    some = items(tmp_path, {"x": SHAPES["full"], "y": None})
    FORMATS["labelme"].write(tmp_path / "out", some, NAMES)
    corrected = tmp_path / "out" / "images" / "x.json"
    corrected.write_text("mine", encoding="utf-8")
    written = FORMATS["labelme"].write(tmp_path / "out", some, NAMES)
    assert (written.files, written.left) == (0, 2)
    assert corrected.read_text(encoding="utf-8") == "mine"
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_mask_of_labelme_is_not_decoded_where_its_box_leaves_the_image(tmp_path: Path) -> None:
    packed = io.BytesIO()
    Image.new("L", (4000, 4000)).save(packed, format="PNG")
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    box = shape([[0, 0], [3999, 3999]], shape_type="mask", mask=text)
    tracemalloc.start()
    refused("labelme", labelme(tmp_path / "x.json", box), "outside the image")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_name_in_an_archive_may_be_longer_than_a_file_system_takes(tmp_path: Path) -> None:
    mask = io.BytesIO()
    Image.new("L", (6, 4)).save(mask, format="PNG")
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.writestr(f"{'x' * 300}.png", mask.getvalue())
    [found] = FORMATS["png"].read(tmp_path / "masks.zip", NAMES)
    assert not found.paint(SIZE).mask.any()


def test_an_address_that_is_none_is_a_name(tmp_path: Path) -> None:
    file = studio(tmp_path / "export.json", data={"image": "http://[x/a.png"})
    [found] = FORMATS["label-studio"].read(file, NAMES)
    assert found.name.endswith("a.png")


@pytest.mark.parametrize(
    ("format", "name"), [("cvat-mask", "labels.json"), ("label-studio", "labeling_config.xml")]
)
def test_a_file_of_somebody_else_is_not_written_over(
    format: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(name)):
        FORMATS[format].write(tmp_path, items(tmp_path / "given", SHAPES), NAMES)
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_an_export_of_cvat_as_coco_is_read_as_it_comes(tmp_path: Path) -> None:
    """One file below annotations/, masks as lists of run lengths, and fields of its own."""
    runs = {"counts": [1, 2, 2, 2, 17], "size": [4, 6]}
    of_tool = {"attributes": {"occluded": False}, "area": 4.0, "bbox": [0.0, 1.0, 2.0, 2.0]}
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "year": ""},
        "categories": [{"id": 1, "name": "dent", "supercategory": ""}],
        "images": [
            {"id": 1, "width": 6, "height": 4, "file_name": "line 1/x.jpg", "coco_url": ""},
            {"id": 2, "width": 6, "height": 4, "file_name": "y.jpg", "date_captured": 0},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": runs}
            | of_tool,
            {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [BOX]},
        ],
    }
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(content))
        archive.writestr("images/default/y.jpg", b"")
    one, other = FORMATS["coco"].read(tmp_path / "task.zip", NAMES)
    assert (one.name, other.name) == ("line 1/x.jpg", "y.jpg")
    assert np.array_equal(one.paint(SIZE).mask, drawn("......", "111...", "111...", "......"))
    assert other.paint(SIZE).empty


def test_an_export_of_label_studio_is_read_as_it_comes(tmp_path: Path) -> None:
    """A model's masks and drafts beside what a person left count for nothing."""
    quarter = [[0, 0], [50, 0], [50, 50], [0, 50]]
    clear = {**RLE, "rle": brush_rle.encode(np.zeros(SIZE, dtype=bool))}
    left = {
        "id": 3,
        "completed_by": 1,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 2.5,
        "prediction": {},
        "result": [
            region(clear, id="a", from_name="brush", to_name="image", origin="manual"),
            region({"points": quarter, "closed": True}, "polygonlabels"),
            {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        ],
    }
    given = {"id": 1, "model_version": "ppl", "score": None, "result": [region(RLE)]}
    export = studio(
        tmp_path / "s.json",
        annotations=[left],
        predictions=[given],
        drafts=[{"result": [region(RLE)]}],
        total_annotations=1,
        meta={},
    )
    found = only("label-studio", export)
    assert np.array_equal(found.mask, drawn("111...", "111...", "......", "......"))


def test_a_file_of_labelme_5_is_read_as_it_comes(tmp_path: Path) -> None:
    """A mask is of 0 and 1 there, and every shape has fields that mean nothing here."""
    png = io.BytesIO()
    Image.fromarray(np.array([[0, 1], [1, 1]], dtype=np.uint8)).save(png, "PNG")
    more = {"group_id": None, "description": "", "flags": {"sure": True}}
    mask = {"shape_type": "mask", "mask": base64.b64encode(png.getvalue()).decode(), **more}
    file = labelme(
        tmp_path / "x.json",
        shape(**more, mask=None),
        shape([[4.0, 2.0], [5.0, 3.0]], label="fine crack", **mask),
        version="5.4.1",
        flags={"blurred": False},
        imageData=None,
    )
    found = only("labelme", file)
    assert np.array_equal(found.mask, drawn("......", ".11...", ".11..2", "....22"))
    [read] = FORMATS["labelme"].read(file, NAMES)
    assert not read.checked
