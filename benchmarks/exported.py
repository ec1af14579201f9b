"""Images a second on a station: ONNX Runtime and OpenVINO against PyTorch, on the CPU, in turn.

    python -m benchmarks.exported --size 128 --out exported.json

From an image in memory to probabilities at its own size, `own` times the network's, and the
network alone, each runtime also in 8-bit integers. All take turns, batch by batch; medians, since
others may use the machine.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.network_step import CLASSES, hardware, network_of, write_result
from ppl.core.onnx_runtimes import RUNTIMES, Network, open_network
from ppl.export.card import Known, card_content
from ppl.export.int8 import quantized
from ppl.export.package import network_of as exported_network
from ppl.images.sets import DatasetInfo
from ppl.inspection.model import Model
from ppl.network.predict import PLAIN
from ppl.network.resize import ImageSettings
from ppl.station.card import card_of
from ppl.station.onnx_predictor import OnnxPredictor
from ppl.station.predictor import Predictor

NOTHING = Known({}, {}, {})


def model_of(size: int, architecture: str, encoder: str) -> Model:
    """A model of random weights."""
    torch.manual_seed(0)
    names = tuple(f"class_{index}" for index in range(CLASSES))
    info = DatasetInfo("random", names, tuple((index, 0, 0) for index in range(CLASSES)))
    image = ImageSettings(height=size, width=size, fit="whole", overlap=0)
    return Model(network_of(architecture, encoder).eval(), image, PLAIN, info)


def networks_of(content: bytes, batch: NDArray[np.uint8]) -> dict[str, Network]:
    """By the name of what runs the network; without OpenVINO where that is not installed."""
    contents = {"": content, " int8": quantized(content, [batch])}
    return {
        runtime + numbers: open_network(one, runtime, runtime)
        for numbers, one in contents.items()
        for runtime in RUNTIMES
        if importlib.util.find_spec(runtime) is not None
    }


def predictors_of(
    model: Model, content: bytes, networks: Mapping[str, Network]
) -> dict[str, Predictor]:
    """By the same names, and PyTorch."""
    card = card_of(card_content(model, content, {}, NOTHING))
    return {"pytorch": model} | {name: OnnxPredictor(run, card) for name, run in networks.items()}


def by_torch(model: Model, batch: NDArray[np.uint8]) -> Any:
    """What the exported networks compute, in PyTorch."""
    with torch.no_grad():
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        return model.network(images).softmax(dim=1)


def rates(work: Mapping[str, Callable[[], Any]], images: int, rounds: int) -> dict[str, Any]:
    """Images a second of each, and how many times PyTorch's that is, after one uncounted round."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}
    return {
        name: {
            "images_per_second": round(images / seconds, 1),
            "times_pytorch": round(medians["pytorch"] / seconds, 2),
        }
        for name, seconds in medians.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="pixels a side of the network")
    parser.add_argument("--own", type=float, default=1.5, help="of the images' own sides over it")
    parser.add_argument("--architecture", default="Unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = model_of(given.size, given.architecture, given.encoder)
    content = exported_network(model)
    draws, side = np.random.default_rng(0), round(given.size * given.own)
    images = list(draws.integers(0, 256, (given.batch, side, side, 3), dtype=np.uint8))
    batch = draws.integers(0, 256, (given.batch, given.size, given.size, 3), dtype=np.uint8)
    networks = networks_of(content, batch)
    whole = {
        name: lambda one=one: list(one.probabilities(images))
        for name, one in predictors_of(model, content, networks).items()
    }
    alone = {"pytorch": partial(by_torch, model, batch)} | {
        name: partial(run, batch) for name, run in networks.items()
    }
    result = {
        "network": {key: getattr(given, key) for key in ("architecture", "encoder", "size")},
        "image_to_probabilities": rates(whole, given.batch, given.rounds),
        "network_alone": rates(alone, given.batch, given.rounds),
        "hardware": hardware(),
    }
    write_result(result, given.out)


if __name__ == "__main__":
    main()
