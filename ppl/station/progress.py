"""How far a run is, and how long it will take, in lines on standard error."""

import sys
import time
from typing import TextIO

EVERY = 10.0
"""Seconds between two lines; on a terminal one line changes each second."""


class Progress:
    """Counts what is done."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        """Begin to count.

        Args:
            total: how many images are to be predicted.
            stream: None is standard error.
        """
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._began = self._last = time.monotonic()
        self._done = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *problem: object) -> None:
        """Show the last state, whatever ends the run."""
        if self._done:
            self._show(self._line(time.monotonic() - self._began))
            if self._live:
                self._stream.write("\n")

    def update(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._last >= (1.0 if self._live else EVERY):
            self._last = now
            self._show(self._line(now - self._began))

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds if seconds > 0 else 0.0
        left = f", {duration((self._total - self._done) / rate)} left" if rate else ""
        return f"{self._done:,} of {self._total:,} images, {rate:,.1f} a second{left}"

    def _show(self, line: str) -> None:
        self._stream.write(f"\r{line}\x1b[K" if self._live else f"{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
