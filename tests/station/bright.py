"""A model of three lines that needs no training: bright pixels are a defect, dark ones another.

    python -m tests.station.bright MODEL IMAGES --out OUT

is a station's command line with it. MODEL is a word; another word is another model. PPL_SLOW in the
environment makes an image take that many seconds, PPL_FILE_LIMIT bounds each file to so many bytes.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppl.images.pictures import Colour
from ppl.station.appearance import Appearance, Reference, reference_of
from ppl.station.command import main
from ppl.station.thresholds import ClassLimits, Thresholds, no_thresholds


class Bright:
    """A `Predictor`. How many images come at once shows in its last digits, as it may anywhere."""

    classes: tuple[str, ...] = ("background", "bright", "dark")
    colours: tuple[Colour, ...] = ((0, 0, 0), (230, 60, 60), (60, 60, 230))
    thresholds: Thresholds = no_thresholds(3)
    at_once: int = 4
    on_processor: bool = True
    reference: Reference | None = None

    def __init__(self, model: Path = Path("bright")) -> None:
        self.digest = model.name
        if model.name == "strict":
            self.thresholds = Thresholds((ClassLimits(0.7, 5),) * 2, 0.8, None)
        if model.name == "trained":
            # on images as `picture` of test_predict draws them
            looks = [Appearance(120.0 + k, 20.0 + k, 0.3 + k / 100) for k in range(40)]
            self.reference = reference_of(looks)
        self.seen: list[int] = []
        """How many images came together."""

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        self.seen.append(len(images))
        for image in images:
            time.sleep(float(os.environ.get("PPL_SLOW", "0")))
            level = image.mean(axis=2) / 255
            bright, dark = np.clip(4 * level - 3, 0, 1), np.clip(1 - 4 * level, 0, 1)
            scores = np.stack([np.full_like(level, 0.2 + len(images) / 1000), bright, dark])
            yield (scores / scores.sum(axis=0)).astype(np.float32)

    def bands(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        [prob] = self.probabilities([image])
        # of any heights
        yield from np.split(prob, [1, 2, len(image) // 2], axis=1)


if __name__ == "__main__":
    if limit := os.environ.get("PPL_FILE_LIMIT"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    sys.exit(main(Bright, sys.argv[1:]))
