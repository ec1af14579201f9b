"""Where pictures lie: no image's is another's, whatever the names are."""

from pathlib import Path

import pytest

from ppl.station.places import Places, overlay_of

ODD = [
    ["k.jpg", "k.png/a.png"],
    ["k.png/a.png", "k.jpg"],
    ["k.png", "k.jpg/a.png"],
    ["K.jpg", "k.PNG/a.png", "k.JPG/b.png"],
    ["k.jpg", "k.png/k.jpg/a.png", "k.png/k.jpg/a.jpg"],
    ["k" * 250 + ".jpg", "k" * 250 + ".bmp", "k" * 250 + ".png"],
    ["\N{PILE OF POO}" * 200 + ".png", "a/" * 600 + "b.png"],
    ["a.jpg", "a.png", "a.jpg.png", "a.png.jpg", "A.bmp"],
]


@pytest.mark.parametrize("names", ODD)
def test_pictures_of_odd_names_lie_apart_and_can_be_written(
    names: list[str], tmp_path: Path
) -> None:
    places, content = Places(tmp_path), dict[Path, str]()
    for name in names:
        mask = places.mask_of(name)
        assert places.mask_of(name) == mask
        for picture in (mask, overlay_of(mask)):
            file = tmp_path / picture
            assert file not in content
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name, encoding="utf-8")
            content[file] = name
    assert len({str(file).casefold() for file in content}) == 2 * len(names)
    for file, name in content.items():
        assert file.read_text(encoding="utf-8") == name


def test_what_is_left_without_a_row_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "masks/k.png").mkdir(parents=True)
    assert Places(tmp_path).mask_of("k.jpg") == "masks/k.jpg.png"
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays/l.jpg").touch()
    assert "/" not in Places(tmp_path).mask_of("l.jpg/a.png").removeprefix("masks/")


def test_a_place_that_was_left_is_for_others(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.take("masks/a.png", "a.jpg")
    assert places.mask_of("a.png") == "masks/a.png.png"
    places.leave("masks/a.png")
    assert places.mask_of("a.bmp") == "masks/a.png"
