"""A finished model: the network and all that its verdict on an image takes, in one folder.

FOLDER/model.safetensors   the weights
FOLDER/model.json          what rebuilds the network, how it looks at an image, and from where on
                           it calls one defective

Axes: C classes, H height, W width.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.pictures import Colour, pixels_of, read_pixels
from ppl.images.sets import DatasetInfo, write_json
from ppl.network.network import CPU, WEIGHTS, SegmentationNetwork, load_network, read_description
from ppl.network.predict import (
    TestTimeSettings,
    at_once,
    average_softmax,
    batch_softmax,
    views_of,
)
from ppl.network.resize import ImageSettings
from ppl.station.appearance import Reference, reference_as_json, reference_from_json
from ppl.station.bands import bands_at_size, windowed_bands
from ppl.station.card import described_digest, model_digest, stop_at_odd_names
from ppl.station.thresholds import (
    Thresholds,
    no_thresholds,
    thresholds_as_json,
    thresholds_from_json,
)
from ppl.station.verdict import Verdict, verdict_of

FORMAT = 1
"""Of model.json."""

LIBRARIES = ("torch", "torchvision", "segmentation-models-pytorch", "timm")
"""Those whose version may change what a network computes."""

_REMEDY = "`dvc repro calibrate` leaves a finished one in data/model"


@dataclass(frozen=True)
class Prediction(Verdict):
    """What a model finds on one image, at the image's own size."""

    probabilities: NDArray[np.float32]
    """(C, H, W), 0-1; they sum to one at each pixel."""


class Model:
    """A network that knows its sizes, classes and thresholds. `load_model` makes one."""

    def __init__(
        self,
        network: SegmentationNetwork,
        image: ImageSettings,
        test_time: TestTimeSettings,
        info: DatasetInfo,
        thresholds: Thresholds | None = None,
        *,
        reference: Reference | None = None,
        weights: str = "",
    ) -> None:
        """Put the parts together.

        Args:
            network: in eval mode.
            image: the size at which it looks, and how an image gets there.
            thresholds: None calls every image defective whose mask shows a defect.
            reference: how the training images looked.
            weights: the digest of the weights' file.
        """
        self.network = network
        self.image = image
        self.test_time = test_time
        self.info = info
        self.thresholds = thresholds or no_thresholds(len(info.classes))
        self.reference = reference
        self.weights = weights

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names by index, background first."""
        return self.info.classes

    @property
    def colours(self) -> tuple[Colour, ...]:
        """One a class, RGB 0-255."""
        return self.info.colours

    @property
    def at_once(self) -> int:
        """How many images are predicted together; large ones are a batch by themselves."""
        return 1 if self.image.fit == "windows" else at_once(self._device)

    @property
    def on_processor(self) -> bool:
        """Whether it computes on the processor, which then has nothing left for other work."""
        return self._device.type == "cpu"

    @cached_property
    def digest(self) -> str:
        """16 characters that are another for another model, or other thresholds."""
        return model_digest(
            self.weights,
            self.network.description(),
            self.image.model_dump(),
            self.test_time.described(),
            self.classes,
            thresholds_as_json(self.thresholds, self.classes),
        )

    def predict(self, image: Path | str | Image.Image | NDArray[np.uint8] | Tensor) -> Prediction:
        """What is found on one image, by the very code that scores a model.

        Args:
            image: a file, a Pillow image, or an array of 8 bits: (H, W) grey or (H, W, 3) RGB.

        Raises:
            InputError: an unreadable file, another type or shape of array.
        """
        [prob] = self.probabilities([as_pixels(image)])
        found = verdict_of(prob, self.thresholds)
        return Prediction(found.mask, found.defects, found.score, found.defective, prob)

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """The (C, H, W) softmax of each image at its own size.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """
        tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
        views = [views_of(tensor, self.image, self.test_time) for tensor in tensors]
        sizes = [(tensor.shape[1], tensor.shape[2]) for tensor in tensors]
        for prob in batch_softmax(self.network, views, sizes, self.image, self.test_time):
            yield prob.cpu().numpy()

    def bands(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """The same of one image, (C, h, W) each, from top to bottom: for very large ones.

        Resized and blended in NumPy, so that last digits may differ.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        own, size = (image.shape[0], image.shape[1]), self.image.size
        if self.image.fit == "whole":
            views = views_of(tensor, self.image, self.test_time)
            prob = average_softmax(self.network, [views], size, self.test_time)
            yield from bands_at_size([prob[0].cpu().numpy()], size[0], own)
            return
        yield from windowed_bands(
            self._softmax,
            image,
            size,
            self.image.overlap,
            self.test_time.scales,
            at_once(self._device),
        )

    def _softmax(self, windows_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(windows_BHWC).permute(0, 3, 1, 2).contiguous()
        once = self.test_time.model_copy(update={"scales": [1.0]})
        views = [[window] for window in batch]
        return average_softmax(self.network, views, self.image.size, once).cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def as_pixels(image: Path | str | Image.Image | NDArray[np.uint8] | Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of whatever a person has at hand.

    Raises:
        InputError: an unreadable file, another type or shape of array.
    """
    if isinstance(image, Path | str):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        return pixels_of(image)
    try:
        array = np.asarray(image)
    except Exception as error:  # NumPy and PyTorch raise whatever they are led to
        raise InputError(f"the image is a {type(image).__name__} and no array ({error})") from None
    if array.dtype != np.uint8:
        known = array.size and array.dtype.kind in "biuf"
        bounds = f", {array.min()} to {array.max()}" if known else ""
        raise InputError(
            f"the image is an array of {array.dtype}{bounds}: expected 8 bits a channel (uint8), "
            "0-255, as a camera gives them"
        )
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            f"the image is an array of shape {array.shape}: expected (height, width) of a grey "
            "image or (height, width, 3) of a colour image, red first"
        )
    return np.ascontiguousarray(array)


def save_model(
    folder: Path,
    trained: Path,
    image: ImageSettings,
    test_time: TestTimeSettings,
    info: DatasetInfo,
    thresholds: Thresholds | None,
    reference: Reference | None = None,
) -> None:
    """Make a finished model of the trained one in `trained`.

    Args:
        folder: gets both files.
        trained: what a training left.
        thresholds: None calls every image defective whose mask shows a defect.
        reference: how the training images looked.
    """
    described = _described(trained)
    weights = (trained / WEIGHTS).read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    chosen = thresholds or no_thresholds(len(info.classes))
    content = {
        **described,
        "format": FORMAT,
        "input": image.model_dump(),
        "prediction": test_time.described(),
        "data": info.name,
        "classes": info.classes,
        "colours": info.colours,
        "thresholds": thresholds_as_json(chosen, info.classes),
        "appearance": reference_as_json(reference),
        "weights": _digest(weights),
        # a local part, as of +cpu, names the machine and not what is computed
        "libraries": {name: version(name).partition("+")[0] for name in LIBRARIES},
    }
    write_json(folder / "model.json", content | {"digest": described_digest(content)}, sort=False)


def load_model(folder: Path | str, device: torch.device = CPU) -> Model:
    """The finished model in a folder. No code is run from its files.

    Raises:
        InputError: a file is missing, damaged or altered, or does not fit the others; the folder
            holds an unfinished model, or one of a later version.
    """
    folder = Path(folder)
    described = _described(folder)
    if "input" not in described:
        raise InputError(
            f"model {folder} does not say at which size it looks: it is of a training, or of an "
            f"earlier version of this project; {_REMEDY}"
        )
    if described.get("format") != FORMAT:
        raise InputError(
            f"model {folder} has format {str(described.get('format'))[:40]}, but this version "
            f"reads {FORMAT}: install the version that wrote it, or train again; {_REMEDY}"
        )
    network = load_network(folder, device)
    weights = _digest((folder / WEIGHTS).read_bytes())
    if described.get("weights") != weights:
        raise InputError(
            f"model {folder}: {WEIGHTS} is not the file that model.json was written for: it was "
            "altered or exchanged; copy the whole folder again"
        )
    file = folder / "model.json"
    try:
        info = DatasetInfo(
            described["data"],
            tuple(described["classes"]),
            tuple((red, green, blue) for red, green, blue in described["colours"]),
        )
        image = ImageSettings.model_validate(described["input"])
        test_time = TestTimeSettings.model_validate(described["prediction"])
        thresholds = thresholds_from_json(described["thresholds"], info.classes)
        reference = reference_from_json(described.get("appearance"))
        digest = described_digest(described)
        stop_at_odd_names(info.classes, info.colours)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = " ".join(repr(error).split())[:400]
        raise InputError(f"model {folder} cannot be loaded: {file.name}: {said}") from None
    if not len(info.classes) == len(info.colours) == network.classes:
        raise InputError(
            f"model {folder}: {file.name} names {len(info.classes)} classes and "
            f"{len(info.colours)} colours, but the network has {network.classes}"
        )
    if described.get("digest") != digest:
        raise InputError(
            f"model {folder}: {file.name} was altered: its sizes, classes or thresholds are not "
            "those that it was written with; copy the whole folder again"
        )
    return Model(network, image, test_time, info, thresholds, reference=reference, weights=weights)


def _described(folder: Path) -> dict[str, Any]:
    file = folder / "model.json"
    if not file.is_file():
        raise InputError(f"{folder} holds no model: model.json is missing; {_REMEDY}")
    return read_description(folder)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
