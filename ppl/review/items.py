"""Which images are reviewed, with the masks that a model gave them, in which order."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppl.core.cells import as_cell, as_text
from ppl.core.errors import InputError
from ppl.images.pictures import Colour, files_below, open_picture
from ppl.review.prepared import (
    PREPARED,
    Classes,
    Parts,
    checked_classes,
    image_files,
    inside,
    read_classes,
    read_parts,
    read_text,
)
from ppl.station.folder import MARK, list_images
from ppl.station.places import MASKS
from ppl.station.results import DEFECTS, RESULTS

LISTED = Path("data", "annotate_next")
PSEUDO = (Path("data", "pseudo", "reliable"), Path("data", "pseudo", "hard"))

_TOLD = ("priority", "reliability", "confidence")
"""Columns of the list of images to annotate whose numbers are shown, where it has them."""

MOST_BOXES = 200
"""Of an image: more would hide it."""


@dataclass(frozen=True)
class Box:
    """A defect that the thresholds let stand: left, top, right, bottom in pixels, and its class."""

    sides: tuple[int, int, int, int]
    name: str
    probability: float


@dataclass(frozen=True)
class Item:
    """One image to judge."""

    name: str
    """As decisions.csv lists it, a cell of a table; no other image has it."""
    image: Path
    source: Path
    """The model's mask."""
    saved_as: str
    """Path of the mask that a decision writes, below the folder of masks."""
    words: str = ""
    """What the model says of the image beside the mask."""
    boxes: tuple[Box, ...] = ()

    @property
    def id(self) -> str:
        """The image's name in the prepared data, or the path that was predicted."""
        return as_text(self.name)

    @property
    def shown(self) -> str:
        """The same for a page: with what ends or controls a line it is as the table has it."""
        return self.id if self.id.isprintable() else self.name


@dataclass(frozen=True)
class Work:
    """All that is reviewed."""

    items: tuple[Item, ...]
    classes: Classes
    title: str
    parts: Parts = field(default_factory=lambda: Parts({}, {}, {}))
    notes: tuple[str, ...] = ()
    """What is not among the items, and why."""


def to_annotate(masks: str, done: Collection[str] = (), folder: Path = Path()) -> Work:
    """The images of the pipeline whose masks are worth a look.

    Args:
        masks: `next` takes those of data/annotate_next in the order of its list, `pseudo` all
            pseudo-masks, `both` one after the other, each image once.
        done: ids of images that are left out, since they have a mask.
        folder: the project.

    Raises:
        InputError: the pipeline has not left them, or no image is left.
    """
    files = image_files(folder / PREPARED / "unlabeled")
    found: dict[str, Item] = {}
    if masks in ("next", "both"):
        found |= {item.name: item for item in _listed(folder / LISTED, files)}
    if masks in ("pseudo", "both"):
        for item in _pseudo_masks(folder, files):
            found.setdefault(item.name, item)
    left = tuple(item for item in found.values() if item.id not in done)
    if not left:
        where = LISTED / "list.csv" if masks == "next" else "the pipeline's masks"
        if not found and masks == "pseudo":
            raise InputError(
                f"no pseudo-mask to review in {PSEUDO[0].parent}: a method that trains once makes "
                "none, and a run without unlabeled images; `--masks next` takes the masks of "
                f"{LISTED}"
            )
        why = "all have a mask of yours" if found else "an empty list"
        raise InputError(f"no image to review in {where}: {why}; run `make repro` for new ones")
    out = len(found) - len(left)
    notes = (f"{out} left out whose images have a mask",) if out else ()
    return Work(
        left,
        read_classes(folder / PREPARED / "dataset.json"),
        "Masks to annotate next" if masks == "next" else "Pseudo-masks",
        read_parts(folder / PREPARED),
        notes,
    )


def _listed(folder: Path, files: Mapping[str, Path]) -> Iterator[Item]:
    for row in _rows(folder / "list.csv", ("image", "mask")):
        words = [f"predicted: {as_text(row.get('predicted_classes') or 'no defect')}"]
        words += [f"{name} {row[name]}" for name in _TOLD if row.get(name)]
        id, mask = as_text(row["image"]), as_text(row["mask"])
        yield _item(id, folder / "masks", mask, files, ", ".join(words))


def _pseudo_masks(folder: Path, files: Mapping[str, Path]) -> Iterator[Item]:
    halves = [folder / masks for masks in PSEUDO]
    for half in halves:
        if not half.is_dir():
            raise InputError(f"there is no {half}: run `make repro` first")
    of_half = {
        half: [file for file in files_below(half, lambda _: False) if file.suffix == ".png"]
        for half in halves
    }
    # where the teacher labeled all, there are no halves
    halved = bool(of_half[halves[-1]])
    for half, found in of_half.items():
        words = f"pseudo-mask, {half.name} half" if halved else "pseudo-mask"
        for file in found:
            path = file.relative_to(half)
            yield _item(path.with_suffix("").as_posix(), half, path.as_posix(), files, words)


def _item(id: str, masks: Path, mask: str, files: Mapping[str, Path], words: str) -> Item:
    if id not in files:
        raise InputError(
            f"{masks} has a mask of {id}, which is no unlabeled image any more: run `make repro`"
        )
    return Item(as_cell(id), files[id], inside(masks, mask), f"{id}.png", words)


def predictions(out: Path) -> Work:
    """What `ppl predict` left in a folder, in the order of its table.

    Raises:
        InputError: it holds no results, they are damaged, or no image was predicted.
    """
    names, roots = _read_mark(out / MARK)
    gone = [str(root) for root in roots if not root.exists()]
    if gone:
        raise InputError(f"{out} holds results of {gone[0]}, which is gone: bring it back")
    files = {found.name: found.file for found in list_images(roots, out).found}
    boxes = _boxes(out / DEFECTS)
    # the last row of an image counts
    rows = {row["image"]: row for row in _rows(out / RESULTS, ("image", "verdict", "mask"))}
    found = [_predicted(out, row, files, boxes) for row in rows.values() if row["mask"]]
    items = tuple(item for item in found if item is not None)
    if not items:
        raise InputError(f"no image to review in {out / RESULTS}")
    broken = sum(not row["mask"] for row in rows.values())
    left_out = {"were not predicted": broken, "are gone": len(found) - len(items)}
    notes = tuple(f"{count} left out that {why}" for why, count in left_out.items() if count)
    return Work(items, _classes_of(names, items), f"Predictions in {out}", notes=notes)


def _predicted(
    out: Path,
    row: Mapping[str, str],
    files: Mapping[str, Path],
    boxes: Mapping[str, Sequence[Box]],
) -> Item | None:
    name = row["image"]
    if name not in files:
        return None
    mask = inside(out, row["mask"])
    if not mask.is_relative_to(out / MASKS) or mask == out / MASKS:
        raise InputError(
            f"{out / RESULTS} names {row['mask']!r} as the mask of {name}, which does not lie in "
            f"{out / MASKS}: the table was edited, predict into another folder"
        )
    return Item(
        name,
        files[name],
        mask,
        mask.relative_to(out / MASKS).as_posix(),
        f"verdict: {row['verdict']}, score {row.get('score') or '?'}",
        tuple(boxes.get(name, ())[:MOST_BOXES]),
    )


def _read_mark(file: Path) -> tuple[list[str], list[Path]]:
    """Class names, and the folders and files that were predicted."""
    if not file.is_file():
        raise InputError(f"{file.parent} holds no results of `python -m ppl predict`: no {MARK}")
    try:
        mark = json.loads(read_text(file))
        return [str(name) for name in mark["classes"]], [Path(str(p)) for p in mark["images"]]
    except (KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{file} is damaged: predict into another folder") from None


def _boxes(file: Path) -> dict[str, list[Box]]:
    found: defaultdict[str, list[Box]] = defaultdict(list)
    needed = ("image", "class", "left", "top", "right", "bottom", "mean_probability")
    for row in _rows(file, needed):
        try:
            left, top, right, bottom = (int(row[side]) for side in needed[2:6])
            name, probability = as_text(row["class"]), float(row["mean_probability"])
        except ValueError:
            continue  # a row that is cut short; the mask shows the defect all the same
        found[row["image"]].append(Box((left, top, right, bottom), name, probability))
    return found


def _classes_of(names: Sequence[str], items: Sequence[Item]) -> Classes:
    """The classes with the colours that the first readable mask has in its palette."""
    for item in items:
        try:
            levels = open_picture(item.source, "mask").image.getpalette() or []
            colours: list[Colour] = list(zip(levels[::3], levels[1::3], levels[2::3], strict=True))
            return checked_classes(names, colours[: len(names)])
        except ValueError:
            continue
    raise InputError("none of the masks can be read, or none has a palette: predict anew")


def _rows(file: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The whole rows of a table, by column.

    Raises:
        InputError: missing, too long, no table, or a column that is `needed` is not there.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(file), newline=""))
        lacking = [name for name in needed if name not in (reader.fieldnames or ())]
        if lacking:
            raise InputError(f"{file} has no column {lacking[0]}: make it anew")
        for row in reader:
            # a row that is cut short lacks some
            if all(row[name] is not None for name in needed):
                yield row
    except csv.Error as error:
        raise InputError(f"{file} is no table ({error}): make it anew") from None
