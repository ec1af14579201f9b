"""Bootstrap intervals: against closed forms, paired, the same each time."""

import math

import pytest
import torch
from torch import Tensor

from ppl.images.miou import mean_iou, miou
from ppl.scores.bootstrap import Interval, percentile_interval, resampled_iou, sum_by_group


def resampled_miou(matrices: Tensor, resamples: int) -> Tensor:
    return mean_iou(resampled_iou(matrices, resamples))


def two_class(hits: list[int], pixels: int = 100) -> Tensor:
    """An image a number: so many of its `pixels` are of class 0, the rest of 1; all taken for 0."""
    return torch.tensor([[[hit, 0], [pixels - hit, 0]] for hit in hits])


def test_equal_images_leave_no_spread() -> None:
    matrices = two_class([60] * 7)
    found = resampled_miou(matrices, 100)
    assert found.tolist() == pytest.approx([miou(matrices.sum(0))] * 100, abs=1e-12)


def test_its_spread_is_the_standard_error_of_a_mean() -> None:
    """Of images of equal size, class 0's IoU is the mean share of right pixels, class 1's is 0."""
    shares = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hits = (shares * 10_000).long()
    found = resampled_miou(two_class(hits.tolist(), 10_000), 4000)
    values = hits.double() / 10_000 / 2
    standard_error = float(values.std(correction=0)) / math.sqrt(50)
    assert float(found.std()) == pytest.approx(standard_error, rel=0.05)
    assert float(found.mean()) == pytest.approx(float(values.mean()), abs=standard_error / 5)
    interval = percentile_interval(found, 0.95)
    assert interval.low == pytest.approx(float(values.mean()) - 1.96 * standard_error, rel=0.02)
    assert interval.high == pytest.approx(float(values.mean()) + 1.96 * standard_error, rel=0.02)


def test_a_class_that_no_drawn_image_shows_does_not_lift_the_mean() -> None:
    """Class 1 is on one image of two and always missed: left out, a quarter would score 1."""
    matrices = torch.tensor([[[100, 0], [0, 0]], [[100, 0], [50, 0]]])
    whole = miou(matrices.sum(0))
    assert float(resampled_miou(matrices, 400).max()) == pytest.approx(0.5)
    assert whole == pytest.approx(200 / 250 / 2)


def test_a_class_that_is_only_predicted_takes_part_in_no_mean() -> None:
    """Class 1 is on one part, and predicted on another by mistake: drawn alone, that is no 0."""
    matrices = torch.tensor([[[100, 0], [0, 50]], [[90, 10], [0, 0]]])
    found = resampled_iou(matrices, 400)[:, 1]
    assert sorted(set(found.tolist())) == pytest.approx([50 / 60, 1.0])


def test_models_are_resampled_together() -> None:
    """A model that is better by the same amount on every image is so in every resample."""
    worse, better = two_class([10, 30, 70, 90]), two_class([14, 34, 74, 94])
    gain = resampled_miou(better, 200) - resampled_miou(worse, 200)
    assert gain.tolist() == pytest.approx([0.02] * 200, abs=1e-12)


def test_it_is_the_same_with_any_number_of_threads() -> None:
    matrices = torch.randint(0, 9999, (60, 5, 5), generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = resampled_miou(matrices, 50)
        torch.set_num_threads(2)
        two = resampled_miou(matrices, 50)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_without_images_or_pixels_there_is_no_interval() -> None:
    for matrices in (torch.zeros((0, 2, 2)).long(), torch.zeros((3, 2, 2)).long()):
        assert percentile_interval(resampled_miou(matrices, 100), 0.9) == Interval(None, None)


def test_a_wider_confidence_gives_wider_bounds() -> None:
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert percentile_interval(values, 0.9) == Interval(0.05, 0.95)
    assert percentile_interval(values, 0.5) == Interval(0.25, 0.75)


def test_photos_of_a_part_are_drawn_together() -> None:
    """Four equal photos of each part tell no more than one: the interval must not narrow."""
    hits = [20, 40, 60, 80, 95]
    one = two_class(hits)
    groups = [f"part{number}" for number in range(5) for _ in range(4)]
    four = sum_by_group(two_class([hit for hit in hits for _ in range(4)]), groups)
    assert torch.equal(four, 4 * one)
    assert torch.equal(resampled_iou(four, 100), resampled_iou(one, 100))
    apart = resampled_miou(two_class([hit for hit in hits for _ in range(4)]), 2000)
    assert float(apart.std()) < 0.6 * float(resampled_miou(one, 2000).std())


def test_sums_by_group_do_not_depend_on_the_order_of_images() -> None:
    values = torch.arange(12).view(4, 3)
    groups = ["b", "a", "b", "c"]
    backwards = sum_by_group(values.flip(0), groups[::-1])
    assert sum_by_group(values, groups).tolist() == [[3, 4, 5], [6, 8, 10], [9, 10, 11]]
    assert torch.equal(backwards, sum_by_group(values, groups))
    assert sum_by_group(torch.zeros((0, 2, 2)), []).shape == (0, 2, 2)


def test_a_class_nowhere_has_no_interval_and_takes_none_from_others() -> None:
    matrices = torch.tensor([[[60, 0, 0], [10, 30, 0], [0, 0, 0]]] * 3)
    iou = resampled_iou(matrices, 100)
    assert percentile_interval(iou[:, 2], 0.95) == Interval(None, None)
    assert iou[:, 1].tolist() == pytest.approx([0.75] * 100)
