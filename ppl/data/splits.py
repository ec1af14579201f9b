"""Who is labeled, who is not, who is tested: a split of image ids, drawn by fraction or by lists.

What is drawn is a unit: one image, or all photos of one part, whose group the data set knows. A
score on photos of parts that were trained on tells little of new parts.

Who is tested comes first, see `split_tested`. The rest is drawn stratified by the set of defect
classes that an image holds, and nested: with one seed, the images labeled at 1/8 are among those
labeled at 1/4.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ppl.core.errors import InputError
from ppl.data.held import NOTHING_HELD, Held
from ppl.data.split_draws import (
    Classes,
    Images,
    Units,
    by_place,
    classes_of,
    prefix,
    share_of,
    shuffled,
    stratified_order,
    take_validation,
)
from ppl.data.split_lists import Lists, Named, match_lists
from ppl.data.split_settings import SplitSettings
from ppl.data.split_tested import Tested, choose_test

By = Literal["group", "image", "lists"]


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
    seed: int,
    held: Held = NOTHING_HELD,
) -> Split:
    """Split a data set; the order in which images are given does not matter.

    Test comes first. What is left of the annotated images is the pool, from which the labeled
    images come, and from these the validation images. See `choose_test`, `choose_labeled` and
    `choose_unlabeled`.

    By group, all photos of a part are in one set: other photos are left out where their part is
    labeled or tested. Each class has a group in labeled, if the fraction leaves room for as many
    groups.

    Args:
        lists: as `read_lists` gives them.
        seed: the project's seed.
        held: images that stay in test, or out of it.

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
    tested = choose_test(images, named, held, units, settings, seed)
    pool = _pool(images, tested, units)
    _stop_at_empty_pool(pool, tested.ids, held)
    labeled, validation = choose_labeled(
        pool, named.labeled, units, images.corrected, settings, seed
    )
    unlabeled, of_unlabeled = choose_unlabeled(
        images.paths.keys(), tested, labeled | validation, named.unlabeled, units
    )
    return Split(
        labeled=tuple(sorted(labeled)),
        validation=tuple(sorted(validation)),
        unlabeled=tuple(sorted(unlabeled)),
        test=tuple(sorted(tested.ids)),
        by=by,
        notes=(
            *unused,
            *twice,
            *tested.notes,
            *of_unlabeled,
            *_unused_corrections(images, named.labeled),
            *_not_held(held, images, tested.ids | labeled | validation | unlabeled),
        ),
    )


def _pool(images: Images, tested: Tested, units: Units) -> dict[str, Classes]:
    """The defect classes of each annotated image that test leaves to training, by id."""
    apart = tested.ids | tested.bare
    return {
        id: shown
        for id, shown in images.defect_classes.items()
        if id not in apart and units.of[id] not in tested.closed
    }


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
    ids: Collection[str],
    tested: Tested,
    labeled: Collection[str],
    listed: Named | None,
    units: Units,
) -> tuple[set[str], list[str]]:
    """The ids to train on without masks, and what a person should know of them.

    What unlabeled.txt names and is not labeled, else all that is neither tested nor labeled; no
    photo of a closed unit nor, where units are kept apart, of one with a labeled photo.

    Args:
        ids: of all images.
        labeled: those that are trained on with their masks or validated on.
        listed: unlabeled.txt, none of it tested.
    """
    free = set(ids) - tested.ids - tested.bare - set(labeled)
    closed = tested.closed | ({units.of[id] for id in labeled} if units.apart else set())
    notes = []
    unlabeled = free
    if listed is not None:
        both = listed.line_of.keys() & set(labeled)
        if both:
            notes.append(
                f"{listed.file} names {len(both)} images that are labeled already, "
                f"e.g. {min(both)}: they count as labeled only"
            )
        unlabeled = listed.line_of.keys() - both
        left_out = free - unlabeled
        if left_out:
            notes.append(
                f"{len(left_out)} images are in no list and left out, e.g. {min(left_out)}"
            )
    others = {id for id in unlabeled if units.of[id] in closed}
    if others:
        notes.append(
            f"{len(others)} images are left out, e.g. {min(others)}: other photos of their parts "
            "are labeled or tested, and all photos of a part stay in one set, so these are neither "
            "trained nor tested on"
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
        if lists is None:
            return "image", []
        note = (
            f"the lists in {settings.lists} are taken as they are: photos of one part may be on "
            "both sides (split.by: group keeps them apart)"
        )
        return "lists", [note] if images.groups else []
    if lists is None or settings.by != "image":
        return settings.by, []
    return "image", [f"split.by is image: the lists in {settings.lists} are not used"]


def _units(images: Images, by: By) -> Units:
    """Groups where they are known and wanted, else single images."""
    grouped = images.groups if by != "image" else {}
    return Units(grouped or {id: id for id in images.paths}, apart=by == "group")


def _not_held(held: Held, images: Images, used: Collection[str]) -> list[str]:
    """Annotated images of a set that `hold-split` would add."""
    new = sorted((images.may_test.keys() & set(used)) - held.test - held.train) if held else []
    if not new:
        return []
    return [
        f"{held.file} does not hold {len(new)} images with masks yet, e.g. {new[0]}: they are "
        "drawn; `make hold-split` adds them"
    ]


def _unused_corrections(images: Images, listed: Named | None) -> list[str]:
    """What labeled.txt leaves out of what a person corrected."""
    unused = images.corrected - listed.line_of.keys() if listed else frozenset()
    if not unused:
        return []
    return [
        f"{len(unused)} corrected masks are not used, e.g. {min(unused)}: labeled.txt names who is "
        "labeled; add them to it"
    ]


def _stop_without_masks(images: Images) -> None:
    if not images.defect_classes:
        raise InputError(
            f"none of the {len(images.paths)} images has a mask{_looked_for(images.paths)}: "
            "annotate some, and put their masks where the layout of the data set expects them "
            "(docs/your_data.md, Layouts)"
        )


def _looked_for(paths: Mapping[str, str]) -> str:
    """Where the mask of an image would lie, in the layout of a person's own data."""
    first = min(paths)
    if not paths[first].startswith("images/"):
        return ""
    return f"; that of {paths[first]} was looked for at masks/{first}.png, below data.root"


def _stop_at_empty_pool(pool: Collection[str], test: Collection[str], held: Held) -> None:
    if not pool:
        raise InputError(
            f"all {len(test)} annotated images are test images, none is left to train on: lower "
            "split.test_fraction, shorten val.txt"
            + (f", change {held.file}" if held else "")
            + ", or annotate more images"
        )


def _stop_at_missing_mask(listed: Named | None, annotated: Collection[str]) -> None:
    bare = [id for id in listed.line_of if id not in annotated] if listed else []
    if listed and bare:
        raise InputError(
            f"{listed.file}, line {listed.line_of[bare[0]]}: image {bare[0]} has no mask "
            f"({len(bare)} such lines): add the mask, or take the image out of the list"
        )
