"""The scores of several runs on the images that all of them were tested on.

Scores of different test sets do not compare: one image more or a corrected mask moves them, though
no model changed. What each model did on each image is kept in data/evaluation, so the scores on the
common part can be had without predicting anything again.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.settings import check, section
from ppl.images.miou import pooled_miou, rounded
from ppl.judge.absence import present
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.counts import read_result
from ppl.scores.metrics import pixel_metrics
from ppl.scores.tested import ScoredImages, change, read_tested
from ppl.tools.commands import ask_dvc

EVALUATION = Path("data/evaluation")
TEACHER = "teacher"
MODELS = (TEACHER, "student_1", "final")
"""All that have a metrics file; whether a model was trained is for the method to say."""


@dataclass(frozen=True)
class Evaluation:
    """What the models of a run did on its test images."""

    images: ScoredImages
    matrices: Mapping[str, Tensor]
    """Model -> (N, C, C) int64 confusion matrix of each image; of those that were trained."""

    def parts(self, ids: Collection[str]) -> list[str]:
        """The part that each of the images `ids` shows, in the order of their ids."""
        return [self.images.parts[row] for row in self.images.rows(ids).tolist()]


def test_record(metrics: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What a run's metrics say of its test set; None where an earlier version wrote them.

    Those of the copycat say nothing of it: the audit makes them, on the same images.
    """
    record: dict[str, Any] | None = metrics["final"].get("test_set")
    return record


def evaluation_at(revision: str, metrics: Mapping[str, dict[str, Any]]) -> Evaluation:
    """The evaluation of a commit or an experiment, from DVC's cache or remote.

    Raises:
        InputError: neither holds it, or it is not what `metrics` were made of.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "evaluation")
        try:
            ask_dvc("get", ".", EVALUATION, "--rev", revision, "--out", found)
        except InputError as error:
            raise InputError(
                f"no {EVALUATION} of {revision} in DVC's cache or remote: `dvc fetch` brings it "
                f"where it was pushed, a run of that commit makes it anew{_said(error)}"
            ) from error
        return _read(found, metrics, f"{EVALUATION} of {revision}")


_LOST = "failed to load directory"
"""So DVC calls what is in no cache, with the words in which it keeps paths."""


def _said(error: InputError) -> str:
    """What DVC said, but where that is no more than that it has no copy."""
    return "" if _LOST in str(error) else f" ({error})"


def evaluation_here(metrics: Mapping[str, dict[str, Any]]) -> Evaluation:
    """The evaluation of the workspace.

    Raises:
        InputError: it is not there, or it is not what `metrics` were made of.
    """
    if not (EVALUATION / "images.json").is_file():
        raise InputError(f"no {EVALUATION} here: `dvc pull {EVALUATION}` or `dvc repro` brings it")
    try:
        return _read(EVALUATION, metrics, f"{EVALUATION} here")
    except InputError as error:
        raise InputError(f"{error}: run `dvc checkout` or `dvc repro`") from None


def _read(folder: Path, metrics: Mapping[str, dict[str, Any]], name: str) -> Evaluation:
    try:
        images = read_tested(folder / "images.json")
        scored = [model for model in MODELS if model in present(metrics)]
        results = {model: read_result(folder / f"{model}.safetensors") for model in scored}
    except (KeyError, ValueError, FileNotFoundError, SafetensorError):
        raise InputError(f"{name} is not whole, or of an earlier version") from None
    matrices = {model: result.matrices for model, result in results.items()}
    record = test_record(metrics)
    # metrics come with Git and this with DVC: only one of both may have been checked out
    if not (record is None or record == images.record) or any(
        rounded(pooled_miou(of)) != metrics[model]["miou"] for model, of in matrices.items()
    ):
        raise InputError(f"{name} is not what its metrics were made of")
    return Evaluation(images, matrices)


def common_ids(evaluations: Sequence[Evaluation]) -> frozenset[str]:
    """The images that all were tested on, with the same mask; of one or more."""
    images = [evaluation.images for evaluation in evaluations]
    # one that knows no masks agrees with any: the others have to agree among themselves
    kept = (change(one, other).kept for one, other in itertools.combinations(images, 2))
    return frozenset(images[0].ids).intersection(*kept)


@dataclass(frozen=True)
class CommonPart:
    """The images that several runs were all tested on, at least one, and how they are scored."""

    ids: Collection[str]
    parts: Sequence[str]
    """The part that each shows, in the order of their ids."""
    classes: Sequence[str]

    def __str__(self) -> str:
        return f"{_counted(len(self.ids), 'image')} ({_counted(len(set(self.parts)), 'part')})"

    def scores(
        self, run: Evaluation, settings: IntervalSettings, *, over: Evaluation | None = None
    ) -> dict[str, dict[str, Any]]:
        """Model -> its scores here, as metrics/ has those of pixels, intervals among them.

        The gain is over the run's own teacher, or over the same model of another run, `over`: there
        is none where that was not trained. It is resampled as a difference, on the same parts.
        """
        counts = {model: of[run.images.rows(self.ids)] for model, of in run.matrices.items()}
        if over is None:
            teacher = counts.get(TEACHER)
            before = {} if teacher is None else dict.fromkeys(counts.keys() - {TEACHER}, teacher)
        else:
            rows = over.images.rows(self.ids)
            both = counts.keys() & over.matrices.keys()
            before = {model: over.matrices[model][rows] for model in both}
        return {
            model: pixel_metrics(of, self.parts, self.classes, settings, teacher=before.get(model))
            for model, of in counts.items()
        }


def common_part(runs: Sequence[Evaluation], classes: Sequence[str]) -> CommonPart | None:
    """What all `runs`, one or more, were tested on, with the same mask; None where that is nothing.

    Where they know different parts, those of the run that knows the fewest count: what it takes for
    one part is drawn together, so that no interval is too narrow.
    """
    ids = common_ids(runs)
    if not ids:
        return None
    parts = min((run.parts(ids) for run in runs), key=lambda known: len(set(known)))
    return CommonPart(ids, parts, classes)


def interval_settings(settings: Mapping[str, Any]) -> IntervalSettings:
    """Section `intervals` that a run was scored with; that of params.yaml where it has none.

    Args:
        settings: of the run, by dotted key.

    Raises:
        InputError: as `section`.
    """
    known = [key.partition(".") for key in settings if key.startswith("intervals.")]
    own = {key: settings[f"intervals.{key}"] for _, _, key in known}
    with contextlib.suppress(InputError):
        return check("intervals", own, IntervalSettings)
    return section("intervals", IntervalSettings)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
