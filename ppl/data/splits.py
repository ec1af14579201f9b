"""Who is labeled, who is not, who is tested: a split of image ids, drawn by fraction or by lists.

Drawing is stratified by the set of defect classes that an image holds, and nested: with one seed,
the images labeled at 1/8 are among those labeled at 1/4, and the test images stay the same.

What is drawn is a unit: one image, or all photos of one part, whose group the data set knows. A
score on photos of parts that were trained on tells little of new parts.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ppl.core.errors import InputError
from ppl.core.settings import Settings
from ppl.data.split_draws import (
    Classes,
    Units,
    classes_of,
    prefix,
    share_of,
    stratified_order,
    stretch,
    take_validation,
)
from ppl.data.split_lists import DEFAULT_LISTS, Lists, Named, NamedLists, match_lists

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
    images: Images,
    lists: Lists | None,
    settings: SplitSettings,
    class_names: Sequence[str],
    seed: int,
) -> Split:
    """Split a data set; the order in which images are given does not matter.

    Test comes first. What is left of the annotated images is the pool, from which the labeled
    images come, and from these the validation images. See `choose_test`, `choose_labeled` and
    `choose_unlabeled`.

    By group, all photos of a part are in one set: photos without annotation are left out where
    their part is labeled or tested, and so is a published test part that shows trained parts. Each
    class has a group in test and in labeled, if the fractions leave room for as many groups.

    Args:
        lists: as `read_lists` gives them.
        class_names: by index, for messages.
        seed: the project's seed.

    Raises:
        InputError: no annotated image; a list names an unknown or ambiguous image, or, for
            labeled.txt and val.txt, one without a mask; an image is both tested and trained on;
            too few groups show a class; nothing is left for training.
    """
    _stop_without_masks(images)
    by, unused = _what_decides(images, lists, settings)
    named, twice = match_lists(lists if by == "lists" else None, images.paths)
    for listed in (named.labeled, named.test):
        _stop_at_missing_mask(listed, images.defect_classes)
    units = _units(images, by)
    test, of_test = choose_test(images, named, units, settings, class_names, seed)
    pool = {id: shown for id, shown in images.defect_classes.items() if id not in test}
    _stop_at_empty_pool(pool, test)
    labeled, validation = choose_labeled(pool, named.labeled, units, settings, seed)
    unlabeled, of_unlabeled = choose_unlabeled(
        images.paths.keys(), test | labeled | validation, named.unlabeled, units
    )
    return Split(
        labeled=tuple(sorted(labeled)),
        validation=tuple(sorted(validation)),
        unlabeled=tuple(sorted(unlabeled)),
        test=tuple(sorted(test)),
        by=by,
        notes=(*unused, *twice, *of_test, *of_unlabeled),
    )


def choose_test(
    images: Images,
    named: NamedLists,
    units: Units,
    settings: SplitSettings,
    class_names: Sequence[str],
    seed: int,
) -> tuple[set[str], list[str]]:
    """The ids to test on, always of annotated images, and what a person should know of them.

    val.txt, else a fold, else the published part, else `test_fraction`.

    Raises:
        InputError: folds beside val.txt; too few groups show a class; more test images than the
            lists leave; an image is both tested and in a list to train on.
    """
    published, notes = _published_test(images, units, settings)
    if named.test is not None:
        _stop_at_folds(named.test, settings)
        test = set(named.test.line_of)
    elif published and not settings.folds:
        test = published
    else:
        if units.apart:
            _stop_at_few_groups(images.defect_classes, units, settings, class_names)
        test = _draw_test(images.defect_classes, named, units, settings, seed)
    for listed in (named.labeled, named.unlabeled):
        _stop_at_leak(listed, test)
    return test, notes


def choose_labeled(
    pool: Mapping[str, Classes],
    listed: Named | None,
    units: Units,
    settings: SplitSettings,
    seed: int,
) -> tuple[set[str], set[str]]:
    """The ids whose masks are trained on, and those whose masks are validated on.

    Both are what labeled.txt names, else `labeled_fraction` of the pool; `validation_fraction` of
    them is to validate on.

    Args:
        pool: the defect classes of each annotated image that is not tested.
        listed: labeled.txt, all of it in the pool.
    """
    if listed is not None:
        pool = {id: pool[id] for id in listed.line_of}
    members = units.members(pool)
    shown = classes_of(members, pool)
    order = stratified_order(shown, seed, "labeled", cover=units.apart)
    if listed is None:
        order = prefix(order, members, share_of(len(pool), settings.labeled_fraction))
    taken = take_validation(order, shown, settings.validation_fraction)
    labeled = {id for unit in order if unit not in taken for id in members[unit]}
    return labeled, {id for unit in taken for id in members[unit]}


def choose_unlabeled(
    ids: Collection[str], taken: Collection[str], listed: Named | None, units: Units
) -> tuple[set[str], list[str]]:
    """The ids to train on without masks, and what a person should know of them.

    What unlabeled.txt names and is not labeled, else all that is not taken; by group, no photo of
    a part of which one is taken.

    Args:
        ids: of all images.
        taken: those that are tested, trained on with their masks or validated on.
        listed: unlabeled.txt, none of it tested.
    """
    free = set(ids) - set(taken)
    if listed is None:
        closed = {units.of[id] for id in taken} if units.apart else set()
        others = {id for id in free if units.of[id] in closed}
        if not others:
            return free, []
        return free - others, [
            f"{len(others)} images without masks are left out, e.g. {min(others)}: other "
            "photos of their parts are labeled or tested"
        ]
    notes = []
    both = listed.line_of.keys() & set(taken)
    if both:
        notes.append(
            f"{listed.file} names {len(both)} images that are labeled already, "
            f"e.g. {min(both)}: they count as labeled only"
        )
    unlabeled = listed.line_of.keys() - both
    left_out = free - unlabeled
    if left_out:
        notes.append(f"{len(left_out)} images are in no list and left out, e.g. {min(left_out)}")
    return unlabeled, notes


def _what_decides(
    images: Images, lists: Lists | None, settings: SplitSettings
) -> tuple[By, list[str]]:
    """What `split.by` means for these images, and what a person should know of it."""
    if settings.by == "lists" and lists is None:
        raise InputError(
            f"split.by is lists, but the folder {settings.lists} (split.lists) holds none: put "
            "labeled.txt, unlabeled.txt and val.txt there, or set split.by to group or image"
        )
    if settings.by == "group" and not images.groups:
        raise InputError(
            "split.by is group, but the data set does not know which photos show one part: set "
            "data.groups to pattern or content, or, with data.name: folder, put a groups.csv "
            "beside images/"
        )
    if settings.by == "auto":
        return "lists" if lists is not None else "group" if images.groups else "image", []
    if lists is None or settings.by == "lists":
        return settings.by, []
    return settings.by, [f"split.by is {settings.by}: the lists in {settings.lists} are not used"]


def _units(images: Images, by: By) -> Units:
    """Groups where they are known and wanted, else single images."""
    grouped = images.groups if by != "image" else {}
    return Units(grouped or {id: id for id in images.paths}, apart=by == "group")


def _published_test(
    images: Images, units: Units, settings: SplitSettings
) -> tuple[set[str], list[str]]:
    """The annotated images of the published test part, if it may be used, else why not."""
    annotated = images.defect_classes.keys()
    published = annotated & set(images.published_test) if settings.use_published_test else set()
    if units.apart and units.torn_by(published, annotated):
        return set(), [
            "the published test part shows parts that the training part shows too: it is not used, "
            "test is drawn by group (split.by: image takes it as it is)"
        ]
    return published, []


def _draw_test(
    defect_classes: Mapping[str, Classes],
    named: NamedLists,
    units: Units,
    settings: SplitSettings,
    seed: int,
) -> set[str]:
    """A fold or `test_fraction` of the annotated images, of units that no list names."""
    if settings.test_fraction == 0 and not settings.folds:
        return set()
    closed = {units.of[id] for id in named.to_train}
    members = units.members(defect_classes)
    free = {unit: ids for unit, ids in members.items() if unit not in closed}
    shown = classes_of(free, defect_classes)
    if settings.folds and not free:
        raise InputError(
            f"split.folds asks for {settings.folds} test sets, but the lists leave no annotated "
            "image out: shorten the lists, or set split.folds to 0 and add a val.txt"
        )
    if settings.folds:
        order = stratified_order(shown, seed, "test")
        chosen = stretch(order, free, settings.fold, settings.folds)
    else:
        count = share_of(len(defect_classes), Fraction(str(settings.test_fraction)))
        left = sum(map(len, free.values()))
        if count > left:
            raise InputError(
                f"split.test_fraction asks for {count} test images, but the lists leave only "
                f"{left} annotated images out: add a val.txt, or shorten the lists"
            )
        grouped = len(free) < left
        order = stratified_order(shown, seed, "test", cover=grouped)
        chosen = prefix(order, free, count)
    return {id for unit in chosen for id in free[unit]}


def _stop_without_masks(images: Images) -> None:
    if not images.defect_classes:
        raise InputError(
            f"none of the {len(images.paths)} images has a mask: annotate some, and put their "
            "masks where the layout of the data set expects them"
        )


def _stop_at_empty_pool(pool: Collection[str], test: Collection[str]) -> None:
    if not pool:
        raise InputError(
            f"all {len(test)} annotated images are test images, none is left to train on: lower "
            "split.test_fraction, shorten val.txt, or annotate more images"
        )


def _stop_at_folds(listed: Named, settings: SplitSettings) -> None:
    if settings.folds:
        raise InputError(
            f"split.folds draws the test images, but {listed.file} names them already: set "
            "split.folds to 0, or split.by to group or image"
        )


def _stop_at_few_groups(
    defect_classes: Mapping[str, Classes],
    units: Units,
    settings: SplitSettings,
    class_names: Sequence[str],
) -> None:
    sets = ["labeled", *(["unlabeled"] if settings.labeled_fraction < 1 else []), "test"]
    groups_with: defaultdict[int, set[str]] = defaultdict(set)
    for id, classes in defect_classes.items():
        for index in classes:
            groups_with[index].add(units.of[id])
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


def _stop_at_missing_mask(listed: Named | None, annotated: Collection[str]) -> None:
    bare = [id for id in listed.line_of if id not in annotated] if listed else []
    if listed and bare:
        raise InputError(
            f"{listed.file}, line {listed.line_of[bare[0]]}: image {bare[0]} has no mask "
            f"({len(bare)} such lines): add the mask, or take the image out of the list"
        )


def _stop_at_leak(listed: Named | None, test: Collection[str]) -> None:
    leaks = [id for id in listed.line_of if id in test] if listed else []
    if listed and leaks:
        raise InputError(
            f"{listed.file}, line {listed.line_of[leaks[0]]}: image {leaks[0]} is a test image as "
            f"well ({len(leaks)} such lines): keep it in one of the two"
        )
