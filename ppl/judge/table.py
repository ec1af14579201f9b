"""The scores of the models as a table to print."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.judge.absence import absences, is_absent, present

_COUNTS = {
    "image_auroc": "image AUROC",
    "image_miss_rate": "image miss rate",
    "image_recall": "image recall",
    "image_false_alarm_rate": "image false alarms",
    "defect_recall": "defect recall",
    "false_alarms_per_image": "alarms per 100 images",
    "calibration_error": "calibration error",
}


def score_table(scores_of: Mapping[str, dict[str, Any]]) -> str:
    """Two tables with a row a model, in percent: pixels with intervals, and what a factory counts.

    A class that few test parts show is marked by a star. Where few parts of test or validation
    show a defect at all, a line says so, and another why a model has no scores.
    """
    absent, whole = absences(scores_of), scores_of
    scores_of = present(whole)
    if not scores_of:
        return "\n".join(absent)
    tables = [text_table(pixel_rows(whole))]
    first = next(iter(scores_of.values()))
    if few_parts(first):
        tables.append(f"* fewer than {first['few_parts']} test parts show it")
    tables += next(filter(None, map(few_defective, scores_of.values())), [])
    counts = factory_rows(scores_of)
    if len(counts) > 1:
        tables += ["", text_table(counts)]
    notes = [
        *absent,
        *(f"{name}: {other} in its place (fall_back)" for name, other in stand_ins(scores_of)),
        *(f"undefined: {reason}" for reason in reasons(scores_of)),
    ]
    return "\n".join([*tables, *notes])


def pixel_rows(scores_of: Mapping[str, dict[str, Any]]) -> list[list[str]]:
    """A header and a row a model with scores: mIoU, gain over the teacher, IoU of each class.

    Without the gain where the metrics of the teacher say that there is none.

    Args:
        scores_of: of models of which one has scores, or more.
    """
    gains = not is_absent(scores_of.get("teacher", {}))
    scores_of = present(scores_of)
    first = next(iter(scores_of.values()))
    few = few_parts(first)
    names = [f"{name}*" if name in few else name for name in first["iou"]]
    rows = [["model", "mIoU (interval)", *(["gain over teacher"] if gains else []), *names]]
    for model, found in scores_of.items():
        ious = map(percent, found["iou"].values())
        gain = [gain_cell(found)] if gains else []
        rows.append([model, miou_cell(found), *gain, *ious])
    return rows


def factory_rows(scores_of: Mapping[str, dict[str, Any]]) -> list[list[str]]:
    """A header and a row for each model with scores of whole images, defects and confidence."""
    rows = [["model", *_COUNTS.values()]]
    for model, found in scores_of.items():
        if "image_auroc" in found:
            rows.append([model, *(percent(found[key]) for key in _COUNTS)])
    return rows


def few_parts(found: dict[str, Any]) -> list[str]:
    """The defect classes that too few test parts show for their score to mean much."""
    _background, *parts = found["parts"].items()
    return [name for name, count in parts if count < found["few_parts"]]


def few_defective(found: dict[str, Any]) -> list[str]:
    """A line where test or validation shows too few parts with a defect; [] where not.

    Args:
        found: one model's metrics; those of a copycat do not count them.
    """
    said = {
        "test": "by which models are judged",
        "validation": "by which they are chosen",
    }
    counts = found.get("defective_parts", {})
    few = [
        f"{name} {counts[name]}, {purpose}"
        for name, purpose in said.items()
        if counts.get(name) is not None and counts[name] < found["few_parts"]
    ]
    return [f"fewer than {found['few_parts']} parts with a defect: {'; '.join(few)}"] if few else []


def reasons(scores_of: Mapping[str, dict[str, Any]]) -> list[str]:
    """Why scores are undefined, each reason once."""
    undefined = [found.get("undefined", {}) for found in scores_of.values()]
    return sorted({reason for found in undefined for reason in found.values()})


def stand_ins(scores_of: Mapping[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """(model, whose weights it has) of each that gave way to an earlier one."""
    said = ((name, found.get("fallen_back_to")) for name, found in scores_of.items())
    return [(name, other) for name, other in said if other]


def miou_cell(found: dict[str, Any]) -> str:
    """mIoU of one model's metrics and the bounds of its interval, in percent, or a dash."""
    if found["miou"] is None:
        return "-"
    if found.get("miou_low") is None:
        return percent(found["miou"])
    low, high = (percent(found[key]) for key in ("miou_low", "miou_high"))
    return f"{percent(found['miou'])} ({low}-{high})"


def gain_cell(found: dict[str, Any]) -> str:
    """The gain over the teacher in one model's metrics, in points; a dash for the teacher."""
    if found.get("gain") is None:
        return "-"
    gain, low, high = (percent(found[key], "+.1f") for key in ("gain", "gain_low", "gain_high"))
    return gain if found["gain_low"] is None else f"{gain} ({low} to {high})"


def percent(value: float | None, style: str = ".1f") -> str:
    """A share of 0-1 in percent, a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:{style}}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the header first, as aligned lines: the first column left, the rest right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def read_scores(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The metrics files by their stem, in the order given.

    Raises:
        InputError: a file is missing.
    """
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise InputError(f"no scores at {', '.join(missing)}: run `dvc repro` first")
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
