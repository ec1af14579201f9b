"""What waits for a person: images to annotate next, masks to correct, decisions to look at."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ppl.core.cells import as_text
from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings, Sample, pictures_with_ids
from ppl.review.decisions import standing
from ppl.tools.annotate_next import default_folder
from ppl.tools.own_folders import HANDED_OUT, decisions_file
from ppl.tools.raw_counts import yours
from ppl.tools.rescue import RESCUED

_READ_BYTES = 64 << 20
"""A table of more bytes is not read."""


@dataclass(frozen=True)
class ToDo:
    """All by id, in the order in which they are to be done."""

    listed: tuple[str, ...] | None
    """Images to annotate next, by the last run; None without a list."""
    open: tuple[str, ...]
    """Those of them that have no mask yet."""
    folder: Path
    """Where masks to correct lie."""
    to_correct: tuple[str, ...]
    """Those there whose image has no mask yet."""
    done: int
    """How many others lie there still."""
    decisions: int
    """Images on whose masks a reviewer decided."""
    rescued: int
    """Masks that were edited among the outputs, and kept."""


def to_do(root: Path, data: DataSettings, samples: Collection[Sample]) -> ToDo:
    """What lies around; a table that cannot be read counts as none.

    Whether an image of a published data set has a label is nobody's business here: it stays hidden.
    """
    masked = {one.id for one in samples if one.annotated} if yours(data) else set()
    known = {one.id for one in samples}
    listed = _listed()
    folder = default_folder(data)
    lying = _masks(folder)
    return ToDo(
        listed,
        open=tuple(id for id in listed or () if id not in masked and (id in known or not known)),
        folder=folder,
        # what is none of an image belongs to a tool, as the images that went out with its files
        to_correct=tuple(sorted((lying - masked) & known)),
        done=len(lying & masked),
        decisions=_decisions(decisions_file(data.name, str(root))),
        rescued=sum(1 for file in sorted(RESCUED.rglob("*")) if file.is_file()),
    )


def _listed() -> tuple[str, ...] | None:
    file = HANDED_OUT / "list.csv"
    if not file.is_file():
        return None
    return tuple(as_text(row["image"]) for row in _rows(file) if row.get("image"))


def _decisions(file: Path) -> int:
    try:
        return len(standing(file))
    except (InputError, OSError):
        return 0


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        if file.stat().st_size > _READ_BYTES:
            return []
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _masks(folder: Path) -> set[str]:
    """The ids of masks below it; the contact sheet at its top is none."""
    try:
        return {id for id, _ in pictures_with_ids(folder)} - {"sheet"}
    except InputError:
        return set()
