"""From where on an image is called defective, and what that promises."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ClassLimits:
    """What the pixels of a class, and a defect of it, have to reach."""

    pixel: float
    """Least probability, 0-1, of a defect's pixels."""
    area: int
    """Least pixels of a defect."""


@dataclass(frozen=True)
class Promise:
    """How many sound parts will be called defective, at most."""

    false_alarms: float
    """Share of the sound parts, 0-1; 1 promises nothing."""
    confidence: float
    """How often, 0-1, of many calibrations such a promise holds."""
    sound_parts: int
    """On which it was chosen."""
    called: int
    """How many of these are called defective."""


@dataclass(frozen=True)
class Thresholds:
    """All that turns probabilities into a verdict."""

    classes: tuple[ClassLimits, ...]
    """Of each class but background, by index."""
    score: float
    """An image is called defective whose score is above this, 0-1."""
    promise: Promise | None
    """None where nothing was calibrated."""

    def defective(self, score: float) -> bool:
        """The verdict on an image."""
        return score > self.score


def no_thresholds(classes: int) -> Thresholds:
    """Each connected part of a mask is a defect, and each defect calls its image.

    Args:
        classes: their number, the background among them.
    """
    return Thresholds((ClassLimits(0.0, 1),) * (classes - 1), 0.0, None)


def thresholds_as_json(found: Thresholds, classes: Sequence[str]) -> dict[str, Any]:
    """What a model's description, or a card, says of them.

    Args:
        classes: their names, background first.
    """
    limits = zip(classes[1:], map(asdict, found.classes), strict=True)
    promise = None if found.promise is None else asdict(found.promise)
    return {"classes": dict(limits), "score": found.score, "promise": promise}


def thresholds_from_json(content: Mapping[str, Any], classes: Sequence[str]) -> Thresholds:
    """What `thresholds_as_json` made.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    promise = content["promise"]
    found = Thresholds(
        tuple(ClassLimits(**content["classes"][name]) for name in classes[1:]),
        float(content["score"]),
        None if promise is None else Promise(**promise),
    )
    # not NaN either, which is above and below nothing
    if not all(0 <= share <= 1 for share in (found.score, *(each.pixel for each in found.classes))):
        raise ValueError("a threshold lies outside 0-1")
    if not all(isinstance(each.area, int) and each.area >= 1 for each in found.classes):
        raise ValueError("an area is no number of pixels from 1 on")
    return found
