"""Sample images with the masks and verdicts that they had in the project: does this machine agree?

FOLDER/samples/images/             the images
FOLDER/samples/samples.json        an entry an image: its file, its mask, its verdict, its score
FOLDER/samples/masks/              the expected masks, class indices
FOLDER/samples/samples.int8.RUNTIME.json, masks.int8.RUNTIME/
                                   the same of the network in 8-bit integers, which each runtime
                                   rounds otherwise
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ppl.core.errors import InputError
from ppl.images.pictures import open_picture, read_pixels
from ppl.station.predictor import Predictor
from ppl.station.verdict import verdict_of

SAMPLES = "samples"

MOST_LISTED = 2**24
"""Bytes of a list, of which written ones have some thousands."""


@dataclass(frozen=True)
class Expected:
    """Where the expected masks and verdicts lie."""

    listed: str
    masks: str


IN_FLOATS = Expected("samples.json", "masks")


def in_int8(runtime: str) -> Expected:
    """Those of the network in 8-bit integers."""
    return Expected(f"samples.int8.{runtime}.json", f"masks.int8.{runtime}")


def check_samples(
    folder: Path, predictor: Predictor, expected: Expected = IN_FLOATS
) -> tuple[int, list[str]]:
    """Predict the samples below `folder`.

    Args:
        expected: what the predictor's network had in the project.

    Returns:
        how many there are, and what is not as it was, a line an image; empty where all is equal.

    Raises:
        InputError: there are none, or a file of them is missing or damaged.
    """
    samples = _listed(folder / SAMPLES / expected.listed)
    if not samples:
        raise InputError(
            f"{folder / SAMPLES} holds no samples to check by: set export.samples and export again"
        )
    return len(samples), [
        line
        for sample in samples
        for line in _check(folder / SAMPLES, sample, predictor, expected.masks)
    ]


def _listed(file: Path) -> list[dict[str, Any]]:
    try:
        if file.stat().st_size > MOST_LISTED:
            raise ValueError(f"more than {MOST_LISTED:,} bytes")
        return [_sample(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file} cannot be read ({error!r}): copy the whole folder again"
        ) from None


def _sample(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the list.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    found = {key: entry[key] for key in ("image", "mask", "defective", "score")}
    for path in (found["image"], found["mask"]):
        pure = PurePosixPath(path)
        if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise ValueError(f"{path!r} leads out of the samples")
    if type(found["defective"]) is not bool or not 0 <= float(found["score"]) <= 1:
        raise ValueError("a verdict or a score is none")
    return found


def _check(folder: Path, sample: dict[str, Any], predictor: Predictor, masks: str) -> Iterator[str]:
    image = folder / "images" / sample["image"]
    expected = np.array(open_picture(folder / masks / sample["mask"], "mask").image)
    [prob] = predictor.probabilities([read_pixels(image)])
    found = verdict_of(prob, predictor.thresholds)
    mask = found.mask
    if mask.shape != expected.shape:
        yield f"{sample['image']}: the mask is {mask.shape}, expected {expected.shape}"
        return
    pixels = int(np.count_nonzero(mask != expected))
    if pixels:
        yield f"{sample['image']}: {pixels} of {mask.size} pixels have another class"
    if found.defective != sample["defective"]:
        yield (
            f"{sample['image']}: the verdict is another: score {found.score:.6f}, "
            f"expected {sample['score']:.6f}"
        )
