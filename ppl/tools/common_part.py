"""The scores of several runs on the images that all of them were tested on.

Scores of different test sets do not compare: one image more or a corrected mask moves them, though
no model changed. What each model did on each image is kept in data/evaluation, so the scores on the
common part can be had without predicting anything again.
"""

import itertools
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.miou import mean_iou, rounded, shown_iou
from ppl.scores.bootstrap import sum_by_group
from ppl.scores.counts import read_result
from ppl.scores.tested import ScoredImages, change, read_tested
from ppl.tools.commands import ask_dvc

EVALUATION = Path("data/evaluation")
MODELS = ("teacher", "student_1", "final")

Numbers = dict[str, float | None]
"""mIoU and IoU by class, 0-1, by the name of a table's row."""


@dataclass(frozen=True)
class Evaluation:
    """What the models of a run did on its test images."""

    images: ScoredImages
    matrices: Mapping[str, Tensor]
    """Model -> (N, C, C) int64 confusion matrix of each image."""


def test_record(metrics: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What a run's metrics say of its test set; None where an earlier version wrote them."""
    record: dict[str, Any] | None = metrics["final"].get("test_set")
    return record


def evaluation_at(revision: str, metrics: Mapping[str, dict[str, Any]]) -> Evaluation:
    """The evaluation of a commit or an experiment, from DVC's cache or remote.

    Raises:
        InputError: neither holds it, or it is not what `metrics` were made of.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "evaluation")
        ask_dvc("get", ".", EVALUATION, "--rev", revision, "--out", found)
        return _read(found, metrics)


def evaluation_here(metrics: Mapping[str, dict[str, Any]]) -> Evaluation:
    """The evaluation of the workspace.

    Raises:
        InputError: it is not there, or it is not what `metrics` were made of.
    """
    if not (EVALUATION / "images.json").is_file():
        raise InputError(f"no {EVALUATION} here: `dvc pull {EVALUATION}` or `dvc repro` brings it")
    return _read(EVALUATION, metrics)


def _read(folder: Path, metrics: Mapping[str, dict[str, Any]]) -> Evaluation:
    images = read_tested(folder / "images.json")
    record = test_record(metrics)
    if record is not None and record != images.record:
        raise InputError(f"{EVALUATION} is of another run than the metrics: run `dvc repro`")
    results = {model: read_result(folder / f"{model}.safetensors") for model in MODELS}
    return Evaluation(images, {model: result.matrices for model, result in results.items()})


def common_ids(evaluations: Sequence[Evaluation]) -> frozenset[str]:
    """The images that all were tested on, with the same mask; of one or more."""
    images = [evaluation.images for evaluation in evaluations]
    # one that knows no masks agrees with any: the others have to agree among themselves
    kept = (change(one, other).kept for one, other in itertools.combinations(images, 2))
    return frozenset(images[0].ids).intersection(*kept)


def numbers_on(
    evaluation: Evaluation, ids: Collection[str], classes: Sequence[str]
) -> dict[str, Numbers]:
    """Model -> its scores on the images `ids`, pooled."""
    rows = evaluation.images.rows(ids)
    found = {}
    for model, matrices in evaluation.matrices.items():
        iou = shown_iou(matrices[rows].sum(dim=0))
        by_class = map(rounded, iou.tolist())
        found[model] = {
            "mIoU": rounded(float(mean_iou(iou))),
            **dict(zip(classes, by_class, strict=True)),
        }
    return found


def parts_on(
    evaluation: Evaluation, ids: Collection[str], classes: Sequence[str]
) -> dict[str, int]:
    """How many parts among the images `ids` show each class."""
    rows = evaluation.images.rows(ids)
    parts = [evaluation.images.parts[row] for row in rows.tolist()]
    by_part = sum_by_group(evaluation.matrices["final"][rows], parts)
    return dict(zip(classes, (by_part.sum(dim=2) > 0).sum(dim=0).tolist(), strict=True))
