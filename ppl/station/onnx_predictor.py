"""An exported model on a station: ONNX Runtime or OpenVINO, with NumPy around it; no PyTorch.

What ppl/network/predict.py does in PyTorch; tests hold the two together.

Axes: B batch, H height, W width, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import ONNXRUNTIME, Network, open_network
from ppl.images.pictures import Colour
from ppl.station.appearance import Reference
from ppl.station.bands import bands_at_size, mean, windowed_bands
from ppl.station.card import Card, read_card
from ppl.station.resize import at_own_size, resize_image, scaled_size
from ppl.station.thresholds import Thresholds
from ppl.station.windows import blended_windows

AT_ONCE = 8
"""Images or windows in one pass; it bounds memory and changes no result beyond float rounding."""


class OnnxPredictor:
    """A `Predictor` that runs an exported network. `load_onnx` makes one.

    The network takes images (B, H, W, 3) uint8 RGB of its size and gives the softmax (B, C, H, W).
    """

    def __init__(self, network: Network, card: Card) -> None:
        self._network = network
        self._card = card

    @property
    def classes(self) -> tuple[str, ...]:
        return self._card.classes

    @property
    def colours(self) -> tuple[Colour, ...]:
        return self._card.colours

    @property
    def thresholds(self) -> Thresholds:
        return self._card.thresholds

    @property
    def reference(self) -> Reference | None:
        """How the images looked that it was trained on; None where nobody knows."""
        return self._card.reference

    @property
    def digest(self) -> str:
        return self._card.digest

    @property
    def at_once(self) -> int:
        """Of windows one image is a batch by itself."""
        return 1 if self._card.windows else AT_ONCE

    @property
    def on_processor(self) -> bool:
        return True

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """The (C, H, W) softmax of each image at its own size.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """
        for start in range(0, len(images), self.at_once):
            some = images[start : start + self.at_once]
            if self._card.windows:
                yield self._windowed(some[0])
            else:
                for prob, image in zip(self._whole(some), some, strict=True):
                    yield at_own_size(prob, (image.shape[0], image.shape[1]))

    def bands(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """The same of one image, (C, h, W) each, from top to bottom: for very large ones.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        card = self._card
        if not card.windows:
            own = (image.shape[0], image.shape[1])
            yield from bands_at_size(self._whole([image]), card.size[0], own)
            return
        yield from windowed_bands(
            lambda batch: mean(self._softmaxes(batch)),
            image,
            card.size,
            card.overlap,
            card.scales,
            AT_ONCE,
        )

    def _whole(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(B, C, *card.size): the mean over scales and, if so set, the mirror image."""
        size, found = self._card.size, []
        for scale in self._card.scales:
            shown = scaled_size(size, scale)
            batch = np.stack([resize_image(image, shown) for image in images])
            found += [at_own_size(prob, size) for prob in self._softmaxes(batch)]
        return mean(found)

    def _windowed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        own, card, found = (image.shape[0], image.shape[1]), self._card, []
        for scale in card.scales:
            shown = resize_image(image, scaled_size(own, scale))
            blended = blended_windows(
                lambda batch: mean(self._softmaxes(batch)), shown, card.size, card.overlap, AT_ONCE
            )
            found.append(at_own_size(blended, own))
        return mean(found)

    def _softmaxes(self, batch_BHWC: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """(B, C, H, W) each, plain and, if so set, by the mirror images."""
        found = []
        for rows in (1, -1) if self._card.vertical_flip else (1,):
            for columns in (1, -1) if self._card.flip else (1,):
                seen = np.ascontiguousarray(batch_BHWC[:, ::rows, ::columns])
                found.append(self._network(seen)[..., ::rows, ::columns])
        return found


def load_onnx(
    folder: Path | str, runtime: str = ONNXRUNTIME, *, int8: bool = False
) -> OnnxPredictor:
    """The exported model in a folder.

    Args:
        runtime: one of ONNX Runtime and OpenVINO with which the export was compared.
        int8: take the network in 8-bit integers, which has a digest of its own.

    Raises:
        InputError: a file is missing, damaged or altered, or does not belong to the other; the
            runtime is not installed, or was not compared.
    """
    folder = Path(folder)
    card, network = read_card(folder, int8=int8)
    if runtime not in card.compared:
        raise InputError(
            f"exported model {folder} was not compared with {runtime}, only with "
            f"{', '.join(card.compared)}: put it under export.runtimes and export again"
        )
    if int8:
        # each runtime rounds integers otherwise
        card = replace(card, digest=f"{card.digest}-{runtime}")
    return OnnxPredictor(open_network(network, runtime, str(folder)), card)
