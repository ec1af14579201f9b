"""Images that a person holds where they are: in test, or out of it, whatever comes.

A unit that a name tells has its place by that name. A part that likeness tells may be told
otherwise when images come or go; what is held follows the images instead.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ppl.core.cells import as_cell, as_text
from ppl.core.errors import InputError
from ppl.data.split_draws import Units
from ppl.data.tables import known_as, read_rows

HELD_FILE = "held.csv"
"""Beside the split lists."""

_COLUMNS = ["image", "set"]
_TEST, _TRAIN = "test", "train"


@dataclass(frozen=True)
class Held:
    """The places that are held, by image."""

    file: str = ""
    test: frozenset[str] = frozenset()
    """Ids of images that stay in test."""
    train: frozenset[str] = frozenset()
    """Ids of images that stay out of it."""

    def __bool__(self) -> bool:
        return bool(self.test or self.train)

    def units(self, units: Units) -> tuple[set[str], set[str]]:
        """The units that are tested on, and those that are not; tested are those that have both."""
        tested = {units.of[id] for id in self.test if id in units.of}
        return tested, {units.of[id] for id in self.train if id in units.of} - tested

    def gone(self, ids: Collection[str]) -> list[str]:
        """Those that are not among `ids`, sorted."""
        return sorted((self.test | self.train) - set(ids))


NOTHING_HELD = Held()


def read_held(folder: Path, ids: Collection[str]) -> Held:
    """What `folder`/held.csv holds; nothing without that file.

    Args:
        ids: of all images; what names none of them is held by the name that it has.

    Raises:
        InputError: not the columns image and set, no row, another set than test and train, an
            image for both.
    """
    file = folder / HELD_FILE
    if not file.is_file():
        return NOTHING_HELD
    places: dict[str, str] = {}
    for where, (image, place) in read_rows(file, _COLUMNS):
        id = known_as(image, ids) or as_text(image)
        if not image or place not in (_TEST, _TRAIN):
            raise InputError(f"{where}: {image!r} is in {place!r}: expected {_TEST} or {_TRAIN}")
        if places.setdefault(id, place) != place:
            raise InputError(f"{where}: image {image} is held for {_TEST} and for {_TRAIN}")
    if not places:
        raise InputError(f"{file} holds no image: `make hold-split` fills it, or remove it")
    return Held(
        str(file),
        test=frozenset(id for id, place in places.items() if place == _TEST),
        train=frozenset(id for id, place in places.items() if place == _TRAIN),
    )


def write_held(folder: Path, held: Held) -> Path:
    """Write the file that `read_held` reads, sorted by image; returns it."""
    file = folder / HELD_FILE
    rows = sorted([(id, _TEST) for id in held.test] + [(id, _TRAIN) for id in held.train])
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([_COLUMNS, *((as_cell(id), place) for id, place in rows)])
    return file
