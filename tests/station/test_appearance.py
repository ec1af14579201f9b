import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ppl.station.appearance import (
    FEWEST,
    LOOKED_AT,
    NUMBERS,
    Appearance,
    Reference,
    appearance_of,
    reference_as_json,
    reference_from_json,
    reference_of,
)

GREYS = np.random.default_rng(0).integers(60, 200, (40, 60), dtype=np.uint8)


def rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_the_numbers_are_what_their_names_say() -> None:
    found = appearance_of(rgb(GREYS))
    grey = GREYS.astype(np.float64)
    across, down = np.abs(np.diff(grey, axis=1)).mean(), np.abs(np.diff(grey, axis=0)).mean()
    assert found.brightness == pytest.approx(grey.mean(), rel=1e-5)
    assert found.contrast == pytest.approx(grey.std(), rel=1e-5)
    assert found.sharpness == pytest.approx((across + down) / 2 / grey.std(), rel=1e-4)


def test_more_light_is_brighter_and_blur_is_less_sharp() -> None:
    before = appearance_of(rgb(GREYS))
    brighter = appearance_of(rgb((GREYS * 1.2).astype(np.uint8)))
    assert brighter.brightness == pytest.approx(1.2 * before.brightness, rel=0.01)
    assert brighter.sharpness == pytest.approx(before.sharpness, rel=0.01)
    blurred = Image.fromarray(GREYS).filter(ImageFilter.GaussianBlur(1))
    assert appearance_of(rgb(np.asarray(blurred))).sharpness < 0.7 * before.sharpness


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_an_even_or_tiny_image_has_numbers(size: tuple[int, int]) -> None:
    found = appearance_of(np.full((*size, 3), 77, dtype=np.uint8))
    assert found == Appearance(pytest.approx(77, rel=1e-5), 0.0, 0.0)


def test_a_large_image_is_looked_at_in_parts_that_are_neighbours() -> None:
    side = 3 * LOOKED_AT + 5
    columns = np.arange(side) % 2 * 100
    stripes = np.broadcast_to(columns.astype(np.uint8), (side, side))
    found = appearance_of(rgb(stripes))
    # each pixel differs by 100 from the one beside it, and by nothing from that below
    assert found.sharpness == pytest.approx(1.0, rel=0.01)


def reference(values: list[float]) -> Reference:
    found = reference_of([Appearance(value, value, value) for value in values])
    assert found is not None
    return found


def test_few_images_are_no_reference() -> None:
    ones = [Appearance(1.0, 2.0, 3.0)] * FEWEST
    assert reference_of(ones[1:]) is None
    assert reference_of(ones) is not None


def test_unusual_is_what_lies_outside_of_all_and_a_tenth() -> None:
    known = reference([100.0 + k for k in range(101)])
    for value in (90.5, 100, 150, 200, 209.5):
        assert known.unusual(Appearance(value, 150, 150)) == ""
    assert known.unusual(Appearance(89, 150, 150)) == "brightness low"
    assert known.unusual(Appearance(150, 211, 0)) == "contrast high; sharpness low"


def test_normal_scores_of_the_training_images_are_standard_normal() -> None:
    draws = np.random.default_rng(1)
    # far from normal, as grey levels are
    train, new = draws.gamma(2, 10, 2000), draws.gamma(2, 10, 20_000)
    known = reference(train.tolist())
    scores = np.array([known.normal_score("brightness", value) for value in new])
    assert abs(scores.mean()) < 0.05
    assert scores.std() == pytest.approx(1, abs=0.05)
    assert known.normal_score("brightness", known.middle("brightness")) == pytest.approx(0)


def test_a_value_that_many_share_is_in_their_middle() -> None:
    known = reference([0.0] * 50 + [1.0] * 50)
    low, high = (known.normal_score("contrast", value) for value in (0.0, 1.0))
    assert low == pytest.approx(-high)
    assert low == pytest.approx(-0.67, abs=0.03)
    assert low < known.normal_score("contrast", 0.5) < high
    assert -math.inf < known.normal_score("contrast", -1.0) < low
    assert high < known.normal_score("contrast", 2.0) < math.inf
    same = reference([5.0] * 30)
    assert same.normal_score("contrast", 5.0) == pytest.approx(0)
    assert same.normal_score("contrast", 6.0) > 2


def test_a_reference_goes_through_json_and_nothing_else_does() -> None:
    known = reference([float(value) for value in GREYS[0]])
    content = json.loads(json.dumps(reference_as_json(known)))
    assert reference_from_json(content) == known
    assert reference_from_json(reference_as_json(None)) is None
    bad = content["percentiles"]
    for wrong in (
        {"images": 60},
        content | {"images": 0},
        content | {"images": "60"},
        content | {"percentiles": {}},
        content | {"percentiles": bad | {"contrast": [3.0, 2.0]}},
        content | {"percentiles": bad | {"contrast": [math.nan, 2.0]}},
        content | {"percentiles": bad | {"contrast": [1.0]}},
        content | {"percentiles": bad | {"contrast": ["a", "b"]}},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            reference_from_json(wrong)
    assert tuple(content["percentiles"]) == NUMBERS
