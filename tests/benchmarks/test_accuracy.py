"""The accuracy benchmark: equal steps in every row, and what it counted read back, seeds pooled."""

import argparse
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import accuracy
from benchmarks.accuracy import (
    TITLE,
    Setup,
    budget_points,
    changed_params,
    changes_of,
    claims,
    iterations,
    kept,
    over_seeds_and_parts,
    read_plan,
    run,
    same_teacher,
    table,
    tables,
    tables_of,
)
from ppl.all_settings import check_all
from ppl.core.errors import InputError
from ppl.scores.over_seeds import Side


def write_counts(folder: Path, name: str, right: int, wrong: int, teacher: int = 0) -> None:
    """A run of two classes: `right` pixels of each are found, `wrong` of class 1 are missed."""
    matrix = np.array([[[right, 0], [wrong, right]]])
    counts = {
        f"{m}_{s}": matrix for m in ("teacher", "student_1", "final") for s in ("own", "resized")
    }
    counts["final_own"] = np.array([[[right, 0], [0, right + wrong]]])
    counts["teacher_own"] = np.array([[[right - teacher, teacher], [wrong, right]]])
    said = {"parts": ["a"], "classes": ["background", "crack"], "commit": f"c{teacher}"}
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


@pytest.mark.parametrize("budget", [0.1, 0.25, 0.37, 1.0, 4.0])
def test_all_rows_take_as_many_steps(budget: float) -> None:
    plan = read_plan()
    of_row = {
        row: iterations(changes_of(row), budget) for row in [*plan["rows"], *plan["variants"]]
    }
    assert len({sum(steps.values()) for steps in of_row.values()}) == 1
    for name in plan["teachers"]:
        alone = iterations(changes_of(name), budget)["train_supervised.iterations"]
        assert alone == sum(of_row["from_labeler"].values())


@pytest.mark.parametrize("network", read_plan()["networks"])
def test_another_network_replaces_bases_and_a_row_changes_it_as_it_changes_base(
    network: str,
) -> None:
    own = read_plan()["networks"][network]
    for row in ("paper", "from_labeler", "long_teacher"):
        of_base, of_network = changes_of(row), changes_of(row, network)
        check_all(yaml.safe_load(changed_params(of_network)))
        moved = {key for key in of_network if of_network[key] != of_base.get(key)}
        assert moved <= own.keys(), "a network changes its own settings alone"
    assert changes_of("paper", network).items() >= own.items()
    # what a row sets wins over the network, as it wins over base
    steps = "train_supervised.iterations"
    assert changes_of("long_teacher", network)[steps] == changes_of("long_teacher")[steps]


def asked(tmp_path: Path, **other: object) -> argparse.Namespace:
    """A command line of `run`, `other` changed."""
    usual = {
        "rows": ["paper"],
        "network": None,
        "split": "group",
        "lists": None,
        "weights": tmp_path / "encoder.safetensors",
        "work": tmp_path / "work",
    }
    return argparse.Namespace(**(usual | other))


def test_a_pretrained_network_without_weights_is_refused_before_anything_is_cloned(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="give --weights"):
        run(asked(tmp_path, weights=None))
    assert not (tmp_path / "work").exists()


def test_a_misspelt_row_is_refused_before_another_row_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no row pastd; there are paper, .*long_teacher"):
        run(asked(tmp_path, rows=["paper", "pastd"]))
    assert not (tmp_path / "work").exists()


def test_a_split_by_lists_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --lists"):
        run(asked(tmp_path, split="lists"))
    assert not (tmp_path / "work").exists()


def test_settings_that_no_commit_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts would name a commit that does not give them."""
    monkeypatch.setattr(accuracy, "ask_git", lambda *_: " M params.yaml\n")
    with pytest.raises(InputError, match=r"commit .* first:\n M params.yaml$"):
        run(asked(tmp_path))
    assert not (tmp_path / "work").exists()


def test_a_training_has_a_step_even_of_the_smallest_budget() -> None:
    assert set(iterations(changes_of("paper"), 1e-6).values()) == {1}


@pytest.mark.parametrize(
    ("row", "same"),
    [("per_class", True), ("defaults", True), ("flipped", False), ("strong_on_labeled", False)],
)
def test_rows_share_their_teacher_unless_it_depends_on_what_they_change(
    row: str, same: bool
) -> None:
    assert same_teacher("from_labeler", row) == same


def test_the_table_says_where_other_code_trained_the_teacher(tmp_path: Path) -> None:
    for seed, moved in ((0, 0), (1, 2)):
        write_counts(tmp_path, f"group-1_8-x1-pasted-{seed}", 9, 1)
        write_counts(tmp_path, f"group-1_8-x1-per_class-{seed}", 9, 1, teacher=moved)
    rows = [line.split(" | ") for line in table(kept(tmp_path)) if "per_class" in line]
    assert rows[0][:3] == ["| per_class", "0, 1", "c0, c2"]
    said = "; teacher of other code: seed 1"
    assert [any(cell.endswith(said) for cell in row) for row in rows] == [True, False]


def test_runs_on_other_test_images_are_not_compared(tmp_path: Path) -> None:
    write_counts(tmp_path, "group-1_8-x1-pasted-0", 9, 1)
    write_counts(tmp_path, "group-1_8-x1-per_class-0", 8, 1)
    with pytest.raises(InputError, match="other test images"):
        list(table(kept(tmp_path)))


def side(gains: list[list[int]], parts: list[list[str]]) -> Side:
    """Two classes of 100 pixels a part; `gains`: how many of class 1 are found, a list a seed."""
    counts = {
        seed: torch.tensor([[[100, 0], [100 - found, found]] for found in of])
        for seed, of in enumerate(gains)
    }
    return Side(counts, dict(enumerate(parts)))


def test_a_claim_is_as_sure_as_its_seeds_and_parts() -> None:
    parts = [["a", "b", "c", "d"]] * 3
    none = side([[0] * 4] * 3, parts)
    # the same in every seed and part: no doubt is left
    gain, low, high = over_seeds_and_parts(side([[50] * 4] * 3, parts), none)
    assert low == pytest.approx(gain) == pytest.approx(high)
    # parts that differ, seeds that differ: each by itself is doubt
    by_part = over_seeds_and_parts(side([[0, 0, 100, 100]] * 3, parts), none)
    by_seed = over_seeds_and_parts(side([[0] * 4, [0] * 4, [100] * 4], parts), none)
    for mean, low, high in (by_part, by_seed):
        assert low < mean - 5
        assert high > mean + 5
    assert by_seed[1] == pytest.approx(0), "three draws of three miss the good seed at times"


def test_a_part_that_several_seeds_tested_is_drawn_with_all() -> None:
    def width(parts: list[list[str]]) -> float:
        found = [[100] * 4 + [0] * 4] * 6
        _, low, high = over_seeds_and_parts(side(found, parts), side([[0] * 8] * 6, parts))
        return high - low

    once = width([[f"{seed} {part}" for part in range(8)] for seed in range(6)])
    assert width([list("abcdefgh")] * 6) > 1.5 * once


def test_sides_of_other_seeds_or_parts_are_no_claim() -> None:
    with pytest.raises(InputError, match="other seeds or parts"):
        over_seeds_and_parts(side([[1]], [["a"]]), side([[1]], [["b"]]))


def cells_of(folder: Path, row: str) -> dict[str, str]:
    """A row of the first table of a folder's counts by column; the first of each name."""
    lines = [line.strip("| ").split(" | ") for line in table(kept(folder)) if line[:2] == "| "]
    [found] = [line for line in lines[: lines.index(lines[0], 1)] if line[0] == row]
    return dict(reversed(list(zip(lines[0], found, strict=True))))


def test_a_row_of_one_seed_is_a_lead(tmp_path: Path) -> None:
    write_counts(tmp_path, "group-1_8-x1-pasted-3", 9, 1)
    write_counts(tmp_path, "group-1_8-x1-per_class-3", 9, 1)
    found = cells_of(tmp_path, "per_class")
    # 9 of 10 pixels against all, for both classes
    assert found["final - teacher"] == "+10.0, one seed"
    assert found["final - its final"] == "+0.0, one seed"
    assert found["by seed"] == "-"
    assert all(point.low is None for point in budget_points(kept(tmp_path), "pasted"))


def test_a_row_of_several_seeds_resamples_them(tmp_path: Path) -> None:
    for seed, missed in enumerate((0, 1, 4)):
        write_counts(tmp_path, f"group-1_8-x1-pasted-{seed}", 6, missed)
    found = cells_of(tmp_path, "pasted")
    # one part and three seeds: what is drawn are the seeds; three times seed 0, three times seed 2
    assert found["final - teacher"] == "+21.7 (+0.0 to +40.0)"
    assert found["by seed"] == "+0.0, +14.3, +40.0"
    assert (found["against"], found["final - its final"]) == ("-", "-")
    bounds = {(p.low, p.high) for p in budget_points(kept(tmp_path), "pasted") if p.miou < 1}
    assert bounds == {(0.6, 1.0)}


def test_a_gain_is_bold_where_no_draw_gives_none(tmp_path: Path) -> None:
    for seed in range(2):
        write_counts(tmp_path, f"group-1_8-x1-pasted-{seed}", 9, 1)
    assert cells_of(tmp_path, "pasted")["final - teacher"] == "**+10.0 (+10.0 to +10.0)**"


def test_the_table_says_where_rows_are_of_other_commits_and_no_teacher_tells(
    tmp_path: Path,
) -> None:
    write_counts(tmp_path, "group-1_8-x1-flipped-0", 9, 1)
    write_counts(tmp_path, "group-1_8-x1-pasted-0", 9, 1, teacher=2)
    assert cells_of(tmp_path, "pasted")["final - its final"].endswith("; other commits")
    write_counts(tmp_path, "group-1_8-x1-pasted-0", 9, 1)
    assert "commits" not in cells_of(tmp_path, "pasted")["final - its final"]


def test_rows_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_counts(tmp_path, f"group-1_8-x1-pasted-{seed}", 9, 1)
    write_counts(tmp_path, "group-1_8-x1-flipped-1", 9, 1)
    assert cells_of(tmp_path, "pasted")["final - its final"] == "+0.0, one seed"
    (tmp_path / "group-1_8-x1-flipped-1.npz").unlink()
    write_counts(tmp_path, "group-1_8-x1-flipped-2", 9, 1)
    assert cells_of(tmp_path, "pasted")["final - its final"] == "-"


def test_every_folder_of_counts_has_a_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "COUNTS", tmp_path)
    for folder in (tmp_path, tmp_path / "other", tmp_path / "review"):
        folder.mkdir(exist_ok=True)
    write_counts(tmp_path, "group-1_8-x1-paper-0", 9, 1)
    write_counts(tmp_path / "other", "group-1_8-x1-paper-0", 9, 1)
    (tmp_path / "review" / "before-0.npz").touch()  # of another benchmark
    assert next(tables()) == TITLE
    said = [line for line in tables() if line.startswith("\n## ")]
    assert said == ["\n## accuracy", "\n## other"]


def test_a_folder_without_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no counts in .*: give one that holds"):
        tables_of(tmp_path / "none")


DOCS = accuracy.ROOT / "docs"
TABLES, GENERATED = DOCS / "accuracy" / "tables.md", DOCS / "accuracy" / "generated.md"
INTERVAL = r"[+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\)"
STUDENT = {3: 4.303, 5: 2.776, 6: 2.571}
"""97.5 % quantiles of Student's t for so many seeds."""


@pytest.fixture(scope="module")
def claimed() -> str:
    return "\n".join(claims())


def test_the_documents_say_what_the_counts_do(claimed: str) -> None:
    assert claimed in (DOCS / "accuracy.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_counts() -> None:
    """Mended by `python -m benchmarks.accuracy table > docs/accuracy/tables.md`."""
    assert TABLES.read_text(encoding="utf-8").splitlines() == "\n".join(tables()).splitlines()


@pytest.mark.parametrize("page", ["../README.md", "accuracy.md", "scores.md"])
def test_every_interval_of_a_difference_is_known(page: str, claimed: str) -> None:
    """By the counts; of the generated pictures' seeds, by the file that has these."""
    text = (DOCS / page).read_text(encoding="utf-8")
    known = claimed + TABLES.read_text(encoding="utf-8") + GENERATED.read_text(encoding="utf-8")
    # the default run's own, of one seed, stand in its table alone
    found = re.findall(INTERVAL, re.sub(r"^\| (student 1|final.*?) \|.*", "", text, flags=re.M))
    assert found, "nothing was looked at"
    assert [interval for interval in found if interval not in known] == []


def test_intervals_over_seeds_are_of_the_seeds_beside_them() -> None:
    rows = re.findall(
        rf"^\| .* \| \**({INTERVAL})\** \| ([-+., \d]+) \|$",
        GENERATED.read_text(encoding="utf-8"),
        flags=re.M,
    )
    assert len(rows) >= 5
    for interval, by_seed in rows:
        each = np.array([float(points) for points in by_seed.split(", ")])
        half = STUDENT[len(each)] * each.std(ddof=1) / len(each) ** 0.5
        said = [float(number) for number in re.findall(r"[+-]\d+\.\d", interval)]
        expected = [each.mean(), each.mean() - half, each.mean() + half]
        assert said == pytest.approx(expected, abs=0.051)
