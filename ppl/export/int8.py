"""The network once more in 8-bit integers: faster, with other last digits and at times verdicts.

By the static quantisation of ONNX Runtime (MIT): weights by channel, activations by the range that
calibrating images show. Operations stand between QuantizeLinear and DequantizeLinear, which
OpenVINO reads, too.

Axes: B batch, H height, W width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.images.confusion import confusion_matrix
from ppl.images.miou import pooled_miou
from ppl.images.pictures import read_pixels
from ppl.images.sets import ImageSet
from ppl.station.card import Card, file_digest
from ppl.station.onnx_predictor import OnnxPredictor
from ppl.station.verdict import verdict_of

CALIBRATING = 64
"""Images from which the ranges are taken, at most."""

BATCHES = 4
"""Of an image, about: a large one has many windows."""

Batch = NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """What a network in integers is worth on the test images."""

    miou: float
    """0-1."""
    other_verdicts: int
    """Images on which the verdict is another than that of the network in floats."""


@dataclass(frozen=True)
class Int8:
    """A network in integers, kept or not."""

    content: bytes
    """Of the ONNX file."""
    predictors: Mapping[str, OnnxPredictor]
    """That run it, by runtime."""
    calibrated_on: int
    """Images."""
    images: int
    """Of test."""
    miou: float
    """Of the network in floats, 0-1."""
    by_runtime: Mapping[str, Measured]
    most_lost: float
    """Points of mIoU, of 100, that it may lose."""

    @property
    def lost(self) -> float:
        """Points of mIoU, by the worst runtime; NaN where test shows no defect."""
        return 100 * max(self.miou - one.miou for one in self.by_runtime.values())

    @property
    def kept(self) -> bool:
        """It is worth having."""
        return self.lost <= self.most_lost


def batches_of(images: ImageSet, card: Card) -> tuple[int, list[Batch]]:
    """What the network is given of some of the images, evenly spread, and so are the batches.

    Returns:
        how many images these are, and the batches (B, H, W, 3).
    """
    step = -(-len(images) // CALIBRATING)
    chosen = images.entries[:: max(1, step)]
    found: list[Batch] = []
    for entry in chosen:
        noted = _Noted(len(card.classes))
        for _ in OnnxPredictor(noted, card).probabilities([read_pixels(images.image_file(entry))]):
            pass
        found += noted.batches
    return len(chosen), found


class _Noted:
    """Stands in for a network, and keeps some of what that would be given."""

    def __init__(self, classes: int) -> None:
        self.batches: list[Batch] = []
        self._classes, self._seen, self._step = classes, 0, 1

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        if self._seen % self._step == 0:
            self.batches.append(batch)
        self._seen += 1
        if len(self.batches) > 2 * BATCHES:
            self.batches, self._step = self.batches[::2], 2 * self._step
        return np.zeros((len(batch), self._classes, *batch.shape[1:3]), dtype=np.float32)


def quantized(content: bytes, batches: Sequence[Batch]) -> bytes:
    """The ONNX file in 8-bit integers.

    Args:
        content: of the file in floats.
        batches: what it is given, to take ranges from.

    Raises:
        InputError: it cannot be quantised.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {"image": batch}

    with TemporaryDirectory() as place:
        given, ready, result = (Path(place, f"{name}.onnx") for name in ("given", "ready", "int8"))
        given.write_bytes(content)
        try:
            quant_pre_process(given, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                result,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # whatever a layer leads the quantiser to
            raise InputError(
                f"the network cannot be brought to 8-bit integers ({str(error)[:300]}): write "
                "`int8: null` below export"
            ) from None
        return result.read_bytes()


def measured(
    predictors: Mapping[str, OnnxPredictor], exact: OnnxPredictor, test: ImageSet
) -> tuple[float, dict[str, Measured]]:
    """The mIoU of the network in floats, 0-1, and what those in integers are worth.

    Args:
        predictors: in integers, by runtime.
        exact: in floats.
        test: with masks.
    """
    everyone = {"": exact, **predictors}
    count = len(exact.classes)
    matrices = {name: torch.zeros(count, count, dtype=torch.int64) for name in everyone}
    others = dict.fromkeys(everyone, 0)
    with bar(total=len(test), desc="int8", unit="image") as progress:
        for entry in test.entries:
            pixels, truth = read_pixels(test.image_file(entry)), test.mask(entry)
            expected = None
            for name, predictor in everyone.items():
                [prob] = predictor.probabilities([pixels])
                found = verdict_of(prob, predictor.thresholds)
                expected = found.defective if expected is None else expected
                others[name] += found.defective != expected
                matrices[name] += confusion_matrix(torch.from_numpy(found.mask), truth, count)
            progress.update()
    scores = {name: pooled_miou(matrix[None]) for name, matrix in matrices.items()}
    return scores[""], {name: Measured(scores[name], others[name]) for name in predictors}


def as_json(found: Int8 | None) -> dict[str, Any] | None:
    """What the card says of it."""
    if found is None:
        return None
    return {
        "kept": found.kept,
        "onnx": file_digest(found.content) if found.kept else None,
        "calibrated_on": found.calibrated_on,
        "miou_in_floats": _rounded(found.miou),
        "most_lost": found.most_lost,
        "runtimes": {
            name: {"miou": _rounded(one.miou), "other_verdicts": one.other_verdicts}
            for name, one in found.by_runtime.items()
        },
    }


def _rounded(miou: float) -> float | None:
    return None if math.isnan(miou) else round(miou, 6)


def said(found: Int8) -> str:
    """Whether it was kept, and why, in a sentence."""
    if math.isnan(found.lost):
        return "in 8-bit integers: not kept, since test shows no defect to judge it by"
    others = max(one.other_verdicts for one in found.by_runtime.values())
    costs = (
        f"in 8-bit integers test mIoU {_moves(found.lost)}, and {others} of "
        f"{found.images} verdicts are others"
    )
    if found.kept:
        return f"{costs}: kept, `predict.py --int8` takes it"
    return f"{costs}: not kept, since export.int8 allows {found.most_lost:g}"


def _moves(lost: float) -> str:
    """What becomes of a score that loses so many points."""
    if abs(lost) < 0.005:
        return "stays as it was"
    return f"{'falls' if lost > 0 else 'rises'} by {abs(lost):.2f} points"
