"""What verdicts are worth on test, by image and by part."""

from ppl.scores.verdicts import rates_above, verdict_scores
from ppl.station.thresholds import ClassLimits, Promise, Thresholds
from tests.judge.test_plots import judged

LIMITS = (ClassLimits(0.0, 1),)


def test_a_sound_part_is_called_if_one_of_its_images_is() -> None:
    result = judged([0.1, 0.9, 0.2, 0.95, 0.3, 0.0], [False, False, False, True, False, True])
    parts = ["a", "a", "b", "c", "c", "d"]
    found = verdict_scores(result, parts, Thresholds(LIMITS, 0.5, Promise(0.31, 0.95, 8, 0)))
    # part c shows a defect: its sound image is no sound part
    assert (found["sound_parts"], found["sound_parts_called"]) == (2, 1)
    assert found["part_false_alarm_rate"] == 0.5
    assert found["image_false_alarm_rate"] == 0.25
    assert found["image_recall"] == 0.5
    assert found["threshold"] == 0.5
    assert found["promise"] == {
        "false_alarms": 0.31,
        "confidence": 0.95,
        "sound_parts": 8,
        "called": 0,
    }


def test_a_score_at_the_threshold_passes() -> None:
    result = judged([0.5, 0.5], [False, True])
    assert rates_above(result, 0.5).false_alarms == 0.0
    assert rates_above(result, 0.5).miss_rate == 1.0
    assert rates_above(result, 0.499).false_alarms == 1.0


def test_what_is_missing_has_no_rate() -> None:
    rates = rates_above(judged([0.5], [True]), 0.1)
    assert (rates.false_alarms, rates.miss_rate) == (None, 0.0)
    found = verdict_scores(judged([0.5], [True]), ["a"], Thresholds(LIMITS, 0.1, None))
    assert found["promise"] is None
    assert found["part_false_alarm_rate"] is None
    assert found["sound_parts"] == 0
