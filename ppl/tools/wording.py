"""How a status says names, counts and durations, so that a line stays one."""

from collections.abc import Iterable, Sequence

NAMED = 3
"""How many of each kind are named; the others are counted."""

_NAME = 32
"""Characters of a name; of a longer one the end is shown, where names differ."""

Line = tuple[str, str]
"""A label, empty for a line that goes on, and its text."""


def lasting(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def counted(ids: Sequence[str], what: str) -> str:
    """How many, and the first of them by name."""
    return f"{len(ids):,} {what} ({shortened(ids)})"


def shortened(names: Iterable[str]) -> str:
    """The first names, and how many more."""
    every = list(names)
    return ", ".join([*map(_short, every[:NAMED]), *more(len(every))])


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"


def more(count: int) -> list[str]:
    """How many of `count` are not named, where there are such."""
    return [f"{count - NAMED:,} more"] if count > NAMED else []
