"""The bound on false alarms: SciPy's binomial, and that it holds as often as it says."""

import numpy as np
import pytest
from scipy import stats

from ppl.inspection.promise import bound, most_called, parts_needed


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(("sound", "called"), [(1, 0), (8, 0), (59, 0), (93, 1), (400, 12), (5, 5)])
def test_the_bound_is_clopper_and_pearsons(sound: int, called: int, confidence: float) -> None:
    exact = stats.binomtest(called, sound, alternative="less").proportion_ci(confidence)
    assert bound(sound, called, confidence) == pytest.approx(exact.high)


@pytest.mark.parametrize("false_alarms", [0.01, 0.05, 0.3])
def test_most_called_is_the_most_that_keeps_the_bound(false_alarms: float) -> None:
    for sound in [1, 5, 58, 59, 60, 93, 299, 1000]:
        called = most_called(sound, false_alarms, 0.95)
        if called is None:
            assert bound(sound, 0, 0.95) > false_alarms
            assert sound < parts_needed(false_alarms, 0.95)
        else:
            assert bound(sound, called, 0.95) <= false_alarms < bound(sound, called + 1, 0.95)
            assert sound >= parts_needed(false_alarms, 0.95)


def test_fifty_nine_sound_parts_promise_one_in_twenty() -> None:
    assert parts_needed(0.05, 0.95) == 59
    assert parts_needed(0.01, 0.95) == 299


@pytest.mark.parametrize(("sound", "false_alarms"), [(59, 0.05), (100, 0.05), (200, 0.1)])
def test_of_many_calibrations_the_promised_share_holds(sound: int, false_alarms: float) -> None:
    """Scores are uniform: the true share above a threshold is one less the threshold."""
    draws = np.random.default_rng(0).random((4000, sound))
    called = most_called(sound, false_alarms, 0.95)
    assert called is not None
    thresholds = np.sort(draws, axis=1)[:, ::-1][:, called]
    held = float((1 - thresholds <= false_alarms).mean())
    # three standard errors of 4000 draws
    assert 0.95 - 3 * 0.0035 <= held <= 1
