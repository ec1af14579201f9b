"""One table of all methods: which is better than PPL, and how surely."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ppl.__main__ import main
from ppl.core.errors import InputError
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.over_seeds import Side
from ppl.scores.tested import ScoredImages
from ppl.tools import methods
from ppl.tools.common_part import Evaluation
from ppl.tools.compare import Run
from ppl.tools.cost import Budget

CLASSES = ["background", "dent"]
SETTINGS = IntervalSettings(confidence=0.95, resamples=400, few_parts=10)


def counted(right: int) -> torch.Tensor:
    """Of 10 defect pixels `right` are found, beside 90 of background."""
    return torch.tensor([[90, 0], [10 - right, right]])


def side(right: Mapping[int, Sequence[int]]) -> Side:
    """Parts of each seed, named by their order."""
    return Side(
        {seed: torch.stack([counted(one) for one in of]) for seed, of in right.items()},
        {seed: [f"part {k}" for k in range(len(of))] for seed, of in right.items()},
    )


def result(name: str, right: Mapping[int, Sequence[int]]) -> methods.Result:
    budget = Budget({"method.name": name}, [100, 2000], 12345.6, 90.0)
    return methods.Result(budget, side(right))


def rows(report: str) -> dict[str, list[str]]:
    lines = [line for line in report.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_a_method_that_is_always_better_is_bold() -> None:
    equal, better = [5] * 12, [9] * 12
    table = rows(
        methods.methods_report(
            {
                "ppl": result("ppl", {0: equal, 1: equal}),
                "cps": result("cps", {0: better, 1: better}),
                "st": result("st", {0: better, 1: [1] * 12}),
            },
            CLASSES,
            SETTINGS,
        )
    )
    assert table["method"][:5] == ["final mIoU", "- ppl", "by seed", *CLASSES]
    # 90 of 95 pixels, 5 of 10; 90 of 91, 9 of 10
    assert table["ppl"][:3] == ["72.4 (72.4-72.4)", "-", "72.4, 72.4"]
    assert table["cps"][1] == "**+22.1 (+22.1 to +22.1)**"
    assert table["cps"][3:] == ["98.9", "90.0", "100 + 2,000", "12,346", "1.5"]
    # better with one seed, worse with the other: nothing is sure
    assert table["st"][1].startswith("+0.0 (-")
    assert "**" not in table["st"][1]


def test_other_test_images_are_not_compared() -> None:
    results = {"ppl": result("ppl", {0: [5, 5]}), "cps": result("cps", {0: [5, 5, 5]})}
    with pytest.raises(InputError, match="other seeds or parts"):
        methods.methods_report(results, CLASSES, SETTINGS)


class Costs:
    ppl = Budget({"method.name": "ppl", "retrain_final.iterations": 9}, [9], 100.0, 60.0)

    def of(self, name: str) -> Budget:
        changes = {"method.name": name, f"{name}.iterations": 7}
        return self.ppl if name == "ppl" else Budget(changes, [7], 99.0, 60.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Mapping[str, Any]]:
    """The variants that were run; scores are made up."""
    found: list[Mapping[str, Any]] = []

    def run_all(variants: Sequence[Mapping[str, Any]], jobs: int) -> list[Run]:
        found.extend(variants)
        assert jobs == 2
        return [Run(str(k), dict(one), {}) for k, one in enumerate(variants)]

    def evaluation_at(name: str, scores: object) -> Evaluation:
        images = ScoredImages(["a", "b", "c"], ["x", "x", "y"], None)
        return Evaluation(images, {"final": torch.stack([counted(5)] * 3)})

    monkeypatch.setattr(methods, "EqualCosts", Costs)
    monkeypatch.setattr(methods, "run_all", run_all)
    monkeypatch.setattr(methods, "evaluation_at", evaluation_at)
    (tmp_path / "params.yaml").write_text(
        "seed: 3\n"
        "data: {name: synthetic, root: data/raw/synthetic, mask_threshold: 128, classes: [],\n"
        "  groups: own, group_pattern: '', same_part: 0.9}\n"
        "intervals: {confidence: 0.95, resamples: 100, few_parts: 10}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    return found


def test_each_method_runs_with_each_seed(asked: list[Mapping[str, Any]], tmp_path: Path) -> None:
    words = ["methods", "--seeds", "0", "1", "--only", "cps", "st", "--jobs", "2"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [(one["seed"], one["method.name"]) for one in asked] == [
        (0, "ppl"),
        (1, "ppl"),
        (0, "st"),
        (1, "st"),
        (0, "cps"),
        (1, "cps"),
    ]
    assert asked[-1]["cps.iterations"] == 7
    assert list(rows(done.output)) == ["method", "---", "ppl", "st", "cps"]
    assert "on 2 test parts" in done.output
    assert (tmp_path / "compare/methods.md").read_text(encoding="utf-8") in done.output + "\n"


def test_without_seeds_that_of_params_yaml(asked: list[Mapping[str, Any]]) -> None:
    done = CliRunner().invoke(main, ["methods", "--jobs", "2"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert {one["seed"] for one in asked} == {3}
    assert len(asked) == 10
    assert "intervals resample parts alone: one seed is a lead" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "unimach"], "method.name: got 'unimach'"),
        (["--seeds", "one"], "'one' is not a valid integer"),
        (["--seeds"], "requires an argument"),
    ],
)
def test_wrong_words_are_refused(
    asked: list[Mapping[str, Any]], words: list[str], said: str
) -> None:
    done = CliRunner().invoke(main, ["methods", *words])
    assert done.exit_code != 0
    assert said in done.output
    assert not asked
