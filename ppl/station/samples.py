"""Sample images with the masks and verdicts that they had in the project: does this machine agree?

FOLDER/samples/samples.json   a line an image: its file, its verdict, its score
FOLDER/samples/images/        the images
FOLDER/samples/masks/         the expected masks, class indices
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppl.core.errors import InputError
from ppl.images.pictures import open_picture, read_pixels
from ppl.station.defects import find_defects, likeliest, score_of
from ppl.station.predictor import Predictor

SAMPLES = "samples"
LIST = "samples.json"


def check_samples(folder: Path, predictor: Predictor) -> tuple[int, list[str]]:
    """Predict the samples below `folder`.

    Returns:
        how many there are, and what is not as it was, a line an image; empty where all is equal.

    Raises:
        InputError: there are none, or a file of them is missing or damaged.
    """
    samples = _listed(folder)
    if not samples:
        raise InputError(
            f"{folder / SAMPLES} holds no samples to check by: set export.samples and export again"
        )
    return len(samples), [line for sample in samples for line in _check(folder, sample, predictor)]


def _listed(folder: Path) -> list[dict[str, Any]]:
    file = folder / SAMPLES / LIST
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        return [
            {key: sample[key] for key in ("image", "mask", "defective", "score")}
            for sample in listed
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} cannot be read ({error!r}): copy the whole folder again"
        ) from None


def _check(folder: Path, sample: dict[str, Any], predictor: Predictor) -> Iterator[str]:
    image = folder / SAMPLES / "images" / sample["image"]
    expected = np.array(open_picture(folder / SAMPLES / "masks" / sample["mask"], "mask").image)
    [prob] = predictor.probabilities([read_pixels(image)])
    mask = likeliest(prob)
    if mask.shape != expected.shape:
        yield f"{sample['image']}: the mask is {mask.shape}, expected {expected.shape}"
        return
    pixels = int(np.count_nonzero(mask != expected))
    if pixels:
        yield f"{sample['image']}: {pixels} of {mask.size} pixels have another class"
    score = score_of(find_defects(prob, mask, predictor.thresholds))
    if predictor.thresholds.defective(score) != sample["defective"]:
        yield (
            f"{sample['image']}: the verdict is another: score {score:.6f}, "
            f"expected {sample['score']:.6f}"
        )
