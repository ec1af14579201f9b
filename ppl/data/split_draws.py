"""The order in which a split draws, and the stretches of it that become sets.

What is drawn is a unit: one image, or all photos of one part. The order is stratified by the set of
defect classes that a unit shows; its prefixes nest.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from ppl.core.errors import InputError
from ppl.core.seeds import generator

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are."""

Classes = frozenset[int]


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


def stratified_order(
    defect_classes: Mapping[str, Classes], seed: int, purpose: str, *, cover: bool = False
) -> list[str]:
    """The units in a random order whose prefixes hold every stratum about in proportion.

    A stratum is the units with the same defect classes. Prefixes of one order are what makes
    splits nested. The units of a stratum stand at equal distances from an offset of its own; the
    offsets of all strata are spread evenly too, so that a prefix holds its share of many strata
    which are each too small for one unit in it. With `cover`, the first unit of each class comes
    before all others, so that short prefixes show every class.
    """
    strata: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for id in sorted(defect_classes):
        strata[tuple(sorted(defect_classes[id]))].append(id)
    start = torch.rand((), generator=generator(seed, "split", purpose), dtype=torch.float64).item()
    places = []
    for number, (stratum, ids) in enumerate(sorted(strata.items())):
        offset = (start + number * GOLDEN_RATIO) % 1
        # a generator each: one more image with a crack reorders no image without
        draw = generator(seed, "split", purpose, *map(str, stratum))
        shuffled = torch.randperm(len(ids), generator=draw).tolist()
        ties = torch.rand(len(ids), generator=draw, dtype=torch.float64).tolist()
        for rank, (position, tie) in enumerate(zip(shuffled, ties, strict=True)):
            places.append(((rank + offset) / len(ids), tie, ids[position]))
    order = [id for _, _, id in sorted(places)]
    if not cover:
        return order
    first: list[str] = []
    seen: set[int] = set()
    for id in order:
        if not defect_classes[id] <= seen:
            first.append(id)
            seen |= defect_classes[id]
    leading = set(first)
    return first + [id for id in order if id not in leading]


def prefix(order: list[str], units: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """The prefix of at least one unit whose number of images is nearest to `count`."""
    total, best = 0, (math.inf, 1)
    for length, unit in enumerate(order, start=1):
        total += len(units[unit])
        best = min(best, (abs(total - count), length))
    return order[: best[1]]


def stretch(
    order: Sequence[str], units: Mapping[str, Sequence[str]], fold: int, folds: int
) -> list[str]:
    """The units of one of `folds` stretches of the order, equally long in images.

    Any stretch of a stratified order holds every stratum in proportion.
    """
    images = sum(len(units[unit]) for unit in order)
    before = 0
    members: list[list[str]] = [[] for _ in range(folds)]
    for unit in order:
        middle = before + len(units[unit]) / 2
        members[int(middle * folds / images)].append(unit)
        before += len(units[unit])
    if [] in members:
        largest = max(len(units[unit]) for unit in order)
        raise InputError(
            f"split.folds: test set {members.index([]) + 1} of {folds} would be empty, since the "
            f"{images} annotated images are of {len(order)} parts, the largest of {largest} "
            "images: lower split.folds"
        )
    return members[fold - 1]


def take_validation(
    order: Sequence[str], defect_classes: Mapping[str, Classes], fraction: float
) -> set[str]:
    """The share `fraction` of each stratum, rounded; the first of a stratum stays to be trained on.

    Each stratum is rounded on its own: where most images are sound, a common count would leave the
    validation images without defects, and a model could not be chosen by them.
    """
    share = Fraction(str(fraction))
    validation: set[str] = set()
    seen: Counter[Classes] = Counter()
    taken: Counter[Classes] = Counter()
    for id in order:
        stratum = defect_classes[id]
        seen[stratum] += 1
        if seen[stratum] > 1 and seen[stratum] * share - taken[stratum] >= Fraction(1, 2):
            validation.add(id)
            taken[stratum] += 1
    return validation


def share_of(total: int, share: Fraction) -> int:
    """The share of `total`, half rounded up, at least 1."""
    return max(1, math.floor(share * total + Fraction(1, 2)))
