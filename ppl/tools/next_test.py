"""Whether test is as it was: whom the last scores are of, and whom the next run would test.

Who is tested follows from names, lists and held.csv, so it is found out without opening an image.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.data.adapters.base import DataSettings, Sample
from ppl.data.groups import told_by_names
from ppl.data.held import Held, read_held
from ppl.data.split_draws import Images
from ppl.data.split_lists import read_lists
from ppl.data.split_settings import SplitSettings
from ppl.data.splits import Split, make_split
from ppl.images.pictures import IGNORE
from ppl.scores.tested import read_tested
from ppl.tools.common_part import EVALUATION
from ppl.tools.raw_counts import LastSets, Parts, Values

_SOME_DEFECT = frozenset({1})
"""Stands for what an unread mask shows: who is tested does not depend on it."""


@dataclass(frozen=True)
class Planned:
    """The split that the next run would make."""

    split: Split
    exact: bool
    """Whether labeled and validation are as they would be: their draw goes by class."""


def planned_split(
    raw: Path,
    samples: Sequence[Sample],
    parts: Parts,
    values: Values | None,
    data: DataSettings,
    split: SplitSettings,
    seed: int,
) -> Planned:
    """As `prepare` would split, as far as that can be told without opening images.

    Args:
        values: of the masks, by id, as far as they were read.

    Raises:
        InputError: `prepare` would stop for it.
    """
    known = values or {}
    lists = Path(split.lists)
    held = read_held(lists, {sample.id for sample in samples})
    listed = read_lists(lists, split.labeled_fraction, optional=split.lists_optional or bool(held))
    annotated = [sample for sample in samples if sample.annotated]
    images = Images(
        paths={sample.id: sample.image.relative_to(raw).as_posix() for sample in samples},
        defect_classes={
            sample.id: known.get(sample.id, _SOME_DEFECT) - {0, IGNORE} for sample in annotated
        },
        groups=parts.of,
        published_test=[sample.id for sample in samples if sample.part == "test"],
        corrected=frozenset(sample.id for sample in samples if sample.corrected),
        told_by_names=told_by_names(data),
    )
    exact = all(sample.id in known for sample in annotated)
    return Planned(make_split(images, listed, split, seed, held), exact)


def last_tested(sets: LastSets | None) -> frozenset[str] | None:
    """The images that the scores are of, else those that `prepare` put aside; None of neither."""
    try:
        return frozenset(read_tested(EVALUATION / "images.json").ids)
    except (OSError, ValueError, KeyError, TypeError):
        return sets.ids["test"] if sets else None


def words_of_test(
    before: Collection[str], now: Collection[str], redone: Collection[str], *, ran: bool
) -> str:
    """What becomes of test, in a line.

    Args:
        redone: images whose picture or mask was replaced.
        ran: whether `prepare` has made it so; else the next run would.
    """
    kept = set(before) & set(now)
    gone, new = len(set(before) - kept), len(set(now) - kept)
    redrawn = len(kept & set(redone))
    if not (gone or new or redrawn):
        return f"{len(now):,} images, as they were"
    moves = [
        f"{len(kept):,} of {len(before):,} kept",
        *([f"{gone:,} gone"] if gone else []),
        *([f"{new:,} new"] if new else []),
        *([f"{redrawn:,} with another picture or mask"] if redrawn else []),
    ]
    when = "" if ran else " in the next run"
    return f"{', '.join(moves)}{when}: `make diff` compares what both test"


@dataclass(frozen=True)
class Holding:
    """What held.csv does for the split."""

    held: Held
    missing: int
    """Annotated images that may be tested and that it does not hold."""
    needed: bool
    """Whether likeness tells the parts, and no list says who is tested: they may move."""

    def __str__(self) -> str:
        if self.held:
            count = len(self.held.test | self.held.train)
            lacks = f", not {self.missing:,} newer ones" if self.missing else ""
            return f"held.csv holds {count:,}{lacks}"
        return "not held, and likeness tells the parts" if self.needed else ""

    @property
    def open(self) -> bool:
        """Whether `make hold-split` would be of use."""
        return bool(self.missing) if self.held else self.needed


def holding(samples: Sequence[Sample], data: DataSettings, split: SplitSettings) -> Holding:
    """The state of held.csv.

    Raises:
        InputError: as `read_held`.
    """
    folder = Path(split.lists)
    held = read_held(folder, {sample.id for sample in samples})
    free = [one.id for one in samples if one.annotated and not one.corrected]
    missing = len(set(free) - held.test - held.train) if held else 0
    by_list = split.by == "lists" or any(folder.rglob("val.txt"))
    loose = not told_by_names(data) and split.by in ("auto", "group")
    return Holding(held, missing, needed=loose and not by_list and not split.folds)


def moves(sets: Mapping[str, Collection[str]], split: Split) -> str:
    """How many images each other set would have, where that changes."""
    now = {
        "labeled": split.labeled,
        "validation": split.validation,
        "unlabeled": split.unlabeled,
    }
    changed = [
        f"{name} {len(sets[name]):,} -> {len(ids):,}"
        for name, ids in now.items()
        if len(sets[name]) != len(ids)
    ]
    return ", ".join(changed)
