"""What verdicts are worth on test: which sound parts are called, which defects are missed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ppl.images.miou import rounded
from ppl.scores.counts import ModelResult
from ppl.station.thresholds import Thresholds


@dataclass(frozen=True)
class Rates:
    """Shares of images, 0-1; None where there is no such image."""

    false_alarms: float | None
    """Of the sound images, those called defective."""
    miss_rate: float | None
    """Of the defective images, those that pass."""


def rates_above(result: ModelResult, score: float) -> Rates:
    """The rates where images are called defective whose score is above `score`."""
    judged = _judged(result)
    called = result.score > score
    return Rates(
        _share(called[judged & ~result.defective]), _share(~called[judged & result.defective])
    )


def verdict_scores(
    result: ModelResult, parts: Sequence[str], thresholds: Thresholds
) -> dict[str, object]:
    """What the thresholds promise, and what came of it on test, ready for JSON.

    A part is sound if none of its images shows a defect, and called if one of them is.

    Args:
        parts: the part that each image shows.
    """
    rates = rates_above(result, thresholds.score)
    called = result.score > thresholds.score
    sound: dict[str, bool] = {}
    bad = {part for part, shows in zip(parts, result.defective.tolist(), strict=True) if shows}
    for part, known, defective in zip(
        parts, _judged(result).tolist(), called.tolist(), strict=True
    ):
        if known and part not in bad:
            sound[part] = sound.get(part, False) or defective
    alarms = torch.tensor(list(sound.values()), dtype=torch.bool)
    return {
        "threshold": rounded(thresholds.score),
        "promise": None if thresholds.promise is None else _rounded(asdict(thresholds.promise)),
        "image_recall": None if rates.miss_rate is None else rounded(1 - rates.miss_rate),
        "image_false_alarm_rate": rates.false_alarms,
        "sound_parts": len(sound),
        "sound_parts_called": int(alarms.sum()),
        "part_false_alarm_rate": _share(alarms),
    }


def _judged(result: ModelResult) -> Tensor:
    """Images with a counted pixel and a verdict."""
    return ~result.evidence.isnan() & ~result.score.isnan()


def _share(called: Tensor) -> float | None:
    return rounded(float(called.double().mean())) if called.numel() else None


def _rounded(promise: dict[str, float]) -> dict[str, float | None]:
    return {
        name: value if isinstance(value, int) else rounded(value) for name, value in promise.items()
    }
