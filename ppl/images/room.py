"""How many pixels are decoded at once: threads that read pictures wait where memory would not do.

A picture that is decoded, converted and measured takes some 10 to 20 bytes a pixel for a moment.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ppl.images.pictures import claimed_pixels

AT_ONCE = 2**26
"""Pixels, 67 million: eight pictures of 8 megapixels, or one that is larger by itself."""

T = TypeVar("T")


class Room:
    """For so many pixels at once; whoever finds no room waits for those who are in."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._left = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Hold room for `pixels` inside; what is larger than the room has it to itself."""
        wanted = min(pixels, self._pixels)
        with self._left:
            self._left.wait_for(lambda: self._taken + wanted <= self._pixels)
            self._taken += wanted
        try:
            yield
        finally:
            with self._left:
                self._taken -= wanted
                self._left.notify_all()


_room = Room(AT_ONCE)
_of_large_ones = ThreadPoolExecutor(1)


def in_room(work: Callable[[], T], *files: Path | None) -> T:
    """What `work` returns, done while there is room for the pictures that it reads.

    Those of which no two find room all come to one thread: each thread keeps the memory that it
    once had. Not to be nested: one picture would wait for the other.

    Args:
        files: a picture and what is read with it, as its mask; the largest counts, by its header.
    """
    return in_room_for(max(claimed_pixels(file) for file in files if file), work)


def in_room_for(pixels: int, work: Callable[[], T]) -> T:
    """The same where it is known already how many pixels a picture has."""
    if 2 * pixels > AT_ONCE:
        return _of_large_ones.submit(_taking, pixels, work).result()
    return _taking(pixels, work)


def _taking(pixels: int, work: Callable[[], T]) -> T:
    with _room.taken(pixels):
        return work()
