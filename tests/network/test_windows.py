"""Windows: they cover the image, blend without seams, and equal the whole where they can."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.images.sets import ImageSet
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import PLAIN, TestTimeSettings, predict
from ppl.network.resize import WINDOW_STEP, ImageSettings
from ppl.network.windows import blended_windows, edge_weights, window_starts
from tests.conftest import MakeSet, whole, windows

AXES = list(itertools.product([1, 31, 64, 65, 100, 127, 200, 333], [64, 96, 100], [0, 1, 7, 32]))


@pytest.mark.parametrize(("length", "window", "overlap"), AXES)
def test_windows_cover_every_pixel_and_overlap(length: int, window: int, overlap: int) -> None:
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] + window >= length
    assert starts[-1] < length
    assert all(start % WINDOW_STEP == 0 for start in starts)
    assert starts == [0] or length > window
    assert all(a + window - b >= overlap for a, b in itertools.pairwise(starts))
    total = torch.zeros(starts[-1] + window)
    for start in starts:
        total[start : start + window] += edge_weights(
            window, overlap, first=start == 0, last=start == starts[-1]
        )
    assert (total > 0).all()


def test_the_outer_quarter_of_an_overlap_counts_nothing_but_at_the_images_border() -> None:
    inner = edge_weights(96, 32, first=False, last=False)
    assert (inner[:7] == 0).all()
    assert (inner[-7:] == 0).all()
    assert (inner[24:-24] == 1).all()
    assert (edge_weights(96, 32, first=True, last=True) == 1).all()
    assert inner.diff().abs().max() <= 1 / 17 + 1e-6


def pixelwise(images: Tensor) -> Tensor:
    values = images.float() / 255
    return torch.cat([values, 1 - values.mean(dim=1, keepdim=True)], dim=1).softmax(dim=1)


@pytest.mark.parametrize("size", [(64, 64), (20, 33), (200, 64), (131, 333), (1, 1)])
@pytest.mark.parametrize("overlap", [0, 9, 32])
def test_what_looks_at_single_pixels_sees_no_windows(size: tuple[int, int], overlap: int) -> None:
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    calls = []

    def predict_batch(images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8, "a float copy takes four times the memory"
        calls.append(len(images))
        return pixelwise(images)

    found = blended_windows(predict_batch, image, (64, 64), overlap, at_once=3)
    torch.testing.assert_close(found, pixelwise(image[None])[0], atol=1e-6, rtol=0)
    assert max(calls) <= 3


def convolutions() -> nn.Module:
    """A small U-net in style: halves the image, and sees 11 pixels to each side at most."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Upsample(scale_factor=4, mode="nearest"),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.Softmax(dim=1),
        ).eval()


@pytest.mark.parametrize("size", [(96, 96), (160, 224), (416, 96)])
def test_windows_equal_the_whole_image_where_the_network_sees_less_than_they_overlap(
    size: tuple[int, int],
) -> None:
    network = convolutions()

    @torch.no_grad()
    def predict_batch(images: Tensor) -> Tensor:
        result: Tensor = network(images.float() / 255)
        return result

    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    expected = predict_batch(image[None])[0]
    found = blended_windows(predict_batch, image, (96, 96), 64, at_once=4)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    # with no overlap the seams show: the test would notice them
    if size != (96, 96):
        seams = blended_windows(predict_batch, image, (96, 96), 0, at_once=4)
        assert not torch.allclose(seams, expected, atol=1e-3)


@pytest.mark.parametrize("size", [(150, 200), (97, 130), (321, 100)])
@pytest.mark.parametrize("window", [(96, 96), (160, 96)])
def test_any_size_is_exact_against_the_image_continued_to_the_last_windows_end(
    size: tuple[int, int], window: tuple[int, int]
) -> None:
    network, overlap = convolutions(), 48

    @torch.no_grad()
    def predict_batch(images: Tensor) -> Tensor:
        result: Tensor = network(images.float() / 255)
        return result

    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    ends = [
        window_starts(length, side, overlap)[-1] + side
        for length, side in zip(size, window, strict=True)
    ]
    # zeros that convolutions pad with must begin at the same pixel
    missing = (0, ends[1] - size[1], 0, ends[0] - size[0])
    continued = F.pad(image[None].float(), missing, mode="replicate").byte()
    expected = predict_batch(continued)[0, :, : size[0], : size[1]]
    found = blended_windows(predict_batch, image, window, overlap, at_once=4)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_mean_is_kept_in_float32(dtype: torch.dtype) -> None:
    def predict_batch(images: Tensor) -> Tensor:
        return pixelwise(images).to(dtype)

    image = torch.randint(256, (3, 150, 200), dtype=torch.uint8)
    found = blended_windows(predict_batch, image, (96, 96), 48, at_once=4)
    assert found.dtype == torch.float32
    expected = predict_batch(image[None])[0].float()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_two_predictions_meet_in_small_steps() -> None:
    answers = iter([0.0, 1.0])

    def predict_batch(images: Tensor) -> Tensor:
        return torch.full((1, 1, 96, 96), next(answers))

    image = torch.zeros(3, 96, 160, dtype=torch.uint8)
    found = blended_windows(predict_batch, image, (96, 96), 32, at_once=1)[0, 0]
    assert found[0] == 0
    assert found[-1] == 1
    assert (found.diff() >= 0).all()
    assert found.diff().max() <= 1 / 16


def test_predictions_sum_to_one(network: SegmentationNetwork, make_set: MakeSet) -> None:
    images = make_set(["a", "b"], sizes=[(150, 70), (64, 200)], masks=False)
    rich = TestTimeSettings(scales=[0.5, 1.0], flip=True)
    for entry, [prob] in predict([network], images, windows(64, 64, overlap=16), rich, what="x"):
        assert prob.shape == (3, entry.height, entry.width)
        torch.testing.assert_close(prob.sum(dim=0), torch.ones(entry.height, entry.width))


def test_one_window_is_the_whole_image(network: SegmentationNetwork, make_set: MakeSet) -> None:
    images: ImageSet = make_set(["a"], sizes=[(64, 96)], masks=False)
    [(_, [seen])] = predict([network], images, windows(64, 96, overlap=8), PLAIN, what="x")
    [(_, [expected])] = predict([network], images, whole(64, 96), PLAIN, what="x")
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize(("height", "overlap"), [(64, 40), (32, 1)])
def test_windows_that_do_not_move_on_are_refused(height: int, overlap: int) -> None:
    values = {"height": height, "width": 96, "fit": "windows", "overlap": overlap}
    with pytest.raises(InputError, match=rf"overlap is {overlap}, .* window of {height} pixels"):
        check("image", values, ImageSettings)
