"""Who is labeled, who is not, who is tested: a split of image ids, drawn by fraction or by lists.

Drawing is stratified by the set of defect classes that an image holds, and nested: with one seed,
the images labeled at 1/8 are among those labeled at 1/4, and the test images stay the same.

What is drawn is a unit: one image, or all photos of one part, whose group the data set knows. A
score on photos of parts that were trained on tells little of new parts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from ppl.core.errors import InputError
from ppl.core.seeds import generator
from ppl.core.settings import Settings
from ppl.data.split_lists import DEFAULT_LISTS, ImageIndex, ListFile, Lists

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are."""

Classes = frozenset[int]
By = Literal["group", "image", "lists"]


class SplitSettings(Settings):
    """Section `split` of params.yaml."""

    by: Literal["auto", "group", "image", "lists"]
    """What stays together: all photos of a part, or each image alone; or what the lists say.
    auto: lists where there are some, else group where the data set has groups, else image."""
    labeled_fraction: Fraction
    """Share of the annotated images outside test that keep their masks: "1/8" or 0.125."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the annotated images to test on, where neither a list nor the data set says."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the labeled images taken out to validate on."""
    folds: Annotated[int, Field(ge=0, le=100)]
    """Cut the annotated images into so many test sets of equal size; 0: one of test_fraction."""
    fold: Annotated[int, Field(ge=1)]
    """Which of them is tested on, from 1."""
    use_published_test: bool
    """Test on the published test part where the data set has one."""
    lists: Annotated[str, Field(min_length=1)]
    """Folder with labeled.txt, unlabeled.txt and val.txt; data/lists may hold none."""

    @property
    def lists_optional(self) -> bool:
        """Only the default folder may hold no lists: whoever names another wants them used."""
        return Path(self.lists) == DEFAULT_LISTS

    @field_validator("labeled_fraction", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Fraction:
        # 1/8 and 0.125 are the same split; a float's own fraction would not be that of its text
        try:
            if isinstance(value, bool):
                raise TypeError
            fraction = Fraction(str(value).replace(" ", "")).limit_denominator(1_000_000)
        except (TypeError, ValueError, ZeroDivisionError):
            raise ValueError("expected a fraction such as 1/8 or a number such as 0.125") from None
        if not 0 < fraction <= 1:
            raise ValueError("should be above 0 and at most 1")
        return fraction

    @model_validator(mode="after")
    def _fold_exists(self) -> "SplitSettings":
        if self.folds == 1:
            raise ValueError("folds: 1 fold leaves nothing to train on; write 0 or at least 2")
        if self.fold > max(self.folds, 1):
            raise ValueError(f"fold {self.fold} is none of the {self.folds} folds")
        return self


@dataclass(frozen=True)
class Split:
    """Ids of each set, sorted; no id in two sets."""

    labeled: tuple[str, ...]
    """Trained on with their masks."""
    validation: tuple[str, ...]
    """Taken out of the labeled images to choose checkpoints."""
    unlabeled: tuple[str, ...]
    """Trained on without masks, whether or not they have some."""
    test: tuple[str, ...]
    by: By = field(default="image", compare=False)
    """What decided, where the settings say auto."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a person should know: images listed twice, images in no list."""


def make_split(
    *,
    image_paths: Mapping[str, str],
    defect_classes: Mapping[str, Classes],
    groups: Mapping[str, str],
    published_test: Collection[str],
    lists: Lists | None,
    settings: SplitSettings,
    class_names: Sequence[str],
    seed: int,
) -> Split:
    """Split a data set; the order in which images are given does not matter.

    Test comes first: val.txt, else a fold, else the published part, else `test_fraction`, always of
    annotated images. What is left of the annotated images is the pool. Labeled images come from
    labeled.txt, else they are `labeled_fraction` of the pool; validation is taken out of them.
    Unlabeled images come from unlabeled.txt, else they are the rest of the pool and all images
    without annotation.

    By group, all photos of a part are in one set: photos without annotation are left out where
    their part is labeled or tested, and so is a published test part that shows trained parts. Each
    class has a group in test and in labeled, if the fractions leave room for as many groups.

    Args:
        image_paths: path of every image below the data set's root, '/'-separated, by id.
        defect_classes: the defect classes of every annotated image, by id; empty: defect-free.
        groups: the part that each image shows, by id; {} where the data set does not know.
        published_test: ids of the published test part.
        lists: as `read_lists` gives them.
        class_names: by index, for messages.
        seed: the project's seed.

    Raises:
        InputError: no annotated image; a list names an unknown or ambiguous image, or, for
            labeled.txt and val.txt, one without a mask; an image is both tested and trained on;
            too few groups show a class; nothing is left for training.
    """
    if not defect_classes:
        raise InputError(
            f"none of the {len(image_paths)} images has a mask: annotate some, and put their "
            "masks where the layout of the data set expects them"
        )
    notes: list[str] = []
    by = _split_by(settings, lists, groups)
    if lists is not None and by != "lists":
        notes.append(f"split.by is {by}: the lists in {settings.lists} are not used")
        lists = None
    lists = lists or Lists(None, None, None)
    strict = by == "group"
    unit_of = groups if groups and by != "image" else {id: id for id in image_paths}
    index = ImageIndex(image_paths)
    labeled_lines = index.match(lists.labeled, notes)
    unlabeled_lines = index.match(lists.unlabeled, notes)
    test_lines = index.match(lists.test, notes)
    for listed in (lists.labeled, labeled_lines), (lists.test, test_lines):
        _stop_at_missing_mask(*listed, defect_classes)

    published = defect_classes.keys() & set(published_test) if settings.use_published_test else ()
    if published and strict and _share_a_unit(published, defect_classes.keys(), unit_of):
        notes.append(
            "the published test part shows parts that the training part shows too: it is not used, "
            "test is drawn by group (split.by: image takes it as it is)"
        )
        published = ()
    if lists.test is not None:
        _stop_at_folds(settings, lists.test)
        test = set(test_lines)
    elif published and not settings.folds:
        test = set(published)
    else:
        if strict:
            _stop_at_few_groups(defect_classes, unit_of, settings, class_names)
        test = _draw_test(
            defect_classes, unit_of, labeled_lines.keys() | unlabeled_lines.keys(), settings, seed
        )
    _stop_at_leak(lists.labeled, labeled_lines, test)
    _stop_at_leak(lists.unlabeled, unlabeled_lines, test)

    pool = {id: classes for id, classes in defect_classes.items() if id not in test}
    if not pool:
        raise InputError(
            f"all {len(test)} annotated images are test images, none is left to train on: lower "
            "split.test_fraction, shorten val.txt, or annotate more images"
        )
    if lists.labeled is not None:
        pool = {id: pool[id] for id in labeled_lines}
    units = _units(pool, unit_of)
    order = stratified_order(_classes_of(units, pool), seed, "labeled", cover=strict)
    if lists.labeled is None:
        order = _prefix(order, units, _count(settings.labeled_fraction, len(pool)))
    validation_units = _take_validation(
        order, _classes_of(units, pool), settings.validation_fraction
    )
    annotated = {id for unit in order for id in units[unit]}
    validation = {id for unit in validation_units for id in units[unit]}

    if lists.unlabeled is None:
        unlabeled = image_paths.keys() - test - annotated
        if strict:
            taken = {unit_of[id] for id in test | annotated}
            others = {id for id in unlabeled if unit_of[id] in taken}
            if others:
                notes.append(
                    f"{len(others)} images without masks are left out, e.g. {min(others)}: other "
                    "photos of their parts are labeled or tested"
                )
            unlabeled -= others
    else:
        both = unlabeled_lines.keys() & annotated
        if both:
            notes.append(
                f"{lists.unlabeled.file} names {len(both)} images that are labeled already, "
                f"e.g. {min(both)}: they count as labeled only"
            )
        unlabeled = unlabeled_lines.keys() - both
        left_out = image_paths.keys() - test - annotated - unlabeled
        if left_out:
            notes.append(
                f"{len(left_out)} images are in no list and left out, e.g. {min(left_out)}"
            )
    return Split(
        labeled=tuple(sorted(annotated - validation)),
        validation=tuple(sorted(validation)),
        unlabeled=tuple(sorted(unlabeled)),
        test=tuple(sorted(test)),
        by=by,
        notes=tuple(notes),
    )


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


def _split_by(settings: SplitSettings, lists: Lists | None, groups: Mapping[str, str]) -> By:
    if settings.by == "lists" and lists is None:
        raise InputError(
            f"split.by is lists, but the folder {settings.lists} (split.lists) holds none: put "
            "labeled.txt, unlabeled.txt and val.txt there, or set split.by to group or image"
        )
    if settings.by == "group" and not groups:
        raise InputError(
            "split.by is group, but the data set does not know which photos show one part: set "
            "data.groups to pattern or content, or, with data.name: folder, put a groups.csv "
            "beside images/"
        )
    if settings.by == "auto":
        return "lists" if lists is not None else "group" if groups else "image"
    return settings.by


def _units(ids: Collection[str], unit_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The ids of each unit, sorted."""
    units: defaultdict[str, list[str]] = defaultdict(list)
    for id in sorted(ids):
        units[unit_of[id]].append(id)
    return dict(units)


def _classes_of(
    units: Mapping[str, Sequence[str]], defect_classes: Mapping[str, Classes]
) -> dict[str, Classes]:
    """All defect classes that the images of a unit show."""
    return {
        unit: frozenset[int]().union(*(defect_classes[id] for id in ids))
        for unit, ids in units.items()
    }


def _prefix(order: list[str], units: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """The prefix of at least one unit whose number of images is nearest to `count`."""
    total, best = 0, (math.inf, 1)
    for length, unit in enumerate(order, start=1):
        total += len(units[unit])
        best = min(best, (abs(total - count), length))
    return order[: best[1]]


def _share_a_unit(part: Collection[str], ids: Collection[str], unit_of: Mapping[str, str]) -> bool:
    inside = set(part)
    return not {unit_of[id] for id in inside}.isdisjoint(
        unit_of[id] for id in ids if id not in inside
    )


def _draw_test(
    defect_classes: Mapping[str, Classes],
    unit_of: Mapping[str, str],
    listed: Collection[str],
    settings: SplitSettings,
    seed: int,
) -> set[str]:
    if settings.test_fraction == 0 and not settings.folds:
        return set()
    units = _units(defect_classes, unit_of)
    closed = {unit_of[id] for id in listed}
    free = {unit: ids for unit, ids in units.items() if unit not in closed}
    classes = _classes_of(free, defect_classes)
    if settings.folds:
        order = stratified_order(classes, seed, "test")
        chosen = _fold(order, free, settings.fold, settings.folds)
    else:
        count = _count(Fraction(str(settings.test_fraction)), len(defect_classes))
        left = sum(map(len, free.values()))
        if count > left:
            raise InputError(
                f"split.test_fraction asks for {count} test images, but the lists leave only "
                f"{left} annotated images out: add a val.txt, or shorten the lists"
            )
        grouped = len(free) < left
        order = stratified_order(classes, seed, "test", cover=grouped)
        chosen = _prefix(order, free, count)
    return {id for unit in chosen for id in free[unit]}


def _fold(
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


def _stop_at_folds(settings: SplitSettings, listed: ListFile) -> None:
    if settings.folds:
        raise InputError(
            f"split.folds draws the test images, but {listed.file} names them already: set "
            "split.folds to 0, or split.by to group or image"
        )


def _stop_at_few_groups(
    defect_classes: Mapping[str, Classes],
    unit_of: Mapping[str, str],
    settings: SplitSettings,
    class_names: Sequence[str],
) -> None:
    sets = ["labeled", *(["unlabeled"] if settings.labeled_fraction < 1 else []), "test"]
    groups_with: defaultdict[int, set[str]] = defaultdict(set)
    for id, classes in defect_classes.items():
        for index in classes:
            groups_with[index].add(unit_of[id])
    problems = [
        f"{class_names[index]} is on photos of {len(found)} group{'s' * (len(found) > 1)} alone "
        f"({', '.join(sorted(found))}), too few for the {len(sets)} sets {', '.join(sets)}"
        for index, found in sorted(groups_with.items())
        if len(found) < len(sets)
    ]
    if problems:
        raise InputError(
            "\n".join(problems) + "\nAnnotate photos of more parts with it, merge the class with "
            "another, or set split.by: image; scores are then of parts that were trained on"
        )


def _take_validation(
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


def _stop_at_missing_mask(
    listed: ListFile | None, lines: Mapping[str, int], annotated: Collection[str]
) -> None:
    bare = [id for id in lines if id not in annotated]
    if listed and bare:
        raise InputError(
            f"{listed.file}, line {lines[bare[0]]}: image {bare[0]} has no mask ({len(bare)} such "
            "lines): add the mask, or take the image out of the list"
        )


def _stop_at_leak(listed: ListFile | None, lines: Mapping[str, int], test: Collection[str]) -> None:
    leaks = [id for id in lines if id in test]
    if listed and leaks:
        raise InputError(
            f"{listed.file}, line {lines[leaks[0]]}: image {leaks[0]} is a test image as well "
            f"({len(leaks)} such lines): keep it in one of the two"
        )


def _count(share: Fraction, total: int) -> int:
    """The share of `total`, half rounded up, at least 1."""
    return max(1, math.floor(share * total + Fraction(1, 2)))
