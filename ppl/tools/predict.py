"""Predict a folder of images with a finished model, by PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppl.inspection.model import Model, load_model
from ppl.network.network import pick_device
from ppl.station import command
from ppl.station.options import Request


def predict(model: Path, images: tuple[Path, ...], words: Mapping[str, Any]) -> int:
    """What `ppl/station/command.py: predict` does, on CUDA where there is one; its exit status.

    Args:
        words: the other fields of `Request`.

    Raises:
        InputError: as there.
    """

    def load(folder: Path) -> Model:
        return load_model(folder, pick_device())

    return command.predict(load, model, Request(images=images, **words))
