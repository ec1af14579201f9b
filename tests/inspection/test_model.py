"""A finished model: one folder that knows all, and predicts as the pipeline does."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.sets import DatasetInfo, Entry, ImageSet
from ppl.inspection.model import Model, as_pixels, load_model, save_model
from ppl.network.network import (
    CPU,
    NetworkSettings,
    Origin,
    load_network,
    new_network,
    save_network,
)
from ppl.network.predict import TestTimeSettings, predict
from ppl.network.resize import ImageSettings
from ppl.station.appearance import Appearance, reference_of
from ppl.station.thresholds import ClassLimits, Promise, Thresholds, thresholds_as_json

INFO = DatasetInfo("made", ("background", "dark", "bright"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
NETWORK = NetworkSettings(
    architecture="Linknet",
    encoder="tu-test_resnet",
    options={},
    encoder_weights=None,
    mean=[0.5, 0.5, 0.5],
    std=[0.2, 0.2, 0.2],
)
WHOLE = ImageSettings(height=32, width=64, fit="whole", overlap=0)
WINDOWS = ImageSettings(height=64, width=64, fit="windows", overlap=16)
RICH = TestTimeSettings(scales=[0.5, 1.0], flip=True)
LIMITS = Thresholds((ClassLimits(0.5, 3), ClassLimits(0.0, 1)), 0.4, Promise(0.3, 0.95, 8, 0))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    network = new_network(NETWORK, 3, seed=1)
    save_network(tmp_path / "trained", network, network.state_dict(), Origin("final", 7))
    return tmp_path / "trained"


def finished(trained: Path, image: ImageSettings = WHOLE) -> Path:
    folder = trained.parent / "model"
    save_model(folder, trained, image, RICH, INFO, LIMITS)
    return folder


def photo(folder: Path, width: int, height: int, mode: str = "RGB") -> Path:
    draws = np.random.default_rng(width)
    pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = folder / "images" / f"{mode}{width}x{height}.png"
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(file)
    return file


@pytest.mark.parametrize("image", [WHOLE, WINDOWS])
def test_it_predicts_what_the_pipeline_does(trained: Path, image: ImageSettings) -> None:
    folder = trained.parent
    model = load_model(finished(trained, image))
    files = [photo(folder, 40, 90), photo(folder, 33, 31, "L"), photo(folder, 150, 70, "P")]
    entries = tuple(Entry(file.stem, file.name, *Image.open(file).size[::-1]) for file in files)
    network = load_network(trained, CPU)
    shown = predict([network], ImageSet(folder, entries), image, RICH, what="test")
    for file, (_entry, [prob]) in zip(files, shown, strict=True):
        found = model.predict(file)
        assert found.probabilities.dtype == np.float32
        np.testing.assert_allclose(found.probabilities, prob.numpy(), atol=1e-6)
        assert np.array_equal(found.mask, found.probabilities.argmax(axis=0))
        assert found.mask.shape == Image.open(file).size[::-1]
        with Image.open(file) as opened:
            again = model.predict(opened)
        assert np.array_equal(again.probabilities, found.probabilities)


def test_arrays_and_pictures_are_the_same_image(trained: Path) -> None:
    model = load_model(finished(trained))
    file = photo(trained.parent, 40, 30)
    pixels = np.array(Image.open(file))
    expected = model.predict(file).probabilities
    for same in (str(file), pixels, torch.from_numpy(pixels), np.asfortranarray(pixels)):
        assert np.array_equal(model.predict(same).probabilities, expected)
    grey = pixels[:, :, 0]
    expected = model.predict(np.stack([grey] * 3, axis=2)).probabilities
    assert np.array_equal(model.predict(grey).probabilities, expected)
    assert np.array_equal(model.predict(Image.fromarray(grey)).probabilities, expected)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 4)), r"array of float64, 0\.0 to 0\.0: expected 8 bits"),
        (np.full((4, 4, 3), 300, dtype=np.uint16), "array of uint16, 300 to 300: expected 8 bits"),
        (np.zeros((3, 4, 4), dtype=np.uint8), r"shape \(3, 4, 4\): expected \(height, width\)"),
        (np.zeros((4, 4, 4), dtype=np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros(4, dtype=np.uint8), r"shape \(4,\)"),
        (Image.new("I;16", (4, 4)), "mode I;16: expected 8 bits"),
        (Image.new("F", (4, 4)), "mode F: expected 8 bits"),
        ("no/such.png", "image no/such.png does not exist"),
        (Image.new("L", (0, 5)), "the image has 0 x 5 pixels"),
        (b"bytes", r"array of \|S5: expected 8 bits"),
        ([[1, 2], [3]], "the image is a list and no array"),
        (torch.zeros((2, 2), dtype=torch.bfloat16), "the image is a Tensor and no array"),
        (np.zeros(3, dtype=[("a", int)]), "expected 8 bits"),
    ],
)
def test_what_is_no_image_of_8_bits_is_refused(array: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        as_pixels(array)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("deep", "of 16 bits: expected 8 bits a channel"),
        ("pages", "holds 2 pictures"),
        ("cut", "is damaged, cut short or no image"),
        ("closed", "cannot be read"),
    ],
)
def test_an_opened_picture_is_checked_as_its_file_is(
    tmp_path: Path, kind: str, expected: str
) -> None:
    file = tmp_path / f"{kind}.tif"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    noisy = Image.fromarray(noise)
    if kind == "deep":
        file = file.with_suffix(".png")
        file.write_bytes(png_of_16_bits())
    elif kind == "pages":
        noisy.save(file, save_all=True, append_images=[noisy])
    else:
        file = file.with_suffix(".jpg")
        noisy.save(file)
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    opened = Image.open(file)
    if kind == "closed":
        opened.close()
    with pytest.raises(InputError, match=expected):
        as_pixels(opened)


def png_of_16_bits() -> bytes:
    """A PNG of 2 x 2 pixels of 16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\1\2" * 6) * 2)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_a_picture_in_memory_is_turned_as_its_file_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in (".png", ".tif"):
        file = tmp_path / f"turned{suffix}"
        Image.fromarray(pixels).save(file, exif=exif)
        expected = as_pixels(file)
        assert expected.shape == (7, 5, 3)
        assert np.array_equal(as_pixels(Image.open(file)), expected)
    # a TIFF Pillow by itself would have turned wrongly
    loaded = Image.open(tmp_path / "turned.png")
    loaded.load()
    assert np.array_equal(as_pixels(loaded), as_pixels(tmp_path / "turned.png"))


def test_one_pixel_and_a_strip_are_images(trained: Path) -> None:
    model = load_model(finished(trained))
    for height, width in ((1, 1), (1, 300), (200, 2)):
        found = model.predict(np.zeros((height, width), dtype=np.uint8))
        assert found.probabilities.shape == (3, height, width)
        np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)


def test_the_verdict_goes_by_the_thresholds(trained: Path) -> None:
    folder = finished(trained)
    model = load_model(folder)
    assert model.thresholds == LIMITS
    image = np.random.default_rng(3).integers(0, 256, (60, 60), dtype=np.uint8)
    found = model.predict(image)
    assert all(defect.area >= LIMITS.classes[defect.index - 1].area for defect in found.defects)
    assert found.score == max((defect.mean for defect in found.defects), default=0.0)
    assert found.defective == (found.score > 0.4)
    save_model(folder, trained, WHOLE, RICH, INFO, None)
    without = load_model(folder)
    assert without.predict(image).defective == bool((found.mask > 0).any())
    assert without.digest != model.digest == load_model(finished(trained)).digest


def changed(*, score: float = 0.4, area: float = 3) -> dict[str, object]:
    """Thresholds as model.json has them, one of them other than in `LIMITS`."""
    found = thresholds_as_json(LIMITS, INFO.classes)
    found["classes"]["dark"]["area"] = area
    return found | {"score": score}


def edited(folder: Path, **changes: object) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input": None}, "does not say at which size it looks.*`dvc repro calibrate`"),
        ({"format": 7}, "has format 7, but this version reads 1"),
        ({"weights": "0" * 64}, "was altered or exchanged"),
        (
            {"classes": ["background", "dark"]},
            "names 2 classes and 3 colours, but",
        ),
        ({"colours": 3}, "cannot be loaded: model.json"),
        ({"thresholds": {"classes": {}}}, r"cannot be loaded: model\.json: KeyError"),
        ({"thresholds": None}, r"cannot be loaded: model\.json: KeyError\('thresholds'\)"),
        ({"thresholds": changed(score=0.41)}, "its sizes, classes or thresholds are not those"),
        ({"thresholds": changed(score=float("nan"))}, "a threshold lies outside 0-1"),
        ({"thresholds": changed(score=-0.1)}, "a threshold lies outside 0-1"),
        ({"thresholds": changed(area=0.5)}, "an area is no number of pixels from 1 on"),
        ({"input": WHOLE.model_dump() | {"height": 64}}, "its sizes, classes or thresholds are"),
        ({"classes": ["background", "bright", "dark"]}, "its sizes, classes or thresholds are"),
        ({"network": {"classes": 3}}, "cannot be loaded"),
        (
            {"prediction": {"scales": [], "flip": True}},
            r"(?s)cannot be loaded: model\.json: .*scales",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    trained: Path, changes: dict[str, object], expected: str
) -> None:
    folder = finished(trained)
    edited(folder, **changes)
    with pytest.raises(InputError, match=expected):
        load_model(folder)


def test_an_unfinished_and_a_damaged_model_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say at which size it looks"):
        load_model(trained)
    with pytest.raises(InputError, match=r"holds no model: model\.json is missing"):
        load_model(tmp_path)
    folder = finished(trained)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="altered or exchanged"):
        load_model(folder)
    weights.write_bytes(content[:100])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(folder)


def test_a_model_in_memory_needs_no_folder(trained: Path) -> None:
    model = Model(load_network(trained, CPU), WHOLE, RICH, INFO)
    assert model.classes == INFO.classes
    assert model.predict(np.zeros((20, 20), dtype=np.uint8)).mask.shape == (20, 20)


def test_how_the_training_images_looked_stays_with_it(trained: Path) -> None:
    look = reference_of([Appearance(100.0 + k, 20.0, 0.2) for k in range(30)])
    folder = trained.parent / "model"
    save_model(folder, trained, WHOLE, RICH, INFO, LIMITS, look)
    assert load_model(folder).reference == look
    # a model of before it was kept is read as it was, with the same digest
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del described["appearance"]
    (folder / "model.json").write_text(json.dumps(described), encoding="utf-8")
    assert load_model(folder).reference is None
    described["appearance"] = {"images": 30, "percentiles": {"brightness": [2.0, 1.0]}}
    (folder / "model.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(folder)
