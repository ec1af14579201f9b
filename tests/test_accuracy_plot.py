"""The accuracy benchmark reads back what it counted, seeds pooled."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import Setup, budget_points, kept


def write_counts(folder: Path, name: str, right: int, wrong: int) -> None:
    """A run of two classes: `right` pixels of each are found, `wrong` of class 1 are missed."""
    matrix = np.array([[[right, 0], [wrong, right]]])
    counts = {
        f"{m}_{s}": matrix for m in ("teacher", "student_1", "final") for s in ("own", "resized")
    }
    counts["final_own"] = np.array([[[right + wrong, 0], [0, right + wrong]]])
    said = {"parts": np.array(["a"]), "classes": np.array(["background", "crack"])}
    np.savez_compressed(folder / f"{name}.npz", **counts, **said)


def test_a_rows_seeds_are_one_point_a_model_and_budget(tmp_path: Path) -> None:
    write_counts(tmp_path, "group-1_8-x0.25-paper-0", 1, 1)
    write_counts(tmp_path, "group-1_8-x0.25-paper-1", 3, 1)
    write_counts(tmp_path, "group-1_8-x4-paper-0", 1, 1)
    write_counts(tmp_path, "lists-1_2-x1-pasted-0", 1, 1)
    found = kept(tmp_path)
    quarter = Setup("group", Fraction(1, 8), Fraction(1, 4))
    assert sorted(found[quarter]["paper"]) == [0, 1]
    points = [p for p in budget_points(found, "paper") if "own size" in p.panel]
    assert [(p.fraction, p.model) for p in points] == [
        (Fraction(times), model)
        for times in ("1/4", "4")
        for model in ("teacher", "student_1", "final")
    ]
    # 4 right of each class, 2 of class 1 missed: 4/6 for both
    assert points[0].miou == pytest.approx(4 / 6, abs=1e-4)
    assert points[2].miou == 1.0
