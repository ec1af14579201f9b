"""Images a second on a station: ONNX Runtime and OpenVINO against PyTorch, on the CPU, in turn.

    python -m benchmarks.exported --size 128 --out exported.json

From an image in memory to probabilities at its own size, `own` times the network's, and the
network alone. All take turns, batch by batch; medians, since others may use the machine.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.network_step import CLASSES, hardware, network_of, write_result
from ppl.export.card import Known, card_content
from ppl.export.package import network_of as exported_network
from ppl.images.sets import DatasetInfo
from ppl.inspection.model import Model
from ppl.network.predict import PLAIN
from ppl.network.resize import ImageSettings
from ppl.station.card import card_of
from ppl.station.onnx_predictor import RUNTIMES, OnnxPredictor, open_network
from ppl.station.predictor import Predictor

NOTHING = Known({}, {}, {})


def model_of(size: int, architecture: str, encoder: str) -> Model:
    """A model of random weights."""
    torch.manual_seed(0)
    names = tuple(f"class_{index}" for index in range(CLASSES))
    info = DatasetInfo("random", names, tuple((index, 0, 0) for index in range(CLASSES)))
    image = ImageSettings(height=size, width=size, fit="whole", overlap=0)
    return Model(network_of(architecture, encoder).eval(), image, PLAIN, info)


def predictors_of(model: Model, content: bytes) -> dict[str, Predictor]:
    """By the name of what runs the network; without OpenVINO where that is not installed."""
    card = replace(card_of(card_content(model, content, {}, NOTHING)), compared=RUNTIMES)
    found: dict[str, Predictor] = {"pytorch": model}
    for name in RUNTIMES:
        if importlib.util.find_spec(name) is not None:
            found[name] = OnnxPredictor(open_network(content, name, name), card)
    return found


def networks_of(model: Model, content: bytes, batch: np.ndarray) -> dict[str, Callable[[], Any]]:
    """What predicts a batch of the network's size, by the same names."""

    @torch.no_grad()
    def by_torch() -> Any:
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        return model.network(images).softmax(dim=1)

    found: dict[str, Callable[[], Any]] = {"pytorch": by_torch}
    for name in RUNTIMES:
        if importlib.util.find_spec(name) is not None:
            run = open_network(content, name, name)
            found[name] = lambda run=run: run(batch)  # type: ignore[misc]
    return found


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
    whole = {
        name: lambda one=one: list(one.probabilities(images))
        for name, one in predictors_of(model, content).items()
    }
    result = {
        "network": {key: getattr(given, key) for key in ("architecture", "encoder", "size")},
        "image_to_probabilities": rates(whole, given.batch, given.rounds),
        "network_alone": rates(networks_of(model, content, batch), given.batch, given.rounds),
        "hardware": hardware(),
    }
    write_result(result, given.out)


if __name__ == "__main__":
    main()
