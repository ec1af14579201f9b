"""What a reader should take from the scores, in sentences: each follows from numbers alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ppl.judge.absence import absences, present
from ppl.judge.table import (
    few_defective,
    few_parts,
    gain_cell,
    miou_cell,
    percent,
    reasons,
    stand_ins,
)
from ppl.tools.common_part import CommonPart
from ppl.tools.diff import OtherTests


class Verdict(Enum):
    """How a finding bears on the use of the model."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One sentence or two, and what it means for the reader."""

    verdict: Verdict
    text: str


STUDENT = "final student"
"""What the final model is called where a teacher labeled images for it."""


def findings(
    scores_of: Mapping[str, dict[str, Any]],
    leakage: Mapping[str, Any],
    *,
    confidence: float,
    false_alarm_rate: float,
    unlabeled_batch: int | None,
) -> list[Finding]:
    """What the metrics of copycat, teacher and final student, and the audit, say.

    Args:
        scores_of: the metrics of `copycat`, `teacher` and `final`, as in metrics/; of a model that
            was not trained, those that say why.
        leakage: metrics/leakage.json.
        confidence: of the intervals, 0-1.
        false_alarm_rate: the share of sound images, 0-1, at which `image_miss_rate` was taken.
        unlabeled_batch: unlabeled images in a step of a student's training, at most; None where
            no student was trained.
    """
    untrained, scores_of = absences(scores_of), present(scores_of)
    final, copycat = scores_of["final"], scores_of["copycat"]
    sure = f"{100 * confidence:g} % interval"
    called = final_called(scores_of)
    return [
        *(_stand_in(name, other) for name, other in stand_ins(scores_of)),
        *(Finding(Verdict.NOTE, f"There is {line}.") for line in untrained),
        *_gain(final, called, sure),
        *_alone(unlabeled_batch),
        _seen(leakage),
        *_copied(final, copycat, f"{called}'s {sure}"),
        *_detected(final, called, false_alarm_rate),
        *_promised(final.get("verdicts")),
        *_few(final),
        *(Finding(Verdict.NOTE, f"{line.capitalize()}.") for line in few_defective(final)),
        *(Finding(Verdict.NOTE, f"Undefined: {reason}.") for reason in reasons(scores_of)),
        Finding(
            Verdict.NOTE,
            "This is one training on one split. The intervals say how much the choice of test "
            "parts matters, not how much another seed would: for that run make seeds and "
            "make folds.",
        ),
    ]


def final_called(scores_of: Mapping[str, Mapping[str, Any]]) -> str:
    """What the final model is called: a student, if a teacher labeled images for it.

    Args:
        scores_of: of models that were trained.
    """
    taught = "teacher" in scores_of or "gain" in scores_of["final"]
    return STUDENT if taught else "final model"


def other_tests_finding(former: str, other: OtherTests, called: str = STUDENT) -> Finding:
    """That a former run was tested on other images, and how both do on what they share.

    Args:
        called: by `final_called`.
    """
    shared = _on_common_part(other.common, called, *other.pairs["final"]) if other.common else ""
    was = "was tested on other images, so its scores do not compare with these"
    may = "may have been tested on other images"
    return Finding(Verdict.NOTE, f"{former} {was if other.sure else may} ({other.said}).{shared}")


def former_unknown(why: str) -> Finding:
    """That no former run could be read to compare test sets with.

    Args:
        why: a sentence's part.
    """
    return Finding(
        Verdict.NOTE, f"Whether a former run was tested on other images is not known: {why}."
    )


def _on_common_part(
    common: CommonPart, called: str, before: dict[str, Any], now: dict[str, Any]
) -> str:
    if now["miou"] is None:
        return f" The {common} of both show no defect, so there is no mIoU on them."
    few = few_parts(now)
    chance = f" Few of these parts show {_listed(few, now)}: their scores are chance."
    return (
        f" On the {common} of both, the {called} had {miou_cell(before)} % mIoU and has "
        f"{miou_cell(now)} %: {gain_cell(now)} points.{chance if few else ''}"
    )


def _stand_in(name: str, other: str) -> Finding:
    return Finding(
        Verdict.BAD if name == "final" else Verdict.NOTE,
        f"{name} was worse on the validation images than an earlier model: what is called {name} "
        f"here is {other} (fall_back).",
    )


def _gain(final: dict[str, Any], called: str, sure: str) -> list[Finding]:
    if final["miou"] is None:
        return []
    reached = f"The {called} reaches {miou_cell(final)} % mIoU ({sure})"
    if "gain" not in final:
        return [Finding(Verdict.NOTE, f"{reached}; without a teacher there is no gain to judge.")]
    gain = f"{gain_cell(final)} points"
    tested = max(final["parts"].values())
    if final["gain_low"] is None or tested < final["few_parts"]:
        few = f"{tested} test part{'s' if tested > 1 else ''}, too few to judge it"
        return [Finding(Verdict.NOTE, f"{reached}, {gain} over its teacher, on {few}.")]
    if final["gain_low"] == final["gain_high"] == 0:
        return [Finding(Verdict.NOTE, f"{reached}: it finds what its teacher finds.")]
    if final["gain_low"] > 0:
        return [Finding(Verdict.GOOD, f"{reached}: better than its teacher, {gain}.")]
    if final["gain_high"] < 0:
        return [Finding(Verdict.BAD, f"{reached}: worse than its teacher, {gain}.")]
    open_question = f"{reached}. Whether it is better than its teacher is open: {gain}."
    return [Finding(Verdict.NOTE, open_question)]


def _alone(unlabeled_batch: int | None) -> list[Finding]:
    if unlabeled_batch is None or unlabeled_batch:
        return []
    return [
        Finding(
            Verdict.NOTE,
            "The students were trained without the unlabeled images (unlabeled_batch is 0): what "
            "they gain is what longer training gives.",
        )
    ]


def _seen(leakage: Mapping[str, Any]) -> Finding:
    seen, tested = leakage["test_images_seen_in_training"], leakage["test_images"]
    by_name, by_content = seen["by_name"], seen["by_content"]
    # metrics of an earlier version count no parts
    by_part = seen.get("by_part") or 0
    known = "" if by_name is None else f"{by_name} show a part that training shows too, by name; "
    half = f", {by_part} more share a half or a quarter with one" if by_part else ""
    text = (
        f"Of {tested} test images {known}{by_content} look like an image of training{half} "
        f"(split by {leakage['split_by']})."
    )
    if by_name and 10 * by_name >= tested:
        return Finding(Verdict.BAD, f"{text} The scores tell how well known parts are recognised.")
    if 10 * (by_content + by_part) >= tested:
        doubt = (
            "Either the same parts are on both sides, or all parts look alike, as in a fixture: "
            "see the pairs below."
        )
        verdict = Verdict.BAD if by_name is None else Verdict.NOTE
        return Finding(verdict, f"{text} {doubt}")
    if by_name or by_content or by_part:
        return Finding(Verdict.NOTE, f"{text} Look at the pairs below.")
    return Finding(Verdict.GOOD, text)


def _copied(final: Mapping[str, Any], copycat: Mapping[str, Any], sure: str) -> list[Finding]:
    if copycat["miou"] is None:
        return []
    reached = f"reaches {percent(copycat['miou'])} %"
    text = f"A copycat, which returns the mask of the most similar labeled image, {reached}"
    if final["miou_low"] is None:
        return [Finding(Verdict.NOTE, f"{text}.")]
    if copycat["miou"] < final["miou_low"]:
        return [Finding(Verdict.GOOD, f"{text}: less than the {sure}.")]
    verdict = f"not below the {sure}: this score can be had without learning"
    return [Finding(Verdict.BAD, f"{text}, {verdict}.")]


def _detected(final: Mapping[str, Any], called: str, false_alarm_rate: float) -> list[Finding]:
    if final["image_miss_rate"] is None:
        return []
    return [
        Finding(
            Verdict.NOTE,
            f"With at most {100 * false_alarm_rate:g} % of the sound images called defective, the "
            f"{called} misses {percent(final['image_miss_rate'])} % of the defective ones.",
        )
    ]


def _promised(verdicts: Mapping[str, Any] | None) -> list[Finding]:
    """What the thresholds promise, and what came of it on test."""
    if verdicts is None:
        return []
    promise, alarms = verdicts["promise"], verdicts["part_false_alarm_rate"]
    came = (
        f"On test {verdicts['sound_parts_called']} of {verdicts['sound_parts']} sound parts were "
        f"({percent(alarms)} %), and {percent(verdicts['image_recall'])} % of the defective images."
    )
    if promise is None:
        return [
            Finding(
                Verdict.NOTE,
                "No sound part was there to calibrate on: nothing is promised of how many sound "
                f"parts are called defective. {came}",
            )
        ]
    return [
        Finding(
            Verdict.NOTE,
            f"The verdict's threshold, chosen on {promise['sound_parts']} sound parts, promises "
            f"with {100 * promise['confidence']:g} % confidence that at most "
            f"{percent(promise['false_alarms'])} % of the sound parts are called defective. {came}",
        )
    ]


def _few(final: dict[str, Any]) -> list[Finding]:
    few = few_parts(final)
    if not few:
        return []
    return [
        Finding(
            Verdict.NOTE,
            f"Few test parts show {_listed(few, final)}: their scores are chance.",
        )
    ]


def _listed(few: Sequence[str], found: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({found['parts'][name]})" for name in few)
