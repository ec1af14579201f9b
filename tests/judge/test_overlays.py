"""Pictures for people: the right things are drawn, at a readable size, always to the same byte."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ppl.images.pictures import IGNORE
from ppl.judge.overlays import Candidate, choose_examples, overlay_name, overlay_row, write_picture

NAMES = ("background", "crack", "fray")
COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def row(truth: Tensor, *, teacher: Tensor | None = None, title: str = "1  plate") -> Image.Image:
    """The picture of a grey image; where `teacher` is not given, no network sees anything."""
    image = torch.full((3, *truth.shape), 120, dtype=torch.uint8)
    nothing = torch.zeros_like(truth)
    seen = nothing if teacher is None else teacher
    predicted = {"teacher": seen, "final": nothing}
    return overlay_row(image, truth, predicted, class_names=NAMES, colours=COLOURS, title=title)


def defect(height: int, width: int, *, pixels: int = 1, name: int = 1) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[height // 2, width // 2 : width // 2 + pixels] = name
    return mask


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=-1).sum())


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / "new" / name, row(defect(40, 50)))
    assert (tmp_path / "new" / "a").read_bytes() == (tmp_path / "new" / "b").read_bytes()


@pytest.mark.parametrize("size", [(8, 8), (40, 30), (224, 224), (64, 800), (900, 64), (300, 1000)])
def test_every_size_fits_a_screen_and_shows_a_single_pixel(size: tuple[int, int]) -> None:
    picture = row(defect(*size))
    assert picture.width <= 1800
    swatches = row(torch.zeros(size, dtype=torch.uint8), teacher=defect(*size))
    assert count(picture, COLOURS[1]) == count(swatches, COLOURS[1]) > 11 * 11


@pytest.mark.parametrize("size", [(40, 30), (64, 800), (900, 64), (100, 300)])
def test_a_panel_less_makes_a_picture_that_fits_as_well(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 120, dtype=torch.uint8)
    final = {"final": defect(*size)}
    nothing = torch.zeros(size, dtype=torch.uint8)
    alone = overlay_row(image, nothing, final, class_names=NAMES, colours=COLOURS, title="1")
    assert count(alone, COLOURS[1]) > 11 * 11
    assert alone.width <= 1800
    both = row(nothing, teacher=defect(*size))
    # three take two rows as well where two stand in a row
    same = size == (100, 300)
    assert (alone.size == both.size) == same


def test_small_images_become_at_least_224_pixels_high() -> None:
    assert row(defect(40, 30)).height > 224


def test_shrinking_keeps_a_crack_one_pixel_wide() -> None:
    crack = torch.zeros(1500, 2000, dtype=torch.uint8)
    crack[:, 777] = 1
    picture = row(crack)
    legend = 11 * 11
    assert count(picture, COLOURS[1]) - legend >= 300


def test_large_defects_show_the_surface_below_them() -> None:
    mask = torch.ones(60, 60, dtype=torch.uint8)
    tinted = tuple(round(120 + 0.4 * (value - 120)) for value in COLOURS[1])
    assert count(row(mask), tinted) == 240 * 240  # type: ignore[arg-type]


def test_each_present_class_is_named_and_no_other() -> None:
    both = defect(60, 60)
    both[0, 0] = 2
    assert count(row(defect(60, 60)), COLOURS[2]) == 0
    assert count(row(both), COLOURS[2]) > 11 * 11


def test_ignored_pixels_are_shown_lighter_and_named() -> None:
    mask = torch.full((60, 60), IGNORE, dtype=torch.uint8)
    assert count(row(mask), (174, 174, 174)) == 240 * 240


def test_a_long_title_does_not_widen_the_picture() -> None:
    assert row(defect(40, 30), title="x" * 500).size == row(defect(40, 30)).size


def test_names_are_fixed_by_the_number_alone() -> None:
    assert [overlay_name(number) for number in (1, 12)] == ["overlay_01.png", "overlay_12.png"]


def candidates(**areas_by_class: list[int]) -> list[Candidate]:
    """`_1=[5, 9]`: two images of class 1 with 5 and 9 defect pixels; `_0` are sound images."""
    return [
        Candidate(f"{name}_{index}", frozenset({int(name[1:])} - {0}), area)
        for name, areas in areas_by_class.items()
        for index, area in enumerate(areas)
    ]


def test_first_the_median_of_each_class_then_a_sound_image_then_the_next_round() -> None:
    known = candidates(_2=[1, 2, 3], _1=[30, 10, 20], _0=[0, 0])
    assert choose_examples(known, 5) == ["_1_2", "_2_1", "_0_0", "_1_1", "_2_0"]


def test_the_order_of_the_input_does_not_matter() -> None:
    known = candidates(_1=[4, 4, 4, 9], _2=[1, 7], _0=[0, 0, 0])
    shuffled = random.Random(0).sample(known, len(known))
    assert choose_examples(shuffled, 6) == choose_examples(known, 6)


def test_an_image_of_two_classes_stands_for_both() -> None:
    known = [Candidate("both", frozenset({1, 2}), 5), Candidate("sound", frozenset(), 0)]
    known += candidates(_2=[100])
    assert choose_examples(known, 3) == ["both", "sound", "_2_0"]


def test_fewer_images_than_asked_for_are_all_shown_once() -> None:
    known = candidates(_1=[3, 4, 5], _0=[0])
    chosen = choose_examples(known, 12)
    assert sorted(chosen) == sorted(candidate.id for candidate in known)
    assert choose_examples([], 3) == []
