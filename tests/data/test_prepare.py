"""Prepare: what is written is what came, hidden labels stay hidden, bad files are named."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.data.adapters.base import DataSettings, load_adapter, load_samples
from ppl.data.prepare import SetPaths, plan_sets
from ppl.data.scans import shares
from ppl.data.split_settings import SplitSettings
from ppl.images.files import read_image, read_mask
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from stages import prepare as stage

SETS = ("labeled", "validation", "unlabeled", "hidden", "test")
CLASSES = ["background", "scratch", "dent"]


class Workspace:
    """A project folder with raw data in the layout of `folder`, and the stage run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / "raw"
        self.out = folder / "out"
        self.params = {
            "seed": 1,
            "data": {
                "name": "folder",
                "root": "raw",
                "mask_threshold": 128,
                "classes": CLASSES,
                "groups": "own",
                "group_pattern": "",
                "same_part": None,
            },
            "split": {
                "by": "auto",
                "labeled_fraction": "1/2",
                "test_fraction": 0.25,
                "validation_fraction": 0.25,
                "folds": 0,
                "fold": 1,
                "use_published_test": True,
                "lists": "data/lists",
            },
        }
        (folder / "data/lists").mkdir(parents=True)

    def add(self, id: str, *values: int, suffix: str = ".png", masked: bool = True) -> None:
        """An image of its own size and content; its mask shows background and `values`."""
        number = sum(1 for _ in self.raw.rglob("*"))
        height, width = 6 + number % 3, 8
        image = self.raw / "images" / f"{id}{suffix}"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (number, 3, 200)).save(image)
        if masked:
            pixels = np.zeros((height, width), dtype=np.uint8)
            for row, value in enumerate(values):
                pixels[row, :3] = value
            self.add_mask(id, pixels)

    def add_mask(self, id: str, pixels: np.ndarray) -> None:
        mask = self.raw / "masks" / f"{id}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(mask)

    def run(self, lists: str = "data/lists") -> None:
        with (self.folder / "params.yaml").open("w") as stream:
            yaml.safe_dump(self.params, stream)
        paths = SetPaths(
            dataset=self.out / "dataset.json",
            record=self.out / "split.json",
            **{name: self.out / name for name in SETS},
        )
        stage.main(paths, raw=self.raw, lists=self.folder / lists)

    def files(self) -> dict[str, str]:
        """Digest of every file written, by path."""
        return {
            file.relative_to(self.out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(self.out.rglob("*"))
            if file.is_file()
        }

    def ids(self, name: str) -> list[str]:
        return read_image_set(self.out / name).ids


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    made = Workspace(tmp_path)
    for number in range(8):
        made.add(f"line 1/scratch{number}", 1, suffix=".JPG")
        made.add(f"line 2/dent{number}", 2, 255)
        made.add(f"free{number}", suffix=".bmp")
    for number in range(3):
        made.add(f"new{number}", masked=False)
    return made


def test_sets_hold_what_came(workspace: Workspace) -> None:
    workspace.run()
    samples = {
        path.relative_to(workspace.raw / "images").with_suffix("").as_posix(): path
        for path in (workspace.raw / "images").rglob("*.*")
    }
    seen = []
    for name in "labeled", "validation", "unlabeled", "test":
        found = read_image_set(workspace.out / name)
        assert len(found) > 0
        for entry in found.entries:
            seen.append(entry.id)
            copy = found.image_file(entry)
            assert copy.read_bytes() == samples[entry.id].read_bytes()
            assert copy.suffix == copy.suffix.lower()
            assert read_image(copy).shape == (3, entry.height, entry.width)
            if name != "unlabeled":
                published = read_mask(workspace.raw / "masks" / f"{entry.id}.png")
                assert torch.equal(found.mask(entry), published)
    assert sorted(seen) == sorted(samples)
    info = read_dataset_info(workspace.out / "dataset.json")
    assert info.name == "folder"
    assert list(info.classes) == CLASSES


def test_a_plan_writes_nothing_and_decides_all(workspace: Workspace) -> None:
    before = {file: file.stat().st_mtime_ns for file in workspace.folder.rglob("*")}
    plan = plan_sets(
        workspace.raw,
        workspace.folder / "data/lists",
        check("data", workspace.params["data"], DataSettings),
        check("split", workspace.params["split"], SplitSettings),
        seed=1,
    )
    assert {file: file.stat().st_mtime_ns for file in workspace.folder.rglob("*")} == before
    workspace.run()
    for name in "labeled", "validation", "unlabeled", "test":
        assert workspace.ids(name) == list(getattr(plan.split, name))
    assert workspace.ids("hidden") == plan.hidden
    assert read_split_record(workspace.out / "split.json") == plan.record


def test_hidden_labels_never_reach_the_unlabeled_set(workspace: Workspace) -> None:
    workspace.run()
    unlabeled = workspace.ids("unlabeled")
    hidden = workspace.ids("hidden")
    assert hidden == [id for id in unlabeled if not id.startswith("new")]
    assert {child.name for child in (workspace.out / "unlabeled").iterdir()} == {
        "images",
        "index.json",
    }
    assert {child.name for child in (workspace.out / "hidden").iterdir()} == {
        "masks",
        "index.json",
    }
    for entry in read_image_set(workspace.out / "hidden").entries:
        mask = read_image_set(workspace.out / "hidden").mask(entry)
        assert torch.equal(mask, read_mask(workspace.raw / "masks" / f"{entry.id}.png"))


def test_corrected_masks_are_labeled_and_judge_nothing(workspace: Workspace) -> None:
    corrected = {*(f"free{number}" for number in range(8)), "line 2/dent0", "line 2/dent1"}
    for id in corrected:
        target = workspace.raw / "corrected" / f"{id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        (workspace.raw / "masks" / f"{id}.png").rename(target)
    for fraction in ("1/4", "1"):
        workspace.params["split"]["labeled_fraction"] = fraction
        workspace.run()
        assert corrected <= set(workspace.ids("labeled"))
    lists = workspace.folder / "data/lists"
    (lists / "labeled.txt").write_text("scratch0.jpg\ndent2.png\nfree1.bmp\nscratch2.jpg\n")
    (lists / "val.txt").write_text("scratch1.jpg\n")
    workspace.params["split"]["validation_fraction"] = 0.9
    workspace.run()
    assert "free0" in workspace.ids("unlabeled"), "the list does not name it"
    assert "line 2/dent3" in workspace.ids("hidden")
    assert not corrected & {*workspace.ids("hidden"), *workspace.ids("validation")}


def test_the_record_counts_validation_parts_with_a_defect(workspace: Workspace) -> None:
    workspace.params["split"] |= {"labeled_fraction": 1, "validation_fraction": 0.5}
    workspace.run()
    defective = {id for id in workspace.ids("validation") if not id.startswith("free")}
    assert len(defective) > 2
    record = read_split_record(workspace.out / "split.json")
    assert record.defective_validation_parts == len(defective)
    lines = ["image,group"]
    for file in sorted((workspace.raw / "images").rglob("*.*")):
        path = file.relative_to(workspace.raw / "images").as_posix()
        # two scratches or two dents are one part
        lines.append(f"{path},{path[:-5]}{int(path[-5]) // 2}")
    (workspace.raw / "groups.csv").write_text("\n".join(lines))
    workspace.run()
    parts = {(id[:-1], int(id[-1]) // 2) for id in workspace.ids("validation") if "free" not in id}
    assert read_split_record(workspace.out / "split.json").defective_validation_parts == len(parts)


def test_the_index_does_not_tell_whether_an_image_has_a_hidden_mask(workspace: Workspace) -> None:
    workspace.run()
    entries = json.loads((workspace.out / "unlabeled/index.json").read_text())
    assert {tuple(sorted(entry)) for entry in entries} == {("height", "id", "image", "width")}


def test_two_runs_agree_to_the_byte(workspace: Workspace) -> None:
    workspace.run()
    first = workspace.files()
    workspace.run()
    assert workspace.files() == first


def test_a_second_run_leaves_nothing_of_the_first(workspace: Workspace) -> None:
    workspace.params["split"]["labeled_fraction"] = "1/1"
    workspace.run()
    workspace.params["split"]["labeled_fraction"] = "1/4"
    workspace.run()
    for name in "labeled", "validation", "test":
        masks = (workspace.out / name / "masks").rglob("*.png")
        found = {file.relative_to(workspace.out / name / "masks") for file in masks}
        assert {file.with_suffix("").as_posix() for file in found} == set(workspace.ids(name))


def test_a_folder_that_is_no_image_set_is_not_replaced(workspace: Workspace) -> None:
    (workspace.out / "test").mkdir(parents=True)
    (workspace.out / "test/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no prepared image set"):
        workspace.run()
    assert list(workspace.files()) == ["test/thesis.txt"]


def test_an_empty_set_still_has_its_folder(workspace: Workspace) -> None:
    workspace.params["split"]["validation_fraction"] = 0.0
    workspace.params["split"]["labeled_fraction"] = 1
    workspace.run()
    for name in "validation", "hidden":
        assert json.loads((workspace.out / name / "index.json").read_text()) == []
        assert workspace.ids(name) == []


def test_summary_counts_the_sets_and_the_labeled_images_of_each_class(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run()
    lines = capsys.readouterr().out.splitlines()
    labeled = read_image_set(workspace.out / "labeled")
    counts = [
        sum(bool((labeled.mask(entry) == index).any()) for entry in labeled.entries)
        for index in (1, 2)
    ]
    sizes = {name: len(workspace.ids(name)) for name in SETS}
    plan = plan_sets(
        workspace.raw,
        workspace.folder / "data/lists",
        check("data", workspace.params["data"], DataSettings),
        check("split", workspace.params["split"], SplitSettings),
        seed=workspace.params["seed"],
    )
    assert lines == [
        f"folder, split by image: labeled {sizes['labeled']} "
        f"(images with scratch {counts[0]}, dent {counts[1]}), "
        f"validation {sizes['validation']}, unlabeled {sizes['unlabeled']} "
        f"(masks hidden: {sizes['hidden']}), test {sizes['test']}",
        shares(plan.scans, plan.info),
    ]


def test_a_class_without_labeled_pixel_is_warned_of(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.params["data"]["classes"] = [*CLASSES, "rust"]
    workspace.run()
    messages = capsys.readouterr().err.splitlines()
    warnings = [line for line in messages if line.startswith("prepare: ")]
    assert "warning: no labeled image shows rust" in warnings[0]
    assert "warning: no test image shows rust" in warnings[1]


def test_notes_on_lists_are_printed(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = workspace.folder / "data/lists"
    (lists / "labeled.txt").write_text("scratch0.jpg\ndent0.png\nfree0.bmp\nfree0.bmp\n")
    (lists / "unlabeled.txt").write_text("new0.png\nfree0.bmp\n")
    (lists / "val.txt").write_text("dent1.png\n")
    workspace.run()
    messages = capsys.readouterr().err
    assert "names 1 images again" in messages
    assert "e.g. free0: they count as labeled only" in messages
    assert "22 images are in no list" in messages
    assert workspace.ids("unlabeled") == ["new0"]
    assert workspace.ids("test") == ["line 2/dent1"]


def assert_refused(workspace: Workspace, expected: str) -> str:
    with pytest.raises(InputError, match=expected) as error:
        workspace.run()
    assert not workspace.out.exists(), "nothing is written on an error"
    return str(error.value)


def test_image_and_mask_of_different_sizes(workspace: Workspace) -> None:
    workspace.add("odd", masked=False)
    workspace.add_mask("odd", np.zeros((5, 9), dtype=np.uint8))
    message = assert_refused(workspace, r"odd\.png has 8 x \d pixels")
    assert "has 9 x 5" in message


def test_mask_value_outside_the_classes(workspace: Workspace) -> None:
    workspace.add("odd", 9)
    assert_refused(
        workspace,
        r"odd\.png holds class 9, but there are 3 classes \(0-2\): correct the mask or data",
    )


def test_truncated_image(workspace: Workspace) -> None:
    file = workspace.raw / "images/line 1/scratch0.JPG"
    file.write_bytes(file.read_bytes()[:-150])
    assert_refused(workspace, r"image .*scratch0\.JPG cannot be read")


def test_unreadable_mask(workspace: Workspace) -> None:
    (workspace.raw / "masks/free0.png").write_bytes(b"no image")
    assert_refused(workspace, r"mask .*free0\.png cannot be read")


def test_colour_mask(workspace: Workspace) -> None:
    Image.new("RGB", (8, 6), (255, 0, 0)).save(workspace.raw / "masks/free0.png")
    assert_refused(workspace, r"free0\.png has pixel format RGB")


def test_up_to_ten_errors_are_named_at_once(workspace: Workspace) -> None:
    for number in range(6):
        (workspace.raw / f"images/free{number}.bmp").write_bytes(b"no image")
        (workspace.raw / f"images/line 2/dent{number}.png").write_bytes(b"")
    lines = assert_refused(workspace, "cannot be read").splitlines()
    assert len(lines) == 11
    assert lines[-1] == "... and 2 more"


def test_masks_of_0_and_255_are_refused(workspace: Workspace) -> None:
    for mask in (workspace.raw / "masks").rglob("*.png"):
        Image.open(mask).point(lambda value: 255 if value else 0).save(mask)
    assert_refused(workspace, "hold 0 and 255 .*is 1, not 255")


def test_masks_without_any_defect_are_refused(workspace: Workspace) -> None:
    for mask in (workspace.raw / "masks").rglob("*.png"):
        Image.open(mask).point(lambda _: 0).save(mask)
    assert_refused(workspace, "hold background alone")


def test_no_unlabeled_image(workspace: Workspace) -> None:
    for number in range(3):
        (workspace.raw / f"images/new{number}.png").unlink()
    workspace.params["split"]["labeled_fraction"] = 1
    assert_refused(workspace, r"no image is left unlabeled.*lower split\.labeled_fraction")


def test_no_test_image(workspace: Workspace) -> None:
    workspace.params["split"]["test_fraction"] = 0.0
    assert_refused(workspace, r"there is no test image: set split\.test_fraction")


def test_no_mask_at_all(workspace: Workspace) -> None:
    for mask in (workspace.raw / "masks").rglob("*.png"):
        mask.unlink()
    said = assert_refused(workspace, "none of the 27 images has a mask")
    assert re.search(r"that of images/(.*)\.\w+ was looked for at masks/\1\.png, below data", said)


def test_missing_data(workspace: Workspace) -> None:
    workspace.raw = workspace.folder / "absent"
    assert_refused(workspace, "does not exist.*`data.name: synthetic`")


def test_dagm_images_without_label_file_get_empty_masks(workspace: Workspace) -> None:
    workspace.raw = workspace.folder / "dagm"
    workspace.params["data"] |= {"name": "dagm", "classes": []}
    for part in "Train", "Test":
        folder = workspace.raw / f"Class2/{part}"
        (folder / "Label").mkdir(parents=True)
        for number in range(6):
            Image.new("L", (8, 5), number).save(folder / f"{number}.PNG")
        Image.new("L", (8, 5), 255).save(folder / "Label/0_label.PNG")
    workspace.run()
    found = read_image_set(workspace.out / "test")
    assert [int(found.mask(entry).max()) for entry in found.entries] == [2, 0, 0, 0, 0, 0]
    assert len(workspace.ids("hidden")) == len(workspace.ids("unlabeled")) > 0


def test_magnetic_tiles_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = os.environ.get("PPL_MTD")
    if not root:
        pytest.skip("set PPL_MTD to the published magnetic tile folder to check the real files")
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path)
    # a few real tiles of each class: all of them would take the time of the other tests together
    data = DataSettings(
        name="magnetic_tile",
        root=root,
        mask_threshold=128,
        classes=[],
        groups="own",
        group_pattern="",
        same_part=0.9,
    )
    samples = load_samples(Path(root), data)
    for sample in samples[::20]:
        target = workspace.raw / sample.image.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(sample.image.resolve())
        assert sample.mask is not None
        target.with_suffix(".png").symlink_to(sample.mask.resolve())
    workspace.params["data"] |= {"name": "magnetic_tile", "classes": []}
    # every twentieth photo: too few parts to split them by part
    workspace.params["split"]["by"] = "image"
    workspace.run()
    adapter = load_adapter("magnetic_tile")
    by_id = {sample.id: sample for sample in samples}
    for name in "labeled", "hidden", "test":
        found = read_image_set(workspace.out / name)
        for entry in found.entries:
            assert torch.equal(found.mask(entry), adapter.read_mask(by_id[entry.id], data).values)
    assert sum(len(workspace.ids(name)) for name in SETS if name != "hidden") == 68
