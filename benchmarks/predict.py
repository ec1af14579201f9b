"""How near `predict` comes to the model alone, on images that lie in memory already.

    python -m benchmarks.predict --out predict.json                # 2 cores: 3 minutes

Images of 128 and of 512 pixels a side, a network of that size: the whole command, from files to
masks and tables, in turn with `Model.probabilities`; once more with overlays. The images are JPEGs
of a surface with a spot on every third; a network that has learned nothing would see defects all
over, so its background is raised until a few pixels are left.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.network_step import CLASSES, hardware, network_of, write_result
from ppl.images.pictures import read_pixels
from ppl.images.sets import DatasetInfo
from ppl.inspection.model import Model
from ppl.network.network import SegmentationNetwork, pick_device
from ppl.network.predict import PLAIN
from ppl.network.resize import ImageSettings
from ppl.station import command
from ppl.station.defects import likeliest
from ppl.station.options import Request

COLOURS = tuple((40 * k, 200 - 30 * k, 30 * k) for k in range(CLASSES))
MARKED = 0.02
"""Share of pixels that the network calls defective."""


def make_photos(folder: Path, count: int, side: int) -> list[Path]:
    """JPEGs of a surface, a spot on every third."""
    draws = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    files = []
    for number in range(count):
        coarse = Image.fromarray(draws.integers(90, 160, (8, 8, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((side, side))).astype(np.int64)
        pixels = pixels + draws.integers(-8, 9, pixels.shape)
        if number % 3 == 0:
            y, x = draws.integers(side // 4, side * 3 // 4, 2)
            pixels[(rows - y) ** 2 + (columns - x) ** 2 < (side // 12) ** 2] += 70
        files.append(folder / f"{number:05}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1], quality=92)
    return files


def model_of(network: SegmentationNetwork, side: int, images: list[np.ndarray]) -> Model:
    """A model whose masks show little."""
    image = ImageSettings(height=side, width=side, fit="whole", overlap=0)
    info = DatasetInfo("photos", tuple(f"class {k}" for k in range(CLASSES)), COLOURS)
    model = Model(network, image, PLAIN, info, weights="0")
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    probs = np.stack(list(model.probabilities(images)))
    lead = np.log(probs[:, 1:].max(axis=1)) - np.log(probs[:, 0])
    with torch.no_grad():
        last.bias[0] += float(np.quantile(lead, 1 - MARKED))
    marked = [likeliest(prob) > 0 for prob in model.probabilities(images)]
    print(f"{np.mean(marked):.3f} of the pixels are marked", file=sys.stderr)
    return model


def bare(model: Model, images: list[np.ndarray]) -> None:
    for start in range(0, len(images), model.at_once):
        for _ in model.probabilities(images[start : start + model.at_once]):
            pass


def whole(model: Model, photos: Path, *, overlays: bool) -> None:
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        request = Request((photos,), Path(out), no_overlays=not overlays)
        assert command.predict(lambda _: model, Path(), request) == 0


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor in all threads: others' work is not in these."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def measure(side: int, count: int, rounds: int, architecture: str, encoder: str) -> dict[str, Any]:
    """Of all three, the medians of rounds in turn."""
    torch.manual_seed(0)
    network = network_of(architecture, encoder).to(pick_device()).eval()
    with tempfile.TemporaryDirectory() as folder:
        files = make_photos(Path(folder), count, side)
        images = [read_pixels(file) for file in files]
        model = model_of(network, side, images[: 2 * model_batch(network)])
        bare(model, images[: model.at_once])
        ways: dict[str, Callable[[], None]] = {
            "bare": lambda: bare(model, images),
            "predict": lambda: whole(model, Path(folder), overlays=False),
            "with overlays": lambda: whole(model, Path(folder), overlays=True),
        }
        taken = [{what: timed(work) for what, work in ways.items()} for _ in range(rounds)]

    def median(what: str, which: int) -> float:
        return statistics.median(one[what][which] for one in taken)

    return {
        what: {
            "images_per_second": round(count / median(what, 0), 1),
            "processor_ms_per_image": round(1000 * median(what, 1) / count, 2),
            "share_of_bare": round(median("bare", 0) / median(what, 0), 3),
            "share_of_bare_by_processor": round(median("bare", 1) / median(what, 1), 3),
        }
        for what in ways
    }


def model_batch(network: SegmentationNetwork) -> int:
    return 32 if next(network.parameters()).is_cuda else 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512], help="pixels a side")
    parser.add_argument("--images", type=int, default=64, help="of 512 pixels; more of smaller")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architecture", default="DeepLabV3Plus")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "hardware": hardware(),
        "network": f"{given.architecture}, {given.encoder}",
    }
    for side in given.sizes:
        count = given.images * max(1, min(8, (512 // side) ** 2))
        found = measure(side, count, given.rounds, given.architecture, given.encoder)
        result[f"{side} px, {count} images"] = found
        print(f"{side} px: {found}", file=sys.stderr)
    write_result(result, given.out)


if __name__ == "__main__":
    main()
