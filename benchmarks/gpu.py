"""What a GPU makes of the trainings, and what keeps it from more: 8 minutes a run on one device.

    python -m benchmarks.gpu --out gpu.json
    python -m benchmarks.gpu --size 64 --steps 2 --batches 2 4 --images 8 --out toy.json   # a CPU

Parts run in the order of their value and FILE is written after each, so that a run that is cut off
has lost little; started again, it goes on with the parts that FILE lacks (on one H200, 43 of 70
took 13 minutes). A part that fails is kept as its error.

compute.graphs     a student's and a teacher's rate with that setting and without
retrain, teacher   a training's rate by the stage's code, in turn with the bare network's steps:
                   encoder, batch, precision, deterministic algorithms on or off
profile            launches, the GPU's busy share, operators and kernels by their time
resizes            the up-sampling by itself
bytes              two trainings from one seed: the same weights or not
graph              the bare step as a CUDA graph, optimizer included: a bound
operators          of each architecture, what has no deterministic way
compile            the student with torch.compile and its mean teacher
predict            stages that predict, against the bare networks
processes          two of them, by NCCL
"""

import argparse
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import gpu_parts, stages
from ppl.run.launch import memory_settings

ARCHITECTURES = [
    *("Unet", "DeepLabV3Plus", "FPN", "Linknet", "PSPNet", "UnetPlusPlus", "MAnet", "PAN"),
    *("Segformer", "UPerNet", "DPT"),
]

WAYS = {"on": True, "off": False}
"""Deterministic algorithms or not."""

SLACK = 20
"""Seconds that a part may run on when the time is over."""

Work = Callable[[stages.Given, Path], Any]


class Given(argparse.Namespace):
    """The command line."""

    size: int
    steps: int
    images: int
    batches: list[int]
    encoders: list[str]
    architecture: str
    architectures: list[str]
    minutes: float
    only: list[str] | None
    out: Path
    process: str | None
    until: float
    folder: Path


class Part(NamedTuple):
    """One measurement."""

    name: str
    process: str
    """Parts that follow each other with one label share a process: to start one takes seconds."""
    work: Work
    settings: dict[str, Any]
    """What differs from the command line."""


def parts(given: Given) -> Iterator[Part]:
    """All of them, what matters most first."""
    first, *others = given.encoders
    small, large = given.batches[0], given.batches[-1]
    for batch, student in itertools.product(given.batches, (True, False)):
        yield graphs_part(given, student, batch)
    yield from trainings(given, "a", "retrain", first, given.batches, ("on", "off"))
    for batch, way in itertools.product((small, large), ("on", "off")):
        yield part(given, "a", "profile", gpu_parts.profiled, first, batch, way)
    for batch in (small, large):
        yield part(given, "a", "resizes", gpu_parts.resizes, first, batch, "on")
    for student, way in itertools.product((True, False), WAYS):
        yield bytes_part(given, "a", student, way)
    for batch, way in itertools.product((small, large), ("off", "on")):
        yield part(given, "b", "graph", gpu_parts.graphed, first, batch, way)
    yield bytes_part(given, "b", True, "on", runs=1)
    for name in given.architectures:
        work = partial(gpu_parts.operators, architecture=name)
        yield Part(f"operators, {name}", "c", work, {"batch": min(4, small)})
    for stage in ("rank_stability", "pseudo_label", "evaluate"):
        work = partial(gpu_parts.predictions, stage=stage)
        yield Part(f"predict, {stage}", "c", work, {"images": 4 * given.images})
    for encoder in others:
        yield from trainings(given, "c", "retrain", encoder, given.batches, ("on", "off"))
        for way in ("on", "off"):
            yield part(given, "c", "profile", gpu_parts.profiled, encoder, small, way)
        yield part(given, "c", "graph", gpu_parts.graphed, encoder, small, "off")
    middle = given.batches[len(given.batches) // 2]
    for way in ("on", "off"):
        yield part(given, "c", "retrain", gpu_parts.rates, first, middle, way, precision="float32")
    for encoder in given.encoders:
        yield from trainings(given, "c", "teacher", encoder, given.batches, ("on", "off"))
    yield Part("processes, 2", "c", two_processes, {})
    # a compilation takes minutes and may take all that is left
    for process, batch, way in (("d", small, "off"), ("e", large, "off"), ("f", small, "on")):
        yield part(given, process, "compile", gpu_parts.rates, first, batch, way, compile=True)


def part(
    given: Given,
    process: str,
    kind: str,
    work: Callable[..., Any],
    encoder: str,
    batch: int,
    way: str,
    **settings: Any,
) -> Part:
    """A measurement of one encoder at one batch."""
    deterministic = WAYS[way]
    precision = settings.setdefault("precision", "bfloat16")
    if work in (gpu_parts.rates, gpu_parts.profiled):
        work = partial(work, student=kind != "teacher")
    # where the steps are long, fewer are as certain
    steps = given.steps if batch == given.batches[0] else max(1, given.steps // 3)
    settings |= {"encoder": encoder, "batch": batch, "deterministic": deterministic, "steps": steps}
    return Part(f"{kind}, {encoder}, {batch}, {precision}, {way}", process, work, settings)


def trainings(
    given: Given, process: str, kind: str, encoder: str, batches: Any, ways: Any
) -> Iterator[Part]:
    """Rates at each batch in each way."""
    for batch, way in itertools.product(batches, ways):
        yield part(given, process, kind, gpu_parts.rates, encoder, batch, way)


def graphs_part(given: Given, student: bool, batch: int) -> Part:
    """A training's rate with `compute.graphs` and without, as the stages have it."""
    what = "student" if student else "teacher"
    one = part(given, "graphs", what, gpu_parts.with_graphs, given.encoders[0], batch, "on")
    work = partial(gpu_parts.with_graphs, student=student)
    return one._replace(name=f"compute.graphs, {one.name}", work=work)


def bytes_part(given: Given, process: str, student: bool, way: str, runs: int = 2) -> Part:
    deterministic = WAYS[way]
    work = partial(gpu_parts.equal_bytes, student=student, runs=runs)
    what = "student" if student else "teacher"
    again = ", another process" if runs == 1 else ""
    settings = {"deterministic": deterministic, "steps": max(2, 2 * given.steps)}
    return Part(f"bytes, {what}, {way}{again}", process, work, settings)


def two_processes(given: stages.Given, folder: Path) -> Any:
    """The rates of one process and of two, on a GPU each."""
    if torch.cuda.device_count() < 2:
        return f"GPUs: {torch.cuda.device_count()}"
    settings = ["--size", str(given.size), "--batch", str(given.batch), "--encoder", given.encoder]
    settings += ["--steps", str(5 * given.steps), "--precision", given.precision]
    settings += ["--images", str(given.images), "--mean-teacher"]
    names = [f"processes: {count}" for count in (1, 2)]
    return {name: stages.run_alone(name, given, settings) for name in names}


def settings_of(given: Given, settings: dict[str, Any]) -> stages.Given:
    """The command line of benchmarks.stages for one part."""
    plain = {
        "size": given.size,
        "batch": given.batches[0],
        "architecture": given.architecture,
        "encoder": given.encoders[0],
        "steps": given.steps,
        "images": given.images,
        "colour": False,
        "precision": "bfloat16",
        "compile": False,
        "graphs": False,
        "deterministic": True,
        "mean_teacher": True,
        "block": None,
    }
    return stages.Given(**plain | settings)


def read(file: Path) -> dict[str, Any]:
    """What was measured until now."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def keep(file: Path, name: str, found: Any) -> None:
    """Add a part; FILE is the old or the new one at any moment."""
    half = file.with_suffix(".half")
    text = json.dumps(read(file) | {name: found}, indent=1) + "\n"
    half.write_text(text, encoding="utf-8", newline="\n")
    half.replace(file)


def pending(given: Given) -> list[Part]:
    """The parts that FILE lacks."""
    done = read(given.out)
    chosen = tuple(given.only or [""])
    return [p for p in parts(given) if p.name not in done and p.name.startswith(chosen)]


def work_in_process(given: Given) -> None:
    """Measure the parts that this process was started for."""
    keep(given.out, "facts", gpu_parts.facts())
    for one in itertools.takewhile(lambda p: p.process == given.process, pending(given)):
        if time.time() > given.until:
            return
        began = time.perf_counter()
        try:
            found = one.work(settings_of(given, one.settings), given.folder)
        except Exception as error:  # what fails is a result; the other parts go on
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
        if isinstance(found, dict):
            found["took_s"] = round(time.perf_counter() - began, 1)
        keep(given.out, one.name, found)
        print(f"{one.name}: {str(found)[:300]}", file=sys.stderr, flush=True)
        gc.collect()
        if torch.cuda.is_available():
            # raises where the failure has left the device unusable
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def run_all(given: Given) -> None:
    """Start a process for each group of parts until all are done, or the time is over."""
    until = time.time() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as folder:
        while (left := pending(given)) and time.time() < until:
            more = ["--process", left[0].process, "--until", str(until), "--folder", folder]
            status: object = "the time was over"
            try:
                status = subprocess.run(
                    [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], *more],
                    env=os.environ | memory_settings(os.environ) | {"TQDM_DISABLE": "1"},
                    stdout=subprocess.DEVNULL,
                    timeout=max(1.0, until - time.time()) + SLACK,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                break
            if status and pending(given)[:1] == left[:1]:
                keep(given.out, left[0].name, {"error": f"its process ended with {status}"})
    print(f"not done: {[p.name for p in pending(given)]}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--steps", type=int, default=12, help="timed at once, at the least batch")
    parser.add_argument("--images", type=int, default=64, help="of each set")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--encoders", nargs="+", default=["resnet18", "tu-tf_efficientnet_lite0"])
    parser.add_argument("--architecture", default="DeepLabV3Plus", help="of the trainings")
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, help="of `operators`")
    parser.add_argument("--minutes", type=float, default=8.0, help="no part is begun after that")
    parser.add_argument("--only", nargs="+", help="parts whose name begins so")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.add_argument("--process", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=Given())
    if given.process:
        work_in_process(given)
    else:
        run_all(given)


if __name__ == "__main__":
    main()
