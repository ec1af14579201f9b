"""How near every stage comes to what the network alone could do.

    python -m benchmarks.stages --out stages.json                         # 2 cores: 10 minutes
    python -m benchmarks.stages --size 512 --batch 64 --steps 200 --out stages.json    # a GPU

On generated images, with the real stages' code, each measurement in a process of its own started
as ppl.run.launch does:

trainings    steps of the stage and of the bare network in turn (forward, backward, optimizer on
             one batch that never changes), the confidence pass of CutMix by itself
predictions  the stage's images a second against the bare network's forward passes
growth       ranking and pseudo-labels with a network of one layer, on 100 to 10,000 images
processes    images a second of the final training with 1 and with 2 processes on the same cores
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import ppl.students.def_up
import ppl.training.loop
from benchmarks.network_step import (
    CLASSES,
    attainable,
    flops_of,
    hardware,
    network_of,
    peak_memory,
    write_result,
)
from ppl.core import processes
from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import DatasetInfo, Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.judge.evaluation import EvaluateSettings, evaluate_models
from ppl.labeling import ranking
from ppl.labeling.part_agreement import lone
from ppl.labeling.pseudo_masks import ONE_LOOK, write_pseudo_masks
from ppl.labeling.ranking import score_images
from ppl.network.network import SegmentationNetwork, pick_device
from ppl.network.resize import ImageSettings
from ppl.run.launch import memory_settings
from ppl.students import mean_teacher
from ppl.students.cutmix import CutMixSettings
from ppl.students.def_up import RetrainSettings, network_confidence
from ppl.students.fall_back import FallBackSettings
from ppl.students.mean_teacher import MeanTeacher
from ppl.students.student import StudentImages, StudentSettings, retrain
from ppl.training import strong_augment
from ppl.training.compute import ComputeSettings
from ppl.training.loop import Training
from ppl.training.loss import PAPER, segmentation_loss
from ppl.training.optimizer import OptimizerSettings
from ppl.training.paste import PAPER as NOTHING_PASTED
from ppl.training.recipe import Recipe
from ppl.training.sampling import SamplingSettings
from ppl.training.selection import SelectionSettings
from ppl.training.teacher import SupervisedSettings, train_supervised
from ppl.training.weak_augment import WeakAugmentSettings

DIFFERENT = 64
"""Images that differ; more are links to these."""

COLOURS = [(40 * k, 200 - 30 * k, 30 * k) for k in range(CLASSES)]

# params.yaml's own values, or the paper's where those are for tiny pictures
WEAK = WeakAugmentSettings(
    scale_min=1.0, scale_max=1.0, flip_probability=0.5, vertical_flip_probability=0.0
)
SCALED = WeakAugmentSettings(
    scale_min=0.5, scale_max=2.0, flip_probability=0.5, vertical_flip_probability=0.0
)

CUTMIX = CutMixSettings(
    enabled=True,
    order="after_strong",
    sure_of="image",
    sure_by="network",
    combine="xor",
    boxes=3,
    area_min=0.25,
    area_max=0.5,
    aspect_max=2.0,
)
LOSS = PAPER.model_copy(update={"defect_weight": 4.0, "tversky_weight": 1.0})
OPTIMIZER = OptimizerSettings(
    encoder_lr=0.001, decoder_lr_multiple=10.0, momentum=0.9, weight_decay=1e-4, poly_power=0.9
)


class Given(argparse.Namespace):
    """The command line."""

    size: int
    batch: int
    architecture: str
    encoder: str
    steps: int
    images: int
    colour: bool
    precision: str
    compile: bool
    graphs: bool
    deterministic: bool
    mean_teacher: bool
    block: int | None
    only: list[str] | None
    out: Path | None
    one: str | None
    folder: Path | None


def make_images(folder: Path, count: int, size: int, *, colour: bool) -> ImageSet:
    """A set of `count` images a quarter larger than `size`, each with a mask, most by links.

    One that is there already is taken as it is.
    """
    if (folder / "index.json").exists():
        return read_image_set(folder)
    draws = np.random.default_rng(0)
    side = size * 5 // 4
    entries = []
    for number in range(count):
        id = f"{number // 1000}/{number:06}"
        image, mask = folder / "images" / f"{id}.png", mask_file(folder / "masks", id)
        image.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        if number < DIFFERENT:
            coarse = draws.integers(0, 256, (8, 8, 3 if colour else 1), dtype=np.uint8)
            picture = Image.fromarray(coarse if colour else coarse[:, :, 0])
            noisy = np.asarray(picture.resize((side, side))) // 2
            noisy = noisy + draws.integers(0, 60, noisy.shape, dtype=np.uint8)
            Image.fromarray(noisy).save(image)
            classes = torch.from_numpy(draws.integers(0, CLASSES, (6, 6)))
            rows, columns = (torch.arange(side) * 6 // side for _ in range(2))
            write_mask(mask, classes[rows][:, columns], COLOURS)
        else:
            twin = f"0/{number % DIFFERENT:06}"
            os.link(folder / "images" / f"{twin}.png", image)
            os.link(mask_file(folder / "masks", twin), mask)
        entries.append(Entry(id, f"{id}.png", side, side))
    write_index(folder, entries)
    return read_image_set(folder)


def image_settings(given: Given) -> ImageSettings:
    return ImageSettings(height=given.size, width=given.size, fit="whole", overlap=0)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def device_of(given: Given) -> torch.device:
    device = pick_device()
    torch.use_deterministic_algorithms(given.deterministic, warn_only=True)
    return device


def mean_teacher_of(given: Given) -> mean_teacher.MeanTeacherSettings:
    return mean_teacher.PAPER.model_copy(update={"enabled": given.mean_teacher})


@contextmanager
def in_place_of_train_step(step: Callable[..., Tensor]) -> Iterator[None]:
    """Inside, a training's steps are calls of `step`."""
    real = ppl.training.loop.train_step
    ppl.training.loop.train_step = step
    try:
        yield
    finally:
        ppl.training.loop.train_step = real


class InTurn:
    """Takes the place of `train_step`: blocks of the stage's steps, of bare ones, of confidence."""

    def __init__(self, given: Given, device: torch.device, unlabeled: int) -> None:
        self._device = device
        self._block = given.block or (20 if device.type == "cuda" else 1)
        self._network = network_of(given.architecture, given.encoder).to(device).train()
        self._network.precision = getattr(torch, given.precision)
        if given.compile:
            self._network.body.compile()
        self._images = torch.rand(given.batch, 3, given.size, given.size, device=device)
        self._masks = torch.randint(CLASSES, (given.batch, given.size, given.size), device=device)
        self._sgd = torch.optim.SGD(self._network.parameters(), lr=0.001, momentum=0.9)
        self._unlabeled = unlabeled
        self._mean = MeanTeacher(self._network, mean_teacher_of(given))
        self._labels = given.mean_teacher and unlabeled > 0
        self._real = ppl.training.loop.train_step
        self._steps = 0
        self._began = 0.0
        parts = ("stage", "bare", "confidence", "mean_teacher")
        self.seconds: dict[str, list[float]] = {part: [] for part in parts}
        """Of one step each."""

    def __call__(self, *arguments: Any) -> Tensor:
        loss = self._real(*arguments)
        self._steps += 1
        if self._steps % self._block == 0:
            synchronize(self._device)
            self.seconds["stage"].append((time.perf_counter() - self._began) / self._block)
            self._time("bare", self._bare_step)
            if self._unlabeled:
                self._time("confidence", self._confidence)
            if self._labels:
                self._time("mean_teacher", self._label)
            self._began = time.perf_counter()
        return loss

    def _time(self, what: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        for _ in range(self._block):
            work()
        synchronize(self._device)
        self.seconds[what].append((time.perf_counter() - began) / self._block)

    def _bare_step(self) -> None:
        self._sgd.zero_grad(set_to_none=True)
        segmentation_loss(self._network(self._images), self._masks, LOSS).backward()  # type: ignore[no-untyped-call]
        self._sgd.step()

    def _confidence(self) -> None:
        network_confidence(self._network, self._images[: self._unlabeled])

    def _label(self) -> None:
        self._mean.follow(self._network)
        self._mean.labels(self._images[: self._unlabeled], self._masks[: self._unlabeled])

    def medians(self) -> dict[str, float]:
        """Without the first two blocks, in which memory is fetched and plans are made."""
        return {k: statistics.median(v[2:]) if v[2:] else 0.0 for k, v in self.seconds.items()}


def trained(
    given: Given,
    folder: Path,
    network: SegmentationNetwork,
    device: torch.device,
    *,
    student: bool,
    weak: WeakAugmentSettings,
) -> Training:
    """One training by its stage's code; `student`: with pseudo-labels, half of the batch each."""
    images = make_images(folder, given.images, given.size, colour=given.colour)
    nothing = images.subset([])
    half = given.batch // 2
    recipe = recipe_of(given, weak)
    if not student:
        supervised = SupervisedSettings(iterations=given.steps, batch=given.batch, snapshots=2)
        draws = Draws(0, "teacher")
        return train_supervised(network, images, nothing, recipe, supervised, draws)
    taught = StudentImages(images, images, [folder / "masks"], validation=nothing)
    budget = RetrainSettings(
        start="fresh",
        iterations=given.steps,
        labeled_batch=given.batch - half,
        unlabeled_batch=half,
    )
    settings = StudentSettings(
        cutmix=CUTMIX,
        mean_teacher=mean_teacher_of(given),
        fall_back=FallBackSettings(enabled=False, confidence=0.9, resamples=400),
    )
    return retrain(network, taught, recipe, settings, budget, Draws(0, "student"))


def recipe_of(given: Given, weak: WeakAugmentSettings) -> Recipe:
    compute = {
        "precision": given.precision,
        "compile": given.compile,
        "graphs": given.graphs,
    }
    return Recipe(
        image=image_settings(given),
        weak_augment=weak,
        strong_augment=strong_augment.PAPER,
        sampling=SamplingSettings(repeat_below=0.3),
        paste=NOTHING_PASTED.model_copy(update={"probability": 0.5}),
        loss=LOSS,
        optimizer=OPTIMIZER,
        selection=SelectionSettings(by="last", every=10**7),
        compute=ComputeSettings.model_validate(compute),
    )


def in_turn(
    given: Given,
    folder: Path,
    network: SegmentationNetwork,
    device: torch.device,
    *,
    student: bool,
    weak: WeakAugmentSettings,
) -> dict[str, float]:
    """Median seconds of a training's step and, in turn with it, of what it is compared with."""
    blocks = InTurn(given, device, given.batch // 2 if student else 0)
    with in_place_of_train_step(blocks):
        trained(given, folder, network, device, student=student, weak=weak)
    return blocks.medians()


def training(given: Given, folder: Path, *, student: bool, weak: WeakAugmentSettings) -> Any:
    """Rates of one training against the bare network and the machine's largest product."""
    device = device_of(given)
    torch.manual_seed(0)
    network = network_of(given.architecture, given.encoder).to(device)
    flops = flops_of(network, torch.rand(given.batch, 3, given.size, given.size, device=device))
    seconds = in_turn(given, folder, network, device, student=student, weak=weak)
    limit = attainable(device, 3)
    without_passes = seconds["stage"] - seconds["confidence"] - seconds["mean_teacher"]
    return {
        "images_per_second": round(given.batch / seconds["stage"], 2),
        "ms_per_image": {k: round(1000 * s / given.batch, 2) for k, s in seconds.items()},
        "share_of_bare_step": round(seconds["bare"] / without_passes, 3),
        "gflops": round(flops / seconds["stage"] / 1e9, 1),
        "attainable_gflops": round(limit / 1e9, 1),
        "share_of_attainable": round(flops / seconds["stage"] / limit, 3),
        "peak_memory_mib": round(peak_memory(device) / 2**20),
    }


class OneLayer(nn.Module):
    """In place of a network, to see what is around it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layer(images)
        return result


def prediction(
    given: Given, folder: Path, stage: str, networks: list[Any], count: int
) -> dict[str, Any]:
    """Images a second of a stage that predicts `count` images."""
    images = make_images(folder, count, given.size, colour=given.colour)
    image = image_settings(given)
    began = time.perf_counter()
    if stage == "rank_stability":
        score_images(networks, images, image, ranking.PAPER)
    elif stage == "pseudo_label":
        write_pseudo_masks(
            networks[0],
            lone(images),
            image,
            ONE_LOOK,
            DatasetInfo("x", tuple(map(str, range(CLASSES))), tuple(COLOURS)),
            folder / "out",
        )
    else:
        settings = EvaluateSettings(
            min_defect_fraction=0.001,
            false_alarm_rate=0.05,
            defect_overlap=0.25,
            overlays=0,
            extremes=0,
        )
        evaluate_models(
            {str(k): network for k, network in enumerate(networks)},
            images,
            CLASSES,
            image,
            settings,
        )
    seconds = time.perf_counter() - began
    return {
        "images": count,
        "networks": len(networks),
        "images_per_second": round(count / seconds, 1),
        "peak_memory_mib": round(peak_memory(pick_device()) / 2**20),
    }


@torch.no_grad()
def prediction_against_bare(given: Given, folder: Path, stage: str) -> dict[str, Any]:
    device = device_of(given)
    number = {"rank_stability": 3, "pseudo_label": 1, "evaluate": 3}[stage]
    networks = [
        network_of(given.architecture, given.encoder).to(device).eval() for _ in range(number)
    ]
    found = prediction(given, folder, stage, networks, given.images)
    step = 32 if device.type == "cuda" else 8
    batch = torch.rand(step, 3, given.size, given.size, device=device)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        for network in networks:
            network(batch)
        synchronize(device)
        times.append(time.perf_counter() - began)
    bare = step / statistics.median(times[1:])
    return found | {
        "bare_images_per_second": round(bare, 1),
        "share_of_bare": round(found["images_per_second"] / bare, 3),
    }


def growth(given: Given, folder: Path, stage: str, count: int) -> dict[str, Any]:
    networks: list[Any] = [OneLayer().to(pick_device()).eval() for _ in range(3)]
    small = argparse.Namespace(**vars(given) | {"size": 64})
    return prediction(small, folder, stage, networks, count)  # type: ignore[arg-type]


def several(given: Given, folder: Path) -> dict[str, Any]:
    """The final training's rate as these processes together reach it."""
    processes.start()
    mine = folder / str(processes.rank())
    device = device_of(given)
    torch.manual_seed(0)
    network = network_of(given.architecture, given.encoder).to(device)
    stamps: list[float] = []
    real = ppl.training.loop.train_step

    def step(*arguments: Any) -> Tensor:
        synchronize(device)
        stamps.append(time.perf_counter())
        return real(*arguments)

    with in_place_of_train_step(step):
        trained(given, mine, network, device, student=True, weak=WEAK)
    count = processes.count()
    processes.stop()
    intervals = [b - a for a, b in itertools.pairwise(stamps[2:])]
    return {
        "processes": count,
        "threads_each": torch.get_num_threads(),
        "images_per_second": round(given.batch / statistics.median(intervals), 2),
    }


def measurements(given: Given) -> dict[str, Callable[[Path], Any]]:
    """All of them by name."""
    found: dict[str, Callable[[Path], Any]] = {
        "train_supervised": lambda at: training(given, at, student=False, weak=WEAK),
        "train_supervised, scales 0.5-2": lambda at: training(
            given, at, student=False, weak=SCALED
        ),
        "retrain_final": lambda at: training(given, at, student=True, weak=WEAK),
    }
    for stage in ("rank_stability", "pseudo_label", "evaluate"):
        found[stage] = lambda at, stage=stage: prediction_against_bare(given, at, stage)  # type: ignore[misc]
    for stage in ("rank_stability", "pseudo_label"):
        for count in (100, 1000, 10000):
            found[f"growth: {stage}, {count} images"] = (
                lambda at, stage=stage, count=count: growth(given, at, stage, count)  # type: ignore[misc]
            )
    for count in (1, 2):
        found[f"processes: {count}"] = lambda at: several(given, at)
    return found


def run_alone(name: str, given: Given, arguments: list[str]) -> Any:
    """One measurement in a process of its own, or in several."""
    start, environment = [sys.executable], os.environ | memory_settings(os.environ)
    if name == "processes: 2":
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // 2))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*start, "-m", "benchmarks.stages", "--one", name, "--folder", folder, *arguments],
            env=environment | {"TQDM_DISABLE": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(next(x for x in reversed(done.stdout.splitlines()) if x.startswith("{")))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--architecture", default="DeepLabV3Plus")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--steps", type=int, default=20, help="of each training")
    parser.add_argument("--images", type=int, default=256, help="of each set but for the growth")
    parser.add_argument("--colour", action="store_true", help="instead of grey images")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--graphs", action="store_true", help="of the trainings' steps, on a GPU")
    parser.add_argument(
        "--deterministic",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="algorithms, as the stages have them",
    )
    parser.add_argument("--mean-teacher", action="store_true", help="in the student")
    parser.add_argument("--block", type=int, help="steps timed at once; 1, on a GPU 20")
    parser.add_argument("--only", nargs="+", help="measurements whose name begins so")
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=Given())
    known = measurements(given)
    if given.one:
        assert given.folder is not None
        found = known[given.one](given.folder)
        if os.environ.get("RANK", "0") == "0":
            print("\n" + json.dumps(found))
        return
    result: dict[str, Any] = {
        "hardware": hardware(),
        "what": {k: v for k, v in vars(given).items() if k not in ("out", "one", "folder", "only")},
    }
    gpus = torch.cuda.device_count()
    for name in known:
        if given.only and not name.startswith(tuple(given.only)):
            continue
        if name == "processes: 2" and gpus == 1:
            result[name] = "one GPU here"
            continue
        began = time.perf_counter()
        result[name] = run_alone(name, given, sys.argv[1:])
        print(f"{name} ({time.perf_counter() - began:.0f} s): {result[name]}", file=sys.stderr)
    write_result(result, given.out)


if __name__ == "__main__":
    main()
