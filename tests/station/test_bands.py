"""A large image band by band gives what it gives at once."""

import numpy as np
import pytest

from ppl.station import bands
from ppl.station.bands import bands_at_size, mean, windowed_bands
from ppl.station.resize import at_own_size, resize_image, scaled_size
from ppl.station.thresholds import ClassLimits, Thresholds
from ppl.station.verdict import verdict_of, verdict_of_bands
from ppl.station.windows import blended_bands, blended_windows

SIZES = [(1, 1), (20, 33), (64, 64), (65, 200), (333, 131), (400, 50)]


def softmax(batch: np.ndarray) -> np.ndarray:
    """Another one at each place of a window: a seam would show."""
    grid = np.linspace(0.1, 1, batch.shape[1] * batch.shape[2]).reshape(batch.shape[1:3])
    return batch[..., :2].transpose(0, 3, 1, 2).astype(np.float32) / 255 * grid.astype(np.float32)


def picture(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize(("window", "overlap"), [((64, 64), 0), ((64, 96), 9), ((96, 64), 32)])
def test_windows(
    size: tuple[int, int], at_once: int, window: tuple[int, int], overlap: int
) -> None:
    image = picture(size)
    found = list(blended_bands(softmax, image, window, overlap, at_once))
    assert all(band.shape[1] for band in found)
    whole = blended_windows(softmax, image, window, overlap, at_once)
    assert np.array_equal(np.concatenate(found, axis=1), whole)
    # nobody waits for rows to which nothing is added any more
    if at_once == 1 and size[0] > 2 * window[0]:
        assert max(band.shape[1] for band in found[:-1]) <= window[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", [(1, 1), (64, 64), (65, 200), (333, 131), (777, 10)])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_resized(
    size: tuple[int, int],
    target: tuple[int, int],
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bands, "BAND", rows * target[1])
    whole = np.random.default_rng(0).random((3, *size)).astype(np.float32)
    cut = np.split(whole, range(5, size[0], 5), axis=1)
    found = list(bands_at_size(cut, size[0], target))
    assert all(band.shape[1] == min(rows, target[0]) for band in found[:-1])
    assert np.array_equal(np.concatenate(found, axis=1), at_own_size(whole, target))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scales", [[1.0], [0.5], [0.5, 1.0, 1.7]])
def test_scales(
    size: tuple[int, int], scales: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "BAND", 30 * size[1])
    image = picture(size)
    at_size = []
    for scale in scales:
        shown = resize_image(image, scaled_size(size, scale))
        at_size.append(at_own_size(blended_windows(softmax, shown, (64, 64), 16, 4), size))
    found = list(windowed_bands(softmax, image, (64, 64), 16, scales, 4))
    assert np.array_equal(np.concatenate(found, axis=1), mean(at_size))


@pytest.mark.parametrize("rows", [1, 3, 20, 49])
def test_defects_that_cross_bands_are_one(rows: int) -> None:
    draws = np.random.default_rng(rows)
    thresholds = Thresholds((ClassLimits(0.4, 2), ClassLimits(0.0, 1)), 0.5, None)
    for _ in range(20):
        raw = draws.random((3, 50, 40)).astype(np.float32) ** 3
        prob = raw / raw.sum(axis=0)
        cut = np.split(prob, range(rows, 50, rows), axis=1)
        banded, whole = verdict_of_bands(cut, thresholds), verdict_of(prob, thresholds)
        assert np.array_equal(banded.mask, whole.mask)
        assert banded.defects == whole.defects
        assert (banded.score, banded.defective) == (whole.score, whole.defective)
        assert len(whole.defects) > 10
