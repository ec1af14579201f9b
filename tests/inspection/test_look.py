import pytest

from ppl.images.pictures import read_pixels
from ppl.inspection import look
from ppl.inspection.look import look_of
from ppl.station.appearance import FEWEST, appearance_of, reference_of
from tests.conftest import MakeSet


def test_all_images_of_all_sets_are_looked_at(make_set: MakeSet) -> None:
    first = make_set([f"a{k}" for k in range(FEWEST)], folder="first")
    second = make_set([f"b{k}" for k in range(7)], folder="second")
    files = [of.image_file(entry) for of in (first, second) for entry in of.entries]
    found = look_of([first, second])
    assert found == reference_of([appearance_of(read_pixels(file)) for file in files])
    assert found is not None
    assert found.images == FEWEST + 7


def test_of_few_images_nothing_is_known(make_set: MakeSet) -> None:
    assert look_of([make_set(["a", "b"])]) is None
    assert look_of([]) is None


def test_of_many_some_are_looked_at(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "MOST", 25)
    found = look_of([make_set([f"{k:02}" for k in range(60)])])
    assert found is not None
    assert found.images == 20
