"""The curve of a training as a file for plots."""

from pathlib import Path

from ppl.images.sets import write_json
from ppl.training.loop import Training


def write_training_curve(file: Path, training: Training, *, model: str) -> None:
    """A list of rows {model, iteration, training_loss, validation_miou or null}."""
    write_json(file, [{"model": model, **point} for point in training.curve])
