"""Windows in NumPy do what those in PyTorch do."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from ppl.network import windows as in_torch
from ppl.station import windows
from ppl.station.windows import blended_windows, edge_weights, window_starts

AXES = list(itertools.product([1, 31, 64, 65, 127, 200, 333], [64, 96, 100], [0, 1, 7, 32]))


@pytest.mark.parametrize(("length", "window", "overlap"), AXES)
def test_they_start_and_count_as_those_of_the_project(
    length: int, window: int, overlap: int
) -> None:
    assert windows.WINDOW_STEP == in_torch.WINDOW_STEP
    assert window_starts(length, window, overlap) == in_torch.window_starts(length, window, overlap)
    for first, last in itertools.product([False, True], repeat=2):
        found = edge_weights(window, overlap, first=first, last=last)
        expected = in_torch.edge_weights(window, overlap, first=first, last=last)
        assert np.array_equal(found, expected.numpy())


@pytest.mark.parametrize("size", [(64, 64), (20, 33), (200, 64), (131, 333), (1, 1)])
@pytest.mark.parametrize(("window", "overlap"), [((64, 64), 0), ((64, 96), 9), ((96, 64), 32)])
def test_they_blend_as_those_of_the_project(
    size: tuple[int, int], window: tuple[int, int], overlap: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    # other probabilities at each place of a window: a seam would show
    mask = np.random.default_rng(1).random((2, *window)).astype(np.float32)

    def in_numpy(batch: np.ndarray) -> np.ndarray:
        return batch[..., :2].transpose(0, 3, 1, 2).astype(np.float32) / 255 * mask

    def by_torch(batch: Tensor) -> Tensor:
        return batch[:, :2].float() / 255 * torch.from_numpy(mask)

    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    expected = in_torch.blended_windows(by_torch, tensor, window, overlap, 3)
    found = blended_windows(in_numpy, image, window, overlap, 3)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)
