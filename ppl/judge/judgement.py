"""What the models are worth, as one record, and the files that tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.core import processes
from ppl.images.record import SplitRecord
from ppl.images.sets import DatasetInfo, ImageSet, masked_ids, write_json
from ppl.judge.absence import absent_metrics
from ppl.judge.evaluation import (
    FINAL,
    STUDENT_1,
    TEACHER,
    EvaluateSettings,
    PseudoMaskQuality,
    evaluate_models,
    pseudo_mask_metrics,
    pseudo_mask_quality,
    teacher_on_hard_half,
)
from ppl.judge.plots import (
    Row,
    iou_bars,
    pixel_confusion,
    reliability_points,
    reliability_rows,
    verdict_rows,
)
from ppl.labeling.part_agreement import Photos
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.network.network import Origin, SegmentationNetwork
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.counts import ModelResult, write_result
from ppl.scores.metrics import Metrics, metrics_of_models
from ppl.scores.tested import ScoredImages, fingerprint, write_tested
from ppl.scores.verdicts import verdict_scores
from ppl.station.thresholds import Thresholds

RELIABLE_BY_TEACHER = "reliable_by_teacher"
HARD_BY_TEACHER = "hard_by_teacher"
HARD_BY_STUDENT_1 = "hard_by_student_1"


@dataclass(frozen=True)
class JudgeSettings:
    """What the models are judged by."""

    image: ImageSettings
    test_time: TestTimeSettings
    evaluate: EvaluateSettings
    pseudo_label: PseudoLabelSettings
    intervals: IntervalSettings


@dataclass(frozen=True)
class PseudoMasks:
    """The unlabeled images, and the folders of masks that are known of them."""

    unlabeled: ImageSet
    reliable: Path
    """Pseudo-masks of the reliable images, by the teacher; none where there is no teacher."""
    hard: Path
    """Pseudo-masks of the hard images, by student 1; none where there is no student 1."""
    hidden: Path
    """The true masks of those images that have one."""


@dataclass(frozen=True)
class Judgement:
    """All that is known of the models; nothing of it may reach a training."""

    tested: ScoredImages
    """The test images, in the order of the results."""
    results: Mapping[str, ModelResult]
    """What each model did on them."""
    metrics: Mapping[str, Metrics]
    """The scores of each model, ready for JSON."""
    quality: Mapping[str, PseudoMaskQuality]
    """What the pseudo-masks of each half were worth, by who made them; {} where nobody did."""
    thresholds: Thresholds
    """What the final student's verdicts go by."""


def judge_models(
    models: Mapping[str, SegmentationNetwork],
    origins: Mapping[str, Origin],
    test: ImageSet,
    pseudo: PseudoMasks,
    split: SplitRecord,
    info: DatasetInfo,
    settings: JudgeSettings,
    thresholds: Thresholds,
) -> Judgement:
    """Score the models on test, and the pseudo-masks against the hidden labels.

    Of several processes each does its share, and all return the same.

    Args:
        models: teacher, student_1 and final, as far as the method trains them.
        origins: which training the weights of each come from; another than its own is named in
            its metrics as `fallen_back_to`. They name the test set, too, and how many parts with a
            defect test and validation show.
    """
    results = evaluate_models(
        models,
        test,
        len(info.classes),
        settings.image,
        settings.evaluate,
        settings.test_time,
        {FINAL: thresholds},
    )
    quality = _quality(models, pseudo, split, len(info.classes), settings)
    parts = split.part_of(test.ids)
    # resampled by one: the others would only take its processor cores
    metrics = processes.from_first(
        metrics_of_models(
            results,
            parts,
            info.classes,
            settings.intervals,
            false_alarm_rate=settings.evaluate.false_alarm_rate,
            teacher=TEACHER,
        )
        if processes.is_first()
        else {}
    )
    masks = [fingerprint(test.mask(entry), test.image(entry)) for entry in test.entries]
    tested = ScoredImages(test.ids, parts, masks)
    for name, content in metrics.items():
        content["defective_parts"] = {
            "test": _defective_parts(results[name], parts),
            "validation": split.defective_validation_parts,
        }
        content["test_set"] = tested.record
        if origins[name].training != name:
            content["fallen_back_to"] = origins[name].training
    metrics[FINAL]["verdicts"] = verdict_scores(results[FINAL], parts, thresholds)
    return Judgement(tested, results, metrics, quality, thresholds)


def _defective_parts(result: ModelResult, parts: Sequence[str]) -> int:
    """How many parts with a defect the test images show."""
    marked = zip(parts, result.defective.tolist(), strict=True)
    return len({part for part, defective in marked if defective})


def _quality(
    models: Mapping[str, SegmentationNetwork],
    pseudo: PseudoMasks,
    split: SplitRecord,
    classes: int,
    settings: JudgeSettings,
) -> dict[str, PseudoMaskQuality]:
    """What the masks of each half are worth, and what the teacher's of the hard half would be.

    Of the models that are there: who was not trained labeled nothing.
    """
    if TEACHER not in models:
        return {}
    easy = pseudo_mask_quality(pseudo.reliable, pseudo.hidden, classes)
    if STUDENT_1 not in models:
        return {RELIABLE_BY_TEACHER: easy}
    by_student = pseudo_mask_quality(pseudo.hard, pseudo.hidden, classes)
    by_teacher = teacher_on_hard_half(
        models[TEACHER],
        Photos(pseudo.unlabeled, masked_ids(pseudo.hard), split.parts),
        pseudo.hidden,
        classes,
        settings.image,
        settings.pseudo_label,
    )
    return {
        RELIABLE_BY_TEACHER: easy,
        HARD_BY_TEACHER: by_teacher,
        HARD_BY_STUDENT_1: by_student,
    }


NONE_ABSENT: Mapping[str, str] = {}


def write_judgement(
    judged: Judgement,
    reliability: Mapping[str, float],
    info: DatasetInfo,
    absent: Mapping[str, str] = NONE_ABSENT,
    *,
    metrics: Path,
    plots: Path,
    evaluation: Path,
) -> None:
    """Write the scores of each model and of the pseudo-masks, the plots' rows, and the counts.

    Args:
        reliability: of each unlabeled image by id, from the ranking; {} without one.
        absent: why a model is not among those that were judged, by its name; who asks for its
            scores reads that.
        metrics, plots, evaluation: folders; the last gets what folds are pooled from.
    """
    for name, content in judged.metrics.items():
        write_json(metrics / f"{name}.json", content, sort=False)
    for name, why in absent.items():
        write_json(metrics / f"{name}.json", absent_metrics(why))
    of_masks = (
        pseudo_mask_metrics(judged.quality, info)
        if judged.quality
        else absent_metrics(absent[TEACHER])
    )
    write_json(metrics / "pseudo_masks.json", of_masks, sort=False)
    for name, rows in _plot_rows(judged, reliability, info.classes).items():
        write_json(plots / f"{name}.json", rows)
    for name, result in judged.results.items():
        write_result(evaluation / f"{name}.safetensors", result)
    write_tested(evaluation / "images.json", judged.tested)


def _plot_rows(
    judged: Judgement, reliability: Mapping[str, float], classes: Sequence[str]
) -> dict[str, list[Row]]:
    """The rows of each plot by its name."""
    halves = (RELIABLE_BY_TEACHER, HARD_BY_TEACHER)
    easy, hard = (judged.quality[h].miou_of if h in judged.quality else {} for h in halves)
    results = judged.results
    return {
        "iou_per_class": iou_bars({name: r.matrix for name, r in results.items()}, classes),
        "confusion": pixel_confusion(results[FINAL].matrix, classes),
        "reliability": (
            reliability_points(reliability, {**easy, **hard}, set(easy)) if reliability else []
        ),
        "calibration": [
            row for name, r in results.items() for row in reliability_rows(name, r.calibration)
        ],
        "verdicts": verdict_rows(results[FINAL], judged.thresholds),
    }
