"""One table and one plot of experiments over the label fraction.

Experiments that differ in nothing but `split.labeled_fraction` and `seed` belong together; others
get a table of their own, headed by what sets them apart. So do those of one seed that were tested
on other images, since data were added: what all of a seed tested is scored for a table more.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.judge.absence import absences, present
from ppl.judge.table import few_parts, gain_cell, miou_cell, reasons, text_table
from ppl.tools.code_of import Code, doubt, mark, recorded_code
from ppl.tools.commands import ask_dvc
from ppl.tools.common_part import (
    MODELS,
    TEACHER,
    Evaluation,
    common_part,
    evaluation_at,
    interval_settings,
    test_record,
)
from ppl.tools.fraction_plot import Point, fraction_plot, write_png
from ppl.tools.used_settings import flat

SUCCESS, COMMITTED = "Success", "Committed"
FRACTION, SEED = "split.labeled_fraction", "seed"
FOLDS, FOLD = "split.folds", "split.fold"

_PATIENCE = 120.0
"""Seconds in which DVC lists the experiments."""


@dataclass(frozen=True)
class Run:
    """One experiment that has scores."""

    name: str
    settings: dict[str, Any]
    """All of params.yaml, by dotted key."""
    scores: dict[str, dict[str, Any]]
    """Model -> its metrics file, of those that were trained: final, and maybe others."""
    absent: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> its metrics file, of those that its method does not train."""
    images: str = ""
    """The hashes of data set and lists."""
    code: Code = field(default_factory=dict)
    """What it was computed with."""
    commit: str = ""
    """That it is, or began from."""

    @property
    def fraction(self) -> Fraction:
        """The share of the annotated training images whose masks are used."""
        text = str(self.settings[FRACTION]).replace(" ", "")
        return Fraction(text).limit_denominator(1_000_000)

    @property
    def test(self) -> str:
        """Which images it was tested on: runs of one text compare; empty where not known."""
        record = test_record(self.scores)
        return "" if record is None else f"{record['images']} ({str(record['digest'])[:6]})"

    @property
    def fold(self) -> str:
        """Which of the folds it was tested on, each of other images; empty without folds."""
        folds = self.settings.get(FOLDS)
        return f", fold {self.settings[FOLD]} of {folds}" if folds else ""

    @property
    def made_with(self) -> str:
        """Libraries and machine of its final student; empty where not known."""
        return str(self.scores["final"].get("made_with") or "")

    @property
    def others(self) -> dict[str, Any]:
        """The settings in which runs of one table agree."""
        return {key: value for key, value in self.settings.items() if key not in (FRACTION, SEED)}


def show_experiments(since: int) -> list[dict[str, Any]]:
    """What `dvc exp show --json` prints of the experiments that began from the last commits.

    Args:
        since: the number of commits.

    Raises:
        InputError: `dvc` fails, or does not answer.
    """
    printed = ask_dvc("exp", "show", "--json", "--num", str(since), seconds=_PATIENCE)
    shown: list[dict[str, Any]] = json.loads(printed)
    return shown


def read_runs(
    shown: Sequence[dict[str, Any]], doubted: Callable[[str, Any], str] = doubt
) -> tuple[list[Run], list[str]]:
    """The runs in what `show_experiments` gives, and a line on each that has no scores.

    Equal results count once, and commits only where no experiment of the same code has their
    settings: most often one was applied to them, or they ran with another number of threads. A
    commit counts only if its scores were computed with its own settings and code. The workspace
    does not count: its settings may have been edited since.

    Args:
        doubted: why the scores in a commit, given with its params.yaml, are not its own; "": they
            are.
    """
    runs: list[Run] = []
    without: list[str] = []
    for name, state, commit, data in _entries(shown):
        # an experiment that has not succeeded still has the files of the commit that it began from
        run = _run(name, commit, data) if state in (SUCCESS, COMMITTED) else None
        if run is None:
            if state != COMMITTED:
                without.append(f"{name}: {state.lower()}")
        elif any(_same(run, one, committed=state == COMMITTED) for one in runs):
            continue
        elif why := doubted(commit, _params(data)) if state == COMMITTED else "":
            without.append(f"{name}: {why}")
        else:
            runs.append(run)
    return runs, without


def _same(run: Run, other: Run, *, committed: bool) -> bool:
    """Whether one of both is enough."""
    if run.settings != other.settings or run.code != other.code:
        return False
    return run.scores == other.scores or (committed and run.test == other.test)


def states(shown: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(name, state) of experiments and commits in what `show_experiments` gives."""
    return [(name, state) for name, state, _, _ in _entries(shown)]


def _entries(
    shown: Sequence[dict[str, Any]],
) -> Iterator[tuple[str, str, str, dict[str, Any] | None]]:
    """(name, state, commit, data) of experiments, then of commits."""
    for base in shown:
        for experiment in base["experiments"] or []:
            revision = experiment["revs"][0]
            executor = experiment.get("executor") or {}
            state = str(executor.get("state") or SUCCESS).capitalize()
            broken = revision.get("error") is not None
            name = revision["name"] or revision["rev"][:7]
            state = "Failed" if broken else state
            yield name, state, str(base["rev"]), revision.get("data")
    for base in shown:
        if base["rev"] == "workspace":
            continue
        name = base.get("name") or base["rev"][:9]
        yield name, COMMITTED, str(base["rev"]), base.get("data")


def _params(data: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = (data or {}).get("params", {}).get("params.yaml", {}).get("data") or {}
    return found


def _run(name: str, commit: str, data: dict[str, Any] | None) -> Run | None:
    if data is None:
        return None
    params = _params(data)
    metrics = {Path(file).stem: found.get("data") for file, found in data["metrics"].items()}
    found = {model: metrics[model] for model in MODELS if metrics.get(model)}
    scores = present(found)
    if not params or len(found) < len(MODELS) or "final" not in scores:
        return None
    absent = {model: found[model] for model in found if model not in scores}
    settings = dict(flat(params))
    deps = data.get("deps") or {}
    paths = (settings.get("data.root"), settings.get("split.lists"))
    images = [str(deps.get(path, {}).get("hash")) for path in paths]
    code = recorded_code(deps)
    return Run(name, settings, scores, absent, " ".join(images), code, commit[:7])


def groups(runs: Iterable[Run]) -> list[tuple[str, list[Run]]]:
    """(title, runs by fraction and seed) for each set of other settings, the largest first.

    Runs of one seed that were tested on other images are of different groups, and so are runs of
    other code. The title names the settings, the test images and the commits of the code that are
    not the same in all groups; it is empty for a single one.
    """
    found: list[list[Run]] = []
    # of one data set together: else seeds of two would fit into one table
    for run in _by_images(list(runs)):
        for group in found:
            if (group[0].others, group[0].code) == (run.others, run.code) and all(
                one.test == run.test for one in group if one.settings[SEED] == run.settings[SEED]
            ):
                group.append(run)
                break
        else:
            found.append([run])
    found.sort(key=len, reverse=True)
    keys = sorted({key for group in found for key in group[0].others})
    differing = [
        key
        for key in keys
        if any(g[0].others.get(key) != found[0][0].others.get(key) for g in found)
    ]
    tests = {(group[0].fold, _tested(group)) for group in found}
    several_tests = len(tests) > len({fold for fold, _ in tests})
    several_codes = any(group[0].code != found[0][0].code for group in found)
    return [
        (
            ", ".join(
                [
                    *(f"{key}={group[0].others.get(key)}" for key in differing),
                    *([f"test images: {_tested(group)}"] if several_tests else []),
                    *([_code(group)] if several_codes else []),
                ]
            ),
            sorted(group, key=lambda run: (run.fraction, run.settings[SEED])),
        )
        for group in found
    ]


def _by_images(runs: Sequence[Run]) -> list[Run]:
    """Runs on the same data set together, in the order in which data sets come."""
    order = [run.images for run in runs]
    return sorted(runs, key=lambda run: order.index(run.images))


def _tested(runs: Sequence[Run]) -> str:
    return ", ".join(sorted({run.test or "not known" for run in runs}))


def _code(runs: Sequence[Run]) -> str:
    """The code of a group, by a digest, and the commits that had it or that it was edited from."""
    commits = ", ".join(dict.fromkeys(run.commit for run in runs))
    return f"code {mark(runs[0].code)} ({commits})"


def trained(runs: Iterable[Run]) -> list[str]:
    """The models that any of the runs has scores of, the first trained first."""
    names = {model for run in runs for model in run.scores}
    return [model for model in MODELS if model in names]


def miou_cells(run: Run, models: Sequence[str]) -> list[str]:
    """The mIoU of each model, a dash where the run did not train it."""
    return [miou_cell(run.scores[model]) if model in run.scores else "-" for model in models]


def table(runs: Sequence[Run]) -> str:
    """One row a run, by label fraction: mIoU of each model and the final student's gain.

    Where seeds drew other test images, a column says which. Models that no run trained have no
    column, and without a teacher there is none of gains.
    """
    models = trained(runs)
    gains = TEACHER in models
    several = len({run.settings[SEED] for run in runs}) > 1
    tests = len({run.test for run in runs}) > 1
    header = [
        *["labeled", *(["seed"] if several else []), *(["test images"] if tests else [])],
        *[*models, *(["gain of final"] if gains else []), "experiment"],
    ]
    rows = [
        [
            str(run.fraction),
            *([str(run.settings[SEED])] if several else []),
            *([run.test or "not known"] if tests else []),
            *miou_cells(run, models),
            *([gain_cell(run.scores["final"])] if gains else []),
            run.name,
        ]
        for run in runs
    ]
    return text_table([header, *rows])


def machines(runs: Sequence[Run]) -> Iterator[str]:
    """Which libraries and machines made which runs, where they are not the same for all.

    Two of these give other scores by rounding alone.
    """
    made: dict[str, list[str]] = {}
    for run in runs:
        made.setdefault(run.made_with or "not known", []).append(run.name)
    if len(made) > 1:
        yield "Not all runs were made alike, so that rounding alone sets some apart:"
        yield from (f"- {what}: {', '.join(names)}" for what, names in made.items())


def common_parts(runs: Sequence[Run]) -> Iterator[str]:
    """For each seed whose runs were tested on different images, the table of what all tested.

    Folds of one seed are of different images by design: only runs of the same one are compared.
    """
    tests = {(run.fold, run.test) for run in runs}
    folds = {fold for fold, _ in tests}
    if len(tests) > len(folds):
        yield (
            "Scores on different test images do not compare: these are told by their number and a "
            "digest."
        )
    if len(folds) > 1:
        yield "Each fold has test images of its own: `make folds` pools them."
    for seed, fold in sorted({(run.settings[SEED], run.fold) for run in runs}):
        members = [run for run in runs if (run.settings[SEED], run.fold) == (seed, fold)]
        if len({run.test for run in members}) > 1:
            yield _common_table(f"seed {seed}{fold}", members)


def _common_table(name: str, runs: Sequence[Run]) -> str:
    """mIoU of runs of different test sets on the images of all, or why it is not known."""
    classes = {tuple(run.scores["final"]["iou"]) for run in runs}
    if len(classes) > 1:
        return f"{name}: runs with different classes have nothing in common"
    found, lost = _evaluations(runs)
    if len({run.test for run, _ in found}) < 2:
        return "\n".join([f"{name}: what all {len(runs)} runs tested is not known", *lost])
    number = f"{len(found)} of {len(runs)}" if lost else f"all {len(runs)}"
    common = common_part([evaluation for _, evaluation in found], next(iter(classes)))
    if common is None:
        return "\n".join([f"{name}: no image was tested by {number} runs", *lost])
    rescored = [
        replace(run, scores=common.scores(evaluation, interval_settings(run.settings)))
        for run, evaluation in found
    ]
    strictest = max((run.scores["final"] for run in rescored), key=lambda found: found["few_parts"])
    few = few_parts(strictest)
    fewer = f"* fewer than {strictest['few_parts']} parts of these images show {', '.join(few)}"
    return "\n".join(
        [
            f"{name}, mIoU{'*' if few else ''} on the {common} of {number} runs",
            table(rescored),
            *([fewer] if few else []),
            *(f"undefined: {reason}" for reason in reasons({"final": strictest})),
            *lost,
        ]
    )


def _evaluations(runs: Sequence[Run]) -> tuple[list[tuple[Run, Evaluation]], list[str]]:
    """What each run did on its test images, and a line on each of which that is not known."""
    found, lost = [], []
    for run in runs:
        try:
            found.append((run, evaluation_at(run.name, run.scores)))
        except InputError as error:
            lost.append(f"{run.name}: what it tested is not known ({error})")
    return found, lost


def points(title: str, runs: Sequence[Run]) -> list[Point]:
    """What the plot shows of one group."""
    return [
        Point(
            title,
            run.fraction,
            model,
            run.scores[model]["miou"],
            run.scores[model].get("miou_low"),
            run.scores[model].get("miou_high"),
        )
        for run in runs
        for model in trained([run])
        if run.scores[model]["miou"] is not None
    ]


def write_csv(file: Path, runs: Iterable[Run]) -> None:
    """One row a run and model, for other programs: scores in 0-1."""
    columns = ["experiment", "labeled_fraction", "seed", "model", "miou", "miou_low", "miou_high"]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*columns, "gain", "gain_low", "gain_high", "test_set"])
        for run in runs:
            digest = (test_record(run.scores) or {}).get("digest", "")
            for model, found in run.scores.items():
                numbers = [
                    found.get(key) for key in [*columns[4:], "gain", "gain_low", "gain_high"]
                ]
                row = [run.name, float(run.fraction), run.settings[SEED], model, *numbers, digest]
                writer.writerow([as_cell(it) if isinstance(it, str) else it for it in row])


def compare(out: Path, *, since: int) -> None:
    """Print the tables of the experiments since the last commits; draw them into a folder.

    Args:
        out: folder of scores.csv and miou.png.
        since: the number of commits.

    Raises:
        InputError: no experiment has scores, or `dvc` does not answer.
    """
    runs, without = read_runs(show_experiments(since))
    if not runs:
        waiting = f" ({'; '.join(without)})" if without else ""
        raise InputError(f"no experiment has scores yet{waiting}: `dvc queue status` shows them")
    found = groups(runs)
    print("mIoU on the test set in percent, with intervals over the test images")
    for title, members in found:
        print(f"\n{title}\n{table(members)}" if title else f"\n{table(members)}")
        for line in absences(members[0].absent):
            print(line)
    for said in common_parts(runs):
        print(f"\n{said}")
    if alike := "\n".join(machines(runs)):
        print(f"\n{alike}")
    if without:
        print(f"\nwithout scores: {'; '.join(without)}")
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "scores.csv", [run for _, members in found for run in members])
    plot = fraction_plot([point for title, members in found for point in points(title, members)])
    write_png(out / "miou.png", plot)
    print(f"\n{out}/miou.png, {out}/scores.csv")
