"""Groups: told by a pattern, by a table, by content; what does not fit is named."""

import unicodedata
from pathlib import Path

import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters import magnetic_tile
from ppl.data.adapters.base import DataSettings, Sample
from ppl.data.groups import find_groups, merge_alike, parts_of
from ppl.data.near_duplicates import oriented
from tests.data.test_near_duplicates import photo_again, texture


def settings(name: str = "folder", **changes: object) -> DataSettings:
    values: dict[str, object] = {
        "name": name,
        "root": "raw",
        "mask_threshold": 128,
        "classes": ["background", "scratch"] if name == "folder" else [],
        "groups": "own",
        "group_pattern": "",
        "same_part": 0.9,
    }
    return DataSettings(**{**values, **changes})  # type: ignore[arg-type]


def samples(raw: Path, *ids: str, suffix: str = ".png") -> list[Sample]:
    return [Sample(id, raw / f"images/{id}{suffix}", None, False, None) for id in ids]


def write_table(raw: Path, text: str) -> None:
    (raw / "groups.csv").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(r"part\d+", "part12"), (r"part(\d+)", "12"), (r"(\w)/part(\d+)", "a-12")],
)
def test_a_pattern_names_the_part_in_the_path(tmp_path: Path, pattern: str, expected: str) -> None:
    chosen = settings(groups="pattern", group_pattern=pattern)
    found = find_groups(tmp_path, samples(tmp_path, "a/part12_x", "a/part12_y"), chosen)
    assert found == {"a/part12_x": expected, "a/part12_y": expected}


def test_a_pattern_that_misses_an_image_names_it(tmp_path: Path) -> None:
    chosen = settings(groups="pattern", group_pattern=r"part\d+")
    with pytest.raises(InputError, match=r"finds nothing in images/other\.png \(1 of 2 images\)"):
        find_groups(tmp_path, samples(tmp_path, "part1", "other"), chosen)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": "pattern"}, "set both"),
        ({"group_pattern": "x"}, "set both"),
        ({"groups": "pattern", "group_pattern": "("}, "no regular expression"),
        ({"same_part": 0.2}, "greater than or equal to 0.5"),
    ],
)
def test_contradicting_settings_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        settings(**changes)


def test_a_table_names_the_part_of_every_image(tmp_path: Path) -> None:
    lines = ["\ufeffimage,group,by", "images/a/x.png, p1,me", "a\\y.jpg,p1,me", "z,p2,me"]
    write_table(tmp_path, "\r\n".join(lines))
    found = find_groups(tmp_path, samples(tmp_path, "a/x", "a/y", "z"), settings())
    assert found == {"a/x": "p1", "a/y": "p1", "z": "p2"}


def test_a_table_of_semicolons_is_read_as_one_of_commas(tmp_path: Path) -> None:
    write_table(tmp_path, "image;group\na;p1, left\nb;p1, left\nz;p2\n")
    found = find_groups(tmp_path, samples(tmp_path, "a", "b", "z"), settings())
    assert found == {"a": "p1, left", "b": "p1, left", "z": "p2"}


def test_without_a_table_nothing_is_known(tmp_path: Path) -> None:
    assert find_groups(tmp_path, samples(tmp_path, "a"), settings()) == {}
    write_table(tmp_path, "image,group\na,p\n")
    assert find_groups(tmp_path, samples(tmp_path, "a"), settings(groups="none")) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,group\na,p1\n", r"misses 2 of 3 images, e\.g\. b: add a line"),
        ("image,group\na,p\nb,p\nc,p\nd,p\n", r"line 5: the data set holds no image 'd'"),
        ("image,group\na,p\nb,p\nc,p\na,q\n", r"line 5: image a is in the groups p and q"),
        ("image,group\na,p\nb,\nc,p\n", r"line 3: image b has no group"),
        ("name,part\na,p\n", r"columns name, part: its first line has to be image,group"),
        ("", r"columns \(none\)"),
        ("image,group\na\n", r"line 2: image a has no group"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    write_table(tmp_path, text)
    with pytest.raises(InputError, match=expected):
        find_groups(tmp_path, samples(tmp_path, "a", "b", "c"), settings())


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_bytes("image,group\nä,p\n".encode("latin-1"))
    with pytest.raises(InputError, match="no UTF-8 text"):
        find_groups(tmp_path, samples(tmp_path, "a"), settings())


def write_images(raw: Path) -> list[Sample]:
    """Two photos of one part, the second turned, one more named as another part, a stranger."""
    images = {
        "a1": texture(1, 90, 90),
        "a2": oriented(photo_again(texture(1, 90, 90), 7), 3),
        "b": texture(2, 90, 90),
        "c": photo_again(texture(2, 90, 90), 8),
        "d": texture(3, 90, 90),
    }
    (raw / "images").mkdir()
    for name, image in images.items():
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(
            raw / f"images/{name}.png"
        )
    return samples(raw, *images)


def test_by_content_turned_copies_are_one_group(tmp_path: Path) -> None:
    found = find_groups(tmp_path, write_images(tmp_path), settings(groups="content"))
    assert found == {"a1": "a1", "a2": "a1", "b": "b", "c": "b", "d": "d"}


def test_by_content_images_that_share_a_half_are_one_group(tmp_path: Path) -> None:
    """As many pictures of steel strip do; what names a part by its own account stays as it is."""
    one, other = texture(1, 90, 90), texture(2, 90, 90)
    picture = oriented(torch.cat([one[:, :, :45], other[:, :, 45:]], dim=2), 5)
    (tmp_path / "images").mkdir()
    for name, image in {"a": one, "b": other, "c": picture, "d": texture(3, 90, 90)}.items():
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(tmp_path / f"images/{name}.png")
    images = samples(tmp_path, "a", "b", "c", "d")
    expected = {"a": "a", "b": "a", "c": "a", "d": "d"}
    assert find_groups(tmp_path, images, settings(groups="content")) == expected
    assert find_groups(tmp_path, images, settings("neu_seg")) == expected
    named = {id: id for id in "abcd"}
    assert parts_of(named, images, settings("magnetic_tile")) == named


def test_groups_that_look_alike_are_one_part(tmp_path: Path) -> None:
    named = {"a1": "a", "a2": "a", "b": "p2", "c": "p1", "d": "d"}
    images = write_images(tmp_path)
    assert merge_alike(named, images, settings()) == named | {"b": "p1"}
    assert merge_alike(named, images, settings(same_part=None)) == named
    assert merge_alike({}, images, settings()) == {}


def test_who_names_parts_is_taken_at_their_word(tmp_path: Path) -> None:
    """Different parts in one fixture look more alike than photos of one part elsewhere."""
    images = write_images(tmp_path)
    named = {"a1": "p1", "a2": "p2", "b": "p3", "c": "p4", "d": "p5"}
    assert parts_of(named, images, settings()) == named
    by_path = settings("magnetic_tile", groups="pattern", group_pattern="x")
    assert parts_of(named, images, by_path) == named
    merged = named | {"a2": "p1", "c": "p3"}
    assert parts_of(named, images, settings("magnetic_tile")) == merged


def test_groups_by_content_need_a_similarity(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.same_part is null, .*e\.g\. 0\.9"):
        find_groups(tmp_path, samples(tmp_path, "a"), settings(groups="content", same_part=None))


def test_empty_lines_and_a_leading_dot_change_nothing(tmp_path: Path) -> None:
    write_table(tmp_path, "image,group\n./images/a.png,p1\n\n,\nb,p2\n")
    assert find_groups(tmp_path, samples(tmp_path, "a", "b"), settings()) == {"a": "p1", "b": "p2"}


def test_an_empty_match_names_no_part(tmp_path: Path) -> None:
    chosen = settings(groups="pattern", group_pattern=r"(\d*)")
    with pytest.raises(InputError, match="nothing but an empty text"):
        find_groups(tmp_path, samples(tmp_path, "a", "b"), chosen)


def test_a_folder_named_images_below_images_is_found(tmp_path: Path) -> None:
    write_table(tmp_path, "image,group\nimages/c.png,p1\nimages/d.png,p2\n")
    found = find_groups(tmp_path, samples(tmp_path, "images/c", "d"), settings())
    assert found == {"images/c": "p1", "d": "p2"}


def test_a_stray_quote_is_named(tmp_path: Path) -> None:
    write_table(tmp_path, 'image,group\na,"p1\nb,p2\n')
    with pytest.raises(InputError, match=r"groups\.csv is no CSV file .*stray quote"):
        find_groups(tmp_path, samples(tmp_path, "a", "b"), settings())


def test_tiles_are_told_apart_by_frames_and_exposures(tmp_path: Path) -> None:
    names = ["exp1_num_10", "exp2_num_30", "exp4_num_400", "exp4_num_410", "exp5_num_811"]
    found = magnetic_tile.find_groups(
        tmp_path, samples(tmp_path, *names[::-1]), settings("magnetic_tile")
    )
    tiles = ["tile_10", "tile_10", "tile_10", "tile_410", "tile_811"]
    assert [found[name] for name in names] == tiles
    assert magnetic_tile.find_groups(tmp_path, samples(tmp_path, "x"), settings()) == {}
    with pytest.raises(InputError, match=r"the name of x is not like exp1_num_1234.*\(1 such"):
        magnetic_tile.find_groups(tmp_path, samples(tmp_path, "x", *names), settings())


def test_a_part_is_one_in_whichever_bytes_its_accents_are_written(tmp_path: Path) -> None:
    """macOS writes "ü" as two characters: its photos are of the same part."""
    composed, apart = "Stück1", unicodedata.normalize("NFD", "Stück1")
    assert composed != apart
    both = samples(tmp_path, f"{composed}_a", f"{apart}_b")
    for pattern in (r"Stück\d", unicodedata.normalize("NFD", r"Stück\d")):
        found = find_groups(tmp_path, both, settings(groups="pattern", group_pattern=pattern))
        assert set(found.values()) == {composed}
    known = samples(tmp_path, "a", "b")
    write_table(tmp_path, f"image,group\na,{composed}\nb,{apart}\n")
    assert set(find_groups(tmp_path, known, settings()).values()) == {composed}
