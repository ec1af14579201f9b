"""Files of LabelMe and COCO beside the images are masks, as `annotate in` would write them."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from ppl.__main__ import main
from ppl.data import tool_files
from ppl.data.adapters.base import Sample, annotated_ids, load_adapter, load_samples
from ppl.formats import source
from ppl.images.files import read_stored_mask
from ppl.tools.raw_counts import mask_values
from ppl.tools.review import _masks_of
from tests.data.test_scans import CLASSES, SIZE, Parts, parts
from tests.pipeline.project import ROOT

__all__ = ["parts"]

HEIGHT, WIDTH = SIZE
BOX = [[2, 3], [9, 3], [9, 8], [2, 8]]


def shape(points: Any = BOX, kind: str = "polygon", label: str = "dent", **more: Any) -> Any:
    return {"label": label, "points": points, "shape_type": kind, **more}


def labelme(file: Path, *shapes: Any, **more: Any) -> Path:
    content = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imageData": None}
    content |= {"imagePath": f"{file.stem}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content | more), encoding="utf-8")
    return file


def packed(inside: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8) * 255).convert("1").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def coco(file: Path, names: list[str], *objects: Any, **more: Any) -> Path:
    content = {
        "images": [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": 7, "name": "dent"}, {"id": 9, "name": "scratch"}],
        "annotations": [{"category_id": 7, **each} for each in objects],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content | more), encoding="utf-8")
    return file


def rle(**changes: Any) -> dict[str, Any]:
    return {"image_id": 0, "segmentation": {"size": [*SIZE], "counts": [5, 20, 743]} | changes}


def found(parts: Parts) -> dict[str, Sample]:
    return {one.id: one for one in load_samples(parts.root, parts.settings())}


def mask_of(parts: Parts, id: str) -> np.ndarray:
    return load_adapter("folder").read_mask(found(parts)[id], parts.settings()).values.numpy()


def bare(parts: Parts) -> Path:
    """The folder of images, none of which has a mask."""
    for file in (parts.root / "masks").iterdir():
        file.unlink()
    (parts.root / "masks").rmdir()
    return parts.root / "images"


@pytest.fixture
def project(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The same with a params.yaml, for commands."""
    monkeypatch.chdir(parts.root.parent)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": "folder", "root": str(parts.root), "classes": CLASSES}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return parts


def call(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(map(str, words)), prog_name="python -m ppl")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def random_shape(draws: np.random.Generator) -> Any:
    label = str(draws.choice([*CLASSES, "__ignore__"]))
    kind = str(draws.choice(["polygon", "rectangle", "circle", "mask"]))
    points = draws.uniform([-4, -4], [WIDTH + 4, HEIGHT + 4], (int(draws.integers(3, 9)), 2))
    if kind != "mask":
        return shape((points if kind == "polygon" else points[:2]).tolist(), kind, label)
    left, top = int(draws.integers(0, WIDTH - 5)), int(draws.integers(0, HEIGHT - 5))
    inside = draws.random((4, 5)) < 0.6
    return shape([[left, top], [left + 4, top + 3]], kind, label, mask=packed(inside))


def test_shapes_beside_an_image_are_the_mask_that_annotate_in_writes(project: Parts) -> None:
    images = bare(project)
    draws = np.random.default_rng(0)
    drawn = {}
    for id in sorted(file.stem for file in images.iterdir()):
        some = [random_shape(draws) for _ in range(draws.integers(1, 5))]
        labelme(Path("back", f"{id}.json"), shape(), *some)
        drawn[id] = (Path("back", f"{id}.json").read_bytes(), some)
    status, said = call("annotate", "in", "labelme", "back", "--drawn")
    assert status == 0, said
    masks = project.root / "masks"
    written = {file.stem: read_stored_mask(file).values.numpy() for file in masks.iterdir()}
    assert written.keys() == drawn.keys()
    bare(project)
    for id, (content, _) in drawn.items():
        (images / f"{id}.json").write_bytes(content)
    assert all(np.array_equal(mask_of(project, id), written[id]) for id in drawn)
    assert len({mask.tobytes() for mask in written.values()}) == len(written)


def test_a_run_takes_them_with_no_other_step(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    images = bare(parts)
    for number in range(9):
        labelme(images / f"im{number:02}.json", *[shape(label=CLASSES[number % 3])] * (number > 0))
    labelme(images / "im05.json", shape([[-9, -9], [9, -9], [9, 9]], label="Dent "))
    plan = parts.run()
    assert {id for id, one in plan.samples.items() if one.annotated} == {
        f"im{number:02}" for number in range(9)
    }
    said = capsys.readouterr().err
    assert "1 masks: an object leaves the image: cut off at its border: im05" in said
    assert "1 masks: class 'Dent ' taken for dent: im05" in said
    assert "1 masks: a file of a tool shows no object, which makes the image sound: im00" in said
    assert "not read" not in said
    assert plan.scans["im00"].values == {0}
    assert plan.scans["im04"].values == {0, 1}


@pytest.mark.parametrize(
    "place",
    [
        "annotations.json",
        "instances_default.json",
        "annotations/instances_default.json",
        "images/_annotations.coco.json",
        "images/instances.json",
    ],
)
def test_what_coco_does_not_list_is_unlabeled(place: str, parts: Parts) -> None:
    bare(parts)
    box = {"image_id": 1, "segmentation": [[2, 3, 9, 3, 9, 8, 2, 8]]}
    coco(parts.root / place, ["im00.png", "images/im01.png", "x/im02.png"], rle(), box)
    samples = found(parts)
    assert {id for id, one in samples.items() if one.annotated} == {"im00", "im01", "im02"}
    marked = np.zeros(HEIGHT * WIDTH, dtype=np.uint8)
    marked[5:25] = 2
    assert np.array_equal(mask_of(parts, "im00"), marked.reshape(WIDTH, HEIGHT).T)
    assert mask_of(parts, "im01").sum() == 2 * 7 * 5
    assert not mask_of(parts, "im02").any()
    assert parts.root / place not in load_unread(parts)


def load_unread(parts: Parts) -> list[Path]:
    from ppl.data.adapters.base import unread_files

    return unread_files(parts.root / "images", list(found(parts).values()))


@pytest.mark.parametrize(
    ("shapes", "more", "said"),
    [
        ([shape(label="rust")], {}, "class 'rust' is none of background, scratch, dent"),
        ([shape(kind="line")], {}, "shape 'line' has no area"),
        ([shape([[1, 1], [2, 2]])], {}, "a polygon has 2 points"),
        ([shape([[0, 0], [1, 1]], "mask", mask="xx")], {}, "a mask holds no PNG"),
        ([], {"imageHeight": 9}, "annotated at 32 x 9, but the image is 32 x 24"),
        ([], {"shapes": 3}, "it is not as expected: shapes"),
        ([], {"imagePath": "im01.png"}, r"says that it is of 'im01\.png'"),
        ([], {"began_as_model": True}, "went out with a model's mask"),
    ],
)
def test_a_file_of_labelme_that_is_wrong_is_named(
    shapes: list[Any], more: dict[str, Any], said: str, parts: Parts
) -> None:
    (parts.root / "masks/im00.png").unlink()
    file = labelme(parts.root / "images/im00.json", *shapes, **more)
    line = parts.refused(said)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line


def test_a_file_that_was_renamed_with_its_image_counts(parts: Parts) -> None:
    (parts.root / "masks/im00.png").unlink()
    for path in ("before.png", "../elsewhere/before.png", "C:\\before.png", "x" * 5000, "\0"):
        labelme(parts.root / "images/im00.json", shape(), imagePath=path)
        assert mask_of(parts, "im00").any(), path


def write(text: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(text) and None


@pytest.mark.parametrize("content", [b"", b'{"version": "5.', b'{"shapes": [', b"\xff\xfe{"])
def test_a_file_that_is_cut_short_makes_no_image_unlabeled(content: bytes, parts: Parts) -> None:
    (parts.root / "masks/im00.png").unlink()
    (parts.root / "images/im00.json").write_bytes(content)
    assert "images/im00.json: im00.json is cut short or no JSON" in parts.refused("im00")


def test_a_file_that_the_system_does_not_give_is_named(parts: Parts) -> None:
    (parts.root / "masks/im00.png").unlink()
    file = parts.root / "images/im00.json"
    file.symlink_to("gone.json")
    assert str(file) in parts.refused(r"im00\.json cannot be read \(No such file")
    file.unlink()
    (parts.root / "annotations.json").symlink_to("gone.json")
    assert not found(parts)["im00"].annotated


def test_a_file_of_200_megabytes_is_refused_unread(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (parts.root / "masks/im00.png").unlink()
    file = parts.root / "images/im00.json"
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    parts.refused(r"images/im00\.json: im00\.json has 200 MB, more than 100")
    file.rename(parts.root / "instances.json")
    parts.refused(r"parts/instances\.json: instances\.json has 200 MB, more than 100")


def test_large_files_are_read_one_at_a_time(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_files, "_LARGE", 10)
    read, inside, most = source.read_json, 0, 0

    def counted(file: Path, name: str) -> Any:
        nonlocal inside, most
        inside, most = inside + 1, max(most, inside + 1)
        try:
            return read(file, name)
        finally:
            inside -= 1

    monkeypatch.setattr("ppl.formats.labelme.read_json", counted)
    for file in bare(parts).glob("im0?.png"):
        labelme(file.with_suffix(".json"), shape(), shape(label="scratch"))
    parts.run()
    assert most == 1


def test_an_image_has_one_mask(parts: Parts) -> None:
    file = labelme(parts.root / "images/im00.json", shape())
    said = parts.refused("image im00 has two masks")
    assert str(file) in said
    assert str(parts.root / "masks/im00.png") in said
    (parts.root / "masks/im00.png").unlink()
    listed = coco(parts.root / "annotations.json", ["im00.png"], rle())
    said = parts.refused("image im00 has two masks")
    assert str(file) in said
    assert str(listed) in said
    file.unlink()
    parts.run()
    coco(parts.root / "annotations.json", ["im00.png", "im03.png"], rle())
    said = parts.refused("image im03 has two masks")
    coco(parts.root / "instances.json", [])
    assert "2 files of COCO" in parts.refused("one has to list all images")


def test_a_file_without_its_image_is_named(parts: Parts) -> None:
    labelme(parts.root / "images/day/gone.json", shape())
    parts.refused(r"images/day/gone\.json, a file of LabelMe, has no image .*images/day/gone")


def test_what_a_camera_leaves_beside_an_image_is_no_mask(parts: Parts) -> None:
    (parts.root / "images/im12.json").write_text('{"exposure": 3}', encoding="utf-8")
    (parts.root / "images/im00.json").write_text("[1, 2]", encoding="utf-8")
    (parts.root / "images/settings.json").write_text("{}", encoding="utf-8")
    (parts.root / "images/log.json").write_text("{}\n{}\n", encoding="utf-8")
    plan = parts.run()
    assert not plan.samples["im12"].annotated


@pytest.mark.parametrize(
    ("images", "objects", "more", "said"),
    [
        (["im00.png"], [], {"images": 3}, "is not as expected: images"),
        (["im00.png", "gone.png"], [], {}, "image gone.png: no image below .* has this name"),
        (["../im00.png"], [], {}, r"image \.\./im00\.png: the path .* leads out of the images"),
        (["\ud800\n.png"], [], {}, r"image \\ud800\\n\.png: no image"),
        (["im00.png", "im00.PNG"], [], {}, "lists image im00 twice: keep one entry"),
        (["im00.png"], [{"image_id": 4}], {}, "annotation 1 is of image '4', which is not listed"),
        (["im00.png"], [rle() | {"category_id": 1}], {}, "image im00: category 1 is not listed"),
        (["im00.png"], [rle(size=[9, 9])], {}, r"image im00: run lengths are of size \[9, 9\]"),
        (["im00.png"], [rle(counts=[3])], {}, "image im00: run lengths do not fill"),
        (["im00.png"], [{"image_id": 0}], {}, "image im00: an object has a box alone"),
        (["im00.png"], [], {"began_as_model": True}, "went out with masks of a model"),
    ],
)
def test_a_file_of_coco_that_is_wrong_is_named(
    images: list[str], objects: list[Any], more: dict[str, Any], said: str, parts: Parts
) -> None:
    (parts.root / "masks/im00.png").unlink()
    file = coco(parts.root / "annotations.json", images, *objects, **more)
    line = parts.refused(said)
    assert line.startswith(str(file))
    assert "\n" not in line


def test_masks_that_are_white_mean_what_they_did(parts: Parts) -> None:
    parts.changes = {"classes": ["background", "scratch"]}
    parts.draw_masks(lambda number, mask: (mask > 0).astype(np.uint8) * 255)
    before = parts.run().scans["im04"].values
    assert before == {0, 1}
    ignored = shape([[0, 0], [3, 0], [3, 3]], label="__ignore__")
    labelme(parts.root / "images/im12.json", shape(label="scratch"), ignored)
    plan = parts.run()
    assert plan.scans["im04"].values == before
    assert plan.scans["im12"].values == {0, 1, 255}


def test_commands_see_what_is_annotated(project: Parts) -> None:
    file = labelme(project.root / "images/im12.json", shape())
    coco(project.root / "annotations.json", ["im13.png"], rle())
    settings = project.settings()
    assert {"im12", "im13"} <= annotated_ids(settings)
    values = mask_values(list(found(project).values())[-2:], settings)
    assert values == {"im12": {0, 2}, "im13": {0, 2}}
    labelme(Path("back/im12.json"), shape())
    labelme(Path("back/im13.json"), shape())
    status, said = call("annotate", "in", "labelme", "back", "--drawn", "--replace")
    assert status == 3
    assert "as it is     1  im12.png" in said
    assert f"has a mask in {project.root}/annotations.json already: correct it there" in said
    labelme(Path("back/im12.json"), shape(label="scratch"))
    status, said = call("annotate", "in", "labelme", "back", "--replace")
    assert status == 3
    assert f"has a mask in {file} already: correct it there" in said
    assert not (project.root / "corrected").exists()
    assert list(_masks_of(project.root, "", "im12")) == [file]


def test_what_went_out_does_not_come_back_as_drawn_by_itself(project: Parts) -> None:
    for folder in (project.root, project.root / "annotations", project.root / "images"):
        status, said = call("annotate", "out", "coco", folder)
        assert (status, "before anybody looked" in said) == (1, True)
