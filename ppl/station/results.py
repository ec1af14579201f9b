"""What a run leaves: two tables and the pictures, in a state from which the next run goes on.

OUT/predicted_by.json   which model made all this, of which images
OUT/results.csv         a row an image; an image is done when its row stands there
OUT/defects.csv         a row a defect
OUT/masks/NAME.png      the likeliest class of each pixel, a palette PNG of the image's size
OUT/overlays/NAME.jpg   the image with its mask and its defects

An image's pictures are written first, then its defects, then its row. Whatever a run leaves that
is killed in between belongs to no row; the next run drops it and predicts that image again.
"""

import csv
import io
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.station.appearance import NUMBERS, Appearance
from ppl.station.decode import decode
from ppl.station.defects import BACKGROUND, Defect
from ppl.station.folder import MARK, Found, Stamp, stamp_of
from ppl.station.places import PICTURES, Places, overlay_of

RESULTS, DEFECTS = "results.csv", "defects.csv"
LOCK = ".in_use"
FORMAT = 3
"""Of predicted_by.json."""

DEFECTIVE, SOUND = "defective", "sound"

DEFECT_COLUMNS = (
    *("image", "class", "left", "top", "right", "bottom"),
    *("area", "mean_probability", "highest_probability"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    found: Found
    stamp: Stamp | None
    """None: the file is gone."""
    seconds: float
    """Of work: decoding, its share of the network's time, the verdict and the pictures."""
    error: str = ""
    """Why there is nothing more."""
    mask: str = ""
    """The path of the mask in the folder of results."""
    score: float = 0.0
    defective: bool = False
    areas: tuple[int, ...] = ()
    """Pixels of the mask a class, background first."""
    defects: tuple[Defect, ...] = ()
    """That the thresholds let stand."""
    appearance: Appearance | None = None
    """How the image looks; None where it could not be read."""
    unusual: str = ""
    """What of that lies outside of all that training saw."""


@dataclass(frozen=True)
class Known:
    """What the table says of an image, as far as a run needs it."""

    stamp: Stamp
    verdict: str
    error: str
    mask: str
    defects: int
    appearance: Appearance | None
    unusual: str


@contextmanager
def written(place: Path) -> Iterator[None]:
    """Says of whatever stops a write what a person can do.

    Raises:
        InputError: nothing can be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or place} cannot be written ({error.strerror or error}): mend that, "
            "and the same command goes on where it stopped"
        ) from error


@contextmanager
def opened(
    out: Path, digest: str, classes: Sequence[str], images: Sequence[Path]
) -> Iterator["Results"]:
    """The results in `out`, new or to be gone on with, for this process alone.

    Args:
        images: the folders and files that are predicted, as they were given.

    Raises:
        InputError: it holds the results of another model or of other images, files of someone
            else, or another process writes there.
    """
    places = [as_cell(path.resolve().as_posix()) for path in images]
    # first, so that no lock is left in a folder of someone else
    _stop_at_others(out, digest, places)
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("a")
    with lock:
        if not _locked(lock.fileno()):
            raise InputError(f"another process writes into {out}: wait, or give another --out")
        # again, for another process may have ended since
        _stop_at_others(out, digest, places)
        mark = {"format": FORMAT, "digest": digest, "classes": list(classes), "images": places}
        if not (out / MARK).exists():
            _replace(out / MARK, json.dumps(mark, indent=1, ensure_ascii=False) + "\n")
        yield Results(out, classes)


def _stop_at_others(out: Path, digest: str, images: Sequence[str]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file: --out names a folder")
    if not (out / MARK).exists():
        if held := [name for name in (RESULTS, DEFECTS, *PICTURES) if (out / name).exists()]:
            raise InputError(
                f"{out} holds {', '.join(held)}, but no {MARK}: these may be yours, and would be "
                "written over; give another folder for --out"
            )
        return
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        if mark["format"] != FORMAT:
            raise InputError(f"{out} is of another version of this program: give another --out")
        made_by, made_of = mark["digest"], list(map(str, mark["images"]))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{out / MARK} is damaged: give another folder for --out") from None
    if made_by != digest:
        raise InputError(
            f"{out} holds the results of another model or of other thresholds ({made_by}; this "
            f"one is {digest}): give another folder for --out, or remove this one"
        )
    if made_of != list(images):
        raise InputError(
            f"{out} holds the results of {', '.join(made_of)}: name another --out, or the same "
            "IMAGES in the same order"
        )


def _locked(file: int) -> bool:
    """Whether this process alone has the file now; where locks are unknown, it is taken to be."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


class Results:
    """The two tables. `opened` makes it."""

    def __init__(self, out: Path, classes: Sequence[str]) -> None:
        self.out = out
        self._classes = [as_cell(name) for name in classes]
        defects = self._classes[BACKGROUND + 1 :]
        self._columns = (
            *("image", "verdict", "score"),
            *(f"area_{name}" for name in defects),
            *(f"share_{name}" for name in defects),
            *("defects", "largest", *NUMBERS, "unusual"),
            *("seconds", "error", "mask", "bytes", "modified_ns"),
        )
        self.known: dict[str, Known] = {}
        """By the image's name."""
        self.places = Places(out)
        self._read()

    def _read(self) -> None:
        """Keep rows that are whole, and defects of images that have a row."""
        rows = {row[0]: row for row in self._rows(RESULTS, self._columns)}
        for name, row in rows.items():
            of = dict(zip(self._columns, row, strict=True))
            try:
                stamp = Stamp(int(of["bytes"]), int(of["modified_ns"]))
                defects = int(of["defects"] or 0)
                seen = None if of["error"] else Appearance(*(float(of[each]) for each in NUMBERS))
                if of["mask"]:
                    self.places.take(of["mask"], name)
            except ValueError:
                continue
            end = defects, seen, of["unusual"]
            self.known[name] = Known(stamp, of["verdict"], of["error"], of["mask"], *end)
        held = dict.fromkeys(self.known, 0)
        for row in self._rows(DEFECTS, DEFECT_COLUMNS):
            if row[0] in held:
                held[row[0]] += 1
        self.drop([name for name, count in held.items() if count != self.known[name].defects])

    def _rows(self, file: str, columns: Sequence[str]) -> list[list[str]]:
        """The whole rows of a table, without its head.

        Raises:
            InputError: it is another table.
        """
        if not (self.out / file).exists():
            return []
        text = (self.out / file).read_bytes().decode("utf-8", "replace")
        whole, _, _ = text.rpartition("\n")
        head, *rows = csv.reader(whole.split("\n")) if whole else [list(columns)]
        if head != list(columns):
            raise InputError(
                f"{self.out / file} has other columns than were written: a program that opened it "
                "may have changed it; remove it, or give another folder for --out"
            )
        return [row for row in rows if len(row) == len(columns)]

    def keep(self, found: Iterable[Found], *, overlays: bool) -> set[str]:
        """The names of the images that are done; what is left of others is dropped.

        Not done are images that changed since, whose pictures are missing, and those that could
        not be read then and can be now.

        Args:
            found: rows of other images stay, for these were removed when they were done.
        """
        stale, done = [], set()
        for one in found:
            row = self.known.get(one.name)
            if row is None:
                continue
            if stamp_of(one.file) == row.stamp and self._is_whole(one, row, overlays):
                done.add(one.name)
            else:
                stale.append(one.name)
        self.drop(stale)
        return done

    def _is_whole(self, one: Found, row: Known, overlays: bool) -> bool:
        if row.error:
            return bool(decode(one).error)
        pictures = [row.mask, overlay_of(row.mask)] if overlays else [row.mask]
        return all(map(self._stands, pictures))

    def _stands(self, picture: str) -> bool:
        stamp = stamp_of(self.out / picture)
        return stamp is not None and stamp.bytes > 0

    def drop(self, names: Collection[str]) -> None:
        """Forget these images: their rows, their defects and their pictures.

        Rows that were torn, and defects without a row, go with them.
        """
        gone = {self.known.pop(name).mask for name in names if name in self.known} - {""}
        with written(self.out):
            for mask in sorted(gone):
                (self.out / mask).unlink(missing_ok=True)
                (self.out / overlay_of(mask)).unlink(missing_ok=True)
                self.places.leave(mask)
        for file, columns in ((RESULTS, self._columns), (DEFECTS, DEFECT_COLUMNS)):
            rows = [row for row in self._rows(file, columns) if row[0] in self.known]
            if file == RESULTS:
                rows = list({row[0]: row for row in rows}.values())
            _replace(self.out / file, _as_lines([columns, *rows]))

    def add(self, outcome: Outcome) -> None:
        """Write the rows of an image in place of those that it has."""
        name, stamp = outcome.found.name, outcome.stamp
        assert stamp is not None, name
        if name in self.known:
            self.drop([name])
        _append(self.out / DEFECTS, _as_lines(self._defect_row(name, d) for d in outcome.defects))
        _append(self.out / RESULTS, _as_lines([self._row(outcome, stamp)]))
        verdict = "" if outcome.error else DEFECTIVE if outcome.defective else SOUND
        seen = len(outcome.defects), outcome.appearance, outcome.unusual
        self.known[name] = Known(stamp, verdict, outcome.error, outcome.mask, *seen)

    def _row(self, outcome: Outcome, stamp: Stamp) -> list[str]:
        end = (f"{outcome.seconds:.4f}", outcome.error, outcome.mask)
        file = (str(stamp.bytes), str(stamp.modified))
        if outcome.error:
            empty = len(self._columns) - len(end) - len(file) - 1
            return [outcome.found.name, *[""] * empty, *end, *file]
        pixels, areas = sum(outcome.areas), outcome.areas[BACKGROUND + 1 :]
        return [
            outcome.found.name,
            DEFECTIVE if outcome.defective else SOUND,
            f"{outcome.score:.6f}",
            *map(str, areas),
            *(f"{area / pixels:.6f}" for area in areas),
            str(len(outcome.defects)),
            str(max((defect.area for defect in outcome.defects), default=0)),
            *(f"{number:.4f}" for number in outcome.appearance or ()),
            outcome.unusual,
            *end,
            *file,
        ]

    def _defect_row(self, name: str, defect: Defect) -> list[str]:
        return [
            name,
            self._classes[defect.index],
            *map(str, defect.box),
            str(defect.area),
            f"{defect.mean:.6f}",
            f"{defect.highest:.6f}",
        ]


def _as_lines(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _append(file: Path, text: str) -> None:
    content = memoryview(text.encode("utf-8"))
    # one call of the system for a row: a buffer could tear it anywhere
    with written(file), file.open("ab", buffering=0) as stream:
        while content:
            content = content[stream.write(content) :]


def _replace(file: Path, text: str) -> None:
    """Write a file that is never seen half written; one that holds this already stays."""
    content = text.encode("utf-8")
    with written(file):
        if file.exists() and file.read_bytes() == content:
            return
        new = file.with_name(f".{file.name}.new")
        new.write_bytes(content)
        new.replace(file)
