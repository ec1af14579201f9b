"""The limit of every training: the network's own step, with no data around it.

    python -m benchmarks.network_step --size 512 --out step.json

Forward, backward and optimizer step on one random batch that never changes, against the machine's
largest matrix product; on a CPU also with malloc as it comes and as ppl.run sets it, each in
a process of its own, in turn.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppl.network.network import SegmentationNetwork, pick_device
from ppl.run.launch import MEMORY, memory_settings
from ppl.tools.cost import counted
from ppl.training.loss import PAPER, cross_entropy

CLASSES = 6
PRODUCT = 4096
"""Side of the matrices whose product shows the attainable rate."""
SIDE = math.isqrt(PRODUCT)


def network_of(
    architecture: str, encoder: str, options: dict[str, Any] | None = None
) -> SegmentationNetwork:
    return SegmentationNetwork(
        architecture, encoder, CLASSES, options=options or {}, mean=[0.5] * 3, std=[0.25] * 3
    )


def seconds_of(work: Any, repeats: int, device: torch.device) -> list[float]:
    """Seconds of each call, after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return taken[1:]


def attainable(device: torch.device, repeats: int) -> float:
    """FLOP/s of a large float32 matrix product, by the faster of PyTorch's two ways.

    On some CPUs the library behind `@` is slower than the one behind convolutions.
    """
    left, right = (torch.rand(PRODUCT, PRODUCT, device=device) for _ in range(2))
    # the same product: the rows of `left` as the pixels of an image, `right` as a 1 x 1 kernel
    pixels = left.view(1, SIDE, SIDE, PRODUCT).permute(0, 3, 1, 2)
    kernel = right.view(PRODUCT, PRODUCT, 1, 1).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        ways = (lambda: left @ right, lambda: nn.functional.conv2d(pixels, kernel))
        return 2 * PRODUCT**3 / min(min(seconds_of(way, repeats, device)) for way in ways)


def flops_of(network: nn.Module, images: torch.Tensor) -> int:
    """Of a forward and a backward pass, a multiplication and an addition counted as two."""
    with counted() as counter:
        network(images).sum().backward()
    return int(counter.get_total_flops())


def measure(size: int, batch: int, architecture: str, encoder: str, steps: int) -> dict[str, Any]:
    """Times of training steps in this process."""
    device = pick_device()
    torch.manual_seed(0)
    network = network_of(architecture, encoder).to(device).train()
    images = torch.rand(batch, 3, size, size, device=device)
    masks = torch.randint(CLASSES, (batch, size, size), device=device)
    sgd = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    flops = flops_of(network, images)

    def step() -> None:
        sgd.zero_grad(set_to_none=True)
        cross_entropy(network(images), masks, PAPER).backward()  # type: ignore[no-untyped-call]
        sgd.step()

    seconds = seconds_of(step, steps, device)
    median = statistics.median(seconds)
    limit = attainable(device, 3)
    return {
        "ms_per_image": round(1000 * median / batch, 2),
        "ms_per_image_least_and_most": [
            round(1000 * extreme(seconds) / batch, 2) for extreme in (min, max)
        ],
        "images_per_second": round(batch / median, 2),
        "gflops": round(flops / median / 1e9, 1),
        "attainable_gflops": round(limit / 1e9, 1),
        "share_of_attainable": round(flops / median / limit, 3),
        "peak_memory_mib": round(peak_memory(device) / 2**20),
    }


def peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def hardware() -> dict[str, Any]:
    """What a reader must know to compare two results."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write_result(result: dict[str, Any], out: Path | None) -> None:
    """As JSON into a file, or to be seen."""
    text = json.dumps(result, indent=1) + "\n"
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--architecture", default="DeepLabV3Plus")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--steps", type=int, default=5, help="measured after one that is not")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each kind, in turn")
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(
            json.dumps(
                measure(given.size, given.batch, given.architecture, given.encoder, given.steps)
            )
        )
        return
    clean = {name: value for name, value in os.environ.items() if name not in MEMORY}
    kinds = {"malloc_as_it_comes": clean, "malloc_of_ppl_run": clean | memory_settings(clean)}
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for _ in range(given.rounds):
        for kind, environment in kinds.items():
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.network_step", "--one", *sys.argv[1:]],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found[kind].append(json.loads(done.stdout))
    default, launched = (
        statistics.median(run["ms_per_image"] for run in runs) for runs in found.values()
    )
    result = {
        "hardware": hardware(),
        "what": {k: v for k, v in vars(given).items() if k not in ("out", "one")},
        "runs": found,
        "times_as_fast": round(default / launched, 2),
    }
    write_result(result, given.out)


if __name__ == "__main__":
    main()
