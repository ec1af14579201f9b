"""Tries the leads of benchmarks/leads.yaml on several data sets, with a file of counts a run.

    python -m benchmarks.leads run tiles teachers --data MTD --weights FILE --budget 0.25
    python -m benchmarks.leads run strips students --data STRIPS --weights FILE --leads base xor
    python -m benchmarks.leads run generated students
    python -m benchmarks.leads table > docs/leads/tables.md

A lead is screened on teachers alone, where it concerns them, or on students; what helps on two data
sets is worth more seeds, and a third set to confirm it. Every model is asked by each of the looks.
Runs go on where they were interrupted; the table is made of the kept counts alone. Data sets are
those of benchmarks/methods.py, which also makes STRIPS, and the generated pictures of params.yaml.
"""

import argparse
import itertools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.accuracy import (
    ITERATIONS,
    ROOT,
    add_run_arguments,
    by_model,
    changed_params,
    changes_of,
    commits_of,
    gained,
    iterations,
    renewed_clone,
    side_of,
    stop_unless_committed,
    write_counts,
)
from benchmarks.methods import ROW, SETS, TITLES
from ppl.core.errors import InputError
from ppl.core.settings import read_params, section
from ppl.images.confusion import confusion_matrix
from ppl.images.miou import pooled_miou, rounded, shown_iou
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.judge.table import percent
from ppl.network.confidence import likeliest
from ppl.network.network import load_network, pick_device
from ppl.network.predict import TestTimeSettings, predict
from ppl.network.resize import ImageSettings
from ppl.scores.bootstrap import sum_by_group
from ppl.tools.commands import DVC
from ppl.tools.common_part import MODELS

LEADS = ROOT / "benchmarks" / "leads.yaml"
COUNTS = ROOT / "docs" / "leads"
GENERATED = "generated"
KINDS = {"teachers": ("train_supervised", MODELS[:1]), "students": ("retrain_final", MODELS)}
"""The last stage that a lead of each kind needs, and the models that are counted."""

COST, WEIGHTS, SHARES = "cost", "weights", "shares"
"""Of a lead: how many times the base's step one costs; the file of its encoder's weights; of all
steps, those of teacher, student 1 and final student."""

BASE, PLAIN = "base", "plain"
"""What each lead, and each look, is held against."""

Kept = dict[str, dict[str, dict[int, dict[str, Any]]]]
"""Counts by title of the table, lead and seed."""


def read_leads() -> dict[str, dict[str, Any]]:
    """What benchmarks/leads.yaml says: looks, teachers, students."""
    leads: dict[str, dict[str, Any]] = yaml.safe_load(LEADS.read_text(encoding="utf-8"))
    return leads


def run(given: argparse.Namespace) -> None:
    """Run what is not kept yet, seed by seed.

    Raises:
        InputError: no such lead; a data set of files without its folder or weights.
    """
    leads = read_leads()[given.kind]
    if given.set == GENERATED:
        # what a step costs is known of the other base alone
        leads = {name: of for name, of in leads.items() if COST not in of}
    missing = [name for name in given.leads or () if name not in leads]
    if missing:
        raise InputError(f"no lead {missing[0]} of {given.kind}; there are {', '.join(leads)}")
    if given.set != GENERATED and (given.data is None or given.weights is None):
        raise InputError(f"{given.set}: give --data and --weights")
    stop_unless_committed()
    work = given.work.resolve()
    commit = renewed_clone(work)
    stage, models = KINDS[given.kind]
    for seed, name in itertools.product(given.seeds, given.leads or leads):
        file = counts_file(given, name, seed)
        if file.exists():
            continue
        changes, paths = changes_for(given, seed, leads[name])
        (work / "params.yaml").write_text(changed_params(changes | paths, work), encoding="utf-8")
        subprocess.run([*DVC, "repro", stage], cwd=work, check=True)
        settings = changed_params(changes | dict.fromkeys(paths), work)
        found = {"commit": commit, "settings": settings, **counted(work, models)}
        write_counts(file, found)
        scores = (pooled_miou(torch.from_numpy(found[f"{models[-1]}_{x}"])) for x in looks())
        print(file.stem, ", ".join(map(percent, scores)), flush=True)


def changes_for(
    given: argparse.Namespace, seed: int, lead: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What a data set and a lead change in params.yaml, and the paths."""
    own = {"seed": seed, "split.labeled_fraction": given.fraction}
    if given.set == GENERATED:
        params = read_params(ROOT / "params.yaml")
        changes = own | {f"{of}.iterations": params[of]["iterations"] for of in ITERATIONS}
        paths = {}
    else:
        changes = changes_of(ROW) | SETS[given.set] | own
        weights = given.weights.resolve()
        paths = {
            "data.root": str(given.data.resolve()),
            "model.encoder_weights": str(weights.with_name(lead.get(WEIGHTS, weights.name))),
        }
    settings = {key: value for key, value in lead.items() if key not in (COST, WEIGHTS, SHARES)}
    if SHARES in lead:
        keys = [f"{stage}.iterations" for stage in ITERATIONS]
        whole = sum(changes[key] for key in keys)
        changes |= {key: share * whole for key, share in zip(keys, lead[SHARES], strict=True)}
    budget = given.budget / lead.get(COST, 1.0)
    return changes | iterations(changes, budget) | settings, paths


def counts_file(given: argparse.Namespace, name: str, seed: int) -> Path:
    """Where the counts of a run lie."""
    fraction = given.fraction.replace("/", "_")
    start = f"{given.set}-{fraction}-x{given.budget:g}-{given.kind}"
    return COUNTS / f"{start}-{name}-{seed}.npz"


def looks() -> dict[str, TestTimeSettings]:
    """How each model is asked, by name."""
    return {name: TestTimeSettings(**of) for name, of in read_leads()["looks"].items()}


def counted(work: Path, models: tuple[str, ...]) -> dict[str, Any]:
    """MODEL_LOOK: (parts, C, C) counts of each model on test, at the images' own size."""
    info = read_dataset_info(work / "data/prepared/dataset.json")
    test = read_image_set(work / "data/prepared/test")
    image = section("image", ImageSettings, file=work / "params.yaml")
    networks = [load_network(work / "data/models" / model, pick_device()) for model in models]
    matrices: dict[str, list[Tensor]] = defaultdict(list)
    for name, look in looks().items():
        for entry, probabilities in predict(networks, test, image, look, what=name):
            truth = test.mask(entry)
            for model, prob in zip(models, probabilities, strict=True):
                found = confusion_matrix(likeliest(prob).cpu(), truth, len(info.classes))
                matrices[f"{model}_{name}"].append(found)
    parts = read_split_record(work / "data/prepared/split.json").part_of(test.ids)
    sums = {key: sum_by_group(torch.stack(of), parts).numpy() for key, of in matrices.items()}
    return {"parts": np.array(sorted(set(parts))), "classes": info.classes, **sums}


def kept() -> Kept:
    """All runs that were kept."""
    found: Kept = defaultdict(lambda: defaultdict(dict))
    for file in sorted(COUNTS.glob("*.npz")):
        name, fraction, budget, kind, lead, seed = file.stem.split("-")
        title = {**TITLES, GENERATED: "Generated pictures"}[name]
        share = fraction.replace("_", "/")
        with np.load(file, allow_pickle=False) as counts:
            found[f"{title}, {share} of the labels, {budget} the steps, {kind}"][lead][
                int(seed)
            ] = dict(counts)
    return found


def table() -> Iterator[str]:
    """docs/leads/tables.md: for each data set, share of labels, budget and kind that was run."""
    yield "# Leads"
    for title, leads in kept().items():
        yield f"\n## {title}\n"
        classes = next(iter(next(iter(leads.values())).values()))["classes"]
        columns = ["lead", "look", "seeds", "commits", *MODELS, "by seed", "against", "difference"]
        yield f"| {' | '.join([*columns, 'its seeds', *classes])} |"
        yield "|" + "---|" * (len(columns) + 1 + len(classes))
        for lead, look in itertools.product(leads, looks()):
            yield f"| {' | '.join(cells(leads, lead, look))} |"


def cells(leads: Mapping[str, Mapping[int, dict[str, Any]]], lead: str, look: str) -> list[str]:
    """A lead by one look: against the base by the same look, or the base's plain look."""
    of_seed = dict(leads[lead])
    whole = by_model(of_seed, look)
    model = list(whole)[-1]
    last = f"{model}_{look}"
    each = (pooled_miou(torch.from_numpy(of_seed[seed][last])) for seed in sorted(of_seed))
    other, how = (BASE, look) if lead != BASE else (BASE, PLAIN)
    shared = sorted(of_seed.keys() & leads.get(other, {}).keys())
    against = ["-", "-", "-"]
    if shared and (lead, look) != (other, how):
        over = dict(leads[other])
        gain, by_seed = gained(
            side_of(of_seed, shared, last), side_of(over, shared, f"{model}_{how}")
        )
        against = [f"{other}, {how}", gain, by_seed]
    of_classes = shown_iou(whole[model].sum(dim=0))
    return [
        *(lead, look, ", ".join(map(str, sorted(of_seed))), commits_of(of_seed)),
        *(percent(pooled_miou(whole[m])) if m in whole else "-" for m in MODELS),
        *(", ".join(map(percent, each)), *against),
        *(percent(rounded(iou)) for iou in of_classes.tolist()),
    ]


def main() -> None:
    """Run leads or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table")
    one = commands.add_parser("run")
    one.add_argument("set", choices=[*SETS, GENERATED])
    one.add_argument("kind", choices=KINDS)
    one.add_argument("--data", type=Path, help="its folder")
    one.add_argument("--weights", type=Path, help=".safetensors of the encoder")
    one.add_argument("--leads", nargs="+", help="all of the kind without it")
    add_run_arguments(one, "leads", budget="times the steps")
    given = parser.parse_args()
    try:
        if given.command == "run":
            run(given)
        else:
            print("\n".join(table()))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
