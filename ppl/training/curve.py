"""The curve of a training as a file for plots."""

from pathlib import Path

from ppl.core import processes
from ppl.images.sets import write_json
from ppl.training.loop import Training

CURVE = "curve.json"
"""Its name in the folder of a model that is copied on with it."""


def write_training_curve(file: Path, training: Training, *, model: str) -> None:
    """A list of rows {model, iteration, training_loss, validation_miou or null}."""
    write_json(file, [{"model": model, **point} for point in training.curve])


def write_no_curve(file: Path) -> None:
    """The curve of a training that the chosen method does not have: no row."""
    if processes.is_first():
        write_json(file, [])
