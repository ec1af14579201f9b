"""The sentences at the head of the report: each follows from the numbers, and none overstates."""

from typing import Any

import pytest

from ppl.scores.tested import Change
from ppl.tools.common_part import CommonPart
from ppl.tools.diff import OtherTests
from ppl.tools.findings import Finding, Verdict, findings, other_tests_finding

FINAL = {
    "miou": 0.42,
    "miou_low": 0.38,
    "miou_high": 0.46,
    "gain": 0.04,
    "gain_low": 0.01,
    "gain_high": 0.06,
    "image_miss_rate": 0.125,
    "parts": {"background": 90, "crack": 30},
    "few_parts": 10,
}
SEEN_NONE = {"by_name": 0, "by_content": 0}


def said(
    final: dict[str, Any] | None = None,
    *,
    copycat: float | None = 0.2,
    seen: dict[str, int | None] = SEEN_NONE,
    confidence: float = 0.95,
    unlabeled_batch: int = 2,
) -> list[Finding]:
    scores_of = {"copycat": FINAL | {"miou": copycat}, "final": FINAL | (final or {})}
    return said_of(scores_of, seen=seen, confidence=confidence, unlabeled_batch=unlabeled_batch)


def said_of(
    scores_of: dict[str, dict[str, Any]],
    *,
    seen: dict[str, int | None] = SEEN_NONE,
    confidence: float = 0.95,
    unlabeled_batch: int = 2,
) -> list[Finding]:
    return findings(
        scores_of,
        {"test_images": 200, "split_by": "group", "test_images_seen_in_training": seen},
        confidence=confidence,
        false_alarm_rate=0.05,
        unlabeled_batch=unlabeled_batch,
    )


def about(found: list[Finding], words: str) -> Finding:
    (finding,) = [each for each in found if words in each.text]
    return finding


@pytest.mark.parametrize(("name", "verdict"), [("final", Verdict.BAD), ("copycat", Verdict.NOTE)])
def test_a_model_in_anothers_place_is_named(name: str, verdict: Verdict) -> None:
    scores_of = dict.fromkeys(("copycat", "final"), FINAL)
    scores_of[name] = FINAL | {"fallen_back_to": "teacher"}
    found = about(said_of(scores_of), "(fall_back)")
    assert found.verdict is verdict
    assert f"what is called {name} here is teacher" in found.text
    assert not [each for each in said() if "fall_back" in each.text]


def test_students_without_unlabeled_images_are_called_so() -> None:
    words = "without the unlabeled images (unlabeled_batch is 0)"
    assert about(said(unlabeled_batch=0), words).verdict is Verdict.NOTE
    assert not [each for each in said() if words in each.text]


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.01, 0.06, Verdict.GOOD, "better than its teacher, +4.0 (+1.0 to +6.0) points"),
        (-0.06, -0.01, Verdict.BAD, "worse than its teacher"),
        (-0.01, 0.06, Verdict.NOTE, "Whether it is better than its teacher is open"),
        (0.0, 0.06, Verdict.NOTE, "is open"),
        (0.0, 0.0, Verdict.NOTE, "it finds what its teacher finds"),
    ],
)
def test_a_gain_is_good_only_where_its_interval_lies_above_zero(
    low: float, high: float, verdict: Verdict, words: str
) -> None:
    found = about(said({"gain_low": low, "gain_high": high}), "final student reaches")
    assert found.verdict is verdict
    assert words in found.text


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({"by_name": 0, "by_content": 0}, Verdict.GOOD),
        ({"by_name": None, "by_content": 0}, Verdict.GOOD),
        ({"by_name": None, "by_content": 8}, Verdict.NOTE),
        ({"by_name": 20, "by_content": 0}, Verdict.BAD),
        ({"by_name": 0, "by_content": 150}, Verdict.NOTE),
        ({"by_name": None, "by_content": 150}, Verdict.BAD),
        ({"by_name": None, "by_content": 0, "by_part": 3}, Verdict.NOTE),
        ({"by_name": None, "by_content": 0, "by_part": 50}, Verdict.BAD),
    ],
)
def test_seen_parts_are_bad_and_look_alikes_only_where_no_name_clears_them(
    seen: dict[str, int | None], verdict: Verdict
) -> None:
    assert about(said(seen=seen), "Of 200 test images").verdict is verdict


@pytest.mark.parametrize(
    ("copycat", "verdict"),
    [(0.2, Verdict.GOOD), (0.38, Verdict.BAD), (0.5, Verdict.BAD)],
)
def test_a_copycat_within_the_interval_makes_the_score_worthless(
    copycat: float, verdict: Verdict
) -> None:
    assert about(said(copycat=copycat), "copycat").verdict is verdict


def test_classes_on_few_parts_and_undefined_scores_are_named() -> None:
    reason = "no test image shows a defect"
    found = said(
        {
            "parts": {"background": 90, "crack": 3},
            "image_miss_rate": None,
            "undefined": {"image_auroc": reason},
        }
    )
    assert about(found, "crack (3)").verdict is Verdict.NOTE
    assert about(found, reason).verdict is Verdict.NOTE
    assert not [each for each in found if "misses" in each.text]


def test_few_parts_with_a_defect_are_named() -> None:
    found = said({"defective_parts": {"test": 40, "validation": 4}})
    assert about(found, "validation 4, by which they are chosen").verdict is Verdict.NOTE
    assert not [each for each in said() if "parts with a defect" in each.text]


def test_a_former_run_on_other_images_is_compared_on_what_both_tested() -> None:
    change = Change(frozenset("abc"), frozenset(), frozenset("d"), frozenset("ef"))
    common = CommonPart("abc", ["1", "1", "2"], ("background", "crack"))
    once = FINAL | {"miou": 0.5, "miou_low": 0.4, "miou_high": 0.6}
    now = FINAL | {"miou": 0.523, "gain": 0.023, "gain_low": -0.01}
    other = OtherTests(change, "", common, {"teacher": (once, once), "final": (once, now)})
    said = other_tests_finding("The run of abc1234", other).text
    assert said == (
        "The run of abc1234 was tested on other images, so its scores do not compare with these "
        "(test: 3 of 4 kept, 2 new). On the 3 images (2 parts) of both, the final student had "
        "50.0 (40.0-60.0) % mIoU and has 52.3 (38.0-46.0) %: +2.3 (-1.0 to +6.0) points."
    )
    rare = now | {"parts": {"background": 2, "crack": 1}}
    few = OtherTests(change, "", common, {"final": (once, rare)})
    assert other_tests_finding("The run of abc1234", few).text == (
        f"{said} Few of these parts show crack (1): their scores are chance."
    )
    sound = dict.fromkeys(FINAL) | {"parts": {"background": 2, "crack": 0}}
    none = OtherTests(change, "", common, {"final": (sound, sound)})
    assert other_tests_finding("The run of abc1234", none).text.endswith(
        " The 3 images (2 parts) of both show no defect, so there is no mIoU on them."
    )
    unknown = OtherTests(None, "which images both tested is not known (no cache)")
    assert other_tests_finding("The run of abc1234", unknown).text.endswith("(no cache)).")


def test_a_gain_on_few_parts_is_not_praised() -> None:
    few = {"parts": {"background": 5, "crack": 3}}
    assert "on 5 test parts, too few" in about(said(few), "final student reaches").text
    alone = {**few, "parts": {"background": 1, "crack": 1}, "gain_low": None, "miou_low": None}
    found = said(alone)
    assert "on 1 test part, too few" in about(found, "final student reaches").text
    assert about(found, "copycat").verdict is Verdict.NOTE


def test_without_a_defect_in_test_no_score_is_praised() -> None:
    keys = ("miou", "miou_low", "gain", "gain_low", "gain_high", "image_miss_rate")
    found = said(
        {**dict.fromkeys(keys), "undefined": {"miou": "no test image shows a defect"}}, copycat=None
    )
    assert about(found, "Undefined: no test image shows a defect.").verdict is Verdict.NOTE
    assert [each.verdict for each in found].count(Verdict.GOOD) == 1, "that none was seen"


def test_what_the_threshold_promises_stands_beside_what_came_of_it() -> None:
    verdicts: dict[str, Any] = {
        "promise": {"false_alarms": 0.312, "confidence": 0.95, "sound_parts": 8, "called": 0},
        "sound_parts": 86,
        "sound_parts_called": 3,
        "part_false_alarm_rate": 0.034884,
        "image_recall": 0.9,
    }
    text = about(said({"verdicts": verdicts}), "promises").text
    assert "chosen on 8 sound parts, promises with 95 % confidence" in text
    assert "at most 31.2 % of the sound parts are called defective" in text
    assert "On test 3 of 86 sound parts were (3.5 %), and 90.0 % of the defective images." in text
    nothing = about(said({"verdicts": verdicts | {"promise": None}}), "nothing is promised")
    assert "On test 3 of 86" in nothing.text
    assert not [each for each in said() if "promise" in each.text]


def test_the_settings_of_interval_and_threshold_are_said() -> None:
    found = said(confidence=0.9)
    assert "(90 % interval)" in about(found, "final student reaches").text
    assert "at most 5 % of the sound images" in about(found, "misses 12.5 %").text


def test_a_model_without_a_teacher_has_no_gain_and_is_no_student() -> None:
    alone = {key: value for key, value in FINAL.items() if not key.startswith("gain")}
    untrained = {"absent": "cps trains once"}
    scores_of = {
        "copycat": FINAL | {"miou": 0.2},
        "teacher": untrained,
        "student_1": untrained,
        "final": alone,
    }
    found = said_of(scores_of, unlabeled_batch=None)
    assert (
        about(found, "cps trains once").text
        == "There is no teacher, no student_1: cps trains once."
    )
    reached = about(found, "reaches 42.0 (38.0-46.0)")
    assert reached.verdict == Verdict.NOTE
    assert reached.text.endswith("without a teacher there is no gain to judge.")
    assert about(found, "less than the final model's").verdict == Verdict.GOOD
    assert not any("student " in each.text or "unlabeled_batch" in each.text for each in found)


def test_the_students_of_a_former_run_are_no_concern_of_a_model_without_a_teacher() -> None:
    change = Change(frozenset("abc"), frozenset(), frozenset("d"), frozenset("ef"))
    common = CommonPart("abc", ["1", "1", "2"], ("background", "crack"))
    other = OtherTests(change, "", common, {"final": (FINAL, FINAL)})
    assert "the final model had" in other_tests_finding("x", other, "final model").text
