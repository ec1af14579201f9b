"""Images that a person holds: in test or out of it, whatever their parts are called by now."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.data.held import NOTHING_HELD, Held, read_held, write_held
from ppl.data.split_draws import Images
from ppl.data.split_lists import Lists
from ppl.data.splits import Split, make_split
from tests.data.test_split_stays import SEEDS, annotated, listed, settings

HELD = Held("held.csv", test=frozenset({"im000", "im004"}), train=frozenset({"im009"}))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    held = Held(test=frozenset({"a/Stück 1", "b,2"}), train=frozenset({"c"}))
    file = write_held(tmp_path, held)
    assert file.read_text(encoding="utf-8").splitlines() == [
        "image,set",
        "a/Stück 1,test",
        '"b,2",test',
        "c,train",
    ]
    assert read_held(tmp_path, ()) == replace(held, file=str(file))
    assert read_held(tmp_path / "without", ()) == NOTHING_HELD


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("image\nx", r" has the columns image: its first line has to be image,set"),
        ("image,set\nx,val", r", line 2: 'x' is in 'val': expected test or train"),
        ("image,set\n", r" holds no image: `make hold-split` fills it, or remove it"),
        ("image,set\n,test", r", line 2: '' is in 'test': expected test or train"),
        (
            "image,set\nx,test\nx.png,train",
            r", line 3: image x\.png is held for test and for train",
        ),
    ],
)
def test_what_does_not_say_a_place_is_refused(tmp_path: Path, lines: str, expected: str) -> None:
    (tmp_path / "held.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(InputError, match=rf"held\.csv.*{expected}"):
        read_held(tmp_path, {"x"})


def split(images: Images, held: Held, seed: int = 0, lists: Lists | None = None) -> Split:
    return make_split(images, lists, settings(labeled_fraction="1/2"), seed, held)


def trained(found: Split) -> set[str]:
    return {*found.labeled, *found.validation, *found.unlabeled}


def images(groups: Mapping[str, str], *bare: str) -> Images:
    masks = {id: frozenset({1}) for id in groups if id not in bare}
    return Images({id: f"{id}.png" for id in groups}, masks, groups, (), told_by_names=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_that_are_told_otherwise_move_nothing_that_is_held(seed: int) -> None:
    """Parts are renamed, joined and torn at random, as likeness may tell them."""
    draw = random.Random(seed)
    before = annotated("group", seed, 60)
    found = before.split(labeled_fraction="1/2")
    held = Held("held.csv", frozenset(found.test), frozenset(before.ids) - set(found.test))
    for _ in range(20):
        groups = {id: f"{part}{draw.randrange(9)}" for id, part in before.groups.items()}
        joined = draw.sample(sorted(set(groups.values())), 4)
        groups = {id: joined[0] if part in joined else part for id, part in groups.items()}
        after = split(images(groups), held, before.seed)
        assert set(found.test) <= set(after.test)
        assert not set(found.test) & trained(after)
        parts = [{groups[id] for id in ids} for ids in (after.test, trained(after))]
        assert parts[0].isdisjoint(parts[1])
        # what joined a tested part follows it; nothing else comes to test
        assert {groups[id] for id in after.test} == {groups[id] for id in found.test}


def test_held_parts_that_lose_their_first_photo_would_move_without() -> None:
    moved = 0
    for seed in SEEDS:
        data = annotated("group", seed, 60)
        found = data.split(labeled_fraction="1/2")
        held = Held("held.csv", frozenset(found.test), frozenset(data.ids) - set(found.test))
        # likeness names a part by its first photo
        named = {
            id: min(i for i in data.ids if data.part_of(i) == part)
            for id, part in data.groups.items()
        }
        less = {id: f"then {part}" for id, part in named.items()}
        moved += not set(found.test) <= set(split(images(less), NOTHING_HELD, data.seed).test)
        assert split(images(less), held, data.seed).test == found.test
    assert moved


def test_a_held_test_image_without_mask_is_left_out() -> None:
    groups = {f"im{n:03d}": f"im{n:03d}" for n in range(40)}
    found = split(images(groups, "im004"), HELD)
    assert "im004" not in {*found.test, *trained(found)}
    assert "im000" in found.test
    assert "im009" in trained(found)
    assert any("1 test images have no mask" in note for note in found.notes)


def test_a_corrected_mask_of_a_held_test_image_teaches_nothing() -> None:
    groups = {f"im{n:03d}": f"im{n:03d}" for n in range(40)}
    data = replace(images(groups), corrected=frozenset({"im004"}))
    for by in ("group", "image"):
        found = make_split(data, None, settings(by=by), 0, HELD)
        assert "im004" not in {*found.test, *trained(found)}


def test_held_images_beside_the_published_part_are_tested_too() -> None:
    groups = {f"im{n:03d}": f"im{n:03d}" for n in range(40)}
    data = replace(images(groups), published_test=["im009", "im020", "im021"])
    found = split(data, HELD)
    assert found.test == ("im000", "im004", "im020", "im021")
    assert "im009" in trained(found)


def test_what_is_gone_and_what_is_new_is_said() -> None:
    groups = {f"im{n:03d}": f"im{n:03d}" for n in range(40)}
    del groups["im004"]
    said = split(images(groups), HELD).notes
    assert "held.csv names 1 images that are not in the data set, e.g. im004" in said
    assert any("does not hold 37 images with masks yet, e.g. im001" in note for note in said)
    # and nothing holds them: parts by likeness are no safe place
    assert not any("hold-split` keeps" in note for note in said)
    assert any("hold-split` keeps" in note for note in split(images(groups), NOTHING_HELD).notes)


def test_two_who_say_who_is_tested_are_refused() -> None:
    groups = {f"im{n:03d}": f"im{n:03d}" for n in range(40)}
    with pytest.raises(InputError, match=r"val\.txt and held\.csv both say who is tested"):
        split(images(groups), HELD, lists=listed(val=["im001"]))
    with pytest.raises(InputError, match=r"split\.folds draws .* but held\.csv names them"):
        make_split(images(groups), None, settings(folds=2), 0, HELD)
    with pytest.raises(InputError, match=r"labeled\.txt, line 2: image im004 is a test image"):
        split(images(groups), HELD, lists=listed(labeled=["im001", "im004"]))


def test_names_are_found_as_people_write_them_and_ids_as_they_are(tmp_path: Path) -> None:
    ids = {"a/x", "scan.jpg", "scan", "b.jpg", "images/deep"}
    held = Held(test=frozenset({"scan.jpg", "a/x"}), train=frozenset({"scan", "b.jpg"}))
    write_held(tmp_path, held)
    assert read_held(tmp_path, ids) == replace(held, file=str(tmp_path / "held.csv"))
    lines = "image,set\nimages\\a\\x.png,test\n./images/deep,train\ngone.png,train\n"
    (tmp_path / "held.csv").write_text(lines, encoding="utf-8")
    found = read_held(tmp_path, ids)
    assert found.test == {"a/x"}
    assert found.train == {"images/deep", "gone.png"}


def grouped(photos: int = 4) -> dict[str, str]:
    return {f"im{n:03d}": f"part{n // photos}" for n in range(40)}


def test_a_list_that_names_a_photo_of_a_held_part_is_refused() -> None:
    for by in ("auto", "lists", "group"):
        for lists in (
            listed(labeled=["im001", "im012"]),
            listed(labeled=["im012"], unlabeled=["im020", "im006"]),
        ):
            with pytest.raises(InputError, match=r"shows part part\d, as test image im00[04] does"):
                make_split(images(grouped()), lists, settings(by=by), 0, HELD)


def test_images_held_for_train_that_join_a_tested_part_are_named() -> None:
    held = Held("held.csv", test=frozenset({"im000"}), train=frozenset({"im001", "im009"}))
    found = split(images(grouped()), held)
    assert {"im000", "im001"} <= set(found.test)
    assert "im009" in trained(found)
    assert any("holds 1 images for train that are tested, e.g. im001" in n for n in found.notes)


def test_a_published_image_leaves_test_only_where_it_is_held_itself() -> None:
    held = Held("held.csv", test=frozenset({"im020"}), train=frozenset({"im009", "gone"}))
    data = replace(images(grouped()), published_test=["im010", "im020", "im028"])
    found = split(data, held)
    assert {"im010", "im020", "im028"} <= set(found.test)
    assert "im009" not in trained(found), "im010 shows its part"
    assert any("names 1 images that are not in the data set, e.g. gone" in n for n in found.notes)


def test_a_published_part_without_masks_is_said_to_be_trained_on() -> None:
    data = replace(images(grouped(), "im020", "im021"), published_test=["im020", "im021"])
    found = split(data, NOTHING_HELD)
    assert any("no image of the published test part has a mask" in note for note in found.notes)
    assert not any("published" in note for note in split(images(grouped()), NOTHING_HELD).notes)


def test_only_images_that_are_used_can_be_held() -> None:
    some = {id: part for id, part in grouped().items() if id < "im030"}
    lists = listed(labeled=["im012", "im013"], unlabeled=["im020"])
    said = make_split(images(some), lists, settings(by="lists"), 0, HELD).notes
    [new] = [note for note in said if "does not hold" in note]
    used = make_split(images(some), lists, settings(by="lists"), 0, HELD)
    count = len({*used.test, *trained(used)} - HELD.test - HELD.train)
    assert f"does not hold {count} images with masks yet" in new


def test_remedies_name_what_decides() -> None:
    everything = frozenset(grouped())
    with pytest.raises(InputError, match=r"change held\.csv, or annotate more"):
        split(images(grouped()), Held("held.csv", train=everything))
    with pytest.raises(InputError, match=r"change held\.csv, or annotate more"):
        split(images(grouped()), Held("held.csv", test=everything))
    most = Held("held.csv", test=frozenset(id for id in everything if id < "im028"))
    [said] = [note for note in split(images(grouped()), most).notes if "test holds" in note]
    assert said.endswith("most are held where they are")
