"""What it is worth to review a hundred masks: annotate a little, train, review, train again.

    python -m benchmarks.review_worth run --data MAGNETIC_TILE --weights FILE --seeds 0 1 2
    python -m benchmarks.review_worth table

The magnetic tiles play a factory: test is a fifth of the parts, a sixteenth of the other images has
a mask, all others come without. After the first run a script reviews the head of the list that
`annotate_next` leaves. It knows the hidden masks and decides as a person would, through the code of
the page:

sound      where the tile has no defect
right      where each class that is drawn or true overlaps by `GOOD`
corrected  else, by the true mask, as with the brush; `wrong` of a reviewer who takes no brush

Two data sets are trained on again: after a yes or a no alone, and after corrections too. Test is
the same in all three. The counts of each run lie in docs/accuracy/review/.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import accuracy
from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.data.held import Held, write_held
from ppl.images.miou import pooled_miou, shown_iou
from ppl.images.record import read_split_record
from ppl.images.sets import ImageSet, mask_file, read_dataset_info, read_image_set
from ppl.judge.table import percent
from ppl.review.decisions import CORRECTED, RIGHT, SOUND, WRONG
from ppl.review.items import to_annotate
from ppl.review.pictures import read_indices
from ppl.review.review import Home, Review
from ppl.scores.over_seeds import Side
from ppl.tools.commands import DVC
from ppl.tools.common_part import MODELS

KEPT = accuracy.COUNTS / "review"
ROW = "defaults_relabeled"
GOOD = 0.7
"""IoU from which on a reviewer lets a mask pass."""

RUNS = ("before", "yes_or_no", "corrected")


@dataclass(frozen=True)
class Truth:
    """The tiles with all their masks, of which the factory sees few."""

    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    parts: Mapping[str, str]
    test: Sequence[str]
    labeled: Sequence[str]
    classes: Sequence[str]
    colours: Any


def truth_of(work: Path, root: Path) -> Truth:
    """What `prepare` made of the published data: image sets, parts, who is tested and labeled.

    Masks are copied to `root`, for the next `prepare` hides nothing.
    """
    shutil.rmtree(root, ignore_errors=True)
    prepared = work / "data/prepared"
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    sets: dict[str, ImageSet] = {
        name: read_image_set(prepared / name) for name in ("labeled", "unlabeled", "test")
    }
    for name, found in sets.items():
        folder = prepared / ("hidden" if name == "unlabeled" else name)
        for entry in found.entries:
            images[entry.id] = found.image_file(entry)
            masks[entry.id] = mask_file(root, entry.id)
            _copy(mask_file(folder / "masks", entry.id), masks[entry.id])
    record = read_split_record(prepared / "split.json")
    info = read_dataset_info(prepared / "dataset.json")
    ids = list(images)
    parts = dict(zip(ids, record.part_of(ids), strict=True))
    test, labeled = sets["test"].ids, sets["labeled"].ids
    return Truth(images, masks, parts, test, labeled, info.classes, info.colours)


def factory(root: Path, truth: Truth) -> None:
    """The data as a factory has them: `folder`, with the masks of test and of the labeled alone."""
    shutil.rmtree(root.parent, ignore_errors=True)
    for id, file in truth.images.items():
        _copy(file, root / "images" / f"{id}{file.suffix}")
    for id in (*truth.test, *truth.labeled):
        _copy(truth.masks[id], root / "masks" / f"{id}.png")
    with (root / "groups.csv").open("w", encoding="utf-8", newline="") as stream:
        cells = [tuple(map(as_cell, pair)) for pair in sorted(truth.parts.items())]
        table = csv.writer(stream, lineterminator="\n")
        table.writerows([("image", "group"), *cells])
    lists = root.with_name("lists")
    lists.mkdir(exist_ok=True)
    write_held(lists, Held("", frozenset(truth.test), frozenset(truth.labeled)))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def review_as_a_person(work: Path, root: Path, truth: Truth, count: int, *, brush: bool) -> Any:
    """Decide on the head of the list through the page's own code; how many of which decision."""
    listed = to_annotate("next", folder=work)
    review = Review(listed, Home(root / "review", root / "corrected"), "script")
    made: Counter[str] = Counter()
    for item in listed.items[:count]:
        true = read_indices(truth.masks[item.id])
        decision = judged(read_indices(item.source), true)
        if decision == CORRECTED and not brush:
            decision = WRONG
        drawn = true.tobytes() if decision == CORRECTED else None
        review.decide(item, decision, review.state(item).seen, drawn)
        made[decision] += 1
    return dict(made)


def judged(mask_HW: NDArray[np.uint8], true_HW: NDArray[np.uint8]) -> str:
    """What a person who knows the truth says of a mask."""
    if not (true_HW > 0).any():
        return SOUND
    for index in np.union1d(mask_HW, true_HW):
        if index:
            one, other = mask_HW == index, true_HW == index
            if (one & other).sum() < GOOD * (one | other).sum():
                return CORRECTED
    return RIGHT


def run(given: argparse.Namespace) -> None:
    """All that is missing; a line a run when it is done."""
    for name in ("data", "weights", "work"):
        setattr(given, name, getattr(given, name).resolve())
    work: Path = given.work
    commit = accuracy.renewed_clone(work)
    for seed in given.seeds:
        if all(counts_file(name, seed).exists() for name in given.runs):
            continue
        published = accuracy.changes_of(ROW) | {
            "seed": seed,
            "data.root": str(given.data),
            "split.by": "group",
            "split.labeled_fraction": given.fraction,
            "model.encoder_weights": str(given.weights),
            "annotate_next.count": given.count,
        }
        published |= accuracy.iterations(published, given.budget)
        _repro(work, published, "prepare")
        truth = truth_of(work, work / ".scratch" / "truth")
        # outside, where DVC looks at it
        root = work.with_name(f"{work.name}_factory") / "data"
        factory(root, truth)
        own = published | {
            "data.name": "folder",
            "data.root": str(root),
            "data.classes": list(truth.classes),
            "data.groups": "own",
            "split.lists": str(root.with_name("lists")),
            "split.labeled_fraction": 1,
        }
        for name in given.runs:
            said = {"commit": commit, "count": given.count}
            if name != "before":
                _repro(work, own, "annotate_next")
                decisions = review_as_a_person(
                    work, root, truth, given.count, brush=name == "corrected"
                )
                said["decisions"] = str(decisions)
                print(f"seed {seed}, {name}: {decisions}", flush=True)
            _repro(work, own, "retrain_final")
            count(work, truth, counts_file(name, seed), said)
            for place in ("review", "corrected"):
                shutil.rmtree(root / place, ignore_errors=True)


def _repro(work: Path, changes: dict[str, Any], stage: str) -> None:
    (work / "params.yaml").write_text(accuracy.changed_params(changes, work), encoding="utf-8")
    subprocess.run([*DVC, "repro", stage], cwd=work, check=True, stdout=sys.stderr)


def counts_file(name: str, seed: int) -> Path:
    """Where the counts of a run lie."""
    return KEPT / f"{name}-{seed}.npz"


def count(work: Path, truth: Truth, file: Path, said: dict[str, Any]) -> None:
    """As of `accuracy`; stops if the test images are not those of the factory."""
    test = read_image_set(work / "data/prepared/test")
    if sorted(test.ids) != sorted(truth.test):
        raise InputError("test is not as it was: the runs cannot be compared")
    accuracy.count(work, MODELS, file, said)


def table() -> Iterator[str]:
    """Markdown: mIoU of teacher and final, and the gain over `before` with its interval."""
    runs = {name: {s: _read(counts_file(name, s)) for s in _seeds(name)} for name in RUNS}
    classes = runs["before"][min(runs["before"])]["classes"].tolist()
    head = ["run", "seeds", "teacher", "final", "by seed", "final - before", *classes]
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for name, of_seed in runs.items():
        found = list(of_seed.values())
        if not found:
            continue
        teacher, final = (_pooled(found, f"{model}_own") for model in ("teacher", "final"))
        each = [percent(pooled_miou(torch.from_numpy(one["final_own"]))) for one in found]
        gain = "-" if name == "before" else _gain(found, [runs["before"][s] for s in of_seed])
        cells = [
            ", ".join(map(str, of_seed)),
            percent(pooled_miou(teacher)),
            percent(pooled_miou(final)),
            ", ".join(each),
            gain,
        ]
        cells += [percent(iou) for iou in shown_iou(final.sum(dim=0)).tolist()]
        yield f"| {name} | {' | '.join(cells)} |"


def _seeds(name: str) -> list[int]:
    return sorted(int(file.stem.rpartition("-")[2]) for file in KEPT.glob(f"{name}-*.npz"))


def _read(file: Path) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as counts:
        return dict(counts)


def _pooled(found: Sequence[Mapping[str, Any]], key: str) -> Tensor:
    return torch.cat([torch.from_numpy(one[key]) for one in found])


def _gain(found: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> str:
    """Points of mIoU of the final students; the interval resamples seeds and test parts."""
    sides = [
        Side(
            {seed: torch.from_numpy(one["final_own"]) for seed, one in enumerate(of)},
            {seed: one["parts"].tolist() for seed, one in enumerate(of)},
        )
        for of in (found, before)
    ]
    gain, low, high = accuracy.over_seeds_and_parts(*sides)
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table")
    one = commands.add_parser("run")
    one.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS, help="`before` is the first")
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("--data", type=Path, required=True, help="the magnetic tiles' folder")
    one.add_argument("--weights", type=Path, required=True, help=".safetensors of the encoder")
    one.add_argument("--fraction", default="1/16", help="of the masks that the factory has")
    one.add_argument("--count", type=int, default=100, help="masks that are reviewed")
    one.add_argument("--budget", type=float, default=0.25, help="times the rows' iterations")
    one.add_argument("--work", type=Path, default=accuracy.ROOT / ".scratch" / "review_worth")
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
