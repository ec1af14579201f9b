"""Where a split puts what it draws: in test or not, and the order in which the rest is labeled.

What is drawn is a unit: one image, or all photos of one part. Whether it is tested on follows from
its name and the seed alone, so nothing that is added, corrected or removed moves another unit. The
rest has an order, stratified by the set of defect classes that a unit shows; its prefixes nest.
"""

import itertools
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from ppl.core.seeds import derived_seed, generator

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are."""

_PLACES = 1 << 63
"""How many places there are: `derived_seed` gives one of them."""

Classes = frozenset[int]

Sequencer = Callable[[Sequence[str], Classes], Sequence[str]]
"""Puts the units of one stratum, sorted by name, into the sequence in which they are drawn."""


@dataclass(frozen=True)
class Images:
    """What a split goes by, of all images of a data set."""

    paths: Mapping[str, str]
    """Path of every image below the data set's root, '/'-separated, by id."""
    defect_classes: Mapping[str, Classes]
    """The defect classes of every annotated image, by id; empty: defect-free."""
    groups: Mapping[str, str]
    """The part that each image shows, by id; {} where the data set does not know."""
    published_test: Collection[str]
    """Ids of the published test part."""
    corrected: frozenset[str] = frozenset()
    """Ids of annotated images whose mask began as a model's: neither tested nor validated on."""
    told_by_names: bool = True
    """Whether the groups stay themselves whatever images come or go."""

    @property
    def may_test(self) -> dict[str, Classes]:
        """The defect classes of every image that may be tested on, by id."""
        return {id: shown for id, shown in self.defect_classes.items() if id not in self.corrected}


@dataclass(frozen=True)
class Units:
    """What is drawn as one: an image, or all photos of one part."""

    of: Mapping[str, str]
    """The unit of each image, by id."""
    apart: bool
    """Whether no unit may be in two sets."""

    def members(self, ids: Collection[str]) -> dict[str, list[str]]:
        """The ids of each unit, sorted."""
        units: defaultdict[str, list[str]] = defaultdict(list)
        for id in sorted(ids):
            units[self.of[id]].append(id)
        return dict(units)

    def torn_by(self, ids: Collection[str], others: Collection[str]) -> bool:
        """Whether a unit has images among `ids` and among the `others` that are not `ids`."""
        inside = set(ids)
        return not {self.of[id] for id in inside}.isdisjoint(
            self.of[id] for id in others if id not in inside
        )


def classes_of(
    units: Mapping[str, Sequence[str]], defect_classes: Mapping[str, Classes]
) -> dict[str, Classes]:
    """All defect classes that the images of a unit show."""
    return {
        unit: frozenset[int]().union(*(defect_classes[id] for id in ids))
        for unit, ids in units.items()
    }


def place(unit: str, seed: int, purpose: str) -> int:
    """Where a unit lies in 0 to 2**63 - 1, evenly: by its name, the seed and the purpose alone.

    The same name in other bytes (macOS writes accents as characters of their own) is the same unit.
    """
    return derived_seed(seed, "split", purpose, unicodedata.normalize("NFC", unit))


def in_test(unit: str, seed: int, share: float) -> bool:
    """Whether a unit is tested on at `split.test_fraction` `share`.

    A unit that is tested on at one share is so at every larger one.
    """
    return Fraction(place(unit, seed, "test"), _PLACES) < Fraction(str(share))


def fold_of(unit: str, seed: int, folds: int) -> int:
    """Which of the folds, from 1, tests a unit."""
    return place(unit, seed, "test") * folds // _PLACES + 1


def stratified_order(
    defect_classes: Mapping[str, Classes],
    seed: int,
    sequencer: Sequencer,
    *,
    cover: bool = False,
) -> list[str]:
    """The units in an order whose prefixes hold every stratum about in proportion.

    A stratum is the units with the same defect classes. Prefixes of one order are what makes
    splits nested. The units of a stratum stand at equal distances from an offset of its own; the
    offsets of all strata are spread evenly too, so that a prefix holds its share of many strata
    which are each too small for one unit in it. With `cover`, the first unit of each class comes
    before all others, so that short prefixes show every class.
    """
    strata: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for unit in sorted(defect_classes):
        strata[tuple(sorted(defect_classes[unit]))].append(unit)
    draw = generator(seed, "split", "labeled")
    start = torch.rand((), generator=draw, dtype=torch.float64).item()
    places = []
    for number, (stratum, units) in enumerate(sorted(strata.items())):
        offset = (start + number * GOLDEN_RATIO) % 1
        for rank, unit in enumerate(sequencer(units, frozenset(stratum))):
            places.append(((rank + offset) / len(units), unit))
    order = [unit for _, unit in sorted(places)]
    if not cover:
        return order
    first: list[str] = []
    seen: set[int] = set()
    for unit in order:
        if not defect_classes[unit] <= seen:
            first.append(unit)
            seen |= defect_classes[unit]
    leading = set(first)
    return first + [unit for unit in order if unit not in leading]


def by_place(seed: int, validation_fraction: float) -> Sequencer:
    """The sequence by place, which one more unit hardly changes: it shifts those behind it by one.

    The first by place take the ranks that validate (see `take_validation`), so that one more unit
    replaces at most one of the units that validate.
    """

    def sequence(units: Sequence[str], _: Classes) -> list[str]:
        ranked = sorted(units, key=lambda unit: (place(unit, seed, "labeled"), unit))
        validates = [role for role, _ in zip(_roles(validation_fraction), units, strict=False)]
        validating, training = iter(ranked[: sum(validates)]), iter(ranked[sum(validates) :])
        return [next(validating if role else training) for role in validates]

    return sequence


def shuffled(seed: int) -> Sequencer:
    """The sequence of a shuffle of the whole stratum: of lists, which do not grow by themselves.

    One more unit shuffles anew. It is as published figures on lists were made.
    """

    def sequence(units: Sequence[str], stratum: Classes) -> list[str]:
        # a generator each: one more image with a crack reorders no image without
        draw = generator(seed, "split", "labeled", *map(str, sorted(stratum)))
        return [units[position] for position in torch.randperm(len(units), generator=draw).tolist()]

    return sequence


def prefix(order: list[str], units: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """The prefix of at least one unit whose number of images is nearest to `count`."""
    total, best = 0, (math.inf, 1)
    for length, unit in enumerate(order, start=1):
        total += len(units[unit])
        best = min(best, (abs(total - count), length))
    return order[: best[1]]


def take_validation(
    order: Sequence[str], defect_classes: Mapping[str, Classes], fraction: float
) -> set[str]:
    """The share `fraction` of each stratum, rounded; the first of a stratum stays to be trained on.

    Each stratum is rounded on its own: where most images are sound, a common count would leave the
    validation images without defects, and a model could not be chosen by them.
    """
    roles: defaultdict[Classes, Iterator[bool]] = defaultdict(lambda: _roles(fraction))
    return {unit for unit in order if next(roles[defect_classes[unit]])}


def _roles(fraction: float) -> Iterator[bool]:
    """Whether each unit of a stratum validates, by its rank; without end."""
    share = Fraction(str(fraction))
    taken = 0
    for seen in itertools.count(1):
        validates = seen > 1 and seen * share - taken >= Fraction(1, 2)
        taken += validates
        yield validates


def share_of(total: int, share: Fraction) -> int:
    """The share of `total`, half rounded up, at least 1."""
    return max(1, math.floor(share * total + Fraction(1, 2)))
