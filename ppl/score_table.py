"""Print the scores of the models as a table: python -m ppl.score_table FILE.json ..."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppl.errors import InputError


def score_table(scores_of: dict[str, dict[str, Any]]) -> str:
    """One row a model: mIoU, IoU per class, image-level recall and false alarms, in percent."""
    first = next(iter(scores_of.values()))
    header = ["model", "mIoU", *first["iou"], "image recall", "false alarms"]
    rows = [
        [
            name,
            *map(
                _percent,
                [
                    found["miou"],
                    *found["iou"].values(),
                    found["image_recall"],
                    found["image_false_alarm_rate"],
                ],
            ),
        ]
        for name, found in scores_of.items()
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    try:
        table = score_table(read_scores([Path(name) for name in sys.argv[1:]]))
    except InputError as error:
        sys.exit(str(error))
    print(f"Scores on the test set, in percent:\n{table}")
