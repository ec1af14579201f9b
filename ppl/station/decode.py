"""Images decoded ahead of their prediction, by threads, in bounded memory.

Axes: H height, W width.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.images.pictures import claimed_pixels, read_pixels
from ppl.station.folder import Found, Stamp, stamp_of, why_missing

MOST_AHEAD = 2**26
"""Pixels that wait at a time, decoded or predicted: 200 MB of images. Of images that are larger
together one is decoded at a time."""

MOST_OF_ONE = 2**30
"""Pixels of an image, as 32,768 x 32,768: 3 GB of bytes."""

T = TypeVar("T")

HEADERS = 4
"""That are read ahead of the decoding: on a network share each takes its time."""


@dataclass(frozen=True)
class Decoded:
    """An image as its file gave it."""

    found: Found
    stamp: Stamp | None
    """None: there is no file."""
    pixels: NDArray[np.uint8] | None
    """(H, W, 3) RGB; None where it cannot be read."""
    error: str
    """Why not."""
    seconds: float

    @property
    def count(self) -> int:
        """Its pixels."""
        return 0 if self.pixels is None else self.pixels.shape[0] * self.pixels.shape[1]


def decode(found: Found) -> Decoded:
    """Read one image; what stops that is said in it."""
    began = time.perf_counter()
    stamp, pixels, error = stamp_of(found.file), None, ""
    if stamp is None:
        return Decoded(found, None, None, why_missing(found.file), 0.0)
    try:
        pixels = read_pixels(found.file, MOST_OF_ONE)
    except InputError as problem:
        error = as_cell(str(problem).removeprefix(f"image {found.file} "))
    if stamp_of(found.file) != stamp:
        pixels, error = None, "the file changed while it was read"
    return Decoded(found, stamp, pixels, error, time.perf_counter() - began)


Begun = deque[tuple[int, Future[T]]]
"""What threads work on: how many pixels, and what comes of them."""


def decoded_ahead(
    found: Iterable[Found], readers: ThreadPoolExecutor, most: int, begun: Begun[Decoded]
) -> Iterator[Decoded]:
    """Each image in turn, while up to `most` of those that follow are read.

    Those that are begun and not taken have `MOST_AHEAD` pixels together by their headers, unless a
    single one has more.

    Args:
        begun: empty; holds those that are being read.
    """
    for one, pixels in _sized(found, min(most, HEADERS)):
        while begun and (
            len(begun) > most or pixels + sum(count for count, _ in begun) > MOST_AHEAD
        ):
            yield begun.popleft()[1].result()
        begun.append((pixels, readers.submit(decode, one)))
    while begun:
        yield begun.popleft()[1].result()


def _sized(found: Iterable[Found], ahead: int) -> Iterator[tuple[Found, int]]:
    """Each image with its pixels, while the headers of those that follow are read."""
    asked: deque[tuple[Found, Future[int]]] = deque()
    with ThreadPoolExecutor(ahead) as readers:
        for one in found:
            asked.append((one, readers.submit(claimed_pixels, one.file)))
            if len(asked) > ahead:
                first, header = asked.popleft()
                yield first, header.result()
        for first, header in asked:
            yield first, header.result()
