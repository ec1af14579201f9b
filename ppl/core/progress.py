"""Progress bars, of one process where several work together; lines where no terminal shows them."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

from tqdm import tqdm

from ppl.core import processes

EVERY = 10.0
"""Least seconds between two lines; TQDM_MININTERVAL in the environment, if it is set."""


class Bar(Protocol):
    """What work may tell and ask its bar: iterate over it, or call `update` inside `with`."""

    def __iter__(self) -> Iterator[Any]: ...
    def __enter__(self) -> "Bar": ...
    def __exit__(self, *problem: Any) -> None: ...
    def update(self, n: int = 1) -> Any: ...
    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None: ...


def bar(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str = "",
    total: int | None = None,
    initial: int = 0,
) -> Bar:
    """How far the work on `items` is, on standard error.

    On a terminal it is a bar of tqdm. Elsewhere, in a file or a queue's log, it is a line every ten
    seconds at most, and one at the end. TQDM_DISABLE=1 in the environment hides both.

    Args:
        items: what to iterate over; None where the work calls `update`.
        desc: names the work.
        unit: one of what is counted, in the singular.
        total: how many there are; by default the length of `items`, if it has one.
        initial: how many were done before, by a run that was interrupted.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    hidden = not processes.is_first() or bool(os.environ.get("TQDM_DISABLE"))
    if hidden or sys.stderr.isatty():
        return tqdm(items, desc=desc, unit=unit, total=total, initial=initial, disable=hidden)
    return _Lines(items or (), desc, unit, total, initial)


def _seconds() -> float:
    try:
        return float(os.environ.get("TQDM_MININTERVAL") or EVERY)
    except ValueError:
        return EVERY


class _Lines:
    """A bar as whole lines, for what cannot go back to the beginning of one."""

    def __init__(
        self, items: Iterable[Any], desc: str, unit: str, total: int | None, initial: int
    ) -> None:
        self._items = items
        self._desc, self._unit, self._total, self._initial = desc, unit, total, initial
        self._every = _seconds()
        self._done, self._postfix = initial, ""
        self._shown = -1
        self._began = self._last = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._items:
                yield item
                self.update()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *problem: Any) -> None:
        if self._shown != self._done and self._total != 0:
            self._show()

    def update(self, n: int = 1) -> None:
        """`n` more are done."""
        self._done += n
        if time.monotonic() - self._last >= self._every:
            self._show()

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """What the next line says besides; a bar could show it at once."""
        self._postfix = s

    def _show(self) -> None:
        self._shown, self._last = self._done, time.monotonic()
        line = tqdm.format_meter(
            self._done,
            self._total,  # type: ignore[arg-type]  # the stubs do not know of an unknown total
            self._last - self._began,
            ncols=0,
            prefix=self._desc,
            unit=f" {self._unit}" if self._unit else "",
            postfix=self._postfix,
            initial=self._initial,
        )
        print(line, file=sys.stderr, flush=True)
