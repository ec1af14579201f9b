"""The script that plays a reviewer says what a person would who knows the truth."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.review_worth import RUNS, judged, table

Mask = NDArray[np.uint8]


def square(value: int, side: int, at: int = 2) -> Mask:
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[at : at + side, at : at + side] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "true", "said"),
    [
        (square(1, 10), square(1, 10), "right"),
        (square(1, 9), square(1, 10), "right"),
        (square(1, 8), square(1, 10), "corrected"),
        (square(2, 10), square(1, 10), "corrected"),
        (square(0, 10), square(1, 3), "corrected"),
        (square(1, 10) + square(2, 1, 15), square(1, 10), "corrected"),
        (square(1, 10), square(0, 10), "sound"),
        (square(0, 10), square(0, 10), "sound"),
    ],
)
def test_a_mask_is_judged_by_its_overlap(mask: Mask, true: Mask, said: str) -> None:
    assert judged(mask, true) == said


def test_the_kept_counts_give_a_table() -> None:
    head, _, *rows = table()
    assert "final - before" in head
    assert [row.split(" | ")[0].removeprefix("| ") in RUNS for row in rows] == [True] * len(rows)
    assert len(rows) >= 2
