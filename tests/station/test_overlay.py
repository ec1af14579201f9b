"""Overlays: the mask's colours where the mask is, boxes where the thresholds let defects stand."""

import io

import numpy as np
import pytest
from PIL import Image

from ppl.station.defects import Defect
from ppl.station.overlay import LARGEST, SMALLEST, draw_overlay
from tests.station.bright import Bright


def drawn(mask: np.ndarray, *defects: Defect) -> np.ndarray:
    image = np.full((*mask.shape, 3), 128, dtype=np.uint8)
    content = draw_overlay(image, mask, defects, Bright())
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture).astype(int)


def red(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] - picture[..., 2] > 30


def test_a_sound_image_stays_as_it_is() -> None:
    assert np.abs(drawn(np.zeros((500, 700), dtype=np.uint8)) - 128).max() <= 2


def test_the_mask_is_laid_over_and_its_edge_is_in_full_colour() -> None:
    mask = np.zeros((500, 500), dtype=np.uint8)
    mask[100:200, 100:200] = 1
    picture = drawn(mask)
    assert np.abs(red(picture) ^ (mask == 1)).sum() < 450
    assert np.abs(picture[150, 150] - [169, 101, 101]).max() < 6
    assert np.abs(picture[150, 100] - [230, 60, 60]).max() < 40


def test_a_defect_has_a_box_around_it() -> None:
    mask = np.zeros((500, 500), dtype=np.uint8)
    mask[200:300, 200:300] = 2
    picture = drawn(mask, Defect(2, (200, 200, 300, 300), 10_000, 0.9, 0.9))
    blue = picture[..., 2] - picture[..., 0] > 60
    assert blue[250, 196:199].any()
    assert blue[250, 300:304].any()
    assert blue[300:304, 250].any()
    assert not blue[250, 310:].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (60, 90), (300, 9000), (5000, 1)])
def test_images_of_any_size_can_be_looked_at(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[shape[0] // 2, shape[1] // 2] = 1
    box = (shape[1] // 2, shape[0] // 2, shape[1] // 2 + 1, shape[0] // 2 + 1)
    picture = drawn(mask, Defect(1, box, 1, 0.5, 0.5))
    assert SMALLEST <= max(picture.shape) <= max(LARGEST, 2 * SMALLEST)
    assert red(picture).any()
