"""Which files of a watched folder are whole: they have not changed for a while."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ppl.station.folder import GONE, Found, Stamp, stamp_of, why_missing


@dataclass
class _Seen:
    stamp: Stamp
    since: float
    """When the file was first seen so."""
    again: float
    """From when on it is tried."""


class Arrivals:
    """Remembers how long each file has been as it is."""

    def __init__(self, settle: float, patience: float) -> None:
        """Begin to watch.

        Args:
            settle: seconds for which a file may not change before it is tried.
            patience: seconds without a change after which one that cannot be read is given up.
        """
        self._settle, self._patience = settle, patience
        self._seen: dict[str, _Seen] = {}
        self.missing: list[str] = []
        """What is to be said of files that were listed last, and are not to be reached."""

    def ready(
        self, found: Iterable[Found], done: Callable[[Found, Stamp], bool], now: float
    ) -> list[Found]:
        """The files to try now.

        Args:
            done: whether a file with this stamp needs no more.
            now: seconds of a clock that only goes forward.
        """
        before, self._seen, self.missing = self._seen, {}, []
        tried = []
        for one in found:
            stamp = stamp_of(one.file)
            if stamp is None:
                if (why := why_missing(one.file)) != GONE:
                    self.missing.append(f"{one.name}: not predicted: {why}")
                continue
            if done(one, stamp):
                continue
            seen = before.get(one.name)
            if seen is None or seen.stamp != stamp:
                seen = _Seen(stamp, now, now + self._settle)
            self._seen[one.name] = seen
            if now >= seen.again:
                tried.append(one)
        return tried

    def given_up(self, found: Found, stamp: Stamp | None, now: float) -> bool:
        """Whether a file that could not be read will not be tried again.

        Until then it is, after twice the time that it has been as it is.
        """
        seen = self._seen.get(found.name)
        if seen is None or seen.stamp != stamp:
            return False
        age = now - seen.since
        seen.again = min(now + max(age, self._settle), seen.since + self._patience)
        return age >= self._patience
