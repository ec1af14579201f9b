"""Who is labeled, who is not, who is tested: a split of image ids, drawn by fraction or by lists.

What is drawn is a unit: one image, or all photos of one part, whose group the data set knows. A
score on photos of parts that were trained on tells little of new parts.

A unit is in test, or not, by its name and the seed alone: what is annotated, corrected, added or
removed later moves no other one, so scores of before and after can be compared on what both test.
The rest is drawn stratified by the set of defect classes that an image holds, and nested: with one
seed, the images labeled at 1/8 are among those labeled at 1/4.
"""

from collections.abc import Collection, Mapping
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
    by_place,
    classes_of,
    fold_of,
    in_test,
    prefix,
    share_of,
    shuffled,
    stratified_order,
    take_validation,
)
from ppl.data.split_lists import DEFAULT_LISTS, Lists, Named, NamedLists, match_lists

By = Literal["group", "image", "lists"]

_SAID = 0.05
"""How far the share of test may be off `test_fraction` before a person is told."""

_TRIED = 100
"""Seeds that are tried to name one with test images."""


class SplitSettings(Settings):
    """Section `split` of params.yaml."""

    by: Literal["auto", "group", "image", "lists"]
    """What stays together: all photos of a part, or each image alone; or what the lists say.
    auto: lists where there are some, else group where the data set has groups, else image; val.txt
    alone and groups: group, with the listed parts in test."""
    labeled_fraction: Fraction
    """Share of the annotated images outside test that keep their masks: "1/8" or 0.125."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the annotated images to test on, where neither a list nor the data set says: each
    is drawn by itself, so the share comes out near it."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the labeled images taken out to validate on."""
    folds: Annotated[int, Field(ge=0, le=100)]
    """Draw each annotated image into one of so many test sets; 0: one of test_fraction."""
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
    corrected: frozenset[str] = frozenset()
    """Ids of annotated images whose mask began as a model's: neither tested nor validated on."""

    @property
    def may_test(self) -> dict[str, Classes]:
        """The defect classes of every image that may be tested on, by id."""
        return {id: shown for id, shown in self.defect_classes.items() if id not in self.corrected}


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


def make_split(images: Images, lists: Lists | None, settings: SplitSettings, seed: int) -> Split:
    """Split a data set; the order in which images are given does not matter.

    Test comes first. What is left of the annotated images is the pool, from which the labeled
    images come, and from these the validation images. See `choose_test`, `choose_labeled` and
    `choose_unlabeled`.

    By group, all photos of a part are in one set: other photos are left out where their part is
    labeled or tested, and so is a published test part that shows trained parts. Each class has a
    group in labeled, if the fraction leaves room for as many groups.

    Args:
        lists: as `read_lists` gives them.
        seed: the project's seed.

    Raises:
        InputError: no annotated image; a list names an unknown or ambiguous image, or, for
            labeled.txt and val.txt, one without a mask; an image or, by group, a part is both
            tested and trained on; no test image comes out, or none with a defect; nothing is left
            for training.
    """
    _stop_without_masks(images)
    by, unused = _what_decides(images, lists, settings)
    named, twice = match_lists(None if by == "image" else lists, images.paths)
    for listed in (named.labeled, named.test):
        _stop_at_missing_mask(listed, images.defect_classes)
    units = _units(images, by)
    test, closed, of_test = choose_test(images, named, units, settings, seed)
    pool = {
        id: shown
        for id, shown in images.defect_classes.items()
        if id not in test and units.of[id] not in closed
    }
    _stop_at_empty_pool(pool, test)
    labeled, validation = choose_labeled(
        pool, named.labeled, units, images.corrected, settings, seed
    )
    taken = test | labeled | validation
    if units.apart:
        closed = {units.of[id] for id in taken}
    unlabeled, of_unlabeled = choose_unlabeled(
        images.paths.keys() - taken, labeled | validation, named.unlabeled, units, closed
    )
    return Split(
        labeled=tuple(sorted(labeled)),
        validation=tuple(sorted(validation)),
        unlabeled=tuple(sorted(unlabeled)),
        test=tuple(sorted(test)),
        by=by,
        notes=(
            *unused,
            *twice,
            *of_test,
            *of_unlabeled,
            *_unused_corrections(images, named.labeled),
        ),
    )


def choose_test(
    images: Images, named: NamedLists, units: Units, settings: SplitSettings, seed: int
) -> tuple[set[str], set[str], list[str]]:
    """The ids to test on, the units that are closed to training, what a person should know of both.

    All test images are annotated. Closed are tested units, but for those of fixed lists and parts,
    which are taken as they are unless units are to be kept apart: no other photo of them, say a
    corrected one, is trained on.

    val.txt, by group all photos of its parts; else a fold, else the published part, else what
    `test_fraction` draws.

    Raises:
        InputError: folds beside val.txt, or a corrected mask in it; an image or part is both
            tested and in a list to train on; nothing is drawn, or nothing with a defect.
    """
    published, notes = _published_test(images, units, settings)
    fixed = True
    if named.test is not None:
        _stop_at_folds(named.test, settings)
        _stop_at_corrected(named.test, images.corrected)
        test = set(named.test.line_of)
        if units.apart:
            parts = {units.of[id] for id in test}
            test = {id for id in images.may_test if units.of[id] in parts}
    elif published and not settings.folds:
        test = published
    else:
        test, of_share = _draw_test(images.may_test, named, units, settings, seed)
        notes += of_share
        fixed = False
    for listed in (named.labeled, named.unlabeled):
        _stop_at_leak(listed, named.test.line_of if named.test else test, units)
    closed = {units.of[id] for id in test} if units.apart or not fixed else set()
    return test, closed, notes


def choose_labeled(
    pool: Mapping[str, Classes],
    listed: Named | None,
    units: Units,
    corrected: Collection[str],
    settings: SplitSettings,
    seed: int,
) -> tuple[set[str], set[str]]:
    """The ids whose masks are trained on, and those whose masks are validated on.

    Both are what labeled.txt names, else the corrected units and `labeled_fraction` of the others;
    `validation_fraction` of those others that are labeled is to validate on.

    Args:
        pool: the defect classes of each annotated image that is not tested.
        listed: labeled.txt, all of it in the pool.
        corrected: ids of images whose mask began as a model's.
    """
    if listed is not None:
        pool = {id: pool[id] for id in listed.line_of}
    members = units.members(pool)
    began_drawn = {
        unit: ids for unit, ids in members.items() if not any(id in corrected for id in ids)
    }
    shown = classes_of(began_drawn, pool)
    sequencer = shuffled(seed) if listed else by_place(seed, settings.validation_fraction)
    order = stratified_order(shown, seed, sequencer, cover=units.apart)
    if listed is None:
        count = sum(map(len, began_drawn.values()))
        order = prefix(order, members, share_of(count, settings.labeled_fraction))
    taken = take_validation(order, shown, settings.validation_fraction)
    trained = (members.keys() - began_drawn.keys()) | (set(order) - taken)
    return {id for unit in trained for id in members[unit]}, {
        id for unit in taken for id in members[unit]
    }


def choose_unlabeled(
    free: Collection[str],
    labeled: Collection[str],
    listed: Named | None,
    units: Units,
    closed: Collection[str],
) -> tuple[set[str], list[str]]:
    """The ids to train on without masks, and what a person should know of them.

    What unlabeled.txt names and is not labeled, else all that is free; no photo of a closed unit.

    Args:
        free: ids of all images that are neither tested nor labeled.
        labeled: those that are trained on with their masks or validated on.
        listed: unlabeled.txt, none of it tested.
        closed: units of which no photo may be unlabeled.
    """
    notes = []
    unlabeled = set(free)
    if listed is not None:
        both = listed.line_of.keys() & set(labeled)
        if both:
            notes.append(
                f"{listed.file} names {len(both)} images that are labeled already, "
                f"e.g. {min(both)}: they count as labeled only"
            )
        unlabeled = listed.line_of.keys() - both
        left_out = set(free) - unlabeled
        if left_out:
            notes.append(
                f"{len(left_out)} images are in no list and left out, e.g. {min(left_out)}"
            )
    others = {id for id in unlabeled if units.of[id] in closed}
    if others:
        notes.append(
            f"{len(others)} images are left out, e.g. {min(others)}: other photos of their parts "
            "are labeled or tested"
        )
    return unlabeled - others, notes


def _what_decides(
    images: Images, lists: Lists | None, settings: SplitSettings
) -> tuple[By, list[str]]:
    """What `split.by` means for these images, and what a person should know of it."""
    if settings.by == "lists" and lists is None:
        raise InputError(
            f"split.by is lists, but the folder {settings.lists} (split.lists) holds none: put "
            "labeled.txt, unlabeled.txt and val.txt there, or set split.by to auto"
        )
    if settings.by == "group" and not images.groups:
        raise InputError(
            "split.by is group, but the data set does not know which photos show one part: set "
            "data.groups to pattern or content, or, with data.name: folder, put a groups.csv "
            "beside images/"
        )
    if settings.by == "auto":
        tested_alone = lists is not None and not (lists.labeled or lists.unlabeled)
        if images.groups and (lists is None or tested_alone):
            return "group", []
        return "lists" if lists is not None else "image", []
    if lists is None or settings.by != "image":
        return settings.by, []
    return "image", [f"split.by is image: the lists in {settings.lists} are not used"]


def _units(images: Images, by: By) -> Units:
    """Groups where they are known and wanted, else single images."""
    grouped = images.groups if by != "image" else {}
    return Units(grouped or {id: id for id in images.paths}, apart=by == "group")


def _published_test(
    images: Images, units: Units, settings: SplitSettings
) -> tuple[set[str], list[str]]:
    """The annotated images of the published test part, if it may be used, else why not."""
    annotated = images.may_test.keys()
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
) -> tuple[set[str], list[str]]:
    """A fold or `test_fraction` of the images, of units that no list names, and a note on its size.

    Args:
        defect_classes: of the images that may be tested on, by id.
    """
    if settings.test_fraction == 0 and not settings.folds:
        return set(), []
    closed = {units.of[id] for id in named.to_train}
    free = {id: shown for id, shown in defect_classes.items() if units.of[id] not in closed}
    test = _drawn(free, units, settings, seed)
    listed = _drawn(defect_classes.keys() - free.keys(), units, settings, seed)
    notes = [_said_of_listed(len(listed))] if listed else []
    # folds are pooled, so that one of them may hold sound parts alone
    if not test or not (settings.folds or any(free[id] for id in test)):
        better = _better_seed(free, units, settings, seed)
        raise _no_test(free, test, settings, seed, better)
    if settings.folds or _near(test, free, settings):
        return test, notes
    better = _better_seed(free, units, settings, seed, near=True)
    return test, [
        *notes,
        f"test holds {len(test)} of {len(free)} images with masks, "
        f"{100 * len(test) / len(free):.0f} %, where split.test_fraction is "
        f"{100 * settings.test_fraction:g} %: each {'part' if units.apart else 'image'} is drawn "
        "by itself, so that none moves when others come"
        + ("" if better is None else f" (before a first run, seed: {better} comes nearer)"),
    ]


def _said_of_listed(count: int) -> str:
    return (
        f"{count} images would be tested on, but a list to train on names them or photos of their "
        "parts: if they were tested before, scores are of another test set now (val.txt fixes one)"
    )


def _unused_corrections(images: Images, listed: Named | None) -> list[str]:
    """What labeled.txt leaves out of what a person corrected."""
    unused = images.corrected - listed.line_of.keys() if listed else frozenset()
    if not unused:
        return []
    return [
        f"{len(unused)} corrected masks are not used, e.g. {min(unused)}: labeled.txt names who is "
        "labeled; add them to it"
    ]


def _drawn(free: Collection[str], units: Units, settings: SplitSettings, seed: int) -> set[str]:
    """Those of the images that the seed draws into test, or into the fold."""
    if settings.folds:
        return {id for id in free if fold_of(units.of[id], seed, settings.folds) == settings.fold}
    return {id for id in free if in_test(units.of[id], seed, settings.test_fraction)}


def _near(test: Collection[str], free: Collection[str], settings: SplitSettings) -> bool:
    return abs(len(test) / len(free) - settings.test_fraction) <= _SAID


def _better_seed(
    free: Mapping[str, Classes],
    units: Units,
    settings: SplitSettings,
    seed: int,
    *,
    near: bool = False,
) -> int | None:
    """The next seed that draws a defect into test and leaves images to train on, if there is one.

    Args:
        near: whether its share has to be near `test_fraction`, too.
    """
    for other in range(seed + 1, seed + _TRIED):
        test = _drawn(free, units, settings, other)
        shows = any(free[id] for id in test) and len(test) < len(free)
        if shows and (not near or _near(test, free, settings)):
            return other
    return None


def _no_test(
    free: Mapping[str, Classes],
    test: Collection[str],
    settings: SplitSettings,
    seed: int,
    better: int | None,
) -> InputError:
    """What to say where nothing was drawn, or nothing with a defect."""
    draws = (
        f"fold {settings.fold} of {settings.folds} (split.folds) holds"
        if settings.folds
        else f"split.test_fraction {settings.test_fraction:g} draws"
    )
    missing = "test image with a defect" if test else "test image"
    lower = "lower split.folds" if settings.folds else "raise split.test_fraction"
    return InputError(
        f"{draws} no {missing} at seed {seed}; {len(free)} images may be tested on, "
        f"{sum(map(bool, free.values()))} of them with a defect: "
        + ("" if better is None else f"set seed: {better}, which draws one, or ")
        + f"{lower}, name test images in val.txt of split.lists, or annotate more images"
    )


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
            "split.folds to 0, or take the list out of split.lists"
        )


def _stop_at_corrected(listed: Named, corrected: Collection[str]) -> None:
    found = [id for id in listed.line_of if id in corrected]
    if found:
        raise InputError(
            f"{listed.file}, line {listed.line_of[found[0]]}: the mask of image {found[0]} began "
            f"as a model's ({len(found)} such lines), which would be judged by its own: draw it "
            "anew into masks/, or take the image out of the list"
        )


def _stop_at_missing_mask(listed: Named | None, annotated: Collection[str]) -> None:
    bare = [id for id in listed.line_of if id not in annotated] if listed else []
    if listed and bare:
        raise InputError(
            f"{listed.file}, line {listed.line_of[bare[0]]}: image {bare[0]} has no mask "
            f"({len(bare)} such lines): add the mask, or take the image out of the list"
        )


def _stop_at_leak(listed: Named | None, test: Collection[str], units: Units) -> None:
    """No listed image is tested and, by group, none shows the part of a test image.

    Args:
        test: the test images, or those that name the parts to test.
    """
    if listed is None:
        return
    tested = {units.of[id] if units.apart else id: id for id in sorted(test, reverse=True)}
    shows = {id: units.of[id] if units.apart else id for id in listed.line_of}
    leaks = [id for id in listed.line_of if shows[id] in tested]
    if not leaks:
        return
    first = leaks[0]
    if first in test:
        said = f"image {first} is a test image as well"
    else:
        said = f"image {first} shows part {shows[first]}, as test image {tested[shows[first]]} does"
    raise InputError(
        f"{listed.file}, line {listed.line_of[first]}: {said} ({len(leaks)} such lines): keep it "
        "in one of the two"
    )
