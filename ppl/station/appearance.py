"""What an image looks like in three numbers, and what those of the training images were.

Axes: H height, W width.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LOOKED_AT = 512
"""Rows and columns of an image that are looked at, about, at equal distances."""

FEWEST = 20
"""Images from which on there is something to compare with."""

BEYOND = 0.1
"""How far outside the range of all training images, in that range's lengths, is unusual."""

QUANTILES = 101
"""Kept of each number: its percentiles from the least to the greatest."""

HIGH, LOW = "high", "low"

GREY = (0.299, 0.587, 0.114)
"""Of red, green and blue in a grey level: ITU-R BT.601."""


class Appearance(NamedTuple):
    """How one image looks."""

    brightness: float
    """Mean grey level, 0-255."""
    contrast: float
    """Standard deviation of the grey levels."""
    sharpness: float
    """Mean difference of grey levels between neighbouring pixels, in standard deviations; 0 of an
    even image. Blur lowers it, noise raises it."""


NUMBERS = Appearance._fields


def appearance_of(image_HWC: NDArray[np.uint8]) -> Appearance:
    """Of (H, W, 3) RGB of any size, in little time and memory."""
    step = max(1, min(image_HWC.shape[:2]) // LOOKED_AT)
    grey = _grey(image_HWC[::step, ::step])
    contrast = float(grey.std())
    differences = []
    for axis, length in enumerate(image_HWC.shape[:2]):
        if length > 1:
            # neighbours in the image itself, not among the pixels that are looked at
            shifted = image_HWC[1:, :] if axis == 0 else image_HWC[:, 1:]
            beside = _grey(shifted[::step, ::step])
            here = grey[: beside.shape[0], : beside.shape[1]]
            differences.append(float(np.abs(beside - here).mean()))
    difference = sum(differences) / max(1, len(differences))
    return Appearance(float(grey.mean()), contrast, difference / contrast if contrast else 0.0)


def _grey(image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    red, green, blue = (image_HWC[..., k].astype(np.float32) for k in range(3))
    grey: NDArray[np.float32] = (
        np.float32(GREY[0]) * red + np.float32(GREY[1]) * green + np.float32(GREY[2]) * blue
    )
    return grey


@dataclass(frozen=True)
class Reference:
    """How the images looked that a model was trained on."""

    images: int
    percentiles: Mapping[str, tuple[float, ...]]
    """Of each number, ascending."""

    def unusual(self, of: Appearance) -> str:
        """What lies outside of all that training saw, as `brightness high`; empty: nothing."""
        found = []
        for name, value in zip(NUMBERS, of, strict=True):
            least, greatest = self.percentiles[name][0], self.percentiles[name][-1]
            margin = BEYOND * (greatest - least)
            if value > greatest + margin:
                found.append(f"{name} {HIGH}")
            elif value < least - margin:
                found.append(f"{name} {LOW}")
        return "; ".join(found)

    def normal_score(self, name: str, value: float) -> float:
        """Where a value lies among the training images' as a standard normal deviate.

        The ends are those of a sample of that many images.
        """
        known = self.percentiles[name]
        below, upto = bisect_left(known, value), bisect_right(known, value)
        if below < upto:
            # of a value that many images share, the middle of these
            place = (below + upto - 1) / 2
        elif below in (0, len(known)):
            place = -1.0 if below == 0 else float(len(known))
        else:
            low, high = known[below - 1], known[below]
            place = below - 1 + (value - low) / (high - low)
        share = place / (len(known) - 1)
        end = 0.5 / self.images
        return NormalDist().inv_cdf(min(max(share, end), 1 - end))

    def middle(self, name: str) -> float:
        """The median of the training images."""
        return self.percentiles[name][len(self.percentiles[name]) // 2]


def reference_of(found: Sequence[Appearance]) -> Reference | None:
    """Of the training images; None of fewer than `FEWEST`."""
    if len(found) < FEWEST:
        return None
    shares = np.linspace(0, 1, QUANTILES)
    columns = {
        name: tuple(float(f"{value:.6g}") for value in np.quantile(values, shares))
        for name, values in zip(NUMBERS, zip(*found, strict=True), strict=True)
    }
    return Reference(len(found), columns)


def reference_as_json(found: Reference | None) -> dict[str, Any] | None:
    """What a model's description, or a card, says of it."""
    if found is None:
        return None
    return {"images": found.images, "percentiles": dict(found.percentiles)}


def reference_from_json(content: Any) -> Reference | None:
    """What `reference_as_json` made.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if content is None:
        return None
    images, given = content["images"], content["percentiles"]
    columns = {name: tuple(map(float, given[name])) for name in NUMBERS}
    for name, values in columns.items():
        finite = len(values) >= 2 and bool(np.isfinite(values).all())
        if not finite or list(values) != sorted(values):
            raise ValueError(f"the percentiles of {name} are no ascending numbers")
    if not isinstance(images, int) or images < 1:
        raise ValueError("the number of images is none")
    return Reference(images, columns)
