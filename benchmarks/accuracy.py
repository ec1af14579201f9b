"""Runs the pipeline row by row of benchmarks/accuracy.yaml and keeps what each model counted.

    python -m benchmarks.accuracy run paper pasted --seeds 0 1 --data DIR --weights FILE
    python -m benchmarks.accuracy table > docs/accuracy/tables.md
    python -m benchmarks.accuracy claims
    python -m benchmarks.accuracy plot PNG from_labeler

A row has all changes of the rows above it: so each shows what one remedy does. A variant has those
of all rows and its own, and is compared with the last row; of a teacher it is that row's final
student. Runs go on where they were interrupted, and share the stages that they have in common. The
counts of each run lie in docs/accuracy/, of another network than base's in a folder of its name,
with commit and settings; the tables are made of them alone, and so is the plot of one row over
budgets. A run that is kept is not run again, also at another commit: where code has changed a row,
the table says that teachers with equal settings differ, or that commits do.

Two scores of every model: at the images' own size, and at the network's: what it says there,
against the resized mask, as published comparisons do (at 512 pixels). With `--split lists` the test
images are the same for all seeds; with `group` each seed draws its own parts. Seeds are pooled as
if they were one test set; intervals resample seeds and parts. One seed has no interval.

Two runs at once, each with a `--work` of its own and OMP_NUM_THREADS=1, take less time on some
machines with two cores than one after the other, several times as long on others: compare their
steps/s first.
"""

import argparse
import functools
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.images.confusion import confusion_matrix
from ppl.images.miou import pooled_miou, shown_iou
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.judge.table import percent
from ppl.network.confidence import likeliest
from ppl.network.network import load_network, pick_device
from ppl.network.predict import PLAIN, at_own_size, average_softmax, predict, views_of
from ppl.network.resize import ImageSettings, resize_mask
from ppl.scores.bootstrap import IntervalSettings, percentile_interval, sum_by_group
from ppl.scores.over_seeds import Side, difference, resampled
from ppl.tools.commands import DVC, ask_git
from ppl.tools.common_part import MODELS
from ppl.tools.fraction_plot import Point, fraction_plot, write_png

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "accuracy.yaml"
COUNTS = ROOT / "docs" / "accuracy"
SCORES = {"own": "at the images' own size", "resized": "resized"}
INTERVALS = IntervalSettings(confidence=0.95, resamples=2000, few_parts=10)
COUNTS_FILE = "*-*-x*-*-*.npz"
TITLE = """# Accuracy: what each run counted
Printed by `python -m benchmarks.accuracy table`; one section a folder of counts. Set-ups and rows:
[setups.md](setups.md); what follows of it: [accuracy.md](../accuracy.md).

mIoU and IoU in percent, all seeds together; differences in points, with paired 95 % intervals that
resample seeds and parts. Bold: the interval leaves zero out. A row of one seed is a lead. Where
only a teacher was trained, it stands for the final student."""
COLUMNS = (
    *("row", "seeds", "commits", *MODELS, "final by seed", "final - teacher", "by seed"),
    *("against", "final - its final", "by seed"),
)
ITERATIONS = ("train_supervised", "retrain_reliable", "retrain_final")
SETTINGS_FROM = ("params.yaml", "presets", "benchmarks/accuracy.yaml", "benchmarks/leads.yaml")
PATHS = ("data.root", "model.encoder_weights", "split.lists")
STUDENTS_ONLY = (
    "ranking",
    "pseudo_label",
    "cutmix",
    "mean_teacher",
    "retrain_reliable",
    "retrain_final",
)
"""Sections that no teacher depends on."""


@dataclass(frozen=True)
class Setup:
    """What the runs of one table share; `budget` multiplies the rows' iterations."""

    split: str
    labeled: Fraction
    budget: Fraction

    def __str__(self) -> str:
        """As a table's title says it."""
        return f"{self.split}, {self.labeled} of the labels, {self.budget} of the steps"


# counts of each set-up, row and seed
Kept = dict[Setup, dict[str, dict[int, dict[str, Any]]]]


def preset(name: str) -> dict[str, Any]:
    """The changes of presets/NAME."""
    words = shlex.split((ROOT / "presets" / name).read_text(encoding="utf-8"))[1::2]
    pairs = (word.split("=", 1) for word in words)
    return {key: yaml.safe_load(value) for key, value in pairs}


def read_plan() -> dict[str, dict[str, Any]]:
    """What benchmarks/accuracy.yaml says: base, networks, rows, variants and teachers."""
    plan: dict[str, dict[str, Any]] = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    return plan


def changes_of(row: str, network: str | None = None) -> dict[str, Any]:
    """All that a row changes in params.yaml, with a network of accuracy.yaml in place of base's.

    Raises:
        InputError: there is no such row.
    """
    plan = read_plan()
    own = plan["networks"][network] if network else {}
    changes: dict[str, Any] = plan["base"] | own | preset("paper")
    for name, more in plan["rows"].items():
        changes |= more
        if name == row:
            return changes
    apart = plan["variants"] | plan["teachers"]
    if row in apart:
        return changes | dict(apart[row])
    raise InputError(f"no row {row}; there are {', '.join([*plan['rows'], *apart])}")


def changed_params(changes: dict[str, Any], work: Path = ROOT) -> str:
    """The params.yaml that is committed in the project at `work`, changed.

    A run of hours goes on with the settings that its clone knows, whatever is edited meanwhile.
    """
    params = yaml.safe_load(ask_git("-C", work, "show", "HEAD:params.yaml"))
    for key, value in changes.items():
        name, _, setting = key.partition(".")
        if setting:
            params[name][setting] = value
        else:
            params[name] = value
    return yaml.safe_dump(params, sort_keys=False)


def iterations(changes: dict[str, Any], budget: float) -> dict[str, int]:
    """Of each training at so many times the steps; together they are as many times their sum.

    So all rows of a table take as many steps, however those of one training are rounded.
    """
    whole = {f"{stage}.iterations": changes[f"{stage}.iterations"] for stage in ITERATIONS}
    *first, last = whole
    found = {key: max(1, round(budget * whole[key])) for key in first}
    left = round(budget * sum(whole.values())) - sum(found.values())
    return found | {last: max(1, left)}


def same_teacher(row: str, other: str) -> bool:
    """Whether the teachers of two rows differ in no setting that they depend on."""
    one, two = (
        {
            key: value
            for key, value in changes.items()
            if key.split(".")[0] not in STUDENTS_ONLY
            and (changes["strong_augment.of_labeled"] or not key.startswith("strong_augment"))
        }
        for changes in map(changes_of, (row, other))
    )
    return one == two


def run(given: argparse.Namespace) -> None:
    """Run what is missing; one line a model when a run is done.

    Raises:
        InputError: no such row; a network that starts pretrained, and no weights for it; no folder
            of lists to split by; settings here that are not committed, so that the commit which
            the counts name would not give them again.
    """
    for row in given.rows:
        if "model.encoder_weights" not in changes_of(row, given.network) and given.weights is None:
            raise InputError("this network starts pretrained: give --weights")
    if given.split == "lists" and given.lists is None:
        raise InputError("--split lists: give --lists")
    stop_unless_committed()
    for name in ("data", "lists", "weights", "work"):
        path = getattr(given, name)
        setattr(given, name, path and path.resolve())
    work: Path = given.work
    commit = renewed_clone(work)
    for seed in given.seeds:
        for row in given.rows:
            file = counts_file(given, row, seed)
            if file.exists():
                continue
            changes = changes_of(row, given.network) | {
                "seed": seed,
                "data.root": str(given.data),
                "split.by": given.split,
                "split.labeled_fraction": given.fraction,
            }
            if given.split == "lists":
                changes["split.lists"] = str(given.lists)
            changes.setdefault("model.encoder_weights", str(given.weights))
            changes |= iterations(changes, given.budget)
            (work / "params.yaml").write_text(changed_params(changes, work), encoding="utf-8")
            teacher_alone = row in read_plan()["teachers"]
            stage = "train_supervised" if teacher_alone else "retrain_final"
            subprocess.run([*DVC, "repro", stage], cwd=work, check=True)
            settings = changed_params(changes | dict.fromkeys(PATHS), work)
            said = {"commit": commit, "settings": settings}
            count(work, MODELS[:1] if teacher_alone else MODELS, file, said)


def add_run_arguments(run: argparse.ArgumentParser, name: str, *, budget: str) -> None:
    """What the runs of every benchmark of scores take.

    Args:
        name: of the folder of their clone.
        budget: what theirs multiplies, for the help.
    """
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.add_argument("--fraction", default="1/8")
    run.add_argument("--budget", type=float, default=1.0, help=budget)
    run.add_argument(
        "--work",
        type=Path,
        default=ROOT / ".scratch" / name,
        help="a clone for these runs alone: what is changed in it is lost",
    )


def stop_unless_committed() -> None:
    """A clone has what is committed alone.

    Raises:
        InputError: names the files that settings come from and that were edited since.
    """
    changed = ask_git("-C", ROOT, "status", "--porcelain", *SETTINGS_FROM)
    if changed:
        raise InputError(f"commit what the runs' settings are made of first:\n{changed.rstrip()}")


def renewed_clone(work: Path) -> str:
    """A clone of this project at `work`, as it is committed now; returns the short revision."""
    if not work.exists():
        ask_git("clone", "-q", ROOT, work)
    ask_git("-C", work, "checkout", "-q", "--", ".")
    ask_git("-C", work, "pull", "-q")
    return ask_git("-C", work, "rev-parse", "--short", "HEAD").strip()


def counts_file(given: argparse.Namespace, row: str, seed: int) -> Path:
    """Where the counts of a run lie."""
    fraction = given.fraction.replace("/", "_")
    folder = COUNTS / given.network if given.network else COUNTS
    return folder / f"{given.split}-{fraction}-x{given.budget:g}-{row}-{seed}.npz"


def count(work: Path, models: Sequence[str], file: Path, said: dict[str, Any]) -> None:
    """Score the models of the workspace on its test images; keep that, and what else is `said`."""
    info = read_dataset_info(work / "data/prepared/dataset.json")
    test = read_image_set(work / "data/prepared/test")
    image = section("image", ImageSettings, file=work / "params.yaml")
    networks = [load_network(work / "data/models" / model, pick_device()) for model in models]
    found: dict[str, list[Tensor]] = {f"{m}_{s}": [] for m in models for s in SCORES}
    for entry, probabilities in predict(networks, test, image, what="count"):
        mask = test.mask(entry)
        small = resize_mask(mask, image.size)
        views = [views_of(test.image(entry), image, PLAIN)]
        for model, network, prob in zip(models, networks, probabilities, strict=True):
            # what the network itself says of a whole image, not resized there and back
            whole = image.fit == "whole"
            direct = average_softmax(network, views, image.size, PLAIN)[0] if whole else None
            shrunk = at_own_size(prob, image.size) if direct is None else direct
            for name, at, truth in (("own", prob, mask), ("resized", shrunk, small)):
                matrix = confusion_matrix(likeliest(at).cpu(), truth, len(info.classes))
                found[f"{model}_{name}"].append(matrix)
    parts = read_split_record(work / "data/prepared/split.json").part_of(test.ids)
    names = np.array(sorted(set(parts)))
    sums = {key: sum_by_group(torch.stack(one), parts).numpy() for key, one in found.items()}
    said = {"parts": names, "classes": info.classes, **said}
    write_counts(file, said | sums)
    for model in models:
        mious = [pooled_miou(torch.from_numpy(sums[f"{model}_{score}"])) for score in SCORES]
        print(
            f"{file.stem} {model}: "
            + ", ".join(
                f"{percent(miou)} {how}" for miou, how in zip(mious, SCORES.values(), strict=True)
            ),
            flush=True,
        )


def write_counts(file: Path, found: dict[str, Any]) -> None:
    """All of it or nothing: a file that is there is of a whole run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".half")
    with half.open("wb") as stream:
        np.savez_compressed(stream, **found)
    half.replace(file)


def kept(folder: Path) -> Kept:
    """The counts of all runs that were kept in a folder."""
    found: Kept = defaultdict(lambda: defaultdict(dict))
    for file in sorted(folder.glob(COUNTS_FILE)):
        split, labeled, budget, row, seed = file.stem.split("-")
        setup = Setup(
            split, Fraction(labeled.replace("_", "/")), Fraction(budget.removeprefix("x"))
        )
        with np.load(file, allow_pickle=False) as counts:
            found[setup][row][int(seed)] = dict(counts)
    return found


def tables() -> Iterator[str]:
    """docs/accuracy/tables.md: what each folder of counts holds."""
    yield TITLE
    for folder in sorted({file.parent for file in COUNTS.rglob(COUNTS_FILE)}):
        yield f"\n## {'accuracy' if folder == COUNTS else folder.name}"
        yield from table(kept(folder))


def tables_of(folder: Path) -> Iterator[str]:
    """The tables of one folder.

    Raises:
        InputError: it holds no counts.
    """
    found = kept(folder)
    if not found:
        raise InputError(f"no counts in {folder}: give one that holds {COUNTS_FILE}, or none")
    return table(found)


def table(found: Kept) -> Iterator[str]:
    """Markdown: of each set-up and score a row for each row of accuracy.yaml that was run."""
    plan = read_plan()
    order = [*plan["rows"], *plan["variants"], *plan["teachers"]]
    last_row = list(plan["rows"])[-1]
    for setup, rows in found.items():
        classes = next(iter(next(iter(rows.values())).values()))["classes"].tolist()
        for score in SCORES:
            before: str | None = None
            yield f"\n**{setup}**, {SCORES[score]}\n"
            yield f"| {' | '.join([*COLUMNS, *classes])} |"
            yield "|" + "---|" * (len(COLUMNS) + len(classes))
            for row in sorted(rows, key=order.index):
                if row not in plan["rows"]:
                    before = last_row if last_row in rows else None
                yield f"| {' | '.join(cells(rows, row, before, score))} |"
                before = row


def cells(
    rows: dict[str, dict[int, dict[str, Any]]], row: str, before: str | None, score: str
) -> list[str]:
    """One row of the table: scores of all seeds together, what each model gains."""
    of_seed, seeds = rows[row], sorted(rows[row])
    found = by_model(of_seed, score)
    mious = [percent(pooled_miou(found[m])) if m in found else "-" for m in MODELS]
    best = "final" if "final" in found else "teacher"
    gain = by_itself = "-"
    if best == "final":
        gain, by_itself = gained(
            side_of(of_seed, seeds, f"final_{score}"), side_of(of_seed, seeds, f"teacher_{score}")
        )
    above = ["-", "-", "-"]
    shared = [seed for seed in seeds if before is not None and seed in rows[before]]
    if before is not None and shared:
        more, by_seed = gained(
            side_of(of_seed, shared, f"{best}_{score}"),
            side_of(rows[before], shared, f"final_{score}"),
        )
        more += other_code(rows, row, before, shared, f"teacher_{score}")
        above = [before, more, by_seed]
    each = (pooled_miou(pooled(of_seed, [seed], f"{best}_{score}")) for seed in seeds)
    return [
        *(row, ", ".join(map(str, seeds)), commits_of(of_seed), *mious),
        *(", ".join(map(percent, each)), gain, by_itself, *above),
        *(percent(iou) for iou in shown_iou(found[best].sum(dim=0)).tolist()),
    ]


def gained(model: Side, other: Side) -> tuple[str, str]:
    """Points of mIoU between two models, and those of each seed.

    Of several seeds with an interval over seeds and parts, bold where it leaves zero out. One seed
    is a lead: without an interval, since it cannot know what another seed would give.

    Raises:
        InputError: the two were not counted on the same test images.
    """
    for seed in model.counts.keys() & other.counts.keys():
        if not torch.equal(model.counts[seed].sum(dim=2), other.counts[seed].sum(dim=2)):
            raise InputError("two runs to be compared were counted on other test images")
    points, low, high = over_seeds_and_parts(model, other)
    if len(model.counts) == 1:
        return f"{points:+.1f}, one seed", "-"
    each = (
        100 * (pooled_miou(model.counts[seed]) - pooled_miou(other.counts[seed]))
        for seed in sorted(model.counts)
    )
    sure = "**" if low > 0 or high < 0 else ""
    interval = f"{sure}{points:+.1f} ({low:+.1f} to {high:+.1f}){sure}"
    return interval, ", ".join(f"{of:+.1f}" for of in each)


def other_code(
    rows: dict[str, dict[int, dict[str, Any]]],
    row: str,
    before: str,
    seeds: Sequence[int],
    key: str,
) -> str:
    """What to say where two rows were counted at commits between which code may have changed.

    Teachers with equal settings tell it: equal counts (`key`) are of equal code. Where settings of
    teachers differ nothing tells it.
    """
    one, two = rows[row], rows[before]
    if not same_teacher(row, before):
        apart = any(one[seed]["commit"] != two[seed]["commit"] for seed in seeds)
        return "; other commits" if apart else ""
    moved = [seed for seed in seeds if not np.array_equal(one[seed][key], two[seed][key])]
    return f"; teacher of other code: seed {', '.join(map(str, moved))}" if moved else ""


def commits_of(of_seed: dict[int, dict[str, Any]]) -> str:
    """At which commits a row's seeds were counted."""
    return ", ".join(dict.fromkeys(str(of_seed[seed]["commit"]) for seed in sorted(of_seed)))


def by_model(of_seed: dict[int, dict[str, Any]], score: str) -> dict[str, Tensor]:
    """(parts of all seeds, C, C) of each model that a row trained."""
    seeds = sorted(of_seed)
    keys = {model: f"{model}_{score}" for model in MODELS}
    return {m: pooled(of_seed, seeds, key) for m, key in keys.items() if key in of_seed[seeds[0]]}


def pooled(of_seed: dict[int, dict[str, Any]], seeds: Sequence[int], key: str) -> Tensor:
    """(parts of all seeds, C, C)."""
    return torch.cat([torch.from_numpy(of_seed[seed][key]) for seed in seeds])


def side_of(of_seed: dict[int, dict[str, Any]], seeds: Sequence[int], key: str) -> Side:
    """What one model of a row counted with these seeds."""
    return Side(
        {seed: torch.from_numpy(of_seed[seed][key]) for seed in seeds},
        {seed: of_seed[seed]["parts"].tolist() for seed in seeds},
    )


def over_seeds_and_parts(model: Side, other: Side) -> tuple[float, float, float]:
    """Points of mIoU between two models, and the bounds of its interval over seeds and parts.

    Raises:
        InputError: as `difference`.
    """
    gain, drawn = difference(model, other, INTERVALS.resamples)
    low, high = np.nanquantile(drawn.numpy(), (0.025, 0.975))
    return 100 * gain, 100 * float(low), 100 * float(high)


def claims() -> Iterator[str]:
    """Markdown: each claim of accuracy.yaml with its interval, single seeds beside it."""
    folders = functools.cache(kept)
    yield "| claim | set-up | points | by seed | commits |"
    yield "|---|---|---|---|---|"
    for name, said in read_plan()["claims"].items():
        split, labeled, budget, score = said["setup"]
        setup = Setup(split, Fraction(str(labeled)), Fraction(str(budget)))
        before = Setup(
            split,
            Fraction(str(said.get("labels", labeled))),
            Fraction(str(said.get("from", budget))),
        )
        model, commits = side(folders, setup, said["of"], score)
        other, of_other = side(folders, before, said["over"], score)
        cells = [
            name,
            f"{split}, {labeled}, x{budget}, {score}",
            *gained(model, other),
            commits if commits == of_other else f"{commits} against {of_other}",
        ]
        yield f"| {' | '.join(cells)} |"


def side(folders: Callable[[Path], Kept], setup: Setup, words: str, score: str) -> tuple[Side, str]:
    """One side of a claim, FOLDER/ROW MODEL, and its commits.

    Args:
        folders: what was kept in a folder.

    Raises:
        InputError: no run of it was kept.
    """
    where, model = words.split()
    folder, _, row = where.rpartition("/")
    of_seed = folders(COUNTS / folder).get(setup, {}).get(row)
    if not of_seed:
        raise InputError(f"no run of {where} was kept for {setup}")
    return side_of(of_seed, sorted(of_seed), f"{model}_{score}"), commits_of(of_seed)


def budget_points(found: Kept, row: str) -> list[Point]:
    """The scores of a row's models over the budgets, seeds pooled: a panel a split and score."""
    points = []
    for score in SCORES:
        for setup, rows in found.items():
            if row not in rows:
                continue
            of_seed = rows[row]
            panel = f"{setup.split}, {setup.labeled} of the labels, {SCORES[score]}"
            for model in by_model(of_seed, score):
                side = side_of(of_seed, sorted(of_seed), f"{model}_{score}")
                points.append(Point(panel, setup.budget, model, *bounds_of(side)))
    return points


def bounds_of(side: Side) -> tuple[float, float | None, float | None]:
    """mIoU of all seeds together (0-1), and its interval over seeds and parts; none of one seed."""
    found = resampled(side, INTERVALS.resamples)
    if len(side.counts) == 1:
        return found.miou, None, None
    bounds = percentile_interval(found.drawn_miou, INTERVALS.confidence)
    return found.miou, bounds.low, bounds.high


def plot(given: argparse.Namespace) -> None:
    """Draw a row's models over the budgets.

    Raises:
        InputError: no run of it was kept.
    """
    points = budget_points(kept(COUNTS), given.row)
    if not points:
        raise InputError(f"no run of {given.row} was kept in {COUNTS}")
    base = read_plan()["base"]
    steps = " + ".join(f"{base[f'{stage}.iterations']:,}" for stage in ITERATIONS)
    write_png(given.png, fraction_plot(points, of=f"times {steps} iterations"))


def main() -> None:
    """Run rows, print the table or draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("table")
    shown.add_argument("counts", type=Path, nargs="?", help="a folder of kept counts, else all")
    commands.add_parser("claims")
    drawn = commands.add_parser("plot")
    drawn.add_argument("png", type=Path)
    drawn.add_argument("row")
    one = commands.add_parser("run")
    one.add_argument("rows", nargs="+")
    one.add_argument("--data", type=Path, required=True, help="the magnetic tiles' folder")
    one.add_argument("--lists", type=Path, help="folder with labeled.txt, unlabeled.txt, val.txt")
    one.add_argument("--weights", type=Path, help=".safetensors of the encoder, where pretrained")
    one.add_argument("--network", choices=read_plan()["networks"], help="in place of base's")
    one.add_argument("--split", choices=["lists", "group"], default="group")
    add_run_arguments(one, "accuracy", budget="times the rows' iterations")
    given = parser.parse_args()
    try:
        if given.command == "run":
            run(given)
        elif given.command == "plot":
            plot(given)
        elif given.command == "claims":
            print("\n".join(claims()))
        else:
            print("\n".join(tables_of(given.counts) if given.counts else tables()))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
