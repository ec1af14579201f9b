"""Experiments over label fractions: which belong together, what the table says, what is drawn."""

import csv
import re
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.scores.tested import ScoredImages
from ppl.tools.common_part import Evaluation
from ppl.tools.compare import (
    Run,
    common_parts,
    compare,
    groups,
    machines,
    points,
    read_runs,
    table,
    write_csv,
)
from ppl.tools.fraction_plot import fraction_plot, gain_areas, write_png


def data(
    fraction: object,
    *,
    seed: int = 0,
    momentum: float = 0.9,
    final: float = 0.5,
    tested: str = "",
    fold: int = 0,
) -> Any:
    """What `dvc exp show --json` says of one experiment."""
    params = {
        "seed": seed,
        "split": {"labeled_fraction": fraction, "folds": 3 if fold else 0, "fold": fold or 1},
        "optimizer": {"momentum": momentum},
        "model": {"options": {}},
        "intervals": {"confidence": 0.95, "resamples": 100, "few_parts": 3},
    }
    scores = {"teacher": 0.4, "student_1": 0.45, "final": final}
    return {
        "params": {"params.yaml": {"data": params}},
        "metrics": {
            **{
                f"metrics/{model}.json": {
                    "data": {
                        "miou": miou,
                        "miou_low": miou - 0.05,
                        "miou_high": miou + 0.04,
                        "iou": {"background": 0.9, "crack": 0.1},
                        **(
                            {"test_set": {"images": 9, "parts": 9, "digest": tested}}
                            if tested
                            else {}
                        ),
                        **(
                            {"gain": miou - 0.4, "gain_low": 0.0125, "gain_high": 0.2}
                            if model != "teacher"
                            else {}
                        ),
                    }
                }
                for model, miou in scores.items()
            },
            "metrics/pseudo_masks.json": {"data": {"hard": {}}},
        },
    }


def experiment(name: str, found: Any, state: str | None = None) -> dict[str, Any]:
    executor = {"state": state} if state else None
    return {"revs": [{"rev": "f" * 40, "name": name, "data": found}], "executor": executor}


def shown(*experiments: dict[str, Any], workspace: Any = None) -> list[dict[str, Any]]:
    return [
        {"rev": "workspace", "name": None, "data": workspace, "experiments": None},
        {"rev": "c" * 40, "name": "main", "data": None, "experiments": list(experiments)},
    ]


def test_rows_are_label_fractions_in_order_of_size() -> None:
    runs, without = read_runs(
        shown(
            experiment("a", data("1/2")), experiment("b", data("1/8")), experiment("c", data(0.25))
        )
    )
    [(title, members)] = groups(runs)
    assert title == ""
    header, *rows = table(members).splitlines()
    assert re.split(r"  +", header) == [
        "labeled",
        "teacher",
        "student_1",
        "final",
        "gain of final",
        "experiment",
    ]
    assert [row.split()[0] for row in rows] == ["1/8", "1/4", "1/2"]
    assert "40.0 (35.0-44.0)" in rows[0]
    assert re.split(r"  +", rows[0])[4:] == ["+10.0 (+1.2 to +20.0)", "b"]
    assert without == []


def test_other_settings_get_a_table_of_their_own_named_by_what_differs() -> None:
    runs, _ = read_runs(
        shown(
            experiment("a", data("1/8")),
            experiment("b", data("1/4")),
            experiment("c", data("1/8", momentum=0.5)),
        )
    )
    found = groups(runs)
    assert [(title, [run.name for run in members]) for title, members in found] == [
        ("optimizer.momentum=0.9", ["a", "b"]),
        ("optimizer.momentum=0.5", ["c"]),
    ]


def test_seeds_share_a_table_and_are_named_in_it() -> None:
    runs, _ = read_runs(
        shown(experiment("a", data("1/8", seed=1)), experiment("b", data("1/8", seed=0, final=0.6)))
    )
    [(_, members)] = groups(runs)
    rows = table(members).splitlines()
    assert rows[0].split()[:2] == ["labeled", "seed"]
    assert [row.split()[:2] for row in rows[1:]] == [["1/8", "0"], ["1/8", "1"]]


def test_a_commit_counts_where_no_experiment_has_its_settings_and_the_workspace_never() -> None:
    experiments = shown(experiment("a", data("1/8")), workspace=data("1/2"))
    experiments[1]["data"] = data("1/4")
    assert [run.name for run in read_runs(experiments, undoubted)[0]] == ["a", "main"]
    experiments[1]["data"] = data("1/8", final=0.6)
    assert [run.name for run in read_runs(experiments, undoubted)[0]] == ["a"]


def undoubted(commit: str, params: Any) -> str:
    """As of a commit whose scores were computed by it."""
    assert (len(commit), params["seed"]) == (40, 0)
    return ""


def test_a_commit_whose_scores_are_not_its_own_is_named_and_left_out() -> None:
    experiments = shown(experiment("a", data("1/8")))
    experiments[1]["data"] = data("1/4")
    runs, without = read_runs(experiments, lambda *_: "its scores are of other settings (loss)")
    assert [run.name for run in runs] == ["a"]
    assert without == ["main: its scores are of other settings (loss)"]


def test_runs_of_other_code_stand_side_by_side_by_commit() -> None:
    experiments = shown(experiment("old", data("1/8") | of_code("1")))
    experiments[1]["data"] = data("1/8", final=0.6) | of_code("2")
    newer = {"rev": "d" * 40, "name": None, "data": None}
    found = [*experiments, newer | {"experiments": [experiment("new", data("1/4") | of_code("3"))]}]
    runs, _ = read_runs(found, undoubted)
    assert [(run.name, run.commit) for run in runs] == [
        ("old", "ccccccc"),
        ("new", "ddddddd"),
        ("main", "ccccccc"),
    ]
    titles = [title for title, _ in groups(runs)]
    assert all(re.fullmatch(r"code [0-9a-f]{6} \((c{7}|d{7})\)", title) for title in titles)
    assert len(set(titles)) == 3
    same, _ = read_runs(shown(*(experiment(f, data(f) | of_code("1")) for f in ("1/8", "1/4"))))
    assert [title for title, _ in groups(same)] == [""]


def of_code(digit: str) -> dict[str, Any]:
    """What was depended on: some code, and data that are none of it."""
    return {"deps": {"ppl/core": {"hash": 32 * digit}, "data/models": {"hash": "0"}}}


def test_runs_of_one_seed_and_other_test_images_are_tables_of_their_own() -> None:
    found = shown(
        experiment("a", data("1/8", tested="aaaaaaaa")),
        experiment("b", data("1/8", tested="bbbbbbbb")),
        experiment("c", data("1/4", tested="bbbbbbbb")),
    )
    # an earlier commit of the same settings, before data were added
    found[1]["data"] = data("1/4", tested="aaaaaaaa")
    runs, _ = read_runs(found, undoubted)
    assert [(title, [run.name for run in members]) for title, members in groups(runs)] == [
        ("test images: 9 (aaaaaa)", ["a", "main"]),
        ("test images: 9 (bbbbbb)", ["b", "c"]),
    ]
    one = data("1/4", tested="bbbbbbbb", final=0.6)
    found[1]["data"] = one
    again = read_runs(found, undoubted)[0]
    assert [run.name for run in again] == ["a", "b", "c"], "another machine"


def test_seeds_of_one_data_set_stand_in_one_table_in_whichever_order_they_come() -> None:
    def run(name: str, seed: int, images: str) -> dict[str, Any]:
        found = data("1/8", seed=seed, final=0.5 + seed / 100, tested=f"{images}{seed}")
        found["params"]["params.yaml"]["data"]["data"] = {"root": "raw"}
        return experiment(name, found | {"deps": {"raw": {"hash": images}}})

    runs, _ = read_runs(
        shown(run("a", 0, "new"), run("b", 0, "old"), run("c", 1, "old"), run("d", 1, "new"))
    )
    tables = [{one.name for one in group} for _, group in groups(runs)]
    assert sorted(tables, key=min) == [{"a", "d"}, {"b", "c"}]


def test_seeds_that_draw_other_test_images_say_so_and_have_no_common_part() -> None:
    runs, _ = read_runs(
        shown(
            experiment("a", data("1/8", seed=0, tested="aaaaaaaa")),
            experiment("b", data("1/8", seed=1, tested="bbbbbbbb")),
        )
    )
    [(title, members)] = groups(runs)
    assert title == ""
    header, *rows = table(members).splitlines()
    assert re.split(r"  +", header)[:3] == ["labeled", "seed", "test images"]
    assert ["9 (aaaaaa)" in row for row in rows] == [True, False]
    [said] = common_parts(runs)
    assert said.startswith("Scores on different test images do not compare")
    same, _ = read_runs(shown(*(experiment(f, data(f, tested="a" * 8)) for f in ("1/8", "1/4"))))
    assert "test images" not in table(same)
    assert list(common_parts(same)) == []


def test_folds_of_a_seed_are_no_test_sets_that_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(name: str, _: object) -> Evaluation:
        raise InputError(f"{name} is asked for")

    monkeypatch.setattr("ppl.tools.compare.evaluation_at", asked)
    folds = [
        experiment(f"f{fold}", data("1/8", fold=fold, tested=8 * str(fold))) for fold in (1, 2, 3)
    ]
    runs, _ = read_runs(shown(*folds))
    assert [title for title, _ in groups(runs)] == [f"split.fold={fold}" for fold in (1, 2, 3)]
    pooled = "Each fold has test images of its own: `make folds` pools them."
    assert list(common_parts(runs)) == [pooled]
    # a run without folds has nothing to be compared with either
    alone = experiment("alone", data("1/8", tested="aaaaaaaa"))
    for found in ([*folds, alone], [folds[0], alone]):
        runs, _ = read_runs(shown(*found))
        assert list(common_parts(runs)) == [pooled]
    assert list(common_parts(runs[:1])) == []
    # a fold before data were added
    runs, _ = read_runs(shown(*folds, experiment("old", data("1/8", fold=2, tested="bbbbbbbb"))))
    told, said, common = common_parts(runs)
    assert told.startswith("Scores on different test images do not compare")
    assert said == pooled
    assert common.splitlines() == [
        "seed 0, fold 2 of 3: what all 2 runs tested is not known",
        "f2: what it tested is not known (f2 is asked for)",
        "old: what it tested is not known (old is asked for)",
    ]
    assert [title for title, _ in groups(runs)] == [
        "split.fold=1, test images: 9 (111111)",
        "split.fold=2, test images: 9 (222222)",
        "split.fold=3, test images: 9 (333333)",
        "split.fold=2, test images: 9 (bbbbbb)",
    ]


def test_other_test_images_are_told_in_every_title_where_a_line_says_so() -> None:
    runs, _ = read_runs(
        shown(
            experiment("a", data("1/8", tested="aaaaaaaa")),
            experiment("b", data("1/8", momentum=0.5, seed=1, tested="bbbbbbbb")),
        )
    )
    assert [title for title, _ in groups(runs)] == [
        "optimizer.momentum=0.9, test images: 9 (aaaaaa)",
        "optimizer.momentum=0.5, test images: 9 (bbbbbb)",
    ]
    [said] = common_parts(runs)
    assert said.endswith("these are told by their number and a digest.")


def test_what_all_runs_of_a_seed_tested_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    images = {
        "a": ScoredImages(["1", "2", "3"], ["1", "2", "3"], ["m", "m", "m"]),
        "b": ScoredImages(["2", "3", "4"], ["2", "3", "4"], ["m", "m", "m"]),
    }

    def evaluation(name: str, _: object) -> Evaluation:
        counts = torch.tensor([[[8, 0], [n, 8]] for n in range(3)])
        return Evaluation(images[name], dict.fromkeys(("teacher", "student_1", "final"), counts))

    monkeypatch.setattr("ppl.tools.compare.evaluation_at", evaluation)
    runs, _ = read_runs(
        shown(*(experiment(name, data("1/8", tested=8 * name)) for name in ("a", "b")))
    )
    _, said = common_parts(runs)
    head, header, a, b, few = said.splitlines()
    assert head == "seed 0, mIoU* on the 2 images (2 parts) of all 2 runs"
    assert header.split()[-4:] == ["gain", "of", "final", "experiment"]
    # images 2 and 3 hold 1 and 2 wrong pixels of run a, 0 and 1 of run b; drawn are one of them
    # twice or both
    for row, (fewer, more) in ((a, (1, 2)), (b, (0, 1))):
        miou, low, high = (
            f"{100 * 16 / (16 + wrong):.1f}" for wrong in (fewer + more, 2 * more, 2 * fewer)
        )
        assert f"  {miou} ({low}-{high})" in row
        assert row.endswith(f"+0.0 (+0.0 to +0.0)  {'a' if row == a else 'b':>10}")
    assert few == "* fewer than 3 parts of these images show crack"
    images["b"] = ScoredImages(["4", "5", "6"], ["4", "5", "6"], ["m", "m", "m"])
    assert [*common_parts(runs)][1] == "seed 0: no image was tested by all 2 runs"

    def lost(name: str, _: object) -> Evaluation:
        raise InputError("not in the cache")

    monkeypatch.setattr("ppl.tools.compare.evaluation_at", lost)
    assert [*common_parts(runs)][1].splitlines() == [
        "seed 0: what all 2 runs tested is not known",
        "a: what it tested is not known (not in the cache)",
        "b: what it tested is not known (not in the cache)",
    ]


ONCE = {"absent": "it trains once"}


def at_once(fraction: object, *, models: tuple[str, ...] = ("final",), tested: str = "") -> Any:
    """What `dvc exp show --json` says of a method that trains these models alone."""
    found = data(fraction, tested=tested)
    found["params"]["params.yaml"]["data"]["method"] = {"name": "of " + " ".join(models)}
    for file, metrics in found["metrics"].items():
        if Path(file).stem not in models:
            metrics["data"] = ONCE
        elif "teacher" not in models:
            metrics["data"] = {k: v for k, v in metrics["data"].items() if "gain" not in k}
    return found


def test_a_run_without_teacher_has_a_table_without_one(tmp_path: Path) -> None:
    pair = ("teacher", "final")
    runs, without = read_runs(
        shown(
            experiment("a", data("1/8")),
            experiment("b", at_once("1/8")),
            experiment("c", at_once("1/8", models=pair)),
            experiment("d", at_once("1/4")),
        )
    )
    assert without == []
    found = {title: table(members).splitlines() for title, members in groups(runs)}
    assert list(found) == [
        "method.name=of final",
        "method.name=None",
        "method.name=of teacher final",
    ]
    once, _, one = found.values()
    assert re.split(r"  +", once[0]) == ["labeled", "final", "experiment"]
    assert [re.split(r"  +", row) for row in once[1:]] == [
        ["1/8", "50.0 (45.0-54.0)", "b"],
        ["1/4", "50.0 (45.0-54.0)", "d"],
    ]
    assert re.split(r"  +", one[0]) == [
        *("labeled", "teacher", "final", "gain of final", "experiment")
    ]
    assert runs[1].absent == {"teacher": ONCE, "student_1": ONCE}
    assert {point.model for run in runs[1:2] for point in points("", [run])} == {"final"}
    write_csv(tmp_path / "scores.csv", runs)
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = [(row["experiment"], row["model"]) for row in csv.DictReader(stream)]
    assert [model for name, model in rows if name == "b"] == ["final"]
    assert [model for name, model in rows if name == "c"] == ["teacher", "final"]
    drawn = fraction_plot([point for run in runs for point in points(run.name, [run])])
    shaded = ["subtitle" in panel["title"] for panel in drawn["concat"]]
    assert shaded == [True, False, True, False]
    write_png(tmp_path / "miou.png", drawn)


def test_the_printed_table_says_what_was_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "ppl.tools.compare.show_experiments", lambda _: shown(experiment("b", at_once("1/8")))
    )
    compare(tmp_path / "compare", since=1)
    printed = capsys.readouterr().out
    assert "\nno teacher, no student_1: it trains once\n" in printed
    assert "gain" not in printed
    assert (tmp_path / "compare" / "miou.png").is_file()


def test_a_run_whose_final_model_is_absent_has_no_scores() -> None:
    runs, without = read_runs(shown(experiment("a", at_once("1/8", models=("teacher",)))))
    assert (runs, without) == ([], ["a: success"])


def test_what_runs_of_several_methods_tested_is_a_table_of_all_their_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def evaluation(name: str, scores: dict[str, Any]) -> Evaluation:
        counts = torch.tensor([[[8, 0], [1, 8]]]).expand(2, -1, -1)
        images = ScoredImages(["1", name], ["1", name], ["m", "m"])
        return Evaluation(images, dict.fromkeys(scores, counts))

    monkeypatch.setattr("ppl.tools.compare.evaluation_at", evaluation)
    runs, _ = read_runs(
        shown(
            experiment("a", data("1/8", tested="a" * 8)),
            experiment("b", at_once("1/8", tested="b" * 8)),
        )
    )
    _, header, a, b, *_ = [*common_parts(runs)][1].splitlines()
    assert re.split(r"  +", header.strip())[1:4] == ["teacher", "student_1", "final"]
    assert re.split(r"  +", a.strip())[1:] == ["88.9", "88.9", "88.9", "+0.0", "a"]
    assert re.split(r"  +", b.strip())[1:] == ["-", "-", "88.9", "-", "b"]


def test_a_run_that_is_lost_leaves_a_common_part_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def evaluation(name: str, _: object) -> Evaluation:
        if name == "gone":
            raise InputError("not in the cache")
        counts = torch.tensor([[[8, 0], [1, 8]]]).expand(2, -1, -1)
        images = ScoredImages(["1", name], ["1", name], ["m", "m"])
        return Evaluation(images, dict.fromkeys(("teacher", "student_1", "final"), counts))

    monkeypatch.setattr("ppl.tools.compare.evaluation_at", evaluation)
    runs, _ = read_runs(
        shown(*(experiment(name, data("1/8", tested=8 * name)) for name in ("a", "gone", "b")))
    )
    head, *_, lost = [*common_parts(runs)][1].splitlines()
    assert head == "seed 0, mIoU* on the 1 image (1 part) of 2 of 3 runs"
    assert lost == "gone: what it tested is not known (not in the cache)"


def test_an_experiment_that_was_queued_twice_counts_once() -> None:
    runs, _ = read_runs(shown(experiment("a", data("1/8")), experiment("b", data("1/8"))))
    assert [run.name for run in runs] == ["a"]


def test_what_has_not_succeeded_has_no_scores_though_dvc_shows_those_of_its_commit() -> None:
    runs, without = read_runs(
        shown(
            experiment("a", data("1/8"), "success"),
            experiment("b", None, "queued"),
            experiment("c", data("1/4"), "failed"),
            experiment("d", data("1/2"), "running"),
        )
    )
    assert [run.name for run in runs] == ["a"]
    assert without == ["b: queued", "c: failed", "d: running"]


def test_the_csv_has_a_row_a_run_and_model(tmp_path: Path) -> None:
    runs, _ = read_runs(shown(experiment("a", data("1/8"))))
    write_csv(tmp_path / "scores.csv", runs)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert [row["model"] for row in rows] == ["teacher", "student_1", "final"]
    assert rows[0]["labeled_fraction"] == "0.125"
    assert float(rows[2]["miou"]) == 0.5
    assert rows[0]["gain"] == ""


def test_an_experiment_called_like_a_formula_is_none_in_the_csv(tmp_path: Path) -> None:
    runs, _ = read_runs(shown(experiment("=1+1", data("1/8", final=-0.5))))
    write_csv(tmp_path / "scores.csv", runs)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert {row["experiment"] for row in rows} == {"./=1+1"}
    assert rows[2]["miou"] == "-0.5", "a number stays one"


def test_the_shaded_area_changes_its_side_where_the_lines_cross() -> None:
    means = {"teacher": {0.1: 40.0, 1.0: 40.0}, "final": {0.1: 30.0, 1.0: 60.0}}
    corners = gain_areas(means)
    assert [corner["side"] for corner in corners] == ["loss 0.0"] * 2 + ["gain 0.1"] * 2
    # a third of the way in log x: 0.1 * 10 ** (1/3)
    assert corners[1]["x"] == corners[2]["x"] == pytest.approx(0.1 * 10 ** (1 / 3))
    assert corners[1]["teacher"] == corners[1]["final"] == pytest.approx(40.0)


@pytest.mark.parametrize("fractions", [["1/8"], ["1/8", "1/4", "1/2"]])
def test_the_plot_is_drawn_with_a_panel_a_table(tmp_path: Path, fractions: list[str]) -> None:
    runs, _ = read_runs(
        shown(*(experiment(f, data(f, final=0.3 + 0.4 * float(Fraction(f)))) for f in fractions))
    )
    write_png(tmp_path / "plot.png", fraction_plot(points("", runs)))
    with Image.open(BytesIO((tmp_path / "plot.png").read_bytes())) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    # the lines of teacher, student 1 and final
    assert {(154, 165, 177), (76, 155, 232), (217, 72, 15)} <= colours
    two = [*points("one", runs), *points("other", runs)]
    assert len(fraction_plot(two)["concat"]) == 2


def test_a_run_without_a_defined_score_leaves_a_gap() -> None:
    scores = {model: {"miou": None, "miou_low": None, "miou_high": None} for model in ("teacher",)}
    scores |= {model: {**scores["teacher"], "gain": None} for model in ("student_1", "final")}
    run = Run("a", {"split.labeled_fraction": "1/8", "seed": 0}, scores)
    assert points("", [run]) == []


def test_runs_of_other_libraries_or_machines_are_named() -> None:
    def run(name: str, made: str) -> Run:
        said = {"made_with": made} if made else {}
        return Run(name, {}, {"final": {"miou": 0.5, **said}})

    same = [run("a", "torch 2.14.1, 2 threads"), run("b", "torch 2.14.1, 2 threads")]
    assert list(machines(same)) == []
    assert list(machines([run("a", ""), run("b", "")])) == []
    head, *lines = machines([*same, run("c", "torch 2.14.1, 1 threads"), run("d", "")])
    assert "rounding alone" in head
    assert lines == [
        "- torch 2.14.1, 2 threads: a, b",
        "- torch 2.14.1, 1 threads: c",
        "- not known: d",
    ]
