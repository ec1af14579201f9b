"""The card of an exported model: what goes with `model.onnx`, and whether it belongs to it.

FOLDER/model.onnx        the network
FOLDER/model.int8.onnx   the same in 8-bit integers, where that was asked for and good enough
FOLDER/card.json         classes, sizes, thresholds and what the model was measured to do
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import Colour
from ppl.station.appearance import Reference, reference_from_json
from ppl.station.thresholds import Thresholds, thresholds_from_json
from ppl.station.windows import WINDOW_STEP

FORMAT = 1
"""Of card.json."""

NETWORK = "model.onnx"
INT8_NETWORK = "model.int8.onnx"
CARD = "card.json"

MOST_CARD, MOST_NETWORK = 2**24, 2**31
"""Bytes of card.json, of which written ones have some thousands, and of a file of ONNX."""

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
    vertical_flip: bool
    """And upside down; with both, four looks at each."""
    digest: str
    """Of the model, as `Predictor` has it."""
    compared: tuple[str, ...]
    """The runtimes that gave the project's own verdicts on the test images."""
    reference: Reference | None
    """How the training images looked; None in cards of before it was kept."""


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


def read_card(folder: Path, *, int8: bool = False) -> tuple[Card, bytes]:
    """The card in `folder`, and the network that it belongs to.

    Args:
        int8: take the network in 8-bit integers.

    Raises:
        InputError: a file is missing, damaged or altered, or does not belong to the other.
    """
    _stop_unless_there(folder, CARD)
    file = folder / CARD
    try:
        content = json.loads(_read(file, MOST_CARD).decode("utf-8"), parse_constant=_refuse)
        if content["format"] != FORMAT:
            raise InputError(
                f"{file} has format {content['format']}, but the code beside it reads {FORMAT}: "
                f"take both from one export; {_REMEDY}"
            )
        card = card_of(content)
        stop_at_odd_names(card.classes, card.colours)
        if not 2 <= len(card.classes) == len(card.colours):
            raise ValueError(f"{len(card.classes)} classes, {len(card.colours)} colours")
        _stop_at_odd_sizes(card)
        described, written_for = described_digest(content), content["onnx"]
        if int8:
            card, written_for = replace(card, digest=f"{card.digest}-int8"), _int8(content)
    except InputError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(f"{file} is no card of an exported model: {error!r}; {_REMEDY}") from None
    if content["digest"] != described:
        raise InputError(
            f"{file} was altered: its classes, sizes or thresholds are not those that it was "
            f"written with; {_REMEDY}"
        )
    name = INT8_NETWORK if int8 else NETWORK
    _stop_unless_there(folder, name)
    network = _read(folder / name, MOST_NETWORK)
    if written_for != file_digest(network):
        raise InputError(
            f"{folder / name} is not the file that {CARD} was written for: it was altered or "
            f"belongs to another model; {_REMEDY}"
        )
    return card, network


def stop_at_odd_names(classes: Sequence[str], colours: Sequence[Colour]) -> None:
    """Classes need names of text, colours 8 bits a channel.

    Raises:
        ValueError: they are something else.
    """
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("the name of a class is no text")
    if not all(type(level) is int and 0 <= level <= 255 for one in colours for level in one):
        raise ValueError("a colour is not of three numbers, 0-255")


def _stop_at_odd_sizes(card: Card) -> None:
    sides = (*card.size, card.overlap + 1)
    if not all(type(side) is int and 1 <= side <= 8192 for side in sides):
        raise ValueError("a size is no number of pixels, 1-8192")
    if card.windows and min(card.size) - card.overlap < WINDOW_STEP:
        raise ValueError(f"a window moves on by less than {WINDOW_STEP} pixels")
    numbers = all(type(scale) in (int, float) for scale in card.scales)
    # not NaN either, which is above and below nothing
    if not numbers or not all(0.25 <= scale <= 4 for scale in card.scales):
        raise ValueError("a scale is no number, 0.25-4")
    flips = type(card.flip), type(card.vertical_flip)
    if not 1 <= len(card.scales) <= 8 or flips != (bool, bool):
        raise ValueError("an image is looked at 1 to 8 times, and mirrored or not")


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number")


def _read(file: Path, most: int) -> bytes:
    if file.stat().st_size > most:
        raise InputError(f"{file} has more than {most:,} bytes, which none of ours has; {_REMEDY}")
    return file.read_bytes()


def _stop_unless_there(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise InputError(f"exported model {folder} is incomplete: {name} is missing; {_REMEDY}")


def _int8(content: Mapping[str, Any]) -> str:
    """The digest of the network in integers."""
    made = content["int8"]
    if made is None:
        raise InputError(
            "the model was exported without a network in 8-bit integers: set export.int8, and "
            "export again"
        )
    if not made["kept"]:
        raise InputError(
            "the network in 8-bit integers lost too much, and was not kept: card.md says how much"
        )
    digest: str = made["onnx"]
    return digest


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
        prediction.get("vertical_flip", False),
        content["digest"],
        tuple(content["compared"]),
        reference_from_json(content.get("appearance")),
    )
