"""Thresholds: chosen on what taught the model nothing, with a promise that holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.files import write_mask
from ppl.images.sets import DatasetInfo, Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.inspection.calibrate import (
    Calibrating,
    ThresholdSettings,
    calibrate,
    least_area,
    said,
    sound_files,
    threshold,
)
from ppl.inspection.model import Model
from ppl.network.predict import PLAIN
from ppl.station.thresholds import no_thresholds
from tests.conftest import whole
from tests.judge.test_evaluation import ByBrightness

INFO = DatasetInfo("made", ("background", "dark", "bright"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
LIMITS = no_thresholds(3).classes

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image and its mask."""


def settings(**changes: object) -> ThresholdSettings:
    values = {
        "false_alarms": 0.05,
        "confidence": 0.95,
        "few_parts": 2,
        "sound_images": "data/sound",
    }
    return ThresholdSettings(**{**values, **changes})  # type: ignore[arg-type]


def model() -> Model:
    return Model(ByBrightness(), whole(48, 48), PLAIN, INFO)  # type: ignore[arg-type]


def make(folder: Path, pictures: dict[str, Pair]) -> ImageSet:
    """A set of (image, mask) pairs of 48 x 48."""
    for id, (image, mask) in pictures.items():
        file = folder / "images" / f"{id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
        write_mask(mask_file(folder / "masks", id), torch.from_numpy(mask), INFO.colours)
    write_index(folder, [Entry(id, f"{id}.png", 48, 48) for id in pictures])
    return read_image_set(folder)


def picture(shade: int, *, side: int = 10, truth: int = 0) -> Pair:
    """A block of a shade on grey; the mask shows class `truth` there, which may be 0."""
    image = np.full((48, 48), 128, dtype=np.uint8)
    mask = np.zeros((48, 48), dtype=np.uint8)
    image[8 : 8 + side, 8 : 8 + side] = shade
    mask[8 : 8 + side, 8 : 8 + side] = truth
    return image, mask


def test_the_threshold_lies_at_the_highest_sound_part(tmp_path: Path) -> None:
    # ever brighter spots, which the model takes for class 2, on sound parts; one defect of class 1
    shades = {f"s{n}": picture(190 + n) for n in range(8)}
    images = make(tmp_path, {**shades, "bad": picture(0, truth=1)})
    found = calibrate(
        model(), Calibrating(images, {id: id for id in images.ids}), images, settings()
    )
    highest = model().predict(images.folder / "images" / "s7.png")
    assert 0 <= found.score - highest.score < 1e-6
    assert found.score > 0.5
    assert not found.defective(highest.score)
    assert found.promise is not None
    assert found.promise.sound_parts == 8
    assert found.promise.called == 0
    assert found.promise.false_alarms == pytest.approx(1 - 0.05 ** (1 / 8), abs=1e-6)


def test_photos_of_a_part_count_once_and_none_of_a_defective_part(tmp_path: Path) -> None:
    images = make(
        tmp_path,
        {
            "a1": picture(128),
            "a2": picture(200),
            "b1": picture(128),
            "c1": picture(255),  # sound itself, of a part with a defect
            "c2": picture(0, truth=1),
        },
    )
    parts = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c"}
    found = calibrate(model(), Calibrating(images, parts), images, settings())
    assert found.promise is not None
    assert found.promise.sound_parts == 2
    highest = model().predict(images.folder / "images" / "a2.png").score
    assert 0 <= found.score - highest < 1e-6


def test_what_is_ignored_is_not_sound(tmp_path: Path) -> None:
    image, mask = picture(255, truth=2)
    doubtful = np.where(mask > 0, 255, 0).astype(np.uint8)
    images = make(
        tmp_path,
        {
            "a1": picture(128),
            "b1": picture(128),
            "b2": (image, doubtful),
            "c1": (image, np.full_like(mask, 255)),
        },
    )
    parts = {"a1": "a", "b1": "b", "b2": "b", "c1": "c"}
    found = calibrate(model(), Calibrating(images, parts), images, settings())
    assert found.promise is not None
    assert found.promise.sound_parts == 1
    assert found.score == 0.0


def test_a_sound_image_that_looks_surely_defective_is_said() -> None:
    text = said(threshold(LIMITS, [1.0, 0.2], settings()), settings())
    assert text.startswith("no image is ever called defective")
    assert "no image is ever" not in said(threshold(LIMITS, [0.99, 0.2], settings()), settings())


def test_further_sound_files_are_parts_of_their_own(tmp_path: Path) -> None:
    images = make(tmp_path / "set", {"bad": picture(0, truth=1), "good": picture(128)})
    for name, shade in (
        ("x.png", 200),
        ("deep/y.png", 250),
        ("deep/z.png", 250),  # the same file again
        ("deep/.hidden.png", 255),
        ("@eaDir/x.png", 201),
    ):
        (tmp_path / "sound" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(shade)[0]).save(tmp_path / "sound" / name)
    files = sound_files(tmp_path / "sound")
    assert sorted(file.name for file in files) == ["x.png", "y.png"]
    given = Calibrating(images, {"bad": "bad", "good": "good"}, files)
    found = calibrate(model(), given, images, settings())
    assert found.promise is not None
    assert found.promise.sound_parts == 3
    highest = model().predict(tmp_path / "sound/deep/y.png").score
    assert 0 <= found.score - highest < 1e-6
    with pytest.raises(InputError, match="does not exist"):
        sound_files(tmp_path / "no")


def test_pixels_and_areas_come_from_the_defects(tmp_path: Path) -> None:
    faint = {}
    for n in range(3):
        image, mask = picture(255, truth=2)
        image[30:40, 30:40] = 192  # called class 2 with little confidence, where there is nothing
        faint[f"f{n}"] = (image, mask)
    images = make(tmp_path, {**faint, "small": picture(0, side=4, truth=1)})
    given = Calibrating(images, {id: id for id in images.ids})
    found = calibrate(model(), given, images, settings())
    dark, bright = found.classes
    assert bright.pixel > 0.5, "what is hardly sure is no defect"
    assert dark.pixel == 0.0, "one part is too few to choose by"
    assert (dark.area, bright.area) == (8, 50)
    assert calibrate(model(), given, images, settings(few_parts=4)).classes[1].pixel == 0.0


def test_no_sound_part_promises_nothing_and_says_what_it_takes() -> None:
    nothing = threshold(LIMITS, [], settings())
    assert nothing.promise is None
    assert nothing.score == 0.0
    assert "59 sound parts can promise 5.0% false alarms" in said(nothing, settings())


def test_few_sound_parts_say_what_can_be_promised() -> None:
    few = threshold(LIMITS, [0.1, 0.3, 0.0], settings())
    assert few.score == 0.3
    assert "at most 63.2% of the sound parts" in said(few, settings())
    assert "To promise 5.0% takes 59 sound parts" in said(few, settings())
    enough = threshold(LIMITS, [n / 100 for n in range(93)], settings())
    assert enough.score == 0.91, "of 93 one may be called"
    assert enough.promise is not None
    assert enough.promise.called == 1
    assert "To promise" not in said(enough, settings())


def test_a_single_sound_part_is_called_so() -> None:
    text = said(threshold(LIMITS, [0.3], settings()), settings())
    assert "(by a single sound part, from which next to nothing is known of others)" in text
    assert "ones" not in text
    two = said(threshold(LIMITS, [0.3, 0.1], settings()), settings())
    assert "(0 of 2 calibrating ones)" in two


def test_least_areas_heed_no_specks() -> None:
    assert least_area([]) == 1
    assert least_area([1]) == 1
    assert least_area([9, 40, 60]) == 4
    assert least_area([1] + [20] * 99) == 10
