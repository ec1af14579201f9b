"""Rows for the plots that DVC draws with the templates in .dvc/plots/.

Each function gives a list of flat rows with equal keys, ready for JSON. Classes and models come in
the order given, and the templates keep it.
"""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ppl.images.miou import rounded, shown_iou
from ppl.scores.calibration import CalibrationBins
from ppl.scores.counts import ModelResult
from ppl.scores.verdicts import rates_above
from ppl.station.thresholds import Thresholds

Row = dict[str, str | int | float | None]

RELIABLE, HARD = "reliable", "hard"


def iou_bars(matrices: Mapping[str, Tensor], class_names: Sequence[str]) -> list[Row]:
    """Rows {model, class, iou} from each model's (C, C) confusion matrix.

    `iou` lies in 0-1 and is None for a class that the truth does not show.
    """
    return [
        {"model": model, "class": name, "iou": rounded(iou)}
        for model, matrix in matrices.items()
        for name, iou in zip(class_names, shown_iou(matrix).tolist(), strict=True)
    ]


def pixel_confusion(matrix: Tensor, class_names: Sequence[str]) -> list[Row]:
    """Rows {actual, predicted, pixels, share} from a (C, C) confusion matrix.

    `pixels` is a count; `share` is that count in 0-1 of all pixels that are `actual`, and None
    where there is no such pixel.
    """
    shares = matrix.double() / matrix.sum(1, keepdim=True)
    return [
        {
            "actual": actual,
            "predicted": predicted,
            "pixels": int(matrix[row, column]),
            "share": rounded(float(shares[row, column])),
        }
        for row, actual in enumerate(class_names)
        for column, predicted in enumerate(class_names)
    ]


def reliability_points(
    reliability: Mapping[str, float], miou_true: Mapping[str, float], reliable_ids: Collection[str]
) -> list[Row]:
    """Rows {id, reliability, miou_true, half}, one an image in `miou_true`, sorted by id.

    `reliability` is the score of the ranking, `miou_true` in 0-1 is how good the pseudo-mask of
    that image really is, and `half` says where the ranking put the image: reliable or hard. Most
    unlabeled images have no label at all, not even a hidden one: they have no true quality.
    """
    assert miou_true.keys() <= reliability.keys(), "qualities of images that were not ranked"
    reliable = set(reliable_ids)
    return [
        {
            "id": id,
            "reliability": rounded(reliability[id]),
            "miou_true": rounded(miou_true[id]),
            "half": RELIABLE if id in reliable else HARD,
        }
        for id in sorted(miou_true)
    ]


def reliability_rows(model: str, bins: CalibrationBins) -> list[Row]:
    """Rows {model, confidence, accuracy, pixels, share} of a reliability diagram, one a bin.

    `confidence` is the bin's mean and `accuracy` its share of right pixels; `share`, also in 0-1,
    is how much of all pixels it holds. Empty bins are left out.
    """
    pixels = bins.pixels.sum(0)
    confidence, accuracy = bins.confidence.sum(0) / pixels, bins.right.sum(0).double() / pixels
    share = pixels.double() / pixels.sum()
    return [
        {
            "model": model,
            "confidence": rounded(float(confidence[index])),
            "accuracy": rounded(float(accuracy[index])),
            "pixels": int(pixels[index]),
            "share": rounded(float(share[index])),
        }
        for index in pixels.nonzero().flatten().tolist()
    ]


def verdict_rows(result: ModelResult, thresholds: Thresholds) -> list[Row]:
    """Rows {point, threshold, false_alarms, miss_rate} of the images: a curve, the chosen point.

    `point` is "any threshold" or "chosen". None without a sound or a defective image.
    """
    candidates = sorted({0.0, 1.0, *result.score[~result.score.isnan()].tolist()})
    points = [("any threshold", each) for each in candidates] + [("chosen", thresholds.score)]
    rows: list[Row] = []
    for point, score in points:
        rates = rates_above(result, score)
        if rates.false_alarms is None or rates.miss_rate is None:
            return []
        rows.append(
            {
                "point": point,
                "threshold": rounded(score),
                "false_alarms": rates.false_alarms,
                "miss_rate": rates.miss_rate,
            }
        )
    return rows
