"""Splits: nested, stratified, repeatable, and no image in two sets."""

import itertools
import os
import unicodedata
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.data.split_draws import Images, Sequencer, by_place, shuffled, stratified_order
from ppl.data.split_lists import read_lists
from ppl.data.split_settings import SplitSettings
from ppl.data.splits import Split, make_split

SETS = ("labeled", "validation", "unlabeled", "test")


def settings(**changes: object) -> SplitSettings:
    values: dict[str, object] = {
        "by": "auto",
        "labeled_fraction": "1/4",
        "test_fraction": 0.2,
        "validation_fraction": 0.1,
        "folds": 0,
        "fold": 1,
        "use_published_test": True,
        "lists": "data/lists",
    }
    return SplitSettings(**{**values, **changes})  # type: ignore[arg-type]


def some_images() -> tuple[dict[str, str], dict[str, frozenset[int]]]:
    """The proportions of the magnetic tiles, a few images with two classes, 40 without masks."""
    counts = {(): 300, (1,): 50, (2,): 35, (3,): 25, (4,): 14, (1, 2): 6}
    defects = {
        f"part_{''.join(map(str, classes))}/{number}": frozenset(classes)
        for classes, count in counts.items()
        for number in range(count)
    }
    ids = [*defects, *(f"new/{number}" for number in range(40))]
    return {id: f"images/{id}.jpg" for id in ids}, defects


PATHS, DEFECTS = some_images()


def split(seed: int = 0, lists: Path | None = None, **changes: object) -> Split:
    """A split of `some_images`, by the lists in a folder or by fraction."""
    arguments: dict[str, object] = {
        "paths": PATHS,
        "defect_classes": DEFECTS,
        "groups": {},
        "published_test": (),
    }
    for name in list(arguments):
        arguments[name] = changes.pop(name, arguments[name])
    chosen = settings(**changes)
    found = (
        read_lists(lists, chosen.labeled_fraction, optional=chosen.lists_optional)
        if lists
        else None
    )
    return make_split(Images(**arguments), found, chosen, seed)  # type: ignore[arg-type]


def write(folder: Path, **lists: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text(lines, encoding="utf-8")
    return folder


def assert_a_partition(found: Split, ids: set[str]) -> None:
    sets = [getattr(found, name) for name in SETS]
    assert all(list(ids) == sorted(ids) for ids in sets)
    assert sorted(id for ids in sets for id in ids) == sorted(ids)


@pytest.mark.parametrize("fraction", ["1/16", "1/8", "1/4", "1/2", "1/1"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_image_is_in_one_set(fraction: str, seed: int) -> None:
    found = split(seed, labeled_fraction=fraction)
    assert_a_partition(found, set(PATHS))
    pool = len(DEFECTS) - len(found.test)
    # each image is drawn by itself: three standard deviations of a binomial share
    assert abs(len(found.test) - 0.2 * len(DEFECTS)) < 3 * (0.2 * 0.8 * len(DEFECTS)) ** 0.5
    assert len(found.labeled + found.validation) == int(Fraction(fraction) * pool + Fraction(1, 2))
    assert not set(found.labeled + found.validation + found.test) - set(DEFECTS)


@pytest.mark.parametrize("seed", range(5))
def test_smaller_fractions_are_nested_in_larger_ones(seed: int) -> None:
    fractions = ("1/16", "1/8", "1/4", "1/2", "1")
    found = [split(seed, labeled_fraction=fraction) for fraction in fractions]
    for small, large in itertools.pairwise(found):
        assert set(small.labeled) < set(large.labeled)
        assert set(small.validation) <= set(large.validation)
        assert set(small.unlabeled) > set(large.unlabeled)
        assert small.test == large.test


@pytest.mark.parametrize("seed", range(5))
def test_labeled_images_hold_the_strata_of_the_pool_in_proportion(seed: int) -> None:
    found = split(seed, labeled_fraction="1/4")
    total = Counter(DEFECTS[id] for id in DEFECTS if id not in found.test)
    ids = found.labeled + found.validation
    counts = Counter(DEFECTS[id] for id in ids)
    for stratum, count in total.items():
        assert abs(counts[stratum] - count * len(ids) / total.total()) <= 1.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", ["1/16", "1/8", "1/4"])
def test_many_small_strata_get_their_share_together(fraction: str, seed: int) -> None:
    kinds = [frozenset(pair) for pair in itertools.combinations(range(1, 12), 2)]
    defects = {f"d{kind}/{n}": classes for kind, classes in enumerate(kinds) for n in range(3)}
    defects |= {f"sound/{number}": frozenset() for number in range(300)}
    found = split(
        seed,
        paths={id: id for id in defects},
        defect_classes=defects,
        labeled_fraction=fraction,
        test_fraction=0.0,
    )
    defective = [id for id in found.labeled + found.validation if defects[id]]
    assert abs(len(defective) - Fraction(fraction) * 3 * len(kinds)) <= 2


@pytest.mark.parametrize("sequencer", [by_place(0, 0.2), by_place(0, 0.9), shuffled(0)])
def test_order_prefixes_are_stratified(sequencer: Sequencer) -> None:
    order = stratified_order(DEFECTS, 0, sequencer)
    total = Counter(DEFECTS.values())
    for length in range(1, len(order) + 1):
        counts = Counter(DEFECTS[id] for id in order[:length])
        for stratum, count in total.items():
            assert abs(counts[stratum] - count * length / len(order)) <= 2


def test_validation_takes_its_share_and_never_the_first_of_a_stratum() -> None:
    for fraction in "1/16", "1/4", "1":
        found = split(labeled_fraction=fraction, validation_fraction=0.25)
        total = Counter(DEFECTS[id] for id in found.labeled + found.validation)
        taken = Counter(DEFECTS[id] for id in found.validation)
        for stratum, count in total.items():
            # within half an image of its share, unless that one image is needed to train on
            assert abs(taken[stratum] - 0.25 * count) <= 0.5 or count == 1
        assert {DEFECTS[id] for id in found.validation} <= {DEFECTS[id] for id in found.labeled}
    assert split(validation_fraction=0.0).validation == ()
    # one image of each kind: all are needed to train on
    single = {str(number): frozenset({number}) for number in range(1, 9)}
    alone = split(
        paths={id: id for id in single},
        defect_classes=single,
        labeled_fraction=1,
        test_fraction=0.0,
        validation_fraction=0.9,
    )
    assert alone.validation == ()
    assert len(alone.labeled) == 8


def test_same_seed_same_split_in_any_input_order() -> None:
    backwards = split(
        paths=dict(reversed(PATHS.items())), defect_classes=dict(reversed(DEFECTS.items()))
    )
    assert split() == split() == backwards
    assert split(0) != split(1)


def test_a_split_stays_the_same_in_later_versions() -> None:
    # figures are compared across versions, so a new drawing order must be a decision
    found = split(labeled_fraction="1/16")
    assert found.labeled[-3:] == ("part_2/7", "part_3/20", "part_3/3")
    assert found.test[:3] + found.test[-2:] == (
        *("part_/0", "part_/1", "part_/109"),
        *("part_4/8", "part_4/9"),
    )


def test_what_validates_of_a_list_stays_the_same_in_later_versions(tmp_path: Path) -> None:
    # figures on published lists are compared across versions
    labeled = "".join(f"{id}.jpg\n" for id in sorted(DEFECTS)[::3])
    lists = write(tmp_path, labeled=labeled, val=f"{sorted(DEFECTS)[1]}.jpg\n")
    found = split(lists=lists)
    assert len(found.validation) == 15
    assert found.validation[:3] == ("part_/109", "part_/125", "part_/128")
    assert found.validation[-2:] == ("part_3/16", "part_4/1")


@pytest.mark.parametrize("sequencer", [by_place(0, 0.2), shuffled(0)])
def test_images_of_another_kind_do_not_reorder_a_stratum(sequencer: Sequencer) -> None:
    order = stratified_order(DEFECTS, 0, sequencer)
    more = stratified_order({**DEFECTS, "extra": frozenset({3})}, 0, sequencer)
    for stratum in set(DEFECTS.values()) - {frozenset({3})}:
        assert [id for id in order if DEFECTS[id] == stratum] == [
            id for id in more if DEFECTS.get(id) == stratum
        ]


def test_fraction_and_number_are_the_same_split() -> None:
    for text, number in ("1/8", 0.125), ("1/4", 0.25), ("1/3", 1 / 3), ("1", 1), ("0.1", 0.1):
        assert settings(labeled_fraction=text) == settings(labeled_fraction=number)
        assert split(labeled_fraction=text) == split(labeled_fraction=number)


@pytest.mark.parametrize("wrong", [0, 1.5, "2/1", "-1/8", "1/0", "an eighth", True, None, [1, 8]])
def test_wrong_labeled_fractions_are_refused(wrong: object) -> None:
    section = {**settings().model_dump(), "labeled_fraction": wrong}
    with pytest.raises(InputError, match=r"split\.labeled_fraction: got"):
        check("split", section, SplitSettings)


@pytest.mark.parametrize("key", ["test_fraction", "validation_fraction"])
@pytest.mark.parametrize("wrong", [-0.1, 1.0, "1/8", True])
def test_wrong_shares_are_refused(key: str, wrong: object) -> None:
    section = {**settings().model_dump(), key: wrong}
    with pytest.raises(InputError, match=rf"split\.{key}: got"):
        check("split", section, SplitSettings)


def test_published_test_part_is_used_on_request() -> None:
    published = [id for id in PATHS if id.endswith("7")]
    annotated = sorted(set(published) & set(DEFECTS))
    assert list(split(published_test=published).test) == annotated
    ignored = split(published_test=published, use_published_test=False)
    assert ignored == split()


def test_nothing_annotated_and_nothing_left_are_refused() -> None:
    with pytest.raises(InputError, match="none of the 470 images has a mask"):
        split(defect_classes={})
    with pytest.raises(InputError, match="none is left to train on"):
        split(published_test=DEFECTS)


def test_lists_choose_the_images(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        # their folders differ from ours, the third line has no mask, one has odd line ends
        labeled="train/image/part_1/0.jpg train/mask/part_1/0.png\r\npart_2/0.jpg\n\npart_/3\n",
        unlabeled="new/0.jpg new/0.png\nimages/part_/5.jpg\n",
        val="\ufeffval/part_3/1.jpg val/part_3/1.png\n",
    )
    found = split(lists=folder, validation_fraction=0.0, published_test=["part_/1"])
    assert found.labeled == ("part_/3", "part_1/0", "part_2/0")
    assert found.unlabeled == ("new/0", "part_/5")
    assert found.test == ("part_3/1",)
    assert found.notes == (f"{len(PATHS) - 6} images are in no list and left out, e.g. new/1",)


def test_a_name_in_other_bytes_is_the_same_image(tmp_path: Path) -> None:
    paths = dict(PATHS)
    first = min(DEFECTS)
    paths[first] = f"images/{unicodedata.normalize('NFD', 'Stück')}.jpg"
    folder = write(tmp_path, val="Stück.jpg\n")
    assert split(lists=folder, paths=paths).test == (first,)


def test_lists_of_labeled_images_alone_leave_the_rest_unlabeled(tmp_path: Path) -> None:
    found = split(lists=write(tmp_path, labeled="part_1/0.jpg\npart_2/0.jpg\n"))
    assert_a_partition(found, set(PATHS))
    assert found.labeled == ("part_1/0", "part_2/0")
    assert found.test == tuple(id for id in split().test if id not in found.labeled)
    assert found.notes == ()


def test_list_of_test_images_alone_leaves_the_rest_to_the_fraction(tmp_path: Path) -> None:
    found = split(lists=write(tmp_path, val="part_1/0.jpg\n"), published_test=["part_1/1"])
    assert_a_partition(found, set(PATHS))
    assert found.test == ("part_1/0",)
    assert len(found.labeled + found.validation) == round((len(DEFECTS) - 1) / 4)


def test_folds_need_images_that_no_list_names(tmp_path: Path) -> None:
    every = "".join(f"{id}.jpg\n" for id in DEFECTS)
    with pytest.raises(
        InputError, match=r"fold 1 of 2 .* holds no test image at seed 0; 0 images may be tested on"
    ):
        split(lists=write(tmp_path, labeled=every), folds=2)


def test_folders_by_fraction(tmp_path: Path) -> None:
    write(tmp_path, val="part_1/9.jpg\n", train="part_1/8.jpg\n")
    write(tmp_path / "1_8", labeled="part_1/0.jpg\n", unlabeled="part_1/1.jpg\n")
    write(tmp_path / "1_4", labeled="part_1/2.jpg\n", unlabeled="part_1/1.jpg\n")
    for fraction, id in ("1/8", "part_1/0"), (0.125, "part_1/0"), ("1/4", "part_1/2"):
        found = split(lists=tmp_path, labeled_fraction=fraction)
        assert (found.labeled, found.test) == ((id,), ("part_1/9",))
    with pytest.raises(InputError, match=r"labeled_fraction 1/2; it has 1/8, 1/4"):
        split(lists=tmp_path, labeled_fraction="1/2")
    write(tmp_path, labeled="part_1/0.jpg\n")
    with pytest.raises(InputError, match="keep one or the other"):
        split(lists=tmp_path, labeled_fraction="1/8")


def test_file_names_with_spaces(tmp_path: Path) -> None:
    names = ["my part.jpg", "my part.jpg copy.jpg", "plain.jpg"]
    paths = {name.removesuffix(".jpg"): f"images/{name}" for name in names}
    lines = "a b/my part.jpg a b/my part.png\nx/my part.jpg copy.jpg y/my part.jpg copy.png\n"
    found = split(
        paths=paths,
        defect_classes={id: frozenset() for id in paths},
        lists=write(tmp_path, labeled=lines, val="plain.jpg mask of plain.png\n"),
        validation_fraction=0.0,
    )
    assert found.labeled == ("my part", "my part.jpg copy")
    assert found.test == ("plain",)


def test_a_mask_name_never_stands_in_for_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        split(lists=write(tmp_path, labeled="part_1/absent.jpg part_1/0.png\n"))


def test_recurring_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = {f"{part}/1": f"images/{part}/1.jpg" for part in ("training", "test")}
    paths |= {"Class1/7": "Class1/Imgs/7.jpg", "Class2/7": "Class2/Imgs/7.jpg"}
    arguments = {"paths": paths, "defect_classes": {id: frozenset() for id in paths}}
    lines = "x/training/1.jpg\nClass2\\Imgs\\7.jpg\n"
    found = split(
        **arguments,
        lists=write(tmp_path, labeled=lines, val="Class1/7\n"),
        validation_fraction=0.0,
    )
    assert found.labeled == ("Class2/7", "training/1")
    assert found.test == ("Class1/7",)
    lists = write(tmp_path, labeled="train/image/1.jpg train/mask/1.png\n")
    with pytest.raises(InputError, match=r"labeled\.txt, line 1: .*any of test/1, training/1"):
        split(**arguments, lists=lists)


def test_a_line_twice_counts_once(tmp_path: Path) -> None:
    found = split(lists=write(tmp_path, labeled="part_1/0.jpg\npart_1/1.jpg\npart_1/0.jpg\n"))
    assert found.labeled == ("part_1/0", "part_1/1")
    assert found.notes == (f"{tmp_path / 'labeled.txt'} names 1 images again: each counts once",)
    assert_a_partition(found, set(PATHS))


def test_labeled_wins_over_unlabeled_with_a_note(tmp_path: Path) -> None:
    lists = write(tmp_path, labeled="part_1/0.jpg\n", unlabeled="part_1/0.jpg\npart_1/1.jpg\n")
    found = split(lists=lists)
    assert found.labeled == ("part_1/0",)
    assert found.unlabeled == ("part_1/1",)
    assert "e.g. part_1/0: they count as labeled only" in found.notes[0]


@pytest.mark.parametrize("name", ["labeled", "unlabeled"])
def test_a_test_image_among_those_trained_on_is_refused(tmp_path: Path, name: str) -> None:
    lists = {"labeled": "part_1/0.jpg\n", "val": "part_1/7.jpg\n"}
    lists[name] = "part_1/0.jpg\npart_1/7.jpg\n"
    folder = write(tmp_path, **lists)
    with pytest.raises(InputError, match=rf"/{name}\.txt, line 2: image part_1/7 is a test image"):
        split(lists=folder)
    (folder / "val.txt").unlink()
    with pytest.raises(InputError, match=rf"/{name}\.txt, line 2: image part_1/7 is a test image"):
        split(lists=folder, published_test=["part_1/7"])


def test_test_images_by_fraction_avoid_what_is_listed(tmp_path: Path) -> None:
    labeled = "".join(f"{id}.jpg\n" for id in sorted(DEFECTS)[:300])
    folder = write(tmp_path, labeled=labeled)
    assert_a_partition(split(lists=folder), set(PATHS))
    write(folder, unlabeled="".join(f"{id}.jpg\n" for id in sorted(DEFECTS)[300:]))
    with pytest.raises(InputError, match=r"0\.2 draws no test image at seed 0; 0 images may be"):
        split(lists=folder)
    assert split(lists=folder, test_fraction=0.0).test == ()


def test_a_listed_image_that_does_not_exist_is_named(tmp_path: Path) -> None:
    for name in "labeled", "unlabeled", "val":
        lists = {"labeled": "part_1/0.jpg\n", "unlabeled": "part_1/1.jpg\n"}
        lists[name] = "part_1/2.jpg\n\nimages/gone.jpg masks/gone.png\nmore.jpg\n"
        folder = write(tmp_path / name, **lists)
        expected = rf"{name}\.txt, line 3: .*images/gone\.jpg.*\(1 more such lines\)"
        with pytest.raises(InputError, match=expected):
            split(lists=folder)


@pytest.mark.parametrize("name", ["labeled", "val"])
def test_a_listed_image_without_mask_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, **{name: "part_1/0.jpg\nnew/0.jpg\n"})
    with pytest.raises(InputError, match=rf"{name}\.txt, line 2: image new/0 has no mask"):
        split(lists=folder)


def test_only_the_default_folder_may_hold_no_lists(tmp_path: Path) -> None:
    assert settings().lists_optional
    assert not settings(lists="my/lists").lists_optional
    folder = write(tmp_path / "lists")
    (folder / "README.md").write_text("x")
    assert read_lists(folder, Fraction(1, 4), optional=True) is None
    with pytest.raises(InputError, match=r"holds no list: expected labeled\.txt"):
        read_lists(folder, Fraction(1, 4), optional=False)
    write(folder, label="part_1/0.jpg")
    with pytest.raises(InputError, match=r"holds no list but label\.txt: expected labeled\.txt"):
        read_lists(folder, Fraction(1, 4), optional=True)
    with pytest.raises(InputError, match="does not exist"):
        read_lists(tmp_path / "absent", Fraction(1, 4), optional=True)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"unlabeled": "part_1/0.jpg\n"}, "unlabeled.txt without labeled.txt"),
        ({"labeled": "\n \n"}, r"labeled\.txt is empty"),
    ],
)
def test_half_a_list_is_refused(tmp_path: Path, lists: dict[str, str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_lists(write(tmp_path, **lists), Fraction(1, 4), optional=True)


def test_a_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_bytes("Stück.jpg".encode("latin-1"))
    with pytest.raises(InputError, match="no UTF-8 text"):
        read_lists(tmp_path, Fraction(1, 4), optional=True)


def test_official_lists_of_the_magnetic_tiles() -> None:
    data, lists = os.environ.get("PPL_MTD"), os.environ.get("PPL_MTD_LISTS")
    if not data or not lists:
        pytest.skip("set PPL_MTD and PPL_MTD_LISTS to the published images and official lists")
    files = sorted(Path(data).glob("MT_*/Imgs/*.jpg"))
    paths = {f"{file.parts[-3]}/{file.stem}": "/".join(file.parts[-3:]) for file in files}
    for fraction, labeled, unlabeled in ("1/8", 137, 936), ("1/4", 270, 803), ("1/2", 538, 535):
        found = split(
            paths=paths,
            defect_classes={id: frozenset({len(id.split("/")[0])}) for id in paths},
            lists=Path(lists),
            labeled_fraction=fraction,
        )
        assert len(found.labeled + found.validation) == labeled
        assert len(found.unlabeled) == unlabeled
        assert len(found.test) == 271
        assert found.notes == ()
        assert_a_partition(found, set(paths))
