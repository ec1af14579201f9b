"""A folder that a station is given: the network, its card, the code around it, samples.

FOLDER/model.onnx, card.json, card.md   see ppl/station/card.py
FOLDER/predict.py, requirements.txt     how to use it
FOLDER/ppl/                             the modules that predict.py needs, as the project has them
FOLDER/samples/                         see ppl/station/samples.py
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

import ppl
from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import ONNXRUNTIME, Network, open_network
from ppl.core.settings import Settings
from ppl.export.card import Known, card_content, card_text, requirements
from ppl.export.compare import (
    Comparison,
    compare,
    stop_unless_equal,
    stop_unless_resized_alike,
)
from ppl.export.int8 import Int8, batches_of, measured, quantized
from ppl.images.pictures import read_pixels, write_indices
from ppl.images.sets import ImageSet, write_json
from ppl.inspection.model import Model
from ppl.network.graph import onnx_bytes
from ppl.station.card import CARD, INT8_NETWORK, NETWORK, Card, card_of
from ppl.station.onnx_predictor import OnnxPredictor
from ppl.station.samples import IN_FLOATS, SAMPLES, Expected, in_int8
from ppl.station.verdict import verdict_of

CODE = (
    "__init__.py",
    "core/__init__.py",
    "core/cells.py",
    "core/errors.py",
    "core/onnx_runtimes.py",
    "images/__init__.py",
    "images/pictures.py",
)
"""What goes along of ppl/, beside all of ppl/station."""

PREDICT = '''"""Predict images: python predict.py --help. Try this machine first: --check."""

import sys
from pathlib import Path

from ppl.station.exported import run

sys.exit(run(Path(__file__).parent))
'''


class ExportSettings(Settings):
    """Section `export`."""

    runtimes: Annotated[list[Literal["onnxruntime", "openvino"]], Field(min_length=1)]
    samples: Annotated[int, Field(ge=0, le=99)]
    int8: Annotated[float, Field(ge=0, le=100)] | None
    """Points of test mIoU that the network in 8-bit integers may lose; None: there is none."""

    @field_validator("runtimes")
    @classmethod
    def _hold_the_one_that_is_taken(cls, runtimes: list[str]) -> list[str]:
        if ONNXRUNTIME not in runtimes:
            raise ValueError(f"add {ONNXRUNTIME}: a station takes it unless told otherwise")
        if len(set(runtimes)) < len(runtimes):
            raise ValueError("one stands there twice")
        return runtimes


@dataclass(frozen=True)
class Exported:
    """How far what was exported is from the model in PyTorch."""

    comparisons: dict[str, Comparison]
    """By runtime."""
    int8: Int8 | None


def export_model(
    model: Model,
    test: ImageSet,
    labeled: ImageSet,
    known: Known,
    settings: ExportSettings,
    folder: Path,
) -> Exported:
    """Leave in `folder` what a station needs, or nothing.

    Args:
        model: on the CPU, where a station computes.
        test: images that every runtime has to judge as `model` does.
        labeled: images from which integers take their ranges.

    Raises:
        InputError: a verdict or too many pixels differ, the architecture cannot be exported, or a
            runtime is not installed.
    """
    stop_unless_resized_alike()
    network = network_of(model)
    runtimes: dict[str, Network] = {
        name: open_network(network, name, NETWORK) for name in settings.runtimes
    }
    for name, run in runtimes.items():
        _stop_unless_it_runs(model, run, name)
    card = card_of(card_content(model, network, {}, known))
    exported: dict[str, OnnxPredictor] = {
        name: OnnxPredictor(run, card) for name, run in runtimes.items()
    }
    comparisons, called = compare(model, exported, test)
    stop_unless_equal(comparisons)
    int8 = None
    if settings.int8 is not None:
        int8 = _in_integers(network, exported, card, test, labeled, settings.int8)
    content = card_content(model, network, comparisons, known, int8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK).write_bytes(network)
    _write_texts(folder, content, model)
    copy_code(folder)
    chosen = [test.entries[index] for index in spread(called, settings.samples)]
    samples = ImageSet(test.folder, tuple(chosen))
    write_samples(folder / SAMPLES, samples, exported[ONNXRUNTIME], IN_FLOATS)
    if int8 and int8.kept:
        (folder / INT8_NETWORK).write_bytes(int8.content)
        for name, predictor in int8.predictors.items():
            write_samples(folder / SAMPLES, samples, predictor, in_int8(name))
    return Exported(comparisons, int8)


def _in_integers(
    network: bytes,
    exported: Mapping[str, OnnxPredictor],
    card: Card,
    test: ImageSet,
    labeled: ImageSet,
    most_lost: float,
) -> Int8:
    images, batches = batches_of(labeled, card)
    content = quantized(network, batches)
    predictors = {
        name: OnnxPredictor(open_network(content, name, INT8_NETWORK), card) for name in exported
    }
    miou, found = measured(predictors, exported[ONNXRUNTIME], test)
    return Int8(content, predictors, images, len(test), miou, found, most_lost)


def network_of(model: Model) -> bytes:
    """The content of model.onnx: for one size, where the model looks at one alone."""
    sizes = _sizes(model)
    return onnx_bytes(model.network, sizes[-1], any_size=len(sizes) > 1)


def _sizes(model: Model) -> list[tuple[int, int]]:
    """The heights and widths in pixels at which the network looks, the largest last."""
    if model.image.fit == "windows":
        return [model.image.size]
    own = model.image.size
    return sorted({model.image.at_scale(own, scale) for scale in model.test_time.scales})


def _stop_unless_it_runs(model: Model, run: Network, runtime: str) -> None:
    """Try each size, as single images and as several: some layers are made for the first alone.

    Raises:
        InputError: the network does not run at one of them.
    """
    for size, images in product(_sizes(model), (1, 3)):
        try:
            run(np.zeros((images, *size, 3), dtype=np.uint8))
        except Exception as error:  # each runtime has exceptions of its own
            raise InputError(
                f"{runtime} cannot run the exported {model.network.architecture} on {images} "
                f"images of {size[1]} x {size[0]} pixels (width x height): {str(error)[:300]}. "
                "Of an architecture that is made for one size, take a single scale or windows"
            ) from None


def _write_texts(folder: Path, content: Mapping[str, Any], model: Model) -> None:
    write_json(folder / CARD, content, sort=False)
    for name, text in {
        "card.md": card_text(content, model.thresholds),
        "predict.py": PREDICT,
        "requirements.txt": requirements(),
    }.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def copy_code(folder: Path) -> None:
    """The modules that a station needs, below FOLDER/ppl, byte for byte."""
    source = Path(ppl.__file__).parent
    station = [file.relative_to(source) for file in sorted(source.glob("station/*.py"))]
    for name in (*map(Path, CODE), *station):
        target = folder / "ppl" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)


def spread(called: Sequence[bool], count: int) -> list[int]:
    """Which images to show: half of them called defective, where there are so many, evenly spread.

    Args:
        called: the verdict on each image.
        count: images to choose; all where there are no more.
    """
    defective = [index for index, one in enumerate(called) if one]
    sound = [index for index, one in enumerate(called) if not one]
    most = min(count, len(called))
    of_defective = min(len(defective), max(most // 2, most - len(sound)))
    return sorted(_even(defective, of_defective) + _even(sound, most - of_defective))


def _even(indices: Sequence[int], count: int) -> list[int]:
    return [indices[number * len(indices) // count] for number in range(count)]


def write_samples(
    folder: Path, samples: ImageSet, predictor: OnnxPredictor, places: Expected
) -> None:
    """The images with what the exported network makes of them."""
    listed = []
    for entry in samples.entries:
        file = samples.image_file(entry)
        [prob] = predictor.probabilities([read_pixels(file)])
        verdict = verdict_of(prob, predictor.thresholds)
        copy, mask = folder / "images" / entry.image, f"{entry.id}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        write_indices(folder / places.masks / mask, verdict.mask, predictor.colours)
        listed.append(
            {
                "image": entry.image,
                "mask": mask,
                "defective": verdict.defective,
                "score": round(verdict.score, 6),
            }
        )
    write_json(folder / places.listed, listed, sort=False)
