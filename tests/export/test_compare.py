"""The comparison: rounding passes, another verdict or class of pixels stops the export by name."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from ppl.core.errors import InputError
from ppl.export.compare import (
    Comparison,
    compare,
    most_differing,
    stop_unless_equal,
    stop_unless_resized_alike,
)
from ppl.images.pictures import Colour
from ppl.station.thresholds import Thresholds, no_thresholds
from tests.conftest import MakeSet


class Bright:
    """Calls bright pixels class 1; of an image as wide as `altered` says, turns so many round."""

    classes = ("background", "dent")
    colours: tuple[Colour, ...] = ((0, 0, 0), (9, 9, 9))
    thresholds: Thresholds = no_thresholds(2)
    digest = "0" * 16
    at_once = 2

    def __init__(self, altered: dict[int, int] | None = None, level: float = 1.1) -> None:
        self.altered = altered or {}
        self.level = level

    def probabilities(self, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for image in images:
            dent = (image.max(axis=2) > 255 * self.level).astype(np.float32) * 0.8 + 0.1
            count = self.altered.get(image.shape[1], 0)
            dent.reshape(-1)[:count] = 1 - dent.reshape(-1)[:count]
            yield np.stack([1 - dent, dent])


def test_equal_predictors_are_equal(make_set: MakeSet) -> None:
    test = make_set(["a", "b", "c"], sizes=[(20, 30), (20, 31), (8, 8)])
    found, called = compare(Bright(level=0.5), {"x": Bright(level=0.5), "y": Bright()}, test)
    assert found["x"].equal
    assert (found["x"].images, found["x"].pixels) == (3, 20 * 61 + 64)
    assert found["x"].probability == found["x"].score == found["x"].differing == 0
    assert called == [True] * 3
    assert found["y"].verdicts == ["a", "b", "c"]
    assert not found["y"].equal
    stop_unless_equal({"x": found["x"]})


def test_images_and_counts_are_named(make_set: MakeSet) -> None:
    test = make_set(["a", "sub/b", "c"], sizes=[(20, 30), (20, 31), (8, 8)])
    found, _ = compare(Bright(level=0.5), {"x": Bright({30: 2, 31: 7}, level=0.5)}, test)
    with pytest.raises(InputError) as told:
        stop_unless_equal(found)
    assert "9 of 1,284 test pixels" in str(told.value)
    assert "sub/b (7), a (2)" in str(told.value)
    assert "verdict" not in str(told.value)

    found, _ = compare(Bright(), {"x": Bright({31: 1})}, test)
    with pytest.raises(InputError, match=r"another verdict than PyTorch on 1 of 3 .*: sub/b"):
        stop_unless_equal(found)


def test_something_has_to_be_compared(make_set: MakeSet) -> None:
    found, _ = compare(Bright(), {"x": Bright()}, make_set([]))
    with pytest.raises(InputError, match="no test image"):
        stop_unless_equal(found)


def test_a_processor_on_which_pytorch_sees_other_images_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop_unless_resized_alike()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(InputError, match="AVX2, or on ARM"):
        stop_unless_resized_alike()


@pytest.mark.parametrize(("pixels", "most"), [(1, 1), (10**6, 1), (10**6 + 1, 2), (7 * 10**6, 7)])
def test_one_pixel_of_each_million_begun_may_differ(pixels: int, most: int) -> None:
    assert most_differing(pixels) == most
    assert Comparison(1, pixels, pixels_of={"a": most}).equal
    assert not Comparison(1, pixels, pixels_of={"a": most, "b": 1}).equal
    assert not Comparison(1, pixels, verdicts=["a"]).equal
