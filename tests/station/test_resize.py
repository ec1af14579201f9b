"""Bytes are resized as torchvision does it, to the bit; probabilities as PyTorch does it."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional._geometry import _do_native_uint8_resize_on_cpu

from ppl.network import predict, resize
from ppl.station.resize import at_own_size, resize_image, weights

in_bytes = pytest.mark.skipif(
    not _do_native_uint8_resize_on_cpu(InterpolationMode.BILINEAR),
    reason="torchvision resizes bytes as floats on this processor",
)

PAIRS = [
    *[(1, 1), (1, 2), (1, 64), (2, 1), (64, 1), (63, 64), (64, 63), (64, 64), (96, 64)],
    *[(77, 64), (128, 64), (127, 64), (129, 64), (1000, 512), (640, 512), (333, 999)],
    *[(4096, 32), (8000, 32), (5000, 33), (1999, 7)],
]


def random_bytes(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 9999 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def by_torchvision(image: np.ndarray, size: tuple[int, int], *, packed: bool) -> np.ndarray:
    """With the colours of a pixel side by side (`packed`), or in planes, as the pipeline does."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    return (
        resize.resize_image(tensor if packed else tensor.contiguous(), size)
        .permute(1, 2, 0)
        .numpy()
    )


@in_bytes
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("length", "target"), PAIRS)
def test_each_side_is_resized_to_the_bit(length: int, target: int, packed: bool) -> None:
    # so many lines show a weight that is off by one
    for shape, size in [((64, length), (64, target)), ((length, 64), (target, 64))]:
        image = random_bytes(*shape)
        expected = by_torchvision(image, size, packed=packed)
        assert np.array_equal(resize_image(image, size), expected)


@in_bytes
def test_both_sides_are_resized_to_the_bit() -> None:
    draws = np.random.default_rng(0)
    for _ in range(150):
        height, width, *size = draws.integers(1, 260, 4).tolist()
        image = random_bytes(height, width)
        expected = by_torchvision(image, (size[0], size[1]), packed=False)
        assert np.array_equal(resize_image(image, (size[0], size[1])), expected)


@pytest.mark.parametrize(("length", "target"), PAIRS)
def test_weights_sum_to_one_but_for_their_rounding(length: int, target: int) -> None:
    found = weights(length, target)
    taps = (found.weight > 0).sum(axis=1)
    assert (np.abs(found.weight.sum(axis=1) - 2**found.bits) <= taps).all()
    assert 0 <= found.weight.min() <= found.weight.max() < 2**15
    assert 0 <= found.taken.min() <= found.taken.max() < length


def test_one_colour_stays_that_colour_and_the_own_size_the_image() -> None:
    for value in (0, 1, 128, 254, 255):
        image = np.full((37, 91, 3), value, dtype=np.uint8)
        assert (np.abs(resize_image(image, (13, 200)).astype(int) - value) <= 1).all()
    image = random_bytes(20, 30)
    assert np.array_equal(resize_image(image, (20, 30)), image)


def test_probabilities_come_back_as_pytorch_brings_them() -> None:
    draws = np.random.default_rng(0)
    for _ in range(60):
        height, width, *size = draws.integers(1, 150, 4).tolist()
        prob = draws.dirichlet(np.ones(4), (height, width)).transpose(2, 0, 1).astype(np.float32)
        prob = np.ascontiguousarray(prob)
        found = at_own_size(prob, (size[0], size[1]))
        expected = predict.at_own_size(torch.from_numpy(prob), (size[0], size[1])).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
