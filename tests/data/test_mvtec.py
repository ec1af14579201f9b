"""MVTec AD: good images are sound, the folders of test/ name the classes, masks are white."""

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters import mvtec
from ppl.data.adapters.base import DataSettings, Sample, dataset_info, load_samples
from ppl.data.prepare import SetsPlan, plan_sets, report
from ppl.data.split_settings import SplitSettings

CLASSES = ["background", "broken", "scratch"]


class Category:
    """One category: 6 good images to train, 3 to test, 4 each of two kinds of defect."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "bottle"
        (folder / "lists").mkdir()
        for number in range(6):
            self.draw(f"train/good/{number:03}.png")
        for number in range(3):
            self.draw(f"test/good/{number:03}.png")
        for name in ("scratch", "broken"):
            for number in range(4):
                self.draw(f"test/{name}/{number:03}.png")
                self.draw(f"ground_truth/{name}/{number:03}_mask.png", 255)
        (self.root / "license.txt").write_text("CC BY-NC-SA 4.0")

    def draw(self, path: str, level: int = 0) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((6, 8), dtype=np.uint8)
        pixels[1:3, 2:5] = level
        Image.fromarray(pixels).save(file)
        return file

    def settings(self, **changes: Any) -> DataSettings:
        values: dict[str, Any] = {
            "name": "mvtec",
            "root": str(self.root),
            "mask_threshold": 128,
            "classes": CLASSES,
            "groups": "own",
            "group_pattern": "",
            "same_part": 0.9,
        }
        return DataSettings(**(values | changes))

    def samples(self, **changes: Any) -> dict[str, Sample]:
        return {sample.id: sample for sample in load_samples(self.root, self.settings(**changes))}

    def refused(self, match: str, **changes: Any) -> str:
        with pytest.raises(InputError, match=match) as caught:
            self.samples(**changes)
        return str(caught.value)

    def plan(self) -> SetsPlan:
        split = SplitSettings(
            by="auto",
            labeled_fraction="1/2",
            validation_fraction=0.2,
            test_fraction=0.4,
            folds=0,
            fold=1,
            use_published_test=True,
            lists="data/lists",
        )
        plan = plan_sets(self.root, self.root.parent / "lists", self.settings(), split, seed=3)
        report(plan)
        return plan


@pytest.fixture
def category(tmp_path: Path) -> Category:
    return Category(tmp_path)


def test_good_images_are_annotated_and_the_folders_name_the_rest(category: Category) -> None:
    found = category.samples()
    assert len(found) == 17
    assert all(sample.annotated and sample.part is None for sample in found.values())
    bare = {id for id, sample in found.items() if sample.mask is None}
    assert bare == {id for id in found if "/good/" in id}
    values = {
        id: set(mvtec.read_mask(sample, category.settings()).values.unique().tolist())
        for id, sample in found.items()
    }
    assert values["train/good/000"] == values["test/good/002"] == {0}
    assert values["test/broken/001"] == {0, 1}
    assert values["test/scratch/001"] == {0, 2}


def test_prepare_draws_test_images_from_both_folders(
    category: Category, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = category.plan()
    told = capsys.readouterr()
    assert "9 images without a mask are called good: annotated, all background" in told.err
    assert "pixels of all masks and of 9 sound images without one in percent" in told.out
    assert plan.split.test
    assert {id.split("/")[0] for id in (*plan.split.labeled, *plan.split.unlabeled)} == {
        "train",
        "test",
    }
    assert plan.scans["test/scratch/000"].pixels == {0: 42, 2: 6}


@pytest.mark.parametrize(
    "classes",
    [
        ["background", "scratch", "broken"],
        ["background", "scratch"],
        ["background", "broken", "scratch", "dent"],
        ["background", "Broken", "scratch"],
    ],
)
def test_other_classes_are_refused_with_the_line_to_write(
    category: Category, classes: list[str]
) -> None:
    said = category.refused("but the folders of .* are broken, scratch", classes=classes)
    assert said.endswith('write `classes: ["background", "broken", "scratch"]`')


def test_no_classes_are_refused_with_the_line_to_write(category: Category) -> None:
    with pytest.raises(InputError) as caught:
        dataset_info(category.settings(classes=[]))
    assert str(caught.value).endswith('write `classes: ["background", "broken", "scratch"]`')


def test_the_background_may_have_another_name(category: Category) -> None:
    assert category.samples(classes=["good", "broken", "scratch"])


def test_an_image_of_a_defect_without_a_mask_is_unlabeled_and_counted(
    category: Category, capsys: pytest.CaptureFixture[str]
) -> None:
    category.draw("test/scratch/004.png")
    category.draw("test/broken/004.png")
    assert not category.samples()["test/scratch/004"].annotated
    plan = category.plan()
    assert {"test/scratch/004", "test/broken/004"} <= set(plan.split.unlabeled)
    assert "2 images have a label and no mask (broken 1, scratch 1)" in capsys.readouterr().err


def test_without_any_mask_it_is_refused(category: Category) -> None:
    shutil.rmtree(category.root / "ground_truth")
    category.refused(r"ground_truth holds no mask, .*ground_truth/broken/NAME_mask\.png")


def test_a_mask_without_an_image_is_refused(category: Category) -> None:
    category.draw("ground_truth/scratch/009_mask.png", 255)
    category.refused(r"009_mask\.png has no image .*test/scratch/009")


def test_a_mask_of_a_folder_that_test_lacks_is_refused(category: Category) -> None:
    category.draw("ground_truth/dent/000_mask.png", 255)
    category.refused(r"dent/000_mask\.png has no image .*test/dent/000")


def test_two_masks_of_one_image_are_refused(category: Category) -> None:
    category.draw("ground_truth/scratch/001.png", 255)
    category.refused("file name twice: .*001.png and .*001_mask.png")


def test_nested_folders_keep_the_class_of_the_first(category: Category) -> None:
    category.draw("test/scratch/line 1/000.png")
    category.draw("ground_truth/scratch/line 1/000_mask.png", 255)
    sample = category.samples()["test/scratch/line 1/000"]
    assert set(mvtec.read_mask(sample, category.settings()).values.unique().tolist()) == {0, 2}


def test_an_accent_in_a_folder_may_be_written_in_two_ways(category: Category) -> None:
    one, other = (unicodedata.normalize(form, "öl") for form in ("NFD", "NFC"))
    category.draw(f"test/{one}/000.png")
    category.draw(f"ground_truth/{one}/000_mask.png", 255)
    for name in (one, other):
        classes = [*CLASSES, name]
        sample = category.samples(classes=classes)[f"test/{other}/000"]
        mask = mvtec.read_mask(sample, category.settings(classes=classes))
        assert set(mask.values.unique().tolist()) == {0, 3}


def test_a_picture_in_no_folder_of_a_class_is_refused(category: Category) -> None:
    category.draw("test/000.png")
    category.refused(r"test/000\.png lies in no folder of a class")


@pytest.mark.parametrize("path", ["train/good", "test/good", "test", "train", "ground_truth"])
def test_folders_in_capitals_are_refused(category: Category, path: str) -> None:
    folder = category.root / path
    folder.rename(folder.with_name(folder.name.capitalize()))
    category.refused(f"is not read: rename it to {folder.name}/, in small letters")


def test_defects_in_train_are_refused(category: Category) -> None:
    category.draw("train/scratch/000.png")
    category.refused("train/ of this layout holds good/ alone; move the images to .*test/scratch")


def test_the_folder_of_all_categories_is_refused(category: Category) -> None:
    with pytest.raises(InputError, match=r"holds 1 categories, .* e\.g\. .*bottle"):
        load_samples(category.root.parent, category.settings())


def test_without_folders_of_defects_it_is_refused(category: Category) -> None:
    for name in ("scratch", "broken"):
        shutil.rmtree(category.root / "test" / name)
    category.refused("holds no folder of defects beside good/")


def test_masks_in_indices_are_refused_rather_than_sound(category: Category) -> None:
    category.draw("ground_truth/scratch/001_mask.png", 1)
    with pytest.raises(
        InputError, match=r"001_mask\.png has no level above 1, .*mask_threshold 128"
    ):
        category.plan()


def test_a_good_image_with_a_defect_in_its_mask_is_refused(category: Category) -> None:
    category.draw("ground_truth/good/001_mask.png", 0)
    category.plan()
    category.draw("ground_truth/good/001_mask.png", 255)
    with pytest.raises(
        InputError, match=r"test/good/001\.png is good by its folder .*001_mask\.png shows"
    ):
        category.plan()


def test_a_black_mask_of_a_defect_is_a_warning(
    category: Category, capsys: pytest.CaptureFixture[str]
) -> None:
    category.draw("ground_truth/scratch/001_mask.png", 0)
    category.plan()
    assert "1 masks lack the defect that a label names: test/scratch/001 (scratch)" in (
        capsys.readouterr().err
    )


def test_keys_of_folder_are_refused(category: Category) -> None:
    with pytest.raises(ValueError, match="`folder` alone reads it"):
        category.settings(mask_suffix="_mask")
