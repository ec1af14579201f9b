"""Defects of an image: connected as SciPy connects them, judged by their class's limits."""

import time

import numpy as np
import pytest
from scipy import ndimage

from ppl.station.defects import Defect, find_defects, likeliest, regions, score_of
from ppl.station.thresholds import ClassLimits, Thresholds, no_thresholds


def by_scipy(inside: np.ndarray, prob: np.ndarray) -> list[Defect]:
    labels, count = ndimage.label(inside, structure=np.ones((3, 3)))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        values = prob[labels == number].astype(np.float64)
        box = (columns.start, rows.start, columns.stop, rows.stop)
        found.append(Defect(1, box, len(values), float(values.mean()), float(values.max())))
    assert len(found) == count
    return found


def same(one: list[Defect], other: list[Defect]) -> bool:
    def rounded(found: list[Defect]) -> list[tuple[object, ...]]:
        return sorted((d.box, d.area, round(d.mean, 9), round(d.highest, 9)) for d in found)

    return rounded(one) == rounded(other)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.35, 0.5, 0.7, 0.97])
def test_regions_are_those_of_scipy(share: float) -> None:
    draw = np.random.default_rng(round(100 * share))
    for height, width in [(1, 1), (1, 40), (40, 1), (2, 2), (23, 57), (64, 64)]:
        for _ in range(8):
            inside = draw.random((height, width)) < share
            prob = draw.random((height, width)).astype(np.float32)
            assert same(regions(inside, prob, 1), by_scipy(inside, prob))


def winding(kind: str, side: int) -> np.ndarray:
    inside = np.zeros((side, side), dtype=bool)
    if kind == "spiral":
        last = side - 1
        for ring in range(0, side // 2, 4):
            inside[ring, ring : side - ring] = inside[ring : side - ring, last - ring] = True
            inside[last - ring, ring : side - ring] = inside[ring + 4 : side - ring, ring] = True
            inside[ring + 4, ring : ring + 5] = True
    elif kind == "comb":
        inside[:, ::2] = inside[-1] = True
    elif kind == "snake":
        inside[:, ::2] = inside[0, 1::4] = inside[-1, 3::4] = True
    elif kind == "diagonal":
        np.fill_diagonal(inside, True)
    else:
        inside[:] = kind == "all"
    return inside


@pytest.mark.parametrize("kind", ["spiral", "comb", "snake", "diagonal", "nothing", "all"])
def test_regions_that_wind_are_one(kind: str) -> None:
    inside = winding(kind, 41)
    prob = np.linspace(0, 1, 41 * 41, dtype=np.float32).reshape(41, 41)
    found = regions(inside, prob, 1)
    assert same(found, by_scipy(inside, prob))
    assert len(found) == (kind != "nothing")


@pytest.mark.parametrize("kind", ["comb", "snake"])
def test_a_winding_region_takes_hardly_longer_than_others(kind: str) -> None:
    inside = winding(kind, 1001)
    prob = np.ones(inside.shape, dtype=np.float32)
    began = time.process_time()
    assert len(regions(inside, prob, 1)) == 1
    # 0.1 on one core; 6 where labels go from neighbour to neighbour
    assert time.process_time() - began < 2


def test_limits_keep_what_is_sure_and_large_enough() -> None:
    prob = np.zeros((3, 8, 8), dtype=np.float32)
    prob[0] = 0.4
    prob[1, 0, :3] = 0.6  # three pixels of class 1
    prob[1, 4, 4] = 0.9  # one of class 1
    prob[2, 6:, 6:] = 0.7  # four of class 2
    mask = likeliest(prob)
    alone = find_defects(prob, mask, no_thresholds(3))
    assert [(d.index, d.area) for d in alone] == [(1, 3), (1, 1), (2, 4)]
    assert alone[0].box == (0, 0, 3, 1)
    assert score_of(alone) == pytest.approx(0.9)

    def limits(*classes: ClassLimits) -> list[tuple[int, int]]:
        chosen = Thresholds(classes, 0.0, None)
        return [(d.index, d.area) for d in find_defects(prob, mask, chosen)]

    assert limits(ClassLimits(0.7, 1), ClassLimits(0.0, 1)) == [(1, 1), (2, 4)]
    assert limits(ClassLimits(0.0, 2), ClassLimits(0.0, 5)) == [(1, 3)]
    assert score_of([]) == 0.0
    assert not Thresholds((), 0.9, None).defective(0.9)
    assert not no_thresholds(3).defective(0.0)


def test_a_thousand_regions_of_a_large_image() -> None:
    draw = np.random.default_rng(0)
    inside = ndimage.gaussian_filter(draw.random((1000, 1000)), 2) > 0.5
    prob = draw.random((1000, 1000)).astype(np.float32)
    assert same(regions(inside, prob, 1), by_scipy(inside, prob))


@pytest.mark.parametrize("classes", [1, 2, 5, 255])
def test_the_likeliest_class_is_that_of_argmax_of_equal_ones_the_first(classes: int) -> None:
    draw = np.random.default_rng(classes)
    for size in [(1, 1), (3, 50), (64, 64)]:
        prob = draw.random((classes, *size), dtype=np.float32).round(1)
        np.testing.assert_array_equal(likeliest(prob), prob.argmax(axis=0))
