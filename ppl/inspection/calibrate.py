"""Choose from where on an image is called defective, on images that no training has learned from.

The limits of pixels and areas come from defective images alone, the image's threshold from sound
parts alone: so the promise on false alarms holds whatever the former are.

Axes: H height, W width, C classes.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.core.settings import PathSetting, Settings
from ppl.images.pictures import IGNORE, IMAGE_SUFFIXES, files_below, read_pixels
from ppl.images.sets import ImageSet
from ppl.inspection.model import Model
from ppl.inspection.promise import bound, most_called, parts_needed
from ppl.station.defects import BACKGROUND, find_defects, likeliest, regions, score_of
from ppl.station.thresholds import ClassLimits, Promise, Thresholds

PIXEL_LIMITS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Least probabilities that are tried for the pixels of a class; 0: all that its mask shows."""

SPECKS = 0.02
"""Share of a class's annotated defects, the smallest, that its least area does not heed."""

_STEPS = 1_000_000
"""Of a threshold between 0 and 1: the last digits of a score vary from machine to machine."""

Counts = NDArray[np.int64]
Mask = NDArray[np.uint8]


class ThresholdSettings(Settings):
    """Section `thresholds`."""

    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    """Share of the sound parts that may be called defective."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    """How often, of many calibrations, that holds."""
    few_parts: Annotated[int, Field(ge=1, le=1_000_000)]
    """A class on fewer calibrating parts than these keeps all pixels that its mask shows."""
    sound_images: PathSetting
    """Folder of more images that are known to be sound, each of a part of its own; may be empty."""


@dataclass(frozen=True)
class Calibrating:
    """The images on which thresholds are chosen: none of them taught the model anything."""

    images: ImageSet
    """With their masks."""
    parts: Mapping[str, str]
    """The part that each shows, by id."""
    sound: Sequence[Path] = ()
    """Further files that are known to be sound."""


def calibrate(
    model: Model, given: Calibrating, taught: ImageSet, settings: ThresholdSettings
) -> Thresholds:
    """The thresholds of a model.

    Args:
        taught: the labeled images: their masks, too, say how small a defect may be.

    Raises:
        InputError: an unreadable image.
    """
    masks = {entry.id: given.images.mask(entry).numpy() for entry in given.images.entries}
    defective = [id for id, mask in masks.items() if _defects(mask).any()]
    bad_parts = {given.parts[id] for id in defective}
    # where a person was in doubt, nobody knows that a part is sound
    bad_parts |= {given.parts[id] for id, mask in masks.items() if (mask == IGNORE).any()}
    sound = [id for id in masks if given.parts[id] not in bad_parts]
    areas = _areas(chain(masks.values(), _masks(taught)), len(model.classes))
    pixels = _pixel_limits(model, given, {id: masks[id] for id in defective}, settings)
    limits = tuple(
        ClassLimits(pixel, least_area(found)) for pixel, found in zip(pixels, areas, strict=True)
    )
    scores = _sound_scores(model, given, sound, Thresholds(limits, 0.0, None))
    return threshold(limits, scores, settings)


def threshold(
    limits: tuple[ClassLimits, ...], scores: Sequence[float], settings: ThresholdSettings
) -> Thresholds:
    """The lowest threshold that keeps the promise asked for, else the best that can be promised.

    Args:
        scores: of each sound part, the highest of its images.
    """
    if not scores:
        return Thresholds(limits, 0.0, None)
    count = len(scores)
    called = most_called(count, settings.false_alarms, settings.confidence) or 0
    # upwards, so that none is called that would not have been
    score = math.ceil(sorted(scores, reverse=True)[called] * _STEPS) / _STEPS
    promise = Promise(
        false_alarms=round(bound(count, called, settings.confidence), 6),
        confidence=settings.confidence,
        sound_parts=count,
        called=sum(each > score for each in scores),
    )
    return Thresholds(limits, score, promise)


def least_area(areas: Sequence[int]) -> int:
    """Pixels: half the area of the smallest of the annotated defects, but for specks."""
    return max(1, int(np.quantile(areas, SPECKS, method="lower")) // 2) if areas else 1


def said(found: Thresholds, settings: ThresholdSettings) -> str:
    """What was chosen and what it promises, in a sentence or two."""
    promise = found.promise
    needed = parts_needed(settings.false_alarms, settings.confidence)
    if promise is None:
        return (
            "no sound part to calibrate on: each image whose mask shows a defect is called, and "
            f"nothing is promised. {needed} sound parts can promise {settings.false_alarms:.1%} "
            "false alarms: raise split.validation_fraction, or put images that are known to be "
            "sound into thresholds.sound_images"
        )
    text = (
        f"called defective from a score above {found.score:.3f} on: at most "
        f"{promise.false_alarms:.1%} of the sound parts, with {promise.confidence:.0%} confidence "
        f"({_counted(promise)})"
    )
    if found.score >= 1:
        text = f"no image is ever called defective, since a sound one looks surely so; {text}"
    if promise.false_alarms <= settings.false_alarms:
        return text
    return (
        f"{text}. To promise {settings.false_alarms:.1%} takes {needed} sound parts: raise "
        "split.validation_fraction, or put sound images into thresholds.sound_images"
    )


def _counted(promise: Promise) -> str:
    """By how many sound parts it was chosen, and how many of them are called."""
    if promise.sound_parts == 1:
        return "by a single sound part, from which next to nothing is known of others"
    return f"{promise.called} of {promise.sound_parts} calibrating ones"


def sound_files(folder: Path) -> list[Path]:
    """The images of `thresholds.sound_images`, sorted, of equal files one; there may be none.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"the folder {folder} (thresholds.sound_images) does not exist: it may hold images "
            "that are known to be sound; to calibrate without, write `sound_images: data/sound`"
        )
    files = [
        file
        for file in files_below(folder, lambda _: False)
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    first: dict[bytes, Path] = {}
    for file in files:
        first.setdefault(hashlib.blake2b(file.read_bytes()).digest(), file)
    return sorted(first.values())


def _defects(mask_HW: Mask) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (mask_HW != BACKGROUND) & (mask_HW != IGNORE)
    return found


def _masks(images: ImageSet) -> Iterator[Mask]:
    return (images.mask(entry).numpy() for entry in images.entries)


def _areas(masks: Iterator[Mask], classes: int) -> list[list[int]]:
    """The pixels of each annotated defect, by class but background."""
    found: list[list[int]] = [[] for _ in range(classes - 1)]
    for mask in masks:
        sure = np.ones(mask.shape, dtype=np.float32)
        for index, areas in enumerate(found, start=BACKGROUND + 1):
            areas += [defect.area for defect in regions(mask == index, sure, index)]
    return found


def _pixel_limits(
    model: Model, given: Calibrating, masks: Mapping[str, Mask], settings: ThresholdSettings
) -> list[float]:
    """For each class the limit with the best IoU on the defective images; 0 on few parts."""
    classes = len(model.classes)
    hits, union = (np.zeros((classes, len(PIXEL_LIMITS)), dtype=np.int64) for _ in range(2))
    parts: defaultdict[int, set[str]] = defaultdict(set)
    for id, prob in _predicted(model, given.images, list(masks)):
        truth = masks[id]
        for index in np.unique(truth[_defects(truth)]):
            parts[int(index)].add(given.parts[id])
        _count(prob, truth, hits, union)
    limits = []
    for index in range(BACKGROUND + 1, classes):
        enough = len(parts[index]) >= settings.few_parts
        iou = hits[index] / np.maximum(union[index], 1)
        # of equal ones the lowest, which keeps the most
        limits.append(PIXEL_LIMITS[int(iou.argmax())] if enough else PIXEL_LIMITS[0])
    return limits


def _count(prob: NDArray[np.float32], truth: Mask, hits: Counts, union: Counts) -> None:
    """Add the pixels of one image to (C, limits) counts of intersection and union."""
    counted = truth != IGNORE
    mask = likeliest(prob)
    for index in range(BACKGROUND + 1, len(prob)):
        true = (truth == index) & counted
        shown = (mask == index) & counted
        for place, limit in enumerate(PIXEL_LIMITS):
            called = shown & (prob[index] >= limit)
            hits[index, place] += int((called & true).sum())
            union[index, place] += int((called | true).sum())


def _sound_scores(
    model: Model, given: Calibrating, ids: Sequence[str], limits: Thresholds
) -> list[float]:
    """The score of each sound part: the highest of its images."""
    highest: defaultdict[str, float] = defaultdict(float)
    for id, prob in _predicted(model, given.images, ids):
        part = given.parts[id]
        highest[part] = max(highest[part], _score(prob, limits))
    further = [_score(prob, limits) for prob in _of_files(model, given.sound, "sound images")]
    return [*highest.values(), *further]


def _score(prob: NDArray[np.float32], limits: Thresholds) -> float:
    return score_of(find_defects(prob, likeliest(prob), limits))


def _predicted(
    model: Model, images: ImageSet, ids: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    chosen = images.subset(ids)
    files = [chosen.image_file(entry) for entry in chosen.entries]
    return zip(chosen.ids, _of_files(model, files, "calibrate"), strict=True)


def _of_files(model: Model, files: Sequence[Path], what: str) -> Iterator[NDArray[np.float32]]:
    """The probabilities of each file, in order."""
    with bar(total=len(files), desc=what, unit="image") as progress:
        for start in range(0, len(files), model.at_once):
            some = files[start : start + model.at_once]
            yield from model.probabilities([read_pixels(file) for file in some])
            progress.update(len(some))
