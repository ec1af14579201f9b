"""Resizing: masks keep their classes, images keep their range, sizes are whole pixels."""

import pytest
import torch

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.network.resize import ImageSettings, resize_image, resize_mask, scaled_size
from tests.conftest import whole, windows

SIZES = [(1, 1), (5, 9), (32, 32), (33, 70), (64, 16), (200, 1)]


def nearest(length: int, target: int) -> list[int]:
    """For every target pixel the source pixel that its centre falls into."""
    return [min(length - 1, int((k + 0.5) * length / target)) for k in range(target)]


@pytest.mark.parametrize("size", SIZES)
def test_a_resized_mask_equals_a_plain_lookup(size: tuple[int, int]) -> None:
    mask = torch.randint(256, (33, 21), dtype=torch.uint8)
    expected = mask[nearest(33, size[0])][:, nearest(21, size[1])]
    resized = resize_mask(mask, size)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, expected)


@pytest.mark.parametrize("size", SIZES)
def test_resizing_never_invents_a_class(size: tuple[int, int]) -> None:
    mask = torch.tensor([0, 2, 255], dtype=torch.uint8)[torch.randint(3, (40, 31))]
    assert set(resize_mask(mask, size).unique().tolist()) <= {0, 2, 255}


def test_a_mask_enlarged_by_a_whole_number_and_reduced_again_is_the_same() -> None:
    mask = torch.randint(4, (7, 9), dtype=torch.uint8)
    assert torch.equal(resize_mask(resize_mask(mask, (35, 45)), (7, 9)), mask)


@pytest.mark.parametrize("size", [(2, 1), *SIZES[1:]])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_resized_image_keeps_type_and_range(size: tuple[int, int], dtype: torch.dtype) -> None:
    image = torch.randint(100, 156, (3, 33, 21)).to(dtype)
    resized = resize_image(image, size)
    assert resized.shape == (3, *size)
    assert resized.dtype == dtype
    assert 99.9 <= resized.min() <= resized.max() <= 155.1


def test_an_even_image_stays_even() -> None:
    assert resize_image(torch.full((3, 20, 31), 77, dtype=torch.uint8), (9, 50)).unique() == 77


def test_reducing_an_image_averages_rather_than_picks() -> None:
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(3, 32, 32)
    reduced = resize_image(board, (8, 8))[..., 1:-1, 1:-1]
    torch.testing.assert_close(reduced, torch.full_like(reduced, 0.5), atol=0.02, rtol=0)


def test_a_scaled_size_has_at_least_one_pixel() -> None:
    assert scaled_size((96, 50), 0.5) == (48, 25)
    assert scaled_size((96, 50), 1.0) == (96, 50)
    assert scaled_size((2, 1), 0.01) == (1, 1)


def test_size_is_height_then_width() -> None:
    assert check("image", whole(40, 50).model_dump(), ImageSettings).size == (40, 50)


def test_a_whole_image_takes_the_networks_size_and_one_behind_windows_its_own() -> None:
    assert whole(40, 50).at_scale((300, 200), 2.0) == (80, 100)
    assert windows(40, 50).at_scale((300, 200), 0.5) == (150, 100)


@pytest.mark.parametrize("height", [0, 31, 9000, 64.0])
def test_an_impossible_side_is_refused(height: float) -> None:
    with pytest.raises(InputError, match=r"image\.height: got"):
        check("image", whole(40, 50).model_dump() | {"height": height}, ImageSettings)
