"""Splits by group: all photos of a part in one set, every class in those that need it, folds."""

import itertools
import re
from collections import Counter, defaultdict

import pytest

from ppl.core.errors import InputError
from ppl.data.split_draws import Images
from ppl.data.split_lists import ListFile, Lists
from ppl.data.split_settings import SplitSettings
from ppl.data.splits import Split, make_split

FRACTIONS = ("1/16", "1/8", "1/4", "1/2")


def some_parts() -> tuple[dict[str, str], dict[str, frozenset[int]]]:
    """120 parts of one to six photos; fray is on three of them; 12 parts have bare photos too."""
    groups, defects = {}, {}
    for part in range(120):
        fray = part in (17, 55, 93)
        classes = {3} if fray else {1} if part % 5 == 0 else {2} if part % 11 == 0 else set()
        for photo in range(1 + part % 6):
            id = f"{photo}/part{part:03d}"
            groups[id] = f"part{part:03d}"
            # a defect need not be seen on every photo
            defects[id] = frozenset(classes if photo % 3 == 0 else ())
    for part in range(0, 120, 10):
        groups[f"bare/part{part:03d}"] = f"part{part:03d}"
    for number in range(30):
        groups[f"new/{number}"] = f"new{number // 3}"
    return groups, defects


GROUPS, DEFECTS = some_parts()


def settings(**changes: object) -> SplitSettings:
    values: dict[str, object] = {
        "by": "auto",
        "labeled_fraction": "1/4",
        "test_fraction": 0.2,
        "validation_fraction": 0.25,
        "folds": 0,
        "fold": 1,
        "use_published_test": True,
        "lists": "data/lists",
    }
    return SplitSettings(**{**values, **changes})  # type: ignore[arg-type]


def split(seed: int = 0, lists: Lists | None = None, **changes: object) -> Split:
    arguments: dict[str, object] = {
        "paths": {id: f"{id}.png" for id in GROUPS},
        "defect_classes": DEFECTS,
        "groups": GROUPS,
        "published_test": (),
    }
    for name in list(arguments):
        arguments[name] = changes.pop(name, arguments[name])
    return make_split(Images(**arguments), lists, settings(**changes), seed)  # type: ignore[arg-type]


def sets(found: Split) -> dict[str, tuple[str, ...]]:
    return {name: getattr(found, name) for name in ("labeled", "validation", "unlabeled", "test")}


def shown(ids: tuple[str, ...]) -> set[int]:
    return set().union(*(DEFECTS[id] for id in ids))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_no_part_is_in_two_sets(fraction: str, seed: int) -> None:
    found = split(seed, labeled_fraction=fraction)
    assert found.by == "group"
    where = defaultdict(set)
    assert found.labeled
    assert found.unlabeled
    assert found.test
    for name, ids in sets(found).items():
        for id in ids:
            where[GROUPS[id]].add(name)
    assert all(len(names) == 1 for names in where.values())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_labeled_images_show_every_class_that_test_leaves_them(fraction: str, seed: int) -> None:
    found = split(seed, labeled_fraction=fraction, validation_fraction=0.0)
    pool = tuple(id for id in DEFECTS if id not in found.test)
    assert shown(found.labeled) == shown(pool) >= {1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_of_images(seed: int) -> None:
    largest = max(Counter(GROUPS.values()).values())
    found = split(seed, validation_fraction=0.0)
    # parts are drawn each by itself: three standard deviations of their images
    spread = (0.2 * 0.8 * sum(n**2 for n in Counter(GROUPS[id] for id in DEFECTS).values())) ** 0.5
    assert abs(len(found.test) - 0.2 * len(DEFECTS)) <= 3 * spread
    pool = len(DEFECTS) - len(found.test)
    assert abs(len(found.labeled) - pool / 4) <= largest / 2


@pytest.mark.parametrize("seed", range(5))
def test_smaller_fractions_are_nested_in_larger_ones(seed: int) -> None:
    found = [split(seed, labeled_fraction=fraction) for fraction in FRACTIONS]
    for smaller, larger in itertools.pairwise(found):
        assert smaller.test == larger.test
        assert set(smaller.validation) <= set(larger.validation)
        assert set(smaller.labeled) <= set(larger.labeled) | set(larger.validation)


def test_photos_without_masks_of_labeled_or_tested_parts_are_left_out() -> None:
    found = split()
    taken = {GROUPS[id] for id in (*found.labeled, *found.validation, *found.test)}
    bare = {id for id in GROUPS if id not in DEFECTS}
    others = {id for id in bare if GROUPS[id] in taken}
    assert others
    assert bare - set(found.unlabeled) == others
    note = found.notes[-1]
    assert note.startswith(f"{len(others)} images are left out, e.g. bare/part")


def test_input_order_does_not_matter() -> None:
    backwards = split(
        groups=dict(reversed(GROUPS.items())),
        paths={id: f"{id}.png" for id in reversed(GROUPS)},
        defect_classes=dict(reversed(DEFECTS.items())),
    )
    assert backwards == split()


def test_masks_of_drawn_test_images_decide_nothing() -> None:
    for by in ("group", "image"):
        found = split(by=by)
        other = {id: frozenset({1, 2, 3}) if id in found.test else DEFECTS[id] for id in DEFECTS}
        assert split(by=by, defect_classes=other) == found


def test_masks_of_test_decide_nothing_once_test_is_listed() -> None:
    test = split().test
    listed = Lists(None, None, ListFile("val.txt", tuple(enumerate(test, start=1))))
    other = {id: frozenset({1, 2, 3}) if id in test else DEFECTS[id] for id in DEFECTS}
    assert split(lists=listed) == split(lists=listed, defect_classes=other)


def test_every_image_is_tested_in_one_fold() -> None:
    folds = [split(folds=5, fold=fold) for fold in range(1, 6)]
    tested = [id for found in folds for id in found.test]
    assert sorted(tested) == sorted(DEFECTS)
    assert all(40 < len(found.test) < 130 for found in folds), "420 images in five"
    for found in folds:
        assert {GROUPS[id] for id in found.test}.isdisjoint(GROUPS[id] for id in found.unlabeled)


def test_folds_of_single_images_cover_them_once() -> None:
    tested = [id for fold in (1, 2, 3) for id in split(by="image", folds=3, fold=fold).test]
    assert sorted(tested) == sorted(DEFECTS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"folds": 1}, "leaves nothing"),
        ({"folds": 3, "fold": 4}, "none of the 3"),
        ({"fold": 2}, "none"),
    ],
)
def test_impossible_folds_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        settings(**changes)


def test_an_empty_fold_is_refused_with_a_seed_that_fills_it() -> None:
    four = {id: f"part{number % 4}" for number, id in enumerate(GROUPS)}
    refused = []
    for fold in range(1, 10):
        try:
            split(groups=four, folds=9, fold=fold)
        except InputError as error:
            refused.append((fold, str(error)))
    assert len(refused) >= 5, "four parts fill four of nine folds at most"
    for fold, said in refused:
        assert re.search(r"^fold \d of 9 .* holds no test image .*lower split\.folds", said)
        seed = int(said.partition("set seed: ")[2].partition(",")[0])
        assert split(seed, groups=four, folds=9, fold=fold).test


def test_what_decides() -> None:
    lists = Lists(None, None, ListFile("val.txt", ((1, "0/part001.png"),)))
    assert split().by == "group"
    assert split(groups={}).by == "image"
    assert split(lists=lists).by == "group", "all photos of the listed parts are tested"
    assert split(lists=lists, by="lists").test == ("0/part001",)
    train = Lists(ListFile("labeled.txt", ((1, "0/part002.png"),)), None, lists.test)
    assert split(lists=train).by == "lists"
    assert split(lists=train, by="group").by == "group"
    found = split(lists=lists, by="image")
    assert found.by == "image"
    assert "the lists in data/lists are not used" in found.notes[0]
    with pytest.raises(InputError, match=r"put a groups\.csv beside images/"):
        split(groups={}, by="group")
    with pytest.raises(InputError, match="holds none"):
        split(by="lists")
    with pytest.raises(InputError, match="names them already"):
        split(lists=lists, folds=2)


def test_a_published_test_part_stays_whatever_shows_its_parts() -> None:
    parts = {f"part{number:03d}" for number in range(0, 120, 4)}
    whole = [id for id in DEFECTS if GROUPS[id] in parts]
    found = split(published_test=whole)
    assert set(found.test) == set(whole)
    # a photo of its parts that is not in it: neither tested nor trained on
    torn = [id for id in whole if id != "0/part004"]
    leaking = split(published_test=torn)
    assert set(leaking.test) == set(torn)
    trained = {*leaking.labeled, *leaking.validation, *leaking.unlabeled}
    assert not {GROUPS[id] for id in torn} & {GROUPS[id] for id in trained}
    assert leaking.notes[0].startswith("8 images are left out, e.g. 0/part004: other photos of")
    assert leaking.notes[0].endswith("so these are neither trained nor tested on")
    by_image = split(published_test=torn, by="image")
    assert set(by_image.test) == set(torn)
    assert "0/part004" in {*by_image.labeled, *by_image.validation, *by_image.unlabeled}


def test_a_published_test_image_without_mask_is_not_trained_on() -> None:
    whole = [id for id in DEFECTS if GROUPS[id] == "part004"]
    bare = {id: shown for id, shown in DEFECTS.items() if id != whole[0]}
    for by in ("group", "image"):
        found = split(published_test=whole, defect_classes=bare, by=by)
        assert set(found.test) == set(whole[1:])
        assert whole[0] not in {*found.labeled, *found.validation, *found.unlabeled}
        assert f"1 test images have no mask, or one that began as a model's, e.g. {whole[0]}" in (
            " ".join(found.notes)
        )
