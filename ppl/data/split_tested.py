"""Who is tested: what a list names, what was published as test, or what the seed draws.

A unit is in test, or not, by its name and the seed alone: what is annotated, corrected, added or
removed later moves no other one, so scores of before and after can be compared on what both test.
What a person holds (see `held`) stays where it is even where its unit has another name by now.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ppl.core.errors import InputError
from ppl.data.held import Held
from ppl.data.split_draws import Classes, Images, Units, classes_of, fold_of, in_test
from ppl.data.split_lists import Named, NamedLists
from ppl.data.split_settings import SplitSettings

_SAID = 0.05
"""How far the share of test may be off `test_fraction` before a person is told."""

_TRIED = 100
"""Seeds that are tried to name one with test images."""

_SAID_OF_LIKENESS = (
    "likeness tells the parts, and may tell them otherwise when images come or go: `make "
    "hold-split` keeps every image in test, or out of it"
)


@dataclass(frozen=True)
class Tested:
    """What is tested on, and what training has to leave alone for it."""

    ids: frozenset[str]
    """The test images, all annotated."""
    bare: frozenset[str]
    """Images that belong to test and have no mask, or a model's: not tested, not trained on."""
    closed: frozenset[str]
    """Units of which nothing is trained on."""
    notes: tuple[str, ...]
    """What a person should know."""


def choose_test(
    images: Images, named: NamedLists, held: Held, units: Units, settings: SplitSettings, seed: int
) -> Tested:
    """The images to test on.

    val.txt, by group all photos of its parts; else a fold, else the published part, else what
    `test_fraction` draws. What is held for test is tested on besides the last two, and what is held
    for training is not.

    Closed are tested units, but for those of val.txt, and of a published part, which are taken as
    they are unless units are to be kept apart: no other photo of them, say a corrected one, is
    trained on.

    Raises:
        InputError: folds or held images beside val.txt, folds beside held images, or a corrected
            mask in val.txt; an image or part is both tested and in a list to train on; nothing is
            drawn, or nothing with a defect.
    """
    published = frozenset(images.published_test) if settings.use_published_test else frozenset()
    if named.test is not None:
        found = _listed(images, named.test, held, units, settings)
        origin: Collection[str] = named.test.line_of
    else:
        if published.isdisjoint(images.may_test) or settings.folds:
            found = _draw(images, named, held, units, settings, seed)
        else:
            found = _published(images, published, held, units)
        origin = found.ids | found.bare
    kept = held.test & images.paths.keys()
    for listed in (named.labeled, named.unlabeled):
        _stop_at_leak(listed, origin, units)
        # whoever holds an image holds its part
        _stop_at_leak(listed, kept, replace(units, apart=True))
    return found


def _listed(
    images: Images, listed: Named, held: Held, units: Units, settings: SplitSettings
) -> Tested:
    """What val.txt names; by group all photos of its parts."""
    _stop_at_folds(listed.file, settings)
    if held:
        raise InputError(
            f"{listed.file} and {held.file} both say who is tested: remove one of them"
        )
    _stop_at_corrected(listed, images.corrected)
    if not units.apart:
        return Tested(frozenset(listed.line_of), frozenset(), frozenset(), ())
    parts = frozenset(units.of[id] for id in listed.line_of)
    ids = frozenset(id for id in images.may_test if units.of[id] in parts)
    return Tested(ids, frozenset(), parts, ())


def _published(images: Images, published: frozenset[str], held: Held, units: Units) -> Tested:
    """The published test part, and what is held; other photos of its parts are left out."""
    tested, _ = held.units(units)
    ids = {id for id in published if id not in held.train}
    ids |= {id for id in images.paths if units.of[id] in tested}
    annotated = frozenset(ids & images.may_test.keys())
    bare = frozenset(ids - annotated)
    parts = frozenset(units.of[id] for id in ids) if units.apart else frozenset[str]()
    notes = [*_said_of_bare(bare), *_said_of_held(held, images, annotated)]
    return Tested(annotated, bare, parts, tuple(notes))


def _draw(
    images: Images, named: NamedLists, held: Held, units: Units, settings: SplitSettings, seed: int
) -> Tested:
    """A fold or `test_fraction` of the images, of units that no list names, and what is held."""
    if held:
        _stop_at_folds(held.file, settings)
    tested, trained = held.units(units)
    if settings.test_fraction == 0 and not settings.folds and not tested:
        return Tested(frozenset(), frozenset(), frozenset(), ())
    draws = _Draws(units, settings, tested, trained)
    closed = {units.of[id] for id in named.to_train}
    may_test = images.may_test
    free = {id: shown for id, shown in may_test.items() if units.of[id] not in closed}
    test = draws.test(free, seed)
    # folds are pooled, so that one of them may hold sound parts alone
    if not test or not (settings.folds or any(free[id] for id in test)):
        better = None if held else draws.better_seed(free, seed)
        raise _no_test(free, test, settings, seed, better, held)
    bare = frozenset(held.test & images.paths.keys()) - may_test.keys()
    loose = units.apart and not (images.told_by_names or held or settings.folds)
    notes = [
        *([_SAID_OF_LIKENESS] if loose else []),
        *_said_of_listed(len(draws.test(may_test.keys() - free.keys(), seed))),
        *_said_of_bare_part(images, settings),
        *_said_of_share(free, test, draws, seed),
        *_said_of_bare(bare),
        *_said_of_held(held, images, test),
    ]
    parts = frozenset(units.of[id] for id in test) | tested
    return Tested(frozenset(test), bare, parts, tuple(notes))


@dataclass(frozen=True)
class _Draws:
    """Which units the seed draws into test, beside those that are held."""

    units: Units
    settings: SplitSettings
    tested: Collection[str]
    """Units that are held for test."""
    trained: Collection[str]

    def test(self, free: Collection[str], seed: int) -> set[str]:
        """Those of the images `free` that are in test, or in the fold."""
        members = self.units.members(free)
        return {id for unit, ids in members.items() if self._drawn(unit, seed) for id in ids}

    def _drawn(self, unit: str, seed: int) -> bool:
        if unit in self.tested or unit in self.trained:
            return unit in self.tested
        if self.settings.folds:
            return fold_of(unit, seed, self.settings.folds) == self.settings.fold
        return in_test(unit, seed, self.settings.test_fraction)

    def near(self, test: Collection[str], free: Collection[str]) -> bool:
        """Whether the share of test is near `test_fraction`."""
        return abs(len(test) / len(free) - self.settings.test_fraction) <= _SAID

    def shows(self, test: Collection[str], free: Mapping[str, Classes]) -> bool:
        """Whether each class that several units show is in test and outside of it."""
        units = {unit: classes for unit, classes in self._classes(free).items() if classes}
        tested = {self.units.of[id] for id in test}
        several = {
            shown for shown, count in Counter(itertools.chain(*units.values())).items() if count > 1
        }
        sides = [
            frozenset[int]().union(*(units[unit] for unit in units if (unit in tested) == inside))
            for inside in (True, False)
        ]
        return all(several <= side for side in sides)

    def _classes(self, free: Mapping[str, Classes]) -> dict[str, Classes]:
        return classes_of(self.units.members(free), free)

    def good(self, test: Collection[str], free: Mapping[str, Classes]) -> bool:
        """Whether nothing speaks for another seed: the share, and the classes on both sides."""
        return self.near(test, free) and self.shows(test, free)

    def better_seed(
        self, free: Mapping[str, Classes], seed: int, *, good: bool = False
    ) -> int | None:
        """The next seed that draws a defect into test and leaves images to train on, if any does.

        Args:
            good: whether its draw has to be `good`, too.
        """
        for other in range(seed + 1, seed + _TRIED):
            test = self.test(free, other)
            serves = any(free[id] for id in test) and len(test) < len(free)
            if serves and (not good or self.good(test, free)):
                return other
        return None


def _said_of_listed(count: int) -> list[str]:
    if not count:
        return []
    return [
        f"{count} images would be tested on, but a list to train on names them or photos of their "
        "parts: if they were tested before, scores are of another test set now (val.txt fixes one)"
    ]


def _said_of_share(
    free: Mapping[str, Classes], test: Collection[str], draws: _Draws, seed: int
) -> list[str]:
    """That the share of test is off, or a class on one side alone; a better seed."""
    if draws.settings.folds or draws.good(test, free):
        return []
    held = bool(draws.tested or draws.trained)
    better = None if held else draws.better_seed(free, seed, good=True)
    if draws.near(test, free):
        said = "a class is in test alone, or outside of it alone, though several "
        said += f"{'parts' if draws.units.apart else 'images'} show it"
    else:
        said = (
            f"test holds {len(test)} of {len(free)} images with masks, "
            f"{100 * len(test) / len(free):.0f} %, where split.test_fraction is "
            f"{100 * draws.settings.test_fraction:g} %"
        )
    if held:
        return [f"{said}: most are held where they are"]
    return [
        f"{said}: each {'part' if draws.units.apart else 'image'} is drawn by itself, so that none "
        "moves when others come"
        + ("" if better is None else f" (before a first run, seed: {better} draws better)")
    ]


def _said_of_bare_part(images: Images, settings: SplitSettings) -> list[str]:
    """That a published test part cannot be tested on."""
    if not settings.use_published_test or not images.published_test or settings.folds:
        return []
    return [
        "no image of the published test part has a mask: test is drawn, and they are unlabeled "
        "images like others"
    ]


def _said_of_bare(bare: Collection[str]) -> list[str]:
    if not bare:
        return []
    return [
        f"{len(bare)} test images have no mask, or one that began as a model's, e.g. {min(bare)}: "
        "they are neither tested nor trained on"
    ]


def _said_of_held(held: Held, images: Images, test: Collection[str]) -> list[str]:
    """What the file holds that is gone, and what it cannot hold."""
    gone, torn = held.gone(images.paths), sorted(held.train & set(test))
    said = []
    if gone:
        said.append(
            f"{held.file} names {len(gone)} images that are not in the data set, e.g. {gone[0]}"
        )
    if torn:
        said.append(
            f"{held.file} holds {len(torn)} images for train that are tested, e.g. {torn[0]}: they "
            "show the parts of images that it holds for test"
        )
    return said


def _no_test(
    free: Mapping[str, Classes],
    test: Collection[str],
    settings: SplitSettings,
    seed: int,
    better: int | None,
    held: Held,
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
        + (
            f"change {held.file}"
            if held
            else f"{lower}, name test images in val.txt of split.lists"
        )
        + ", or annotate more images"
    )


def _stop_at_folds(file: str, settings: SplitSettings) -> None:
    if settings.folds:
        raise InputError(
            f"split.folds draws the test images, but {file} names them already: set split.folds to "
            "0, or take the file out of split.lists"
        )


def _stop_at_corrected(listed: Named, corrected: Collection[str]) -> None:
    found = [id for id in listed.line_of if id in corrected]
    if found:
        raise InputError(
            f"{listed.file}, line {listed.line_of[found[0]]}: the mask of image {found[0]} began "
            f"as a model's ({len(found)} such lines), which would be judged by its own: draw it "
            "anew into masks/, or take the image out of the list"
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
