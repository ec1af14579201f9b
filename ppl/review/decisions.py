"""Every decision as a row of decisions.csv, on disk before anything else happens.

Rows are only ever added. The last row of an image counts; one that is `undone` takes back the
decision before it. What a kill or a person left half is no row, and stays as it is.
"""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ppl.core.errors import InputError
from ppl.review.prepared import read_text

RIGHT, CORRECTED, SOUND, WRONG, UNSURE = "right", "corrected", "sound", "wrong", "unsure"
UNDONE = "undone"

DECISIONS = (RIGHT, CORRECTED, SOUND, WRONG, UNSURE)
WRITING = (RIGHT, CORRECTED, SOUND)
"""Those that write a mask."""

DIGEST = 32
"""Characters of a digest, of 16 bytes."""


@dataclass(frozen=True)
class Row:
    """One decision."""

    image: str
    decision: str
    reviewer: str
    time: str
    """ISO 8601, UTC."""
    judged: str
    """Digest of the file of the mask that was looked at."""
    written: str = ""
    """Digest of the file of the mask that was written; "" where none was."""

    @property
    def is_whole(self) -> bool:
        """A row that was cut short lacks its end: the digest of the mask that it wrote."""
        if not self.image or self.decision not in (*DECISIONS, UNDONE):
            return False
        expected = DIGEST if self.decision in WRITING else 0
        return len(self.written) == expected


COLUMNS = tuple(field.name for field in fields(Row))


class Decisions:
    """The table. Whoever calls holds the lock of the folder it lies in."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.skipped = 0
        """Lines that are no whole row."""
        self._columns: Sequence[str] = COLUMNS
        self._rows: defaultdict[str, list[Row]] = defaultdict(list)
        self._known: tuple[int, int] | None = None
        """Bytes and time of the table as it was read."""
        self.refresh()

    def refresh(self) -> None:
        """Read the table again if somebody else wrote.

        Raises:
            InputError: it is no table of decisions.
        """
        stamp = self._stamp()
        if stamp == self._known:
            return
        self._rows.clear()
        self.skipped = 0
        self._columns = COLUMNS
        if stamp is not None and not self._is_beginning():
            self._read()
        self._known = stamp

    def images(self) -> set[str]:
        """The images of which there is a row."""
        return set(self._rows)

    def history(self, image: str) -> list[Row]:
        """All rows of an image, the oldest first."""
        return list(self._rows.get(image, ()))

    def current(self, image: str) -> Row | None:
        """What counts for an image; None where nothing was decided, or that was taken back."""
        rows = self._rows.get(image)
        return None if not rows or rows[-1].decision == UNDONE else rows[-1]

    def before(self, image: str) -> Row | None:
        """The decision that an undo of the current one brings back."""
        standing: list[Row] = []
        for row in self._rows.get(image, ()):
            if row.decision == UNDONE:
                del standing[-1:]
            # what an undo brought back stands there a second time
            elif standing[-1:] != [row]:
                standing.append(row)
        return standing[-2] if len(standing) > 1 else None

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows, all or none of them.

        Raises:
            OSError: they are not on disk; the table is as it was.
        """
        rows = list(rows)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self._is_beginning():
            os.truncate(self.file, 0)
        new = not self.file.exists()
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write(descriptor, self._start(descriptor, size) + self._as_lines(rows))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.file.parent)
        for row in rows:
            self._rows[row.image].append(row)
        self._known = self._stamp()

    def _start(self, descriptor: int, size: int) -> bytes:
        """What comes before new rows: the head, or the end of a line that was left open."""
        if not size:
            return _line(COLUMNS)
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        return b"" if os.read(descriptor, 1) == b"\n" else b"\n"

    def _as_lines(self, rows: Iterable[Row]) -> bytes:
        """In the order of the columns that the table has; those of other people stay empty."""
        lines = []
        for row in rows:
            values = dict(zip(COLUMNS, astuple(row), strict=True))
            lines.append(_line([values.get(name, "") for name in self._columns]))
        return b"".join(lines)

    def _read(self) -> None:
        # a field never holds a line break; where a quote was left open, it ends with its line
        head, *lines = read_text(self.file).replace("\r", "").split("\n")
        self._columns = _fields(head)
        lacking = [name for name in COLUMNS if name not in self._columns]
        if lacking:
            raise InputError(
                f"{self.file} has no column {lacking[0]}: its first line has to name "
                f"{','.join(COLUMNS)}, separated by commas; mend it, or move the file away"
            )
        for line in lines:
            row = self._row(line)
            if row is not None and row.is_whole:
                self._rows[row.image].append(row)
            elif line.strip(" ,"):
                self.skipped += 1

    def _row(self, line: str) -> Row | None:
        values = _fields(line)
        if len(values) != len(self._columns):
            return None
        by_name = dict(zip(self._columns, values, strict=True))
        return Row(**{name: by_name[name] for name in COLUMNS})

    def _is_beginning(self) -> bool:
        """Whether the table holds no more than a part of its head, or nothing, after a kill."""
        try:
            if self.file.stat().st_size > len(_line(COLUMNS)):
                return False
            return _line(COLUMNS)[:-1].startswith(self.file.read_bytes())
        except FileNotFoundError:
            return False

    def _stamp(self) -> tuple[int, int] | None:
        try:
            known = self.file.stat()
        except FileNotFoundError:
            return None
        return known.st_size, known.st_mtime_ns


def standing(file: Path, id_of: Callable[[str], str] = str) -> dict[str, str]:
    """The decision that counts for each image; none where the last one was taken back.

    Any table will do whose columns begin with image and decision, as one that a person keeps. A row
    that is cut short does not count; without a file there are no decisions.

    Args:
        id_of: what the name of an image in the table means.

    Raises:
        InputError: it has other columns, or is too large.
    """
    if not file.is_file():
        return {}
    # where a quote was left open, it ends with its line; half a letter is of a row cut short
    head, *lines = read_text(file, errors="replace").replace("\r", "").split("\n")
    columns = _fields(head)
    if not lines and ",".join(COLUMNS).startswith(head):
        return {}
    if columns[:2] != ["image", "decision"]:
        raise InputError(f"{file} has other columns than image,decision: correct its first line")
    rows = (dict(zip(columns, values, strict=True)) for values in _whole(columns, lines))
    last = {id_of(row["image"]): row["decision"] for row in rows}
    return {id: decision for id, decision in last.items() if decision != UNDONE}


def _whole(columns: Sequence[str], lines: Iterable[str]) -> Iterator[list[str]]:
    """The fields of the lines that are whole."""
    for line in lines:
        values = _fields(line)
        if len(values) != len(columns) or not all(values[:2]):
            continue
        by_name = dict(zip(columns, values, strict=True))
        # a table of the review says itself where a row ends
        if (
            set(COLUMNS) - by_name.keys()
            or Row(**{name: by_name[name] for name in COLUMNS}).is_whole
        ):
            yield values


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8")


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Have the names of files in a folder on disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
