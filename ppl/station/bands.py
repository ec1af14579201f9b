"""The probabilities of an image that is too large to hold them: band by band, in bounded memory.

Axes: B batch, H height, W width, C classes; h rows of a band.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ppl.station.resize import resize_image, rows_at_own_size, rows_needed, scaled_size
from ppl.station.windows import blended_bands

BAND = 2**22
"""Pixels of a band, about: of ten classes it takes 170 MB."""

Probabilities = NDArray[np.float32]


def windowed_bands(
    softmax: Callable[[NDArray[np.uint8]], Probabilities],
    image_HWC: NDArray[np.uint8],
    window: tuple[int, int],
    overlap: int,
    scales: Sequence[float],
    at_once: int,
) -> Iterator[Probabilities]:
    """The (C, h, W) softmax of an image seen through windows, from top to bottom.

    Memory: the image at each scale, and some bands.

    Args:
        softmax: windows (B, h, w, 3) -> their softmax (B, C, h, w).
        window, overlap, at_once: as of `blended_windows`.
        scales: multiples of its size at which the image is looked at; the mean is returned.
    """
    own = (image_HWC.shape[0], image_HWC.shape[1])
    views = []
    for scale in scales:
        shown = resize_image(image_HWC, scaled_size(own, scale))
        bands = blended_bands(softmax, shown, window, overlap, at_once)
        views.append(bands_at_size(bands, shown.shape[0], own))
    for found in zip(*views, strict=True):
        yield mean(found)


def bands_at_size(
    bands: Iterable[Probabilities], height: int, size: tuple[int, int]
) -> Iterator[Probabilities]:
    """What `at_own_size` gives of a whole image at `size`, in bands of equal heights.

    Args:
        bands: the whole, (C, h, w) each, of any heights.
        height: how many rows these have together.
    """
    source = iter(bands)
    held, top = next(source), 0
    step = max(1, BAND // size[1])
    for start in range(0, size[0], step):
        rows = (start, min(start + step, size[0]))
        first, behind = rows_needed(height, size[0], rows)
        while top + held.shape[1] <= first:
            top += held.shape[1]
            held = next(source)
        parts, top = [held[:, first - top :]], first
        while top + sum(part.shape[1] for part in parts) < behind:
            parts.append(next(source))
        held = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        yield rows_at_own_size(held, (top, height), size, rows)


def mean(found: Sequence[Probabilities]) -> Probabilities:
    """Of arrays of one shape."""
    return found[0] if len(found) == 1 else np.mean(found, axis=0, dtype=np.float32)
