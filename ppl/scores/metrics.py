"""The scores of a model as they go to metrics/: with their intervals, null where undefined."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ppl.images.miou import BACKGROUND, mean_iou, pooled_miou, rounded
from ppl.scores.bootstrap import IntervalSettings, percentile_interval, resampled_iou, sum_by_group
from ppl.scores.calibration import expected_calibration_error
from ppl.scores.counts import ModelResult
from ppl.scores.defects import defect_scores
from ppl.scores.image_detection import detection_scores
from ppl.scores.pixels import NO_DEFECT, scores

Metrics = dict[str, object]

_NEED_DEFECTS = (
    "miou",
    "image_auroc",
    "image_average_precision",
    "image_miss_rate",
    "image_recall",
    "image_false_alarm_rate",
    "defect_recall",
)
"""Scores that a test set without any defect, or without any sound image, leaves undefined."""


def pixel_metrics(
    matrices: Tensor,
    groups: Sequence[str],
    class_names: Sequence[str],
    settings: IntervalSettings,
    *,
    teacher: Tensor | None = None,
) -> Metrics:
    """Scores of the pixels of N images, ready for JSON; values in 0-1.

    `low` and `high` bound a bootstrap interval over the groups of images. The gain over `teacher`
    is resampled as a difference, both models on the same groups. `parts` counts the groups that
    show a class.

    Args:
        matrices: (N, C, C) int64 confusion matrix of each image.
        groups: the part that each image shows.
        teacher: the same of the teacher, on the same images.
    """
    by_group = sum_by_group(matrices, groups)
    resampled = resampled_iou(by_group, settings.resamples)
    pooled = scores(matrices.sum(dim=0), class_names)
    bounds = percentile_interval(mean_iou(resampled), settings.confidence)
    found: Metrics = {
        "miou": pooled.pop("miou"),
        "miou_low": bounds.low,
        "miou_high": bounds.high,
    }
    if teacher is not None:
        before = resampled_iou(sum_by_group(teacher, groups), settings.resamples)
        bounds = percentile_interval(mean_iou(resampled) - mean_iou(before), settings.confidence)
        found |= {
            "gain": rounded(pooled_miou(matrices) - pooled_miou(teacher)),
            "gain_low": bounds.low,
            "gain_high": bounds.high,
        }
    by_class = [percentile_interval(iou, settings.confidence) for iou in resampled.T]
    parts = (by_group.sum(dim=2) > 0).sum(dim=0).tolist()
    return {
        **found,
        "pixel_accuracy": pooled.pop("pixel_accuracy"),
        "iou": pooled.pop("iou"),
        "iou_low": {name: b.low for name, b in zip(class_names, by_class, strict=True)},
        "iou_high": {name: b.high for name, b in zip(class_names, by_class, strict=True)},
        **pooled,
        "parts": dict(zip(class_names, parts, strict=True)),
        "few_parts": settings.few_parts,
        **({} if any(parts[BACKGROUND + 1 :]) else {"undefined": {"miou": NO_DEFECT}}),
    }


def model_metrics(
    result: ModelResult,
    groups: Sequence[str],
    class_names: Sequence[str],
    settings: IntervalSettings,
    *,
    false_alarm_rate: float,
    teacher: ModelResult | None = None,
) -> Metrics:
    """All scores of one model: pixels, whole images, single defects, and the worth of confidence.

    `image_miss_rate` holds where at most `false_alarm_rate` (0-1) of the sound images are called.
    `undefined` says why a score is null.
    """
    detected = detection_scores(
        result.evidence, result.defective, false_alarm_rate=false_alarm_rate
    )
    calibration = result.calibration
    pixels = pixel_metrics(
        result.matrices,
        groups,
        class_names,
        settings,
        teacher=None if teacher is None else teacher.matrices,
    )
    pixels.pop("undefined", None)
    found: Metrics = {
        **pixels,
        "image_auroc": detected.auroc,
        "image_average_precision": detected.average_precision,
        "image_miss_rate": detected.miss_rate,
        "image_recall": result.called.image_recall,
        "image_false_alarm_rate": result.called.image_false_alarm_rate,
        **defect_scores(result.defects, class_names),
        "calibration_error": rounded(expected_calibration_error(calibration)),
        "calibration_error_of_defects": rounded(
            expected_calibration_error(calibration.predicted_defect)
        ),
    }
    why = dict.fromkeys(_NEED_DEFECTS, detected.reason or NO_DEFECT) | {
        "calibration_error_of_defects": "no pixel is predicted as a defect"
    }
    undefined = {key: reason for key, reason in why.items() if found[key] is None}
    return {**found, **({"undefined": undefined} if undefined else {})}


def metrics_of_models(
    results: Mapping[str, ModelResult],
    groups: Sequence[str],
    class_names: Sequence[str],
    settings: IntervalSettings,
    *,
    false_alarm_rate: float,
    teacher: str,
) -> dict[str, Metrics]:
    """The scores of each model on the same images.

    Args:
        teacher: the model over which the others have a gain; none has one where it is not there.
    """
    return {
        name: model_metrics(
            result,
            groups,
            class_names,
            settings,
            false_alarm_rate=false_alarm_rate,
            teacher=None if name == teacher else results.get(teacher),
        )
        for name, result in results.items()
    }
