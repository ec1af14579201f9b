import re

import numpy as np
import pytest

from ppl.station.appearance import NUMBERS, Appearance, Reference, reference_of
from ppl.station.drift import Alarm, Drift


def looks(count: int, seed: int, off: float = 0.0, number: int = 0) -> list[Appearance]:
    """Of images that vary by a tenth; one number is off by so many standard deviations."""
    found = np.random.default_rng(seed).normal(100, 10, (count, 3))
    found[:, number] += 10 * off
    return [Appearance(*row) for row in found.tolist()]


@pytest.fixture(scope="module")
def reference() -> Reference:
    found = reference_of(looks(1000, seed=10))
    assert found is not None
    return found


def alarms(reference: Reference, seen: list[Appearance]) -> list[tuple[int, Alarm]]:
    """With the place of the image that set each off."""
    drift = Drift(reference)
    return [(k, alarm) for k, of in enumerate(seen) for alarm in drift.add(f"{k}.png", of)]


def test_images_as_in_training_hardly_ever_give_an_alarm(reference: Reference) -> None:
    given = [alarms(reference, looks(1000, seed)) for seed in range(1, 31)]
    # one in 10,000 images is promised
    assert sum(map(len, given)) <= 3


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("off", "within"), [(1.0, 40), (2.0, 18), (6.0, 12)])
def test_a_shift_is_found_soon_and_named(
    reference: Reference, number: int, sign: int, off: float, within: int
) -> None:
    seen = looks(100, seed=2) + looks(60, seed=3, off=sign * off, number=number)
    [(place, alarm)] = alarms(reference, seen)
    assert 100 <= place < 100 + within
    assert (alarm.number, alarm.rises) == (NUMBERS[number], sign > 0)
    first = int(alarm.since.removesuffix(".png"))
    assert abs(first - 100) <= 15
    assert alarm.images == place - first + 1
    assert alarm.middle == pytest.approx(100, abs=1.5)
    assert (alarm.mean - 100) * sign > 5


def test_one_odd_image_is_none(reference: Reference) -> None:
    odd = Appearance(255.0, 0.0, 50.0)
    seen = looks(200, seed=6)
    assert not alarms(reference, [*seen[:100], odd, odd, *seen[100:]])


def test_an_alarm_is_said_once_and_in_words(reference: Reference) -> None:
    given = alarms(reference, looks(500, seed=5, off=3.0))
    assert len(given) == 1
    text = str(given[0][1])
    assert text.startswith("drift: since 0.png the ")
    words = r"images are brighter than those the model was trained on \(brightness 1\d\d on average"
    assert re.search(words + r", there (100|99|9\d\.\d)\)", text)
    darker = alarms(reference, looks(500, seed=5, off=-3.0))
    assert "darker" in str(darker[0][1])
