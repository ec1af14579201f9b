"""The card of an exported model: what goes with `model.onnx`, and whether it belongs to it.

FOLDER/model.onnx   the network
FOLDER/card.json    classes, sizes, thresholds and what the model was measured to do
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import Colour
from ppl.station.thresholds import Thresholds, thresholds_from_json

FORMAT = 1
"""Of card.json."""

NETWORK = "model.onnx"
CARD = "card.json"

_REMEDY = "copy the whole folder data/export again, or make it anew: dvc repro export"


@dataclass(frozen=True)
class Card:
    """What a predictor takes from card.json."""

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    thresholds: Thresholds
    size: tuple[int, int]
    """Height and width in pixels of the network's input, or of a window."""
    windows: bool
    """Images are seen through windows; else each is resized whole."""
    overlap: int
    """Pixels by which neighbouring windows overlap."""
    scales: tuple[float, ...]
    """Multiples of the size at which an image is predicted."""
    flip: bool
    """Each also mirrored."""
    digest: str
    """Of the model, as `Predictor` has it."""
    compared: tuple[str, ...]
    """The runtimes that gave the project's own verdicts on the test images."""


def model_digest(*parts: object) -> str:
    """16 characters that are another for another model, or other thresholds.

    Args:
        parts: the weights' digest, the description of the network, its input, prediction, classes
            and thresholds, plain as JSON.
    """
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_digest(content: bytes) -> str:
    """Of `model.onnx`, as the card has it: SHA-256, as `sha256sum` shows it."""
    return hashlib.sha256(content).hexdigest()


def described_digest(content: Mapping[str, Any]) -> str:
    """The digest of the model that a card's content describes.

    Raises:
        KeyError: it describes none.
    """
    keys = ("weights", "network", "input", "prediction", "classes", "thresholds")
    return model_digest(*(content[key] for key in keys))


def read_card(folder: Path) -> tuple[Card, bytes]:
    """The card in `folder`, and the network that it belongs to.

    Raises:
        InputError: a file is missing, damaged or altered, or does not belong to the other.
    """
    for name in (CARD, NETWORK):
        if not (folder / name).is_file():
            raise InputError(f"exported model {folder} is incomplete: {name} is missing; {_REMEDY}")
    file = folder / CARD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise InputError(
                f"{file} has format {content['format']}, but the code beside it reads {FORMAT}: "
                f"take both from one export; {_REMEDY}"
            )
        card = card_of(content)
        described, written_for = described_digest(content), content["onnx"]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no card of an exported model: {error!r}; {_REMEDY}") from None
    if card.digest != described:
        raise InputError(
            f"{file} was altered: its classes, sizes or thresholds are not those that it was "
            f"written with; {_REMEDY}"
        )
    network = (folder / NETWORK).read_bytes()
    if written_for != file_digest(network):
        raise InputError(
            f"{folder / NETWORK} is not the file that {CARD} was written for: it was altered or "
            f"belongs to another model; {_REMEDY}"
        )
    return card, network


def card_of(content: Mapping[str, Any]) -> Card:
    looks, prediction = content["input"], content["prediction"]
    classes = tuple(content["classes"])
    return Card(
        classes,
        tuple((red, green, blue) for red, green, blue in content["colours"]),
        thresholds_from_json(content["thresholds"], classes),
        (looks["height"], looks["width"]),
        looks["fit"] == "windows",
        looks["overlap"],
        tuple(prediction["scales"]),
        prediction["flip"],
        content["digest"],
        tuple(content["compared"]),
    )
