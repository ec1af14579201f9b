"""What a reader should take from the scores, in sentences: each follows from numbers alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ppl.score_table import few_parts, gain_cell, miou_cell, percent, reasons


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


def findings(
    scores_of: Mapping[str, dict[str, Any]],
    leakage: Mapping[str, Any],
    *,
    confidence: float,
    false_alarm_rate: float,
) -> list[Finding]:
    """What the metrics of copycat, teacher and final student, and the audit, say.

    Args:
        scores_of: the metrics of `copycat`, `teacher` and `final`, as in metrics/.
        leakage: metrics/leakage.json.
        confidence: of the intervals, 0-1.
        false_alarm_rate: the share of sound images, 0-1, at which `image_miss_rate` was taken.
    """
    final, copycat = scores_of["final"], scores_of["copycat"]
    sure = f"{100 * confidence:g} % interval"
    return [
        _gain(final, sure),
        _seen(leakage),
        _copied(final, copycat, sure),
        *_detected(final, false_alarm_rate),
        *_few(final),
        *(Finding(Verdict.NOTE, f"Undefined: {reason}.") for reason in reasons(scores_of)),
        Finding(
            Verdict.NOTE,
            "This is one training on one split. The intervals say how much the choice of test "
            "parts matters, not how much another seed would: for that run make seeds and "
            "make folds.",
        ),
    ]


def _gain(final: Mapping[str, Any], sure: str) -> Finding:
    reached = f"The final student reaches {miou_cell(dict(final))} % mIoU ({sure})"
    low, high = final["gain_low"], final["gain_high"]
    gain = gain_cell(dict(final))
    if low is None or high is None:
        return Finding(Verdict.NOTE, f"{reached}; a gain over its teacher is undefined.")
    if low > 0:
        return Finding(Verdict.GOOD, f"{reached}: better than its teacher, {gain} points.")
    if high < 0:
        return Finding(Verdict.BAD, f"{reached}: worse than its teacher, {gain} points.")
    return Finding(
        Verdict.NOTE,
        f"{reached}. Whether it is better than its teacher is open: {gain} points.",
    )


def _seen(leakage: Mapping[str, Any]) -> Finding:
    seen, tested = leakage["test_images_seen_in_training"], leakage["test_images"]
    by_name, by_content = seen["by_name"], seen["by_content"]
    known = "" if by_name is None else f"{by_name} show a part that training shows too, by name; "
    text = (
        f"Of {tested} test images {known}{by_content} look like an image of training "
        f"(split by {leakage['split_by']})."
    )
    worst = max(by_name or 0, by_content)
    if worst == 0:
        return Finding(Verdict.GOOD, text)
    if 10 * worst < tested:
        return Finding(Verdict.NOTE, f"{text} Look at the pairs below.")
    return Finding(Verdict.BAD, f"{text} The scores tell how well known parts are recognised.")


def _copied(final: Mapping[str, Any], copycat: Mapping[str, Any], sure: str) -> Finding:
    reached = f"reaches {percent(copycat['miou'])} %"
    text = f"A copycat, which returns the mask of the most similar labeled image, {reached}"
    if copycat["miou"] is None or final["miou_low"] is None:
        return Finding(Verdict.NOTE, f"{text}.")
    if copycat["miou"] < final["miou_low"]:
        return Finding(Verdict.GOOD, f"{text}: less than the final student's {sure}.")
    return Finding(
        Verdict.BAD,
        f"{text}, not below the final student's {sure}: this score can be had without learning.",
    )


def _detected(final: Mapping[str, Any], false_alarm_rate: float) -> list[Finding]:
    if final["image_miss_rate"] is None:
        return []
    return [
        Finding(
            Verdict.NOTE,
            f"With at most {100 * false_alarm_rate:g} % of the sound images called defective, the "
            f"final student misses {percent(final['image_miss_rate'])} % of the defective ones.",
        )
    ]


def _few(final: dict[str, Any]) -> list[Finding]:
    few = few_parts(final)
    if not few:
        return []
    listed = ", ".join(f"{name} ({final['parts'][name]})" for name in few)
    return [Finding(Verdict.NOTE, f"Few test parts show {listed}: their scores are chance.")]
