"""Every method of `method.name` on data sets, at equal cost, with a file of counts a run.

    python -m benchmarks.methods strips "SD-saliency-900" STRIPS
    python -m benchmarks.methods run tiles --data MTD --weights FILE --methods ppl cps_cutmix
    python -m benchmarks.methods run strips --data STRIPS --weights FILE --seeds 0 1 2
    python -m benchmarks.methods table > docs/methods/tables.md
    python -m benchmarks.methods cost

`python -m ppl methods` asks the same of your images. This keeps what each final model counted in
docs/methods/, with commit and settings, so that runs of many hours go on where they were
interrupted, on any machine. All runs have the settings of params.yaml, but for network, size, rates
and steps, which are those of benchmarks/accuracy.yaml, vertical flips, and no validation images.
`cost` measures a step of each, a process a method, so that its memory is its own: run it alone.
`strips` writes the 900 steel strips of SD-saliency-900 as the data set `folder` reads them.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.accuracy import (
    INTERVALS,
    ROOT,
    add_run_arguments,
    changed_params,
    changes_of,
    count,
    iterations,
    renewed_clone,
    stop_unless_committed,
)
from ppl.core.errors import InputError
from ppl.core.settings import check, section
from ppl.methods.at_once import SETTINGS
from ppl.methods.choose import NAMES, PHASED
from ppl.scores.over_seeds import Side
from ppl.students.def_up import RetrainSettings
from ppl.tools.commands import DVC
from ppl.tools.cost import FINAL, Budget, Costs, EqualCosts
from ppl.tools.methods import Result, methods_report

COUNTS = ROOT / "docs" / "methods"
ROW = "defaults_relabeled"
"""Of benchmarks/accuracy.yaml: what params.yaml sets, with vertical flips."""

STRIPS = {"In": "inclusion", "Pa": "patch", "Sc": "scratch"}
"""Defect of each strip, by the start of its file's name."""

SETS: dict[str, dict[str, Any]] = {
    "tiles": {"data.name": "magnetic_tile", "split.by": "group"},
    "strips": {
        "data.name": "folder",
        "data.classes": ["background", *STRIPS.values()],
        "data.groups": "none",
        "split.by": "image",
    },
}
TITLES = {"tiles": "Magnetic tiles by part", "strips": "Steel strips (SD-saliency-900)"}


def run(given: argparse.Namespace) -> None:
    """Run what is not kept yet, seed by seed: what methods share is computed once."""
    stop_unless_committed()
    data, weights, work = (path.resolve() for path in (given.data, given.weights, given.work))
    commit = renewed_clone(work)
    for seed, name in itertools.product(given.seeds, given.methods):
        file = counts_file(given, name, seed)
        if file.exists():
            continue
        changes = changes_of(ROW) | SETS[given.set]
        changes |= iterations(changes, given.budget)
        paths = {"data.root": str(data), "model.encoder_weights": str(weights)}
        changes |= {"seed": seed, "split.labeled_fraction": given.fraction}
        budget = equal_cost(work, changes | paths, name)
        changes |= budget.changes
        (work / "params.yaml").write_text(changed_params(changes | paths, work), encoding="utf-8")
        subprocess.run([*DVC, "repro", "retrain_final"], cwd=work, check=True)
        settings = changed_params(changes | dict.fromkeys(paths), work)
        said = {"commit": commit, "settings": settings, "budget": written(budget)}
        count(work, ["final"], file, said)


def counts_file(given: argparse.Namespace, name: str, seed: int) -> Path:
    """Where the counts of a run lie."""
    fraction = given.fraction.replace("/", "_")
    return COUNTS / f"{given.set}-{fraction}-x{given.budget:g}-{name}-{seed}.npz"


def equal_cost(work: Path, changes: dict[str, Any], name: str) -> Budget:
    """What a method takes at the cost of PPL with these settings, in the project at `work`."""
    (work / "params.yaml").write_text(changed_params(changes, work), encoding="utf-8")
    subprocess.run([*DVC, "repro", "prepare"], cwd=work, check=True)
    with inside(work):
        return EqualCosts().of(name)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In this working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def written(budget: Budget) -> str:
    """A budget as text."""
    return json.dumps([dict(budget.changes), list(budget.steps), budget.passes, budget.seconds])


def table() -> Iterator[str]:
    """docs/methods/tables.md: for each data set, share of labels and budget that was run.

    All methods over the seeds that they share, then those that have all seeds of PPL.
    """
    yield "# Methods at equal cost"
    found: dict[str, dict[str, dict[int, Any]]] = defaultdict(lambda: defaultdict(dict))
    for file in sorted(COUNTS.glob("*.npz")):
        name, fraction, budget, method, seed = file.stem.split("-")
        title = f"{TITLES[name]}, {fraction.replace('_', '/')} of the labels, {budget} the steps"
        with np.load(file, allow_pickle=False) as counts:
            found[title][method][int(seed)] = dict(counts)
    for title, methods in found.items():
        yield f"\n## {title}"
        of_ppl = set(methods.get("ppl", ()))
        shared = of_ppl.intersection(*methods.values())
        if not shared:
            yield "\nno seed was run with all of these methods"
        for seeds in filter(None, [shared, of_ppl - shared and of_ppl]):
            chosen = [name for name in NAMES if seeds <= methods.get(name, {}).keys()]
            if len(chosen) > 1:
                classes = methods["ppl"][min(seeds)]["classes"].tolist()
                results = {name: result(methods[name], seeds) for name in chosen}
                yield ""
                # each run was timed beside whatever else went on
                report = methods_report(results, classes, INTERVALS, timed=False)
                for line in report.splitlines():
                    yield line if line.startswith("|") else textwrap.fill(line, 100)


def result(of_seed: dict[int, Any], seeds: set[int]) -> Result:
    """A method's final models on the test sets of these seeds, at the images' own size."""
    budget = Budget(*json.loads(str(of_seed[min(seeds)]["budget"])))
    return Result(
        budget,
        Side(
            {seed: torch.from_numpy(of_seed[seed]["final_own"]) for seed in seeds},
            {seed: of_seed[seed]["parts"].tolist() for seed in seeds},
        ),
    )


def cost() -> Iterator[str]:
    """Markdown: what a step of each method costs here, at 128 px, with the benchmark's network."""
    yield "| method | images a step | passes | s | of the bare step's rate of passes | MiB |"
    yield "|---|---|---|---|---|---|"
    changes = changes_of(ROW) | SETS["tiles"]
    bare = 0.0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "params.yaml").write_text(changed_params(changes), encoding="utf-8")
        for name in ("supervised", *(name for name in NAMES if name != "supervised")):
            command = [sys.executable, "-m", "benchmarks.methods", "cost_of", name]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                command, cwd=folder, env=environment, check=True, capture_output=True, text=True
            )
            images, passes, seconds, mib = json.loads(done.stdout)
            bare = bare or passes / seconds
            share = f"{100 * passes / seconds / bare:.0f} %"
            yield f"| {name} | {images} | {passes:.1f} | {seconds:.2f} | {share} | {mib:,.0f} |"


def cost_of(name: str) -> list[float]:
    """Images, passes and seconds of a step of the last training, and the most memory, MiB."""
    costs = Costs()
    if name in PHASED:
        budget = section(FINAL, RetrainSettings)
        found = costs.student(FINAL, def_up=PHASED[name].final == "def_up")
        images = budget.batch
    else:
        settings = check(name, section(name, dict), SETTINGS[name])
        found = costs.once(name, settings)
        images = settings.labeled_batch + settings.unlabeled_images
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [images, found.passes, found.seconds, peak]


def write_strips(source: Path, target: Path) -> int:
    """Images as they are, and masks whose values are classes; returns how many."""
    files = sorted((source / "Source Images").glob("*.bmp"))
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for file in files:
        value = 1 + list(STRIPS).index(file.stem.split("_")[0])
        with Image.open(source / "Ground truth" / f"{file.stem}.png") as opened:
            mask = np.asarray(opened.convert("L")) >= 128
        Image.fromarray(mask.astype(np.uint8) * np.uint8(value)).save(
            target / "masks" / f"{file.stem}.png"
        )
        (target / "images" / file.name).write_bytes(file.read_bytes())
    return len(files)


def main() -> None:
    """Convert, run or print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table")
    commands.add_parser("cost")
    commands.add_parser("cost_of").add_argument("name", choices=NAMES)
    converted = commands.add_parser("strips")
    converted.add_argument("source", type=Path)
    converted.add_argument("target", type=Path)
    one = commands.add_parser("run")
    one.add_argument("set", choices=SETS)
    one.add_argument("--data", type=Path, required=True, help="its folder")
    one.add_argument("--weights", type=Path, required=True, help=".safetensors of the encoder")
    one.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    add_run_arguments(one, "methods", budget="times PPL's 3,126 steps")
    given = parser.parse_args()
    try:
        if given.command == "run":
            run(given)
        elif given.command == "strips":
            print(f"{write_strips(given.source, given.target)} strips in {given.target}")
        elif given.command == "cost_of":
            print(json.dumps(cost_of(given.name)))
        else:
            for line in cost() if given.command == "cost" else table():
                print(line, flush=True)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
