"""What a model offers to whoever applies it, whatever runs it: PyTorch or a runtime of a station.

Axes: H height, W width, C classes.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppl.images.pictures import Colour
from ppl.station.appearance import Reference
from ppl.station.thresholds import Thresholds


class Predictor(Protocol):
    """A model with all that its verdict takes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names by index, background first."""

    @property
    def colours(self) -> tuple[Colour, ...]:
        """One a class."""

    @property
    def thresholds(self) -> Thresholds:
        """What its verdicts go by."""

    @property
    def reference(self) -> Reference | None:
        """How the images looked that it was trained on; None where nobody knows."""

    @property
    def digest(self) -> str:
        """16 characters that are another for another model, or other thresholds."""

    @property
    def at_once(self) -> int:
        """How many images are best predicted together."""

    @property
    def on_processor(self) -> bool:
        """Whether it computes on the processor, which then has nothing left for other work."""

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """The (C, H, W) softmax of each image at its own size.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """

    def bands(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """The same of one image, (C, h, W) each, from top to bottom: for very large ones.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
