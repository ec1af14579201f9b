"""Phase 7: score all three models on test, and the pseudo-masks against the hidden labels.

This is the only module that reads the labels of test or the hidden labels of the unlabeled images.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.bootstrap import percentile_interval, resampled_miou
from ppl.confusion import confusion_matrix, miou
from ppl.image_files import IGNORE, read_mask
from ppl.image_set import DatasetInfo, ImageSet, mask_file, masked_ids
from ppl.inference import TestTimeSettings, predict
from ppl.network import SegmentationNetwork
from ppl.overlays import (
    Candidate,
    choose_examples,
    overlay_name,
    overlay_row,
    write_picture,
)
from ppl.scores import BACKGROUND, DetectionCounts, detection, rounded, scores

TEACHER, STUDENT_1, FINAL = "teacher", "student_1", "final"


class EvaluateSettings(TestTimeSettings):
    """Section `evaluate`."""

    min_defect_fraction: Annotated[float, Field(gt=0, le=1)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    overlays: Annotated[int, Field(ge=0, le=99)]


@dataclass(frozen=True)
class ModelResult:
    """What one model did on a set: (N, C, C) pixel counts, image counts, masks of chosen images."""

    matrices: Tensor
    detected: DetectionCounts
    shown: Mapping[str, Tensor]

    @property
    def matrix(self) -> Tensor:
        """(C, C) counts pooled over the set."""
        return self.matrices.sum(dim=0)


def evaluate_models(
    models: Mapping[str, SegmentationNetwork],
    test: ImageSet,
    classes: int,
    size: tuple[int, int],
    settings: EvaluateSettings,
    shown_ids: list[str],
) -> dict[str, ModelResult]:
    """Predict every test image with every model in one pass and count at the images' own size."""
    matrices = {
        name: torch.zeros((len(test), classes, classes), dtype=torch.int64) for name in models
    }
    detected = {name: DetectionCounts() for name in models}
    shown: dict[str, dict[str, Tensor]] = {name: {} for name in models}
    networks = list(models.values())
    predictions = predict(networks, test, size, settings, what="evaluate")
    for index, (entry, probabilities) in enumerate(predictions):
        truth = test.mask(entry)
        for name, prob in zip(models, probabilities, strict=True):
            predicted = prob.argmax(dim=0).to("cpu", torch.uint8)
            matrices[name][index] = confusion_matrix(predicted, truth, classes)
            detected[name] += detection(
                predicted, truth, min_defect_fraction=settings.min_defect_fraction
            )
            if entry.id in shown_ids:
                shown[name][entry.id] = predicted
    return {name: ModelResult(matrices[name], detected[name], shown[name]) for name in models}


def model_metrics(
    result: ModelResult,
    info: DatasetInfo,
    settings: EvaluateSettings,
    *,
    teacher: ModelResult | None = None,
) -> dict[str, object]:
    """All scores of one model, ready for JSON; null where a score is undefined.

    `low` and `high` bound a bootstrap interval over the test images. The gain over `teacher` is
    resampled as a difference, both models on the same images.
    """
    pooled = scores(result.matrix, info.classes)
    resampled = resampled_miou(result.matrices, settings.resamples)
    bounds = percentile_interval(resampled, settings.confidence)
    found: dict[str, object] = {
        "miou": pooled.pop("miou"),
        "miou_low": bounds.low,
        "miou_high": bounds.high,
    }
    if teacher is not None:
        before = resampled_miou(teacher.matrices, settings.resamples)
        bounds = percentile_interval(resampled - before, settings.confidence)
        found |= {
            "gain": rounded(miou(result.matrix) - miou(teacher.matrix)),
            "gain_low": bounds.low,
            "gain_high": bounds.high,
        }
    return {
        **found,
        **pooled,
        "image_recall": result.detected.image_recall,
        "image_false_alarm_rate": result.detected.image_false_alarm_rate,
    }


@dataclass(frozen=True)
class PseudoMaskQuality:
    """Pooled counts of pseudo-masks against hidden labels, and each image's own mIoU by id."""

    matrix: Tensor
    miou_of: Mapping[str, float]


def compare_with_hidden(
    predictions: Iterable[tuple[str, Tensor]], hidden: Path, classes: int
) -> PseudoMaskQuality:
    """Count (id, (H, W) class indices) pairs against the mask of the same id in `hidden`."""
    matrix = torch.zeros((classes, classes), dtype=torch.int64)
    miou_of = {}
    for id, predicted in predictions:
        one = confusion_matrix(predicted, read_mask(mask_file(hidden, id)), classes)
        matrix += one
        miou_of[id] = miou(one)
    return PseudoMaskQuality(matrix, miou_of)


def pseudo_mask_quality(masks: Path, hidden: Path, classes: int) -> PseudoMaskQuality:
    """Compare the masks in folder `masks` with the hidden labels; those without one are skipped."""
    known = set(masked_ids(hidden))
    both = [id for id in masked_ids(masks) if id in known]
    return compare_with_hidden(
        ((id, read_mask(mask_file(masks, id))) for id in both), hidden, classes
    )


def teacher_on_hard_half(
    teacher: SegmentationNetwork,
    unlabeled: ImageSet,
    hard_masks: Path,
    hidden: Path,
    classes: int,
    size: tuple[int, int],
    test_time: TestTimeSettings,
) -> PseudoMaskQuality:
    """What the teacher's pseudo-masks of the hard half would have been worth."""
    known = set(masked_ids(hidden))
    hard = unlabeled.subset([id for id in masked_ids(hard_masks) if id in known])
    found = predict([teacher], hard, size, test_time, what="hard half by the teacher")
    return compare_with_hidden(
        ((entry.id, prob.argmax(dim=0).to("cpu", torch.uint8)) for entry, [prob] in found),
        hidden,
        classes,
    )


def pseudo_mask_metrics(
    quality: Mapping[str, PseudoMaskQuality], info: DatasetInfo
) -> dict[str, object]:
    """mIoU, IoU per class and number of images of each part; null without hidden labels."""
    result: dict[str, object] = {}
    for part, found in quality.items():
        all_scores = scores(found.matrix, info.classes)
        result[part] = {
            "images": len(found.miou_of),
            "miou": all_scores["miou"],
            "iou": all_scores["iou"],
        }
    return result


def read_reliability(file: Path) -> dict[str, float]:
    """The reliability of each unlabeled image by id, as the ranking wrote it."""
    return {id: float(score) for id, score in json.loads(file.read_text(encoding="utf-8")).items()}


def examples(test: ImageSet, count: int) -> list[str]:
    """The ids of the test images to show; they depend on the labels, never on a prediction."""
    candidates = []
    for entry in test.entries:
        mask = test.mask(entry)
        present = set(mask.flatten().tolist())
        candidates.append(
            Candidate(
                entry.id,
                frozenset(present - {BACKGROUND, IGNORE}),
                int(((mask != BACKGROUND) & (mask != IGNORE)).sum()),
            )
        )
    return choose_examples(candidates, count)


def write_overlays(
    out: Path,
    test: ImageSet,
    shown_ids: list[str],
    results: Mapping[str, ModelResult],
    info: DatasetInfo,
) -> None:
    """Write OUT/overlay_NN.png: image, truth, teacher and final of each chosen test image."""
    out.mkdir(parents=True, exist_ok=True)
    entry_of = {entry.id: entry for entry in test.entries}
    for number, id in enumerate(shown_ids, start=1):
        picture = overlay_row(
            test.image(entry_of[id]),
            test.mask(entry_of[id]),
            results[TEACHER].shown[id],
            results[FINAL].shown[id],
            class_names=info.classes,
            colours=info.colours,
            title=id,
        )
        write_picture(out / overlay_name(number), picture)
