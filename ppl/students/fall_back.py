"""Whether a student is kept, or an earlier model in its place: what the validation images say.

Few images choose validation, so most differences on them are chance. How sure one is: the share of
the sets resampled from them by part (bootstrap, see `ppl/scores/bootstrap.py`) in which the
student is worse, but never more than n parts with defects can tell. Two equal models differ in the
same direction on all of them with probability 0.5 ** n, as in a sign test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field
from torch import Tensor

from ppl.core.settings import Settings
from ppl.images.miou import BACKGROUND, mean_iou, pooled_miou
from ppl.scores.bootstrap import resampled_iou, sum_by_group


class FallBackSettings(Settings):
    """Section `fall_back`."""

    enabled: bool
    confidence: Annotated[float, Field(ge=0, lt=1)]
    """How sure it has to be that a student is worse; 0.0: worse at all is enough."""
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    """Bootstrap samples."""


class Counted(NamedTuple):
    """A model on the validation images."""

    name: str
    counts: Tensor
    """(N, C, C) int64 confusion matrix of each image."""


@dataclass(frozen=True)
class Verdict:
    """Whether a student is kept, and what its user should know of that."""

    kept: bool
    message: str | None


def defect_parts(by_part: Tensor) -> int:
    """The number of parts on which the truth of (G, C, C) counts shows a defect."""
    return int(by_part[:, BACKGROUND + 1 :].flatten(1).any(dim=1).sum())


def sure_that_worse(student: Tensor, earlier: Tensor, resamples: int) -> float:
    """How sure (0-1) it is that a student with the lower mIoU is worse than an earlier model.

    Both models are scored on the same parts each time, over the classes that these parts show; of
    sets without any defect nothing is concluded.

    Args:
        student, earlier: (G, C, C) int64 confusion matrix of each part; all its photos are drawn
            together.
    """
    most = 1 - 0.5 ** defect_parts(student)
    after, before = (
        mean_iou(resampled_iou(by_part, resamples, only_drawn=True))
        for by_part in (student, earlier)
    )
    told = ~before.isnan()
    if not told.any():
        # a single part: there is nothing to resample
        return most
    return min(most, float((after < before)[told].double().mean()))


def judge(
    student: Counted, earlier: Counted, parts: Sequence[str], settings: FallBackSettings
) -> Verdict:
    """Keep a student unless it is worse than an earlier model on the validation images.

    Args:
        parts: what each image shows.
    """
    after, before = pooled_miou(student.counts), pooled_miou(earlier.counts)
    if after >= before:
        return Verdict(True, None)
    found = (
        f"{student.name} scores {100 * after:.2f} % mIoU on the validation images, below the "
        f"{100 * before:.2f} % of {earlier.name}"
    )
    if settings.confidence > 0:
        by_part, before_by_part = (sum_by_group(of.counts, parts) for of in (student, earlier))
        sure = sure_that_worse(by_part, before_by_part, settings.resamples)
        count = defect_parts(by_part)
        unit = "image" if len(set(parts)) == len(parts) else "part"
        witnesses = f"{count} {unit}{'s' * (count != 1)} with defects"
        # rounded down: what is not enough must not look as if it were
        found += f". {witnesses} can tell that with {math.floor(1000 * sure) / 10:g} % confidence"
        if sure < settings.confidence:
            return Verdict(
                True,
                f"{found}, and fall_back.confidence asks for {100 * settings.confidence:g} %: it "
                f"is kept. More {unit}s with defects among the validation images would tell",
            )
    return Verdict(
        False,
        f"{found}: {earlier.name} is kept in its place (fall_back). More iterations, or a better "
        "teacher, may change that",
    )
