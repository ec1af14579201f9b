"""Run methods on the same data at equal cost, and say in one table which is better, and how surely.

Each run is an experiment of its own: what methods share is computed once, what ran before is found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.core.settings import check, section
from ppl.data.adapters.base import DataSettings, dataset_info
from ppl.images.miou import pooled_miou, rounded
from ppl.judge.table import percent, text_table
from ppl.methods.choose import NAMES, MethodSettings
from ppl.scores.bootstrap import IntervalSettings, percentile_interval, sum_by_group
from ppl.scores.over_seeds import Side, difference, resampled
from ppl.tools.common_part import Evaluation, evaluation_at
from ppl.tools.compare import SEED
from ppl.tools.cost import Budget, EqualCosts
from ppl.tools.repeat import run_all

OUT = Path("compare/methods.md")

AGAINST = "ppl"
"""What the others are held against."""

NAME = "method.name"


@dataclass(frozen=True)
class Result:
    """What the final models of a method counted, and what it was run with."""

    budget: Budget
    side: Side


def judge_methods(names: Sequence[str], seeds: Sequence[int], *, jobs: int) -> None:
    """Run methods at equal cost with each seed, what is missing of it, and print the table.

    Args:
        names: methods, all unless given; PPL is among them in any case.
        seeds: each draws its own split, weights and order; that of params.yaml unless given.
        jobs: how many experiments run at a time.

    Raises:
        InputError: no such method, or as `EqualCosts` and `run_all`.
    """
    for name in names:
        check("method", {"name": name}, MethodSettings, file=Path("--only"))
    chosen = [name for name in NAMES if not names or name in names or name == AGAINST]
    seeds = list(dict.fromkeys(seeds)) or [section("seed", int)]
    costs = EqualCosts()
    budgets = {name: costs.of(name) for name in chosen}
    print(text_table(budget_rows(budgets)), flush=True)
    variants = [{SEED: seed, **budgets[name].changes} for name in chosen for seed in seeds]
    runs = run_all(variants, jobs)
    results = {}
    for name in chosen:
        of_name = [run for run in runs if run.settings[NAME] == name]
        found = {int(run.settings[SEED]): evaluation_at(run.name, run.scores) for run in of_name}
        results[name] = Result(budgets[name], side_of(found))
    classes = dataset_info(section("data", DataSettings)).classes
    report = methods_report(results, classes, section("intervals", IntervalSettings))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(f"{report}\n", encoding="utf-8", newline="\n")
    print(f"\n{report}\n\n{OUT}")


def side_of(found: Mapping[int, Evaluation]) -> Side:
    """The counts of final models by seed and part."""
    parts = {seed: one.images.parts for seed, one in found.items()}
    return Side(
        {seed: sum_by_group(one.matrices["final"], parts[seed]) for seed, one in found.items()},
        {seed: sorted(set(of)) for seed, of in parts.items()},
    )


def budget_rows(budgets: Mapping[str, Budget]) -> list[list[str]]:
    """A header and a row a method: what it will be run with."""
    rows = [["method", "steps", "passes", "minutes of training, about"]]
    for name, budget in budgets.items():
        steps = " + ".join(f"{count:,}" for count in budget.steps)
        rows.append([name, steps, f"{budget.passes:,.0f}", f"{budget.seconds / 60:.1f}"])
    return rows


def methods_report(
    results: Mapping[str, Result],
    classes: Sequence[str],
    settings: IntervalSettings,
    *,
    timed: bool = True,
) -> str:
    """Markdown: a row a method, seeds pooled, and what its intervals resample.

    Args:
        timed: the times of all methods were taken together, so that they say something.
    """
    header = [
        "method",
        "final mIoU",
        f"- {AGAINST}",
        "by seed",
        *classes,
        "steps",
        "passes",
        *(["minutes"] if timed else []),
    ]
    rows = [header, ["---"] * len(header)]
    for name, result in results.items():
        minutes = [f"{result.budget.seconds / 60:.1f}"] if timed else []
        rows.append([name, *_cells(result, results[AGAINST], settings), *minutes])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    seeds = sorted(results[AGAINST].side.counts)
    parts = len({part for of in results[AGAINST].side.parts.values() for part in of})
    share = f"{100 * settings.confidence:g} %"
    if len(seeds) == 1:
        over = f"seed {seeds[0]}, on {parts} test parts. {share} intervals resample parts alone: "
        over += "one seed is a lead, no claim."
    else:
        over = f"the seeds {', '.join(map(str, seeds))} together, on {parts} test parts. {share} "
        over += "intervals resample seeds and parts. Bold: the interval leaves out 0."
    return (
        f"{table}\n\nmIoU and IoU in percent over {over} Passes: forward passes of the network "
        "over images, a backward pass counted as what it computes"
        + ("; minutes of training by the time of a few steps here." if timed else ".")
    )


def _cells(result: Result, other: Result, settings: IntervalSettings) -> list[str]:
    side, budget = result.side, result.budget
    found = resampled(side, settings.resamples)
    bounds = percentile_interval(found.drawn_miou, settings.confidence)
    gain = "-"
    if result is not other:
        points, drawn = difference(side, other.side, settings.resamples)
        tail = (1 - settings.confidence) / 2
        low, high = (100 * float(drawn.nanquantile(share)) for share in (tail, 1 - tail))
        # of one seed nobody knows what another would give
        sure = "**" if len(side.counts) > 1 and (low > 0 or high < 0) else ""
        gain = f"{sure}{100 * points:+.1f} ({low:+.1f} to {high:+.1f}){sure}"
    each = [percent(pooled_miou(side.counts[seed])) for seed in sorted(side.counts)]
    return [
        f"{percent(found.miou)} ({percent(bounds.low)}-{percent(bounds.high)})",
        gain,
        ", ".join(each),
        *(percent(rounded(iou)) for iou in found.iou.tolist()),
        " + ".join(f"{count:,}" for count in budget.steps),
        f"{budget.passes:,.0f}",
    ]
