"""A review: what an image's mask is now, and how a decision on it comes onto the disk.

FOLDER/decisions.csv       every decision
FOLDER/replaced/           masks that a later decision replaced or took away, by their digest
FOLDER/.begun              what the decision does that is being written
MASKS/NAME.png             the masks that `right`, `corrected` and `sound` write

A mask is written beside its place first, then its row, then it is moved there. After a kill in
between, whoever comes next ends what was noted in `.begun`, so row and mask always agree. No other
mask is ever touched: whose bytes a decision once wrote may be somebody's own by now.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import filelock
import numpy as np
from numpy.typing import NDArray

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.review.begun import Begun, changed_at, read_begun
from ppl.review.decisions import (
    CORRECTED,
    SOUND,
    UNDONE,
    WRITING,
    Decisions,
    Row,
    sync_folder,
)
from ppl.review.items import Item, Work
from ppl.review.pictures import (
    as_mask,
    digest,
    digest_of,
    read_indices,
    shown_size,
    write_synced,
)
from ppl.review.prepared import inside

WAIT = 10.0
"""Seconds in which another process is expected to have written its decision."""


@dataclass(frozen=True)
class Home:
    """Where decisions and masks go."""

    folder: Path
    masks: Path
    masks_of: Callable[[str], Iterable[Path]] | None = None
    """All masks of an image, wherever their owner may keep them: one that has a mask gets no other.
    That of `masks` may be among them."""

    @property
    def decisions(self) -> Path:
        return self.folder / "decisions.csv"

    @property
    def replaced(self) -> Path:
        return self.folder / "replaced"

    @property
    def begun(self) -> Path:
        return self.folder / ".begun"


@dataclass(frozen=True)
class State:
    """One image as it is now."""

    row: Row | None
    """The decision that counts."""
    mask: Path
    """What is shown: the mask that a decision wrote, else the model's."""
    judged: str
    """The digest of its file; "" where it cannot be read."""
    taken: str
    """Why no mask may be written: somebody else's is there; else ""."""
    seen: str
    """Changes with all of these."""


class ConflictError(Exception):
    """The image is not as it was when it was shown; nothing was decided."""


class Review:
    """The decisions on all images. Any number of threads and processes may have one of a folder."""

    def __init__(self, work: Work, home: Home, reviewer: str) -> None:
        """End what a kill left half done.

        Raises:
            InputError: decisions.csv is no table of decisions, or the reviewer's name is no line.
            OSError: nothing can be written there.
        """
        self.work, self.home, self.reviewer = work, home, checked_reviewer(reviewer)
        home.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Lock()
        self._process = filelock.FileLock(home.folder / ".lock")
        with self._alone_at_disk():
            self._decisions = Decisions(home.decisions)
            self._end_begun()
            for half in sorted(home.masks.rglob(".*.half")):
                half.unlink()

    @property
    def skipped(self) -> int:
        """Lines of decisions.csv that are no whole row."""
        return self._decisions.skipped

    def state(self, item: Item) -> State:
        """How an image is now.

        Raises:
            InputError: another process holds the folder too long, or decisions.csv was damaged.
        """
        with self._alone():
            return self._look(item)

    def decided(self) -> list[str]:
        """The decision that counts for each image, in their order; "" where there is none."""
        with self._alone():
            rows = [self._decisions.current(item.name) for item in self.work.items]
        return [row.decision if row else "" for row in rows]

    def last(self) -> int | None:
        """The image that this reviewer decided last; None where there is none."""
        with self._alone():
            rows = [self._decisions.current(item.name) for item in self.work.items]
        own = [
            (row.time, index)
            for index, row in enumerate(rows)
            if row is not None and row.reviewer == self.reviewer
        ]
        return max(own)[1] if own else None

    def decide(self, item: Item, decision: str, seen: str, drawn: bytes | None = None) -> State:
        """Write a decision, and the mask that it stands for.

        Args:
            seen: of the state that was looked at.
            drawn: of `corrected` the class index of each pixel, row by row.

        Raises:
            ConflictError: the image is not as it was when it was shown.
            InputError: the decision does not fit the image.
            OSError: it could not be written; all is as it was.
        """
        with self._alone():
            state = self._look(item)
            self._stop_at_conflict(item, state, seen, drawn)
            png = self._mask_for(item, state, decision, drawn)
            written = digest(png) if png is not None else ""
            row = Row(item.name, decision, self.reviewer, _now(), state.judged, written)
            self._commit(item, [row], png)
            return self._look(item)

    def undo(self, item: Item, seen: str) -> tuple[State, str]:
        """Take back the decision that counts; the one before it counts again.

        The mask that it wrote goes, unless somebody edited it since: that is said.

        Raises:
            ConflictError, InputError, OSError: as `decide`.
        """
        with self._alone():
            state = self._look(item)
            if state.row is None:
                raise ConflictError(f"{item.name}: there is no decision to take back any more")
            if seen != state.seen:
                raise ConflictError(self._what_changed(item, state, seen))
            rows = [Row(item.name, UNDONE, self.reviewer, _now(), state.judged)]
            before, png = self._decisions.before(item.name), None
            if before is not None and (not state.taken or before.decision not in WRITING):
                png = self._mask_again(item, before)
                if png is not None or before.decision not in WRITING:
                    rows.append(before)
            self._commit(item, rows, png)
            return self._look(item), f"{state.taken}: it stays" if state.taken else ""

    def _look(self, item: Item) -> State:
        history = self._decisions.history(item.name)
        row = self._decisions.current(item.name)
        target = self._target(item)
        lying = digest_of(target)
        taken = self._why_taken(item, lying, row)
        mask = target if lying else item.source
        judged = lying or digest_of(item.source)
        return State(row, mask, judged, taken, f"{_mark(history)}.{judged}.{taken and 'taken'}")

    def _why_taken(self, item: Item, lying: str, row: Row | None) -> str:
        target = self._target(item)
        # of an earlier row it would be gone: whoever put it there again means it
        if lying and (row is None or lying != row.written):
            return f"{target} was drawn or edited by somebody"
        for file in self.home.masks_of(item.id) if self.home.masks_of else ():
            if file != target and not (lying and file.exists() and file.samefile(target)):
                return f"{file} was drawn by somebody"
        return ""

    def _target(self, item: Item) -> Path:
        return inside(self.home.masks, item.saved_as)

    def _stop_at_conflict(self, item: Item, state: State, seen: str, drawn: bytes | None) -> None:
        if seen == state.seen and not state.taken:
            return
        kept = self._keep_drawn(item, drawn)
        raise ConflictError(self._what_changed(item, state, seen) + kept)

    def _what_changed(self, item: Item, state: State, seen: str) -> str:
        if state.taken:
            return f"{state.taken}: it stays, and nothing was decided"
        if not seen.startswith(state.seen.partition(".")[0]):
            for row in self._decisions.history(item.name)[-1:]:
                return (
                    f"{item.name}: {row.reviewer} said `{row.decision}` at {row.time}, after it "
                    "was shown here; nothing was decided"
                )
        return f"{item.name}: its mask changed after it was shown here; nothing was decided"

    def _keep_drawn(self, item: Item, drawn: bytes | None) -> str:
        """Put strokes that a conflict leaves without a place where a person finds them."""
        if drawn is None:
            return ""
        png = as_mask(self._shaped(item, drawn), self.work.classes.colours, "your mask")
        file = self.home.replaced / f"{digest(png)}.png"
        write_synced(file, png)
        return f"; your strokes are kept in {file}"

    def _shaped(self, item: Item, drawn: bytes) -> NDArray[np.uint8]:
        height, width = shown_size(item.image)
        if len(drawn) != height * width:
            raise InputError(
                f"{item.name}: the mask has {len(drawn)} pixels, the image {height} x {width}"
            )
        return np.frombuffer(drawn, dtype=np.uint8).reshape(height, width)

    def _mask_for(
        self, item: Item, state: State, decision: str, drawn: bytes | None
    ) -> bytes | None:
        """The mask that a decision writes.

        Raises:
            InputError: the image is gone, or the mask has another size.
        """
        if decision not in WRITING:
            return None
        colours = self.work.classes.colours
        size = shown_size(item.image)
        if decision == SOUND:
            return as_mask(np.zeros(size, dtype=np.uint8), colours, "")
        if decision == CORRECTED:
            if drawn is None:
                raise InputError(f"{item.name}: a corrected mask is missing")
            return as_mask(self._shaped(item, drawn), colours, "your mask")
        values = read_indices(state.mask)
        if values.shape != size:
            raise InputError(
                f"{item.name}: the mask is {values.shape[0]} x {values.shape[1]} pixels, the image "
                f"{size[0]} x {size[1]} (height x width), so it cannot be right"
            )
        return as_mask(values, colours, f"the mask of {item.name}")

    def _mask_again(self, item: Item, row: Row) -> bytes | None:
        """The very mask that an earlier decision wrote; None where it cannot be had any more."""
        if row.decision not in WRITING:
            return None
        kept = self.home.replaced / f"{row.written}.png"
        try:
            if kept.is_file():
                png = kept.read_bytes()
            elif row.decision == SOUND:
                png = as_mask(
                    np.zeros(shown_size(item.image), np.uint8), self.work.classes.colours, ""
                )
            else:
                png = as_mask(read_indices(item.source), self.work.classes.colours, "")
        except InputError:
            return None
        return png if digest(png) == row.written else None

    def _commit(self, item: Item, rows: Sequence[Row], png: bytes | None) -> None:
        """Rows and mask onto the disk, or neither."""
        if self._target(item).is_dir():
            raise InputError(f"{self._target(item)} is a folder, where a mask has to go: rename it")
        begun = self._begin(item, rows, digest(png) if png is not None else "")
        try:
            if png is not None:
                write_synced(begun.pending(self.home.masks), png)
            self._keep_a_copy(begun)
            write_synced(self.home.begun, begun.as_bytes())
            self._decisions.append(rows)
        except OSError:
            begun.pending(self.home.masks).unlink(missing_ok=True)
            self.home.begun.unlink(missing_ok=True)
            raise
        self._put_in_place(begun)
        self.home.begun.unlink()

    def _begin(self, item: Item, rows: Sequence[Row], written: str) -> Begun:
        history, row = self._decisions.history(item.name), self._decisions.current(item.name)
        marks = tuple(_mark([*history, *rows[:count]]) for count in range(1, len(rows) + 1))
        target = self._target(item)
        changed, lying = changed_at(target), digest_of(target)
        # a mask that the decision so far did not write is not ours to take away
        gone = lying if row is not None and lying == row.written else ""
        return Begun(item.name, item.saved_as, marks, written, gone, changed)

    def _put_in_place(self, begun: Begun) -> None:
        """What follows the row: the new mask takes the place of the old, or that goes."""
        mark = _mark(self._decisions.history(begun.image))
        if mark not in begun.marks:
            return
        target, pending = begun.target(self.home.masks), begun.pending(self.home.masks)
        lying = digest_of(target)
        whole = mark == begun.marks[-1]
        if whole and begun.written and digest_of(pending) == begun.written:
            # somebody may have been quicker
            if not target.exists() or lying in (begun.gone, begun.written):
                self._keep_a_copy(begun)
                pending.replace(target)
                sync_folder(target.parent)
        elif lying and lying == begun.gone and changed_at(target) == begun.changed:
            self._keep_a_copy(begun)
            target.unlink()

    def _keep_a_copy(self, begun: Begun) -> None:
        """Of the mask that is about to go: nobody but a person can say whether it is needed."""
        kept = self.home.replaced / f"{begun.gone}.png"
        if begun.gone in ("", begun.written) or digest_of(kept) == begun.gone:
            return
        content = begun.target(self.home.masks).read_bytes()
        if digest(content) == begun.gone:
            write_synced(kept, content)

    def _end_begun(self) -> None:
        """After a kill between a row and its mask, here or in another process."""
        begun = read_begun(self.home.begun)
        if begun is not None:
            self._put_in_place(begun)
            begun.pending(self.home.masks).unlink(missing_ok=True)
        self.home.begun.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process decides inside; the table is as the disk has it."""
        with self._alone_at_disk():
            self._decisions.refresh()
            self._end_begun()
            yield

    @contextmanager
    def _alone_at_disk(self) -> Iterator[None]:
        with self._thread:
            try:
                self._process.acquire(timeout=WAIT)
            except filelock.Timeout:
                raise InputError(
                    f"another process holds {self.home.folder} for more than {WAIT:g} seconds: "
                    "try again"
                ) from None
            try:
                yield
            finally:
                self._process.release()


def checked_reviewer(name: str) -> str:
    """A reviewer's name, which is one line.

    Raises:
        InputError: it is empty, too long, holds control characters, or would be a formula.
    """
    name = name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise InputError(f"--reviewer {name[:100]!r} is no name: expected a line of 1-100 letters")
    if as_cell(name).replace("\\\\", "\\") != name:
        raise InputError(f"--reviewer {name!r} is a formula to a spreadsheet: begin with a letter")
    return name


def _mark(history: Sequence[Row]) -> str:
    """Changes with the rows of an image."""
    return digest("\n".join(map(str, history)).encode())[:16]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
