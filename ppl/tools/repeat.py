"""Run the pipeline over seeds, or over folds, as experiments, and judge all runs together.

What has been run before with the same settings and code is not run again. Seeds show how far
scores move by chance: data drawn, split, weights, order. Folds test every annotated part once;
their counts are pooled, as if it were one test set.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ppl.tools.queue
from ppl.core.errors import InputError
from ppl.core.settings import read_params, section
from ppl.images.sets import read_dataset_info, write_json
from ppl.judge.absence import absences
from ppl.judge.evaluation import TEACHER, EvaluateSettings
from ppl.judge.table import gain_cell, percent, score_table, text_table
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.counts import pooled, read_result
from ppl.scores.metrics import metrics_of_models
from ppl.scores.tested import read_tested
from ppl.tools.code_of import code_of, files_here
from ppl.tools.commands import ask_dvc
from ppl.tools.compare import (
    FOLD,
    FOLDS,
    SEED,
    SUCCESS,
    Run,
    miou_cells,
    read_runs,
    show_experiments,
    states,
    trained,
)
from ppl.tools.used_settings import flat

OUT = Path("compare/folds")

SCALED = ("image_auroc", "image_average_precision", "image_miss_rate")
"""Scores by how defective images look to a model, which is no count."""

_POLL = 5.0
"""Seconds between two looks at the experiments."""

_IDLE_LOOKS = 8
"""Looks that must find nothing queued or running: a worker collects results after its run."""

Variant = Mapping[str, Any]
"""Changed settings by dotted key."""


def seed_variants(count: int, first: int) -> list[Variant]:
    """The changed settings of `count` runs: the seed of params.yaml and those that follow it."""
    return [{SEED: first + number} for number in range(count)]


def fold_variants(count: int) -> list[Variant]:
    """The changed settings of one run a fold."""
    return [{FOLDS: count, FOLD: number} for number in range(1, count + 1)]


def judge_by_seeds(count: int, *, jobs: int) -> None:
    """Run the pipeline with `count` seeds, what is missing of it, and print the table of all.

    Args:
        jobs: how many experiments run at a time.

    Raises:
        InputError: as `run_all`.
    """
    runs = run_all(seed_variants(count, section("seed", int)), jobs)
    print(f"\n{seeds_report(runs)}")


def judge_by_folds(count: int, *, jobs: int) -> None:
    """Run the pipeline with each of `count` test sets, and print the scores over all of them.

    Args:
        count: 2 or more.
        jobs: how many experiments run at a time.

    Raises:
        InputError: as `run_all`; folds that params.yaml's lists do not allow.
    """
    runs = run_all(fold_variants(count), jobs)
    metrics = pool_folds(runs)
    for model, content in metrics.items():
        write_json(OUT / f"{model}.json", content, sort=False)
    print(f"\n{folds_report(runs, metrics)}\n\n{OUT}/*.json")


def run_all(variants: Sequence[Variant], jobs: int) -> list[Run]:
    """A run for each variant of params.yaml, in order: found among the experiments, or made now.

    Raises:
        InputError: an experiment failed, or DVC does not answer.
    """
    settings = dict(flat(read_params()))
    wanted = [{**settings, **variant} for variant in variants]
    code = files_here()
    done = _runs(wanted, code, show_experiments(1))
    missing = [variant for variant, run in zip(variants, done, strict=True) if run is None]
    if missing:
        before = set(ppl.tools.queue.queued_revisions())
        for variant in missing:
            changes = [f"--set-param={key}={value}" for key, value in variant.items()]
            ask_dvc("exp", "run", "--queue", *changes)
        others = f" and {len(before)} queued before" if before else ""
        print(f"{len(missing)} of {len(variants)} experiments are to be run{others}", flush=True)
        ppl.tools.queue.run_queued(jobs)
        done = _wait(wanted, code)
    return [run for run in done if run is not None]


def seeds_report(runs: Sequence[Run]) -> str:
    """A row a seed, mean and standard deviation, and how often the final student wins.

    Where there is a teacher to win against.
    """
    models = trained(runs)
    gains = [[run.scores["final"]["gain"] for run in runs]] if TEACHER in models else []
    rows = _rows_by(SEED, "seed", runs)
    values = [[run.scores[model]["miou"] for run in runs] for model in models]
    # a split may leave a test set without a defect: no mIoU and no gain there
    columns = [[value for value in c if value is not None] for c in (*values, *gains)]
    styles = [".1f"] * len(models) + ["+.1f"] * len(gains)
    rows.append(
        ["mean", *(percent(_mean(c), style) for c, style in zip(columns, styles, strict=True))]
    )
    if min(map(len, columns)) > 1:
        rows.append(["standard deviation", *(percent(statistics.stdev(c)) for c in columns)])
    said = []
    if len({run.test for run in runs}) > 1:
        said.append(
            "Each seed draws other test images: the spread is that of data and training together."
        )
    for known in columns[len(models) :]:
        said.append(
            f"The final student beats the teacher in {sum(gain > 0 for gain in known)} of "
            f"{len(known)} seeds, by {percent(_mean(known), '+.1f')} points on average."
        )
    said += absences(runs[0].absent)
    return "\n".join([text_table(rows), *([""] if said else []), *said])


def _rows_by(setting: str, name: str, runs: Sequence[Run]) -> list[list[str]]:
    """A header and a row a run, by one of its settings: mIoU of each model, and the gain."""
    models = trained(runs)
    gains = TEACHER in models
    rows = [[name, *models, *(["final - teacher"] if gains else [])]]
    for run in runs:
        gain = [gain_cell(run.scores["final"])] if gains else []
        rows.append([str(run.settings[setting]), *miou_cells(run, models), *gain])
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def pool_folds(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """The metrics of each model over the test images of all folds together.

    Of one that the method does not train, those that say why.

    Raises:
        InputError: DVC's cache does not hold the counts of a fold.
    """
    found: dict[str, list[Any]] = {model: [] for model in trained(runs)}
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            counts = Path(folder, run.name)
            ask_dvc("get", ".", "data/evaluation", "--rev", run.name, "--out", counts)
            parts += read_tested(counts / "images.json").parts
            for model, results_of in found.items():
                results_of.append(read_result(counts / f"{model}.safetensors"))
        info_file = Path(folder, "dataset.json")
        ask_dvc("get", ".", "data/prepared/dataset.json", "--rev", runs[0].name, "--out", info_file)
        names = read_dataset_info(info_file).classes
    results = {model: pooled(folds) for model, folds in found.items()}
    metrics = metrics_of_models(
        results,
        parts,
        names,
        section("intervals", IntervalSettings),
        false_alarm_rate=section("evaluate", EvaluateSettings).false_alarm_rate,
        teacher=TEACHER,
    )
    scored = {model: content | means_of_folds(runs, model) for model, content in metrics.items()}
    return scored | runs[0].absent


def means_of_folds(runs: Sequence[Run], model: str) -> dict[str, float | None]:
    """The scores that order images, or call them from one threshold on: each fold's own, averaged.

    Each fold has a model of its own with a scale of its own, so its images cannot be put in one
    order with those of others. A fold that defines no such score is left out.
    """
    found = {}
    for key in SCALED:
        values = [run.scores[model].get(key) for run in runs]
        mean = _mean([value for value in values if value is not None])
        found[key] = None if mean is None else round(mean, 6)
    return found


def folds_report(runs: Sequence[Run], metrics: dict[str, dict[str, Any]]) -> str:
    """A row a fold, then the scores over all of them."""
    rows = _rows_by(FOLD, "fold", runs)
    note = "Image AUROC, average precision and miss rate are means over the folds, each by a model"
    return f"{text_table(rows)}\n\nAll folds pooled:\n{score_table(metrics)}\n\n{note} of its own."


def _runs(
    wanted: Sequence[Mapping[str, Any]], code: Mapping[str, str], shown: Sequence[dict[str, Any]]
) -> list[Run | None]:
    """The run of each settings, if one was computed with this code.

    Args:
        code: the MD5 of each of its files.
    """
    runs, _ = read_runs(shown)
    runs = [run for run in runs if code_of(code, run.code) == run.code]
    return [next((run for run in runs if run.settings == one), None) for one in wanted]


def _wait(wanted: Sequence[Mapping[str, Any]], code: Mapping[str, str]) -> list[Run | None]:
    """The runs, once no experiment is queued or running any more."""
    told, idle = -1, 0
    while True:
        shown = show_experiments(1)
        found = states(shown)
        busy = [name for name, state in found if state in ("Queued", "Running")]
        done = _runs(wanted, code, shown)
        ready = sum(run is not None for run in done)
        if ready != told:
            print(f"{ready} of {len(wanted)} done", flush=True)
            told = ready
        if ready == len(wanted):
            return done
        idle = 0 if busy else idle + 1
        if idle == _IDLE_LOOKS:
            failed = [name for name, state in found if state not in (SUCCESS, "Committed")]
            raise InputError(
                f"{len(wanted) - ready} of {len(wanted)} experiments have no scores "
                f"({', '.join(failed) or 'none is queued or running'}): `dvc queue logs NAME` says "
                "why; the same command then goes on"
            )
        time.sleep(_POLL)
