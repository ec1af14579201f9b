"""Which images are taken from a folder, and the names under which they are listed."""

import re
from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.images.pictures import IMAGE_SUFFIXES, files_below
from ppl.station.folder import (
    GONE,
    MARK,
    list_images,
    stop_at_wrong_paths,
    why_missing,
)
from tests.station.test_predict import no_entry


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(*roots: Path, out: Path = Path("out")) -> list[str]:
    return [one.name for one in list_images(roots, out).found]


def test_images_are_taken_and_what_lies_beside_them_is_left_alone(tmp_path: Path) -> None:
    images = [f"b/{number}{suffix.upper()}" for number, suffix in enumerate(IMAGE_SUFFIXES)]
    put(tmp_path, "a.png", *images, "b/c/d.jpg")
    put(tmp_path, ".hidden.png", "@eaDir/a.png", ".git/a.png", "Thumbs.db", "desktop.ini")
    put(tmp_path, "notes.txt", "b/list.csv", "b/movie.gif", "../elsewhere/e.png")
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere")
    listing = list_images([tmp_path], tmp_path / "out")
    assert sorted(one.name for one in listing.found) == sorted(["a.png", *images, "b/c/d.jpg"])
    assert all(one.file == tmp_path / one.name for one in listing.found)
    assert listing.left_alone == 4


def test_the_order_is_that_of_names(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a/z.png", "c.png", "a.png", "B/a.png")
    assert names(tmp_path) == ["a.png", "b.png", "c.png", "B/a.png", "a/z.png"]


def test_folders_of_results_are_no_images(tmp_path: Path) -> None:
    put(tmp_path, "a.png", f"old/{MARK}", "old/masks/a.png", "new/masks/a.png")
    assert names(tmp_path, out=tmp_path / "new") == ["a.png"]


def test_several_paths_have_their_names_before(tmp_path: Path) -> None:
    put(tmp_path, "one/a.png", "two/a.png", "b.jpg", "strange")
    paths = [tmp_path / name for name in ("one", "two", "b.jpg", "strange")]
    assert names(*paths) == ["one/a.png", "two/a.png", "b.jpg", "strange"]
    assert names(tmp_path / "b.jpg") == ["b.jpg"]
    assert names(tmp_path / "b.jpg", tmp_path / "b.jpg") == ["b.jpg"]


def test_two_images_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, "x/one/a.png", "y/one/a.png")
    listing = list_images([tmp_path / "x/one", tmp_path / "y/one"], tmp_path / "out")
    assert [one.file for one in listing.found] == [tmp_path / "x/one/a.png"]
    [problem] = listing.problems
    assert f"{tmp_path}/y/one/a.png would both be one/a.png" in problem


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.png", "closed/b.png", "open/c.png")
    no_entry(monkeypatch, tmp_path / "closed")
    listing = list_images([tmp_path], tmp_path / "out")
    assert [one.name for one in listing.found] == ["a.png", "open/c.png"]
    told = f"folder {tmp_path}/closed may not be read: change its permissions"
    assert listing.problems == (told,)
    with pytest.raises(InputError, match=re.escape(told)):
        list(files_below(tmp_path, lambda _: False))


def test_a_folder_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    [problem] = list_images([tmp_path / "share"], tmp_path / "out").problems
    assert problem == f"folder {tmp_path}/share is gone"
    assert list(files_below(tmp_path / "share", lambda _: False)) == []


def test_why_a_file_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert why_missing(tmp_path / "link.png") == "is a link that leads nowhere"
    assert why_missing(tmp_path / "a.png") == GONE


@pytest.mark.parametrize("out", ["images", "."])
def test_images_among_the_results_are_refused(tmp_path: Path, out: str) -> None:
    put(tmp_path, "images/a.png", "masks/a.png")
    root = tmp_path / ("images" if out == "images" else "masks")
    with pytest.raises(InputError, match="where the results go"):
        stop_at_wrong_paths([root], tmp_path / out)
    stop_at_wrong_paths([tmp_path / "images"], tmp_path)
    stop_at_wrong_paths([tmp_path], tmp_path / "out")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        stop_at_wrong_paths([tmp_path / "nowhere"], tmp_path / "out")
