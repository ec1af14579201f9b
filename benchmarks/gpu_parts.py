"""What benchmarks.gpu measures, each part a function of the command line and a folder of images.

Units: ms of wall-clock time a step, images a second; a step is forward, backward and optimizer.
"""

import contextlib
import hashlib
import io
import statistics
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import ppl.training.loop
from benchmarks import stages, upsampling
from benchmarks.network_step import CLASSES, hardware, network_of, peak_memory
from benchmarks.stages import Given, device_of, in_place_of_train_step, synchronize
from ppl.training.graphs import WARM_STEPS
from ppl.training.loss import segmentation_loss

FIRST_STEPS = 6
"""Steps of a profiled training that are not counted: memory is fetched, plans are made."""

BLOCKS = 5
"""Blocks of steps of a training whose rate is measured; the first two are not counted."""

SHOWN = 25
"""Operators and kernels listed of a profile."""


def facts() -> dict[str, Any]:
    """The machine."""
    return hardware() | {
        "gpus": torch.cuda.device_count(),
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cuda": torch.version.cuda,
    }


def rates(given: Given, folder: Path, *, student: bool) -> Any:
    """Steps and images a second of a training, in turn with the bare network's steps."""
    device = device_of(given)
    torch.manual_seed(0)
    network = network_of(given.architecture, given.encoder).to(device)
    blocks = Given(**vars(given) | {"block": given.steps, "steps": BLOCKS * given.steps})
    seconds = stages.in_turn(blocks, folder, network, device, student=student, weak=stages.WEAK)
    return {
        "images_per_second": round(given.batch / seconds["stage"], 1),
        "steps_per_second": round(1 / seconds["stage"], 2),
        "bare_images_per_second": round(given.batch / seconds["bare"], 1),
        "ms_per_step": {k: round(1000 * s, 2) for k, s in seconds.items() if s},
        "peak_memory_mib": round(peak_memory(device) / 2**20),
    }


class Blocks:
    """Takes the place of `train_step`: times blocks of steps."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self._device = device
        self._steps = steps
        self._real = ppl.training.loop.train_step
        self._done = 0
        self._began = 0.0
        self.seconds: list[float] = []
        """Of a step, by blocks."""

    def __call__(self, *arguments: Any) -> Tensor:
        loss = self._real(*arguments)
        self._done += 1
        if self._done % self._steps == 0:
            synchronize(self._device)
            now = time.perf_counter()
            self.seconds.append((now - self._began) / self._steps)
            self._began = now
        return loss


def with_graphs(given: Given, folder: Path, *, student: bool) -> Any:
    """Steps a second of a training without `compute.graphs` and with it, from one seed.

    What a training says of graphs is kept: without a word, they are replayed. Of BLOCKS blocks the
    first two are not counted; a step is captured in the first of them.
    """
    device = device_of(given)
    found: dict[str, Any] = {}
    said, sums = io.StringIO(), []
    for name, graphs in (("without", False), ("with", True)):
        torch.manual_seed(0)
        network = network_of(given.architecture, given.encoder).to(device)
        # a step is captured after a few: a block is longer
        block = max(given.steps, WARM_STEPS + 1)
        timed = Blocks(device, block)
        whole = Given(**vars(given) | {"steps": BLOCKS * block, "graphs": graphs})
        with in_place_of_train_step(timed), contextlib.redirect_stdout(said):
            training = stages.trained(
                whole, folder, network, device, student=student, weak=stages.WEAK
            )
        seconds = statistics.median(timed.seconds[2:])
        found[name] = {
            "steps_per_second": round(1 / seconds, 2),
            "images_per_second": round(given.batch / seconds, 1),
            "ms_per_step": round(1000 * seconds, 2),
            "peak_memory_mib": round(peak_memory(device) / 2**20),
        }
        sums.append(weights_of(training.kept))
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    lines = [line for line in said.getvalue().splitlines() if "compute.graphs" in line]
    return found | {"same_weights": len(set(sums)) == 1, "said": lines}


class Profiled:
    """Takes the place of `train_step`: times some steps, then profiles as many."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self._device = device
        self._steps = steps
        self._real = ppl.training.loop.train_step
        self._done = 0
        self._began = 0.0
        self.seconds = 0.0
        """Of a step without the profiler."""
        activities = [ProfilerActivity.CPU]
        activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
        self.profiler = profile(activities=activities)

    def __call__(self, *arguments: Any) -> Tensor:
        if self._done == FIRST_STEPS:
            synchronize(self._device)
            self._began = time.perf_counter()
        if self._done == FIRST_STEPS + self._steps:
            synchronize(self._device)
            self.seconds = (time.perf_counter() - self._began) / self._steps
            self.profiler.start()
        loss = self._real(*arguments)
        self._done += 1
        if self._done == FIRST_STEPS + 2 * self._steps:
            synchronize(self._device)
            self.profiler.stop()
        return loss


def profiled(given: Given, folder: Path, *, student: bool) -> Any:
    """Launches of a step, the device's busy share of it, the operators that take its time."""
    device = device_of(given)
    torch.manual_seed(0)
    steps = min(5, given.steps)
    network = network_of(given.architecture, given.encoder).to(device)
    watch = Profiled(device, steps)
    whole = Given(**vars(given) | {"steps": FIRST_STEPS + 2 * steps})
    with in_place_of_train_step(watch):
        stages.trained(whole, folder, network, device, student=student, weak=stages.WEAK)
    return profile_summary(watch.profiler, steps, 1000 * watch.seconds)


def _on_gpu(event: Any) -> bool:
    return bool(event.device_type.name == "CUDA")


def profile_summary(profiler: Any, steps: int, ms: float) -> dict[str, Any]:
    """Of `steps` profiled steps; `ms` is what one takes without the profiler.

    Without a GPU the operators' times are the processor's.
    """
    events = [
        event
        for event in profiler.events() or []
        if _on_gpu(event) and not getattr(event, "is_user_annotation", False)
    ]
    copies = [event for event in events if event.name.startswith(("Memcpy", "Memset"))]
    busy, until = 0.0, 0.0
    for start, end in sorted((e.time_range.start, e.time_range.end) for e in events):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    kernels: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        kernels[event.name] += event.time_range.elapsed_us()
        calls[event.name] += 1
    operators = [a for a in profiler.key_averages() if not _on_gpu(a)]
    kind = "self_device_time_total" if events else "self_cpu_time_total"
    operators.sort(key=lambda a: -getattr(a, kind))
    return {
        "ms_per_step": round(ms, 2),
        "busy_ms_per_step": round(busy / 1000 / steps, 2),
        "busy_share": round(busy / 1000 / steps / ms, 3),
        "launches_per_step": round((len(events) - len(copies)) / steps),
        "copies_per_step": round(len(copies) / steps),
        "operators": [
            {
                "name": a.key[:80],
                "ms_per_step": round(getattr(a, kind) / 1000 / steps, 3),
                "calls_per_step": round(a.count / steps, 1),
            }
            for a in operators[:SHOWN]
        ],
        "kernels": [
            {
                "name": name[:110],
                "ms_per_step": round(us / 1000 / steps, 3),
                "calls_per_step": round(calls[name] / steps, 1),
            }
            for name, us in kernels.most_common(SHOWN)
        ],
    }


def weights_of(state: dict[str, Tensor]) -> str:
    """MD5 of all tensors in the order of their names."""
    found = hashlib.md5(usedforsecurity=False)
    for name in sorted(state):
        found.update(name.encode())
        raw = state[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(raw.numpy().data)
    return found.hexdigest()


def equal_bytes(given: Given, folder: Path, *, student: bool, runs: int = 2) -> Any:
    """Whether trainings from one seed end with the same weights, and what warned meanwhile."""
    device = device_of(given)
    sums = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(runs):
            torch.manual_seed(0)
            network = network_of(given.architecture, given.encoder).to(device)
            kept = stages.trained(
                given, folder, network, device, student=student, weak=stages.WEAK
            ).kept
            sums.append(weights_of(kept))
    return {
        "steps": given.steps,
        "md5": sums,
        "equal": len(set(sums)) == 1 if runs > 1 else None,
        "warnings": _first_lines(caught),
    }


def _first_lines(caught: list[warnings.WarningMessage]) -> list[str]:
    return sorted({str(w.message).partition("\n")[0][:160] for w in caught})


class Bare:
    """The bare step of one network: forward, loss, backward, SGD on a batch that stays."""

    def __init__(self, given: Given, device: torch.device, architecture: str | None = None) -> None:
        torch.manual_seed(0)
        name = architecture or given.architecture
        # a transformer with a grid of one size takes others when it is told so
        options = {"dynamic_img_size": True} if name == "DPT" else {}
        self.network = network_of(name, given.encoder, options).to(device).train()
        self.network.precision = getattr(torch, given.precision)
        self.images = torch.rand(given.batch, 3, given.size, given.size, device=device)
        self.masks = torch.randint(CLASSES, (given.batch, given.size, given.size), device=device)
        self._sgd = torch.optim.SGD(self.network.parameters(), lr=0.001, momentum=0.9)

    def backward(self) -> None:
        self._sgd.zero_grad(set_to_none=True)
        loss = segmentation_loss(self.network(self.images), self.masks, stages.LOSS)
        loss.backward()  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        self.backward()
        self._sgd.step()

    def gradients(self) -> str:
        """MD5 of the gradients of one batch; weights stay, statistics move without effect."""
        torch.manual_seed(0)  # of dropout
        self.backward()
        found = {k: p.grad for k, p in self.network.named_parameters() if p.grad is not None}
        return weights_of(found)


def graphed(given: Given, folder: Path) -> Any:
    """ms of the bare step as it is launched, and replayed as one CUDA graph: a bound."""
    device = device_of(given)
    step = Bare(given, device)
    # graphs are captured off the default stream, after plans are made there
    aside: Any = None
    if device.type == "cuda":
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(aside) if aside else contextlib.nullcontext():
        for _ in range(4):
            step()
    synchronize(device)
    found = {"launched_ms": upsampling.ms_of(step, device, given.steps)}
    if aside:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        found["replayed_ms"] = upsampling.ms_of(graph.replay, device, given.steps)
    return {k: round(v, 2) for k, v in found.items()}


def operators(given: Given, folder: Path, architecture: str) -> Any:
    """Which operators of a network's step have no deterministic way, and what they do to it."""
    device = device_of(given)
    encoder = "tu-vit_tiny_patch16_224" if architecture == "DPT" else given.encoder
    step = Bare(Given(**vars(given) | {"encoder": encoder}), device, architecture)
    torch.use_deterministic_algorithms(True)
    try:
        step.backward()
        raised = None
    except RuntimeError as error:
        raised = str(error).partition("\n")[0][:200]
    torch.use_deterministic_algorithms(True, warn_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sums = {step.gradients() for _ in range(3)}
    torch.use_deterministic_algorithms(False)
    free = {step.gradients() for _ in range(3)}
    return {
        "encoder": encoder,
        "raises": raised,
        "warns": _first_lines(caught),
        "gradients_equal": len(sums) == 1,
        "gradients_equal_without": len(free) == 1,
    }


def predictions(given: Given, folder: Path, stage: str) -> Any:
    """Images a second of a stage that predicts, against the bare networks."""
    # the first pass loads libraries and makes plans
    few = Given(**vars(given) | {"images": min(given.images, 32)})
    stages.prediction_against_bare(few, folder / "few", stage)
    return stages.prediction_against_bare(given, folder / "all", stage)


def resizes(given: Given, folder: Path) -> Any:
    """The up-sampling by itself."""
    return upsampling.measure(given.batch, given.size, device_of(given), given.steps)
