"""A station finds what the project finds: mask, defects, verdict, on images of all sizes."""

import importlib.util

import numpy as np
import pytest

from ppl.network.network import SegmentationNetwork
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.station.predictor import Predictor
from ppl.station.verdict import verdict_of
from tests.conftest import whole, windows
from tests.export.conftest import SIZE, model_of, predictor_of

RUNTIMES = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
        ),
    ),
]


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Of blots of all sizes, some as small as a pixel."""
    draws, found = np.random.default_rng(0), []
    for height, width in sizes:
        image = np.zeros((height, width, 3))
        for side in (1, 4, 16):
            coarse = draws.random((-(-height // side), -(-width // side), 3))
            image += coarse.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
        found.append((image * 85).astype(np.uint8))
    return found


SIZES = [(64, 96), (1, 1), (5, 300), (97, 61), (131, 200), (64, 95), (33, 96), (200, 40), (70, 70)]


def stop_unless_same(expected: Predictor, found: Predictor, images: list[np.ndarray]) -> None:
    pixels = shown = 0
    both = zip(expected.probabilities(images), found.probabilities(images), images, strict=True)
    for own, prob, image in both:
        assert prob.dtype == np.float32
        assert prob.shape == own.shape == (3, *image.shape[:2])
        np.testing.assert_allclose(prob, own, rtol=0, atol=2e-5)
        one, other = verdict_of(own, expected.thresholds), verdict_of(prob, found.thresholds)
        assert np.array_equal(one.mask, other.mask)
        assert one.defective == other.defective
        assert one.score == pytest.approx(other.score, abs=1e-5)
        for predictor in (expected, found):
            banded = np.concatenate(list(predictor.bands(image)), axis=1)
            np.testing.assert_allclose(banded, own, rtol=0, atol=2e-5)
        pixels += one.mask.size
        shown += np.count_nonzero(one.mask)
    assert 0.05 < shown / pixels < 0.95, "all are one class: nothing is compared"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("image", [whole(*SIZE), windows(*SIZE), windows(*SIZE, overlap=20)])
def test_at_one_size(
    decided: SegmentationNetwork, of_one_size: bytes, image: ImageSettings, flip: bool, runtime: str
) -> None:
    model = model_of(decided, image, TestTimeSettings(scales=[1.0], flip=flip))
    stop_unless_same(model, predictor_of(model, of_one_size, runtime), pictures(*SIZES))


@pytest.mark.parametrize("flip", [False, True])
def test_upside_down(decided: SegmentationNetwork, of_one_size: bytes, flip: bool) -> None:
    test_time = TestTimeSettings(scales=[1.0], flip=flip, vertical_flip=True)
    for image in (whole(*SIZE), windows(*SIZE, overlap=20)):
        model = model_of(decided, image, test_time)
        plain = model_of(decided, image, TestTimeSettings(scales=[1.0], flip=flip))
        found = predictor_of(model, of_one_size)
        stop_unless_same(model, found, pictures(*SIZES[4:7]))
        assert found.digest == model.digest != plain.digest


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_windows_at_several_scales(
    decided: SegmentationNetwork, of_one_size: bytes, runtime: str
) -> None:
    test_time = TestTimeSettings(scales=[0.5, 1.0, 1.3], flip=True)
    model = model_of(decided, windows(*SIZE, overlap=32), test_time)
    stop_unless_same(model, predictor_of(model, of_one_size, runtime), pictures(*SIZES[2:6]))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("flip", [False, True])
def test_whole_at_several_scales(
    decided: SegmentationNetwork, of_any_size: bytes, flip: bool, runtime: str
) -> None:
    model = model_of(decided, None, TestTimeSettings(scales=[0.7, 1.0, 1.5], flip=flip))
    stop_unless_same(model, predictor_of(model, of_any_size, runtime), pictures(*SIZES))


def test_what_a_predictor_tells_is_what_the_model_tells(
    decided: SegmentationNetwork, of_one_size: bytes
) -> None:
    for image in (whole(*SIZE), windows(*SIZE, overlap=20)):
        model = model_of(decided, image)
        found = predictor_of(model, of_one_size)
        for told in ("classes", "colours", "thresholds", "digest", "at_once"):
            assert getattr(found, told) == getattr(model, told)
