"""Phase 7: score the models on test, and the pseudo-masks against the hidden labels.

Nothing else reads the hidden labels of the unlabeled images, and only the audit's copycat
(ppl/judge/leakage.py) the labels of test.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.images.confusion import confusion_matrix
from ppl.images.files import read_mask
from ppl.images.miou import BACKGROUND, miou
from ppl.images.pictures import IGNORE
from ppl.images.sets import DatasetInfo, ImageSet, mask_file, masked_ids
from ppl.judge.overlays import (
    Candidate,
    choose_examples,
    overlay_name,
    overlay_row,
    write_picture,
)
from ppl.labeling.part_agreement import Photos
from ppl.labeling.pseudo_masks import PseudoLabelSettings, pseudo_masks
from ppl.network.confidence import likeliest
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import PLAIN, TestTimeSettings, predict
from ppl.network.resize import ImageSettings
from ppl.scores.calibration import CalibrationBins, calibration_bins
from ppl.scores.counts import ModelResult, pooled
from ppl.scores.defects import DefectCounts, defect_counts
from ppl.scores.image_detection import DetectionCounts, detection, evidence
from ppl.scores.pixels import scores
from ppl.station.defects import find_defects, score_of
from ppl.station.thresholds import Thresholds

TEACHER, STUDENT_1, FINAL = "teacher", "student_1", "final"

NO_VERDICTS: Mapping[str, Thresholds] = {}


class EvaluateSettings(Settings):
    """Section `evaluate`."""

    min_defect_fraction: Annotated[float, Field(gt=0, le=1)]
    false_alarm_rate: Annotated[float, Field(ge=0, lt=1)]
    defect_overlap: Annotated[float, Field(gt=0, le=1)]
    overlays: Annotated[int, Field(ge=0, le=99)]
    extremes: Annotated[int, Field(ge=0, le=9)]


def evaluate_models(
    models: Mapping[str, SegmentationNetwork],
    test: ImageSet,
    classes: int,
    image: ImageSettings,
    settings: EvaluateSettings,
    test_time: TestTimeSettings = PLAIN,
    thresholds: Mapping[str, Thresholds] = NO_VERDICTS,
) -> dict[str, ModelResult]:
    """Predict every test image with every model in one pass and count at the images' own size.

    Of several processes each counts its share, and all return the counts of all.

    Args:
        thresholds: what a model's verdicts go by, where it gives some, by its name.
    """
    own = processes.own(len(test))
    share = replace(test, entries=test.entries[own.start : own.stop])
    counts = {name: _Counts(len(share), classes, thresholds.get(name)) for name in models}
    defective = torch.zeros(len(share), dtype=torch.bool)
    predictions = predict(list(models.values()), share, image, test_time, what="evaluate")
    for index, (entry, probabilities) in enumerate(predictions):
        truth = share.mask(entry)
        defective[index] = bool(((truth != BACKGROUND) & (truth != IGNORE)).any())
        for found, prob in zip(counts.values(), probabilities, strict=True):
            found.add(index, prob, truth, settings)
    results = {name: found.result(defective) for name, found in counts.items()}
    parts = processes.gathered(results)
    return {name: pooled([part[name] for part in parts]) for name in models}


class _Counts:
    """What `evaluate_models` gathers of one model, image by image."""

    def __init__(self, images: int, classes: int, thresholds: Thresholds | None) -> None:
        self.classes = classes
        self.thresholds = thresholds
        self.matrices = torch.zeros((images, classes, classes), dtype=torch.int64)
        self.evidence = torch.full((images,), torch.nan, dtype=torch.float64)
        self.score = torch.full((images,), torch.nan, dtype=torch.float64)
        self.called = DetectionCounts()
        self.defects = DefectCounts.nothing(classes)
        self.calibration = CalibrationBins.nothing(classes)

    def add(self, index: int, prob: Tensor, truth: Tensor, settings: EvaluateSettings) -> None:
        predicted = likeliest(prob).to("cpu", torch.uint8)
        defect_prob = 1 - prob[BACKGROUND].cpu()
        fraction = settings.min_defect_fraction
        self.matrices[index] = confusion_matrix(predicted, truth, self.classes)
        self.evidence[index] = evidence(defect_prob, truth, min_defect_fraction=fraction)
        self.called += detection(predicted, truth, min_defect_fraction=fraction)
        self.defects += defect_counts(
            predicted, truth, self.classes, min_overlap=settings.defect_overlap
        )
        self.calibration += calibration_bins(prob, truth)
        if self.thresholds is not None:
            found = find_defects(prob.cpu().numpy(), predicted.numpy(), self.thresholds)
            self.score[index] = score_of(found)

    def result(self, defective: Tensor) -> ModelResult:
        return ModelResult(
            self.matrices,
            self.evidence,
            defective,
            self.called,
            self.defects,
            self.calibration,
            self.score,
        )


@dataclass(frozen=True)
class PseudoMaskQuality:
    """Pooled counts of pseudo-masks against hidden labels, and each image's own mIoU by id."""

    matrix: Tensor
    miou_of: Mapping[str, float]


def compare_with_hidden(
    predictions: Iterable[tuple[str, Tensor]], hidden: Path, classes: int
) -> PseudoMaskQuality:
    """Count (id, (H, W) class indices or 255) pairs against the mask of the same id in `hidden`.

    Of several processes each gives the pairs of its share, and all return the counts of all.
    """
    matrix = torch.zeros((classes, classes), dtype=torch.int64)
    miou_of = {}
    for id, predicted in predictions:
        # a pixel that no pseudo-mask decides teaches nothing, neither right nor wrong
        undecided = predicted == IGNORE
        truth = read_mask(mask_file(hidden, id)).masked_fill(undecided, IGNORE)
        one = confusion_matrix(predicted.masked_fill(undecided, 0), truth, classes)
        matrix += one
        miou_of[id] = miou(one)
    parts = processes.gathered(PseudoMaskQuality(matrix, miou_of))
    return PseudoMaskQuality(
        torch.stack([part.matrix for part in parts]).sum(dim=0),
        {id: value for part in parts for id, value in part.miou_of.items()},
    )


def pseudo_mask_quality(masks: Path, hidden: Path, classes: int) -> PseudoMaskQuality:
    """Compare the masks in folder `masks` with the hidden labels; those without one are skipped."""
    known = set(masked_ids(hidden))
    both = [id for id in masked_ids(masks) if id in known]
    return compare_with_hidden(
        ((id, read_mask(mask_file(masks, id))) for id in processes.every(both)), hidden, classes
    )


def teacher_on_hard_half(
    teacher: SegmentationNetwork,
    hard: Photos,
    hidden: Path,
    classes: int,
    image: ImageSettings,
    settings: PseudoLabelSettings,
) -> PseudoMaskQuality:
    """What the teacher's pseudo-masks of the hard half would have been worth.

    They are made as student 1's were: with the same votes, and as many pixels left out.
    """
    known = set(masked_ids(hidden)).intersection(hard.chosen)
    what = "hard half by the teacher"
    masks = pseudo_masks(teacher, hard, image, settings, what=what, wanted=known)
    return compare_with_hidden(((entry.id, mask) for entry, mask in masks), hidden, classes)


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


def pictures(test: ImageSet, final: ModelResult, settings: EvaluateSettings) -> dict[str, str]:
    """The file name of each picture to draw, with the id of the test image that it shows.

    Args:
        final: what the final model did on the test images.
    """
    shown = {
        overlay_name(number): id
        for number, id in enumerate(examples(test, settings.overlays), start=1)
    }
    for kind, ids in extremes(final, test.ids, settings.extremes).items():
        shown |= {f"{kind}_{number}.png": id for number, id in enumerate(ids, start=1)}
    return shown


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


def extremes(result: ModelResult, ids: Sequence[str], count: int) -> dict[str, list[str]]:
    """Ids of the defective images that a model does best, middling and worst on, `count` each.

    By the mIoU of each image; sound images count where no image is defective. None is named twice.
    """
    judged = result.defective if bool(result.defective.any()) else ~result.defective
    quality = [(miou(matrix), id) for matrix, id in zip(result.matrices, ids, strict=True)]
    order = [id for _, id in sorted(q for q, j in zip(quality, judged, strict=True) if j)]
    count = min(count, len(order) // 3)
    middle = (len(order) - count) // 2
    return {
        "best": order[len(order) - count :][::-1],
        "median": order[middle : middle + count],
        "worst": order[:count],
    }


def write_overlays(
    out: Path,
    test: ImageSet,
    id_of: Mapping[str, str],
    models: Mapping[str, SegmentationNetwork],
    image: ImageSettings,
    test_time: TestTimeSettings,
    info: DatasetInfo,
) -> None:
    """Write OUT/NAME for each file name of `id_of`: image, truth, teacher if any, and final.

    The few images are predicted again: holding the masks of all would take memory without bound.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown = test.subset(sorted(set(id_of.values())))
    drawn = {name: models[name] for name in (TEACHER, FINAL) if name in models}
    found = {
        entry.id: (entry, [likeliest(prob).cpu() for prob in probabilities])
        for entry, probabilities in predict(
            list(drawn.values()), shown, image, test_time, what="pictures"
        )
    }
    for name, id in id_of.items():
        entry, masks = found[id]
        picture = overlay_row(
            test.image(entry),
            test.mask(entry),
            dict(zip(drawn, masks, strict=True)),
            class_names=info.classes,
            colours=info.colours,
            title=id,
        )
        write_picture(out / name, picture)
