"""What methods cost, in passes of the network over images, and the iterations that make them equal.

A pass is one forward pass of one image at the network's input size. What a step costs is counted:
the products of its forward and backward passes, divided by those of one such pass. So a second
network, a mean that predicts, a copy of half a network, each counts as what it computes. The
choice of a model on validation images is not counted, nor is what comes after the final model.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.core.settings import section, sections
from ppl.data.adapters.base import DataSettings, dataset_info
from ppl.images.sets import ImageSet, read_image_set
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.methods.at_once import SETTINGS, STEPS
from ppl.methods.choose import PHASED, Phases
from ppl.methods.consistency import OnceSettings
from ppl.methods.cps import CpsSettings
from ppl.methods.prevmatch import MOST, PrevMatchSettings
from ppl.methods.together import Given
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network, pick_device
from ppl.network.resize import ImageSettings
from ppl.network.windows import window_starts
from ppl.students.def_up import DefUp, RetrainSettings, share_of_batch
from ppl.students.student import StudentSettings, mean_teacher
from ppl.training import compute
from ppl.training.loop import Step, train_step
from ppl.training.optimizer import new_sgd
from ppl.training.recipe import Recipe
from ppl.training.supervised import Supervised
from ppl.training.teacher import SupervisedSettings

UNLABELED = Path("data/prepared/unlabeled")

TIMED = 3
"""Steps whose median time is taken, after one to warm up."""

NEVER = 10_000_000
"""Steps within which no state is kept."""

FINAL, RELIABLE = "retrain_final", "retrain_reliable"


@dataclass(frozen=True)
class Cost:
    """Of one training step."""

    passes: float
    seconds: float


Shape = Sequence[int]


@dataclass(frozen=True)
class Budget:
    """What a method is run with, and what that costs."""

    changes: Mapping[str, Any]
    """Settings by dotted key that differ from params.yaml."""
    steps: Sequence[int]
    """Of each of its trainings, in their order."""
    passes: float
    """Of all trainings, of ranking and pseudo-labels."""
    seconds: float = field(compare=False)
    """Of the trainings alone, by the time that a few steps take here."""


def backward_flops(
    out: Shape, image: Shape, weight: Shape, *given: Any, out_shape: Any = None
) -> int:
    """Of a convolution's backward pass: that of the forward pass for each gradient asked for.

    PyTorch's own count of the weight's gradient leaves out that a convolution in groups sees only
    its group (2.14), and so takes a depthwise one for hundreds.

    Args:
        out, image, weight: shapes of the output's gradient, the input and the weight.
        given: the other arguments of `aten::convolution_backward`, in its order.
    """
    transposed, asked = bool(given[4]), given[7]
    once: int = conv_flop_count(list(image), list(weight), list(out), transposed)
    return sum(asked[:2]) * once


def counted() -> FlopCounterMode:
    """Counts the products of what is computed inside."""
    backward = {torch.ops.aten.convolution_backward: backward_flops}
    return FlopCounterMode(display=False, custom_mapping=backward)


class _Still:
    """A half of a batch that is always the same: noise of the right size."""

    waited = 0.0

    def __init__(self, batch: int, size: tuple[int, int], device: torch.device) -> None:
        self.batch = batch
        draws = torch.Generator().manual_seed(0)
        self._images = torch.rand(batch, 3, *size, generator=draws).to(device)
        self._masks = torch.zeros(batch, *size, dtype=torch.int64, device=device)

    def next(self, relabel: Any = None) -> tuple[Tensor, Tensor]:
        masks = self._masks if relabel is None else relabel(self._images, self._masks)
        return self._images, masks


class Costs:
    """The costs of steps with the network and the settings of params.yaml, each measured once."""

    def __init__(self) -> None:
        self._recipe = sections(Recipe)
        self._students = sections(StudentSettings)
        self._device = pick_device()
        classes = len(dataset_info(section("data", DataSettings)).classes)
        self._network = new_network(section("model", NetworkSettings), classes, seed=0)
        self._network.to(self._device)
        self._forward = self._one_pass()
        self._known: dict[str, Cost] = {}

    def teacher(self, settings: SupervisedSettings) -> Cost:
        """Of a step of the teacher."""
        return self._of("teacher", self._supervised, settings.batch)

    def student(self, name: str, *, def_up: bool) -> Cost:
        """Of a step of the student whose budget is the section `name`."""
        return self._of(f"{name} {def_up}", self._student, section(name, RetrainSettings), def_up)

    def once(self, name: str, settings: OnceSettings) -> Cost:
        """Of a step of a method that trains once."""
        if not isinstance(settings, PrevMatchSettings):
            return self._of(name, self._once, settings)
        # how many earlier states label a batch is drawn anew each step: counted by their mean
        alone = self._of(name, self._once, settings.model_copy(update={"every": NEVER}))
        passes = alone.passes + settings.unlabeled_images * (1 + MOST) / 2
        return Cost(passes, alone.seconds * passes / alone.passes)

    def _of(self, key: str, make: Any, *about: Any) -> Cost:
        if key not in self._known:
            network = copy.deepcopy(self._network)
            self._known[key] = self._measured(network, make(network, *about))
        return self._known[key]

    def _half(self, batch: int) -> Any:
        return _Still(batch, self._recipe.image.size, self._device)

    def _supervised(self, network: SegmentationNetwork, batch: int) -> Step:
        return Supervised(self._half(batch), self._recipe, Draws(0, "cost"))

    def _student(self, network: SegmentationNetwork, budget: RetrainSettings, def_up: bool) -> Step:
        settings = self._students if def_up else self._students.strong_alone
        return DefUp(
            self._half(budget.labeled_batch),
            self._half(budget.unlabeled_batch),
            share_of_batch(budget, range(budget.batch)),
            self._recipe,
            settings.cutmix,
            Draws(0, "cost"),
            mean_teacher(network, settings) if budget.unlabeled_batch else None,
        )

    def _once(self, network: SegmentationNetwork, settings: OnceSettings) -> Step:
        if not settings.unlabeled_images:
            return self._supervised(network, settings.labeled_batch)
        second = copy.deepcopy(network) if isinstance(settings, CpsSettings) else None
        labeled, unlabeled = map(self._half, (settings.labeled_batch, settings.unlabeled_images))
        given = Given(network, second, labeled, unlabeled, self._recipe, Draws(0, "cost"))
        step: Step = STEPS[type(settings)](given, settings)
        return step

    @torch.no_grad()
    def _one_pass(self) -> int:
        network = copy.deepcopy(self._network).eval()
        with counted() as counter:
            network(self._half(1).next()[0])
        return int(counter.get_total_flops())

    def _measured(self, network: SegmentationNetwork, step: Step) -> Cost:
        networks = (network, *step.companions)
        for one in networks:
            compute.prepare(one, self._recipe.compute)
        sgd = new_sgd(networks, self._recipe.optimizer)
        # what a method remembers of earlier steps it has from its second on
        train_step(network, step, sgd, 1.0)
        with counted() as counter:
            train_step(network, step, sgd, 1.0)
        return Cost(counter.get_total_flops() / self._forward, self._median(network, step, sgd))

    def _median(self, network: SegmentationNetwork, step: Step, sgd: torch.optim.SGD) -> float:
        taken = []
        for _ in range(TIMED):
            began = time.perf_counter()
            # read, the loss waits for a GPU
            float(train_step(network, step, sgd, 1.0))
            taken.append(time.perf_counter() - began)
        return sorted(taken)[TIMED // 2]


def passes_of_prediction(
    unlabeled: ImageSet, image: ImageSettings, scales: Sequence[float]
) -> float:
    """Of predicting each image once at each of the scales."""
    if image.fit == "whole":
        return len(unlabeled) * sum(scale**2 for scale in scales)
    return sum(
        len(window_starts(height, image.height, image.overlap))
        * len(window_starts(width, image.width, image.overlap))
        for entry in unlabeled.entries
        for scale in scales
        for height, width in [image.at_scale((entry.height, entry.width), scale)]
    )


class EqualCosts:
    """Budgets of methods that cost what PPL costs as params.yaml has it.

    Raises:
        InputError: the images are not prepared, so nobody knows how many are unlabeled.
    """

    def __init__(self) -> None:
        if not (UNLABELED / "index.json").is_file():
            raise InputError(
                f"no {UNLABELED} yet, so the cost of ranking and pseudo-labels is not known: run "
                "`dvc repro prepare` first"
            )
        images, seen = read_image_set(UNLABELED), section("image", ImageSettings)
        labeling = section("pseudo_label", PseudoLabelSettings)
        self._one_look = passes_of_prediction(images, seen, [1.0])
        self._labeling = passes_of_prediction(images, seen, labeling.scales) * len(labeling.flips)
        self._teacher = section("train_supervised", SupervisedSettings)
        self._costs = Costs()
        self.ppl = self._phased("ppl", PHASED["ppl"], None)

    def of(self, name: str) -> Budget:
        """The budget of a method.

        Raises:
            InputError: what comes before its last training costs all that PPL does.
        """
        if name == "ppl":
            return self.ppl
        if name in PHASED:
            return self._phased(name, PHASED[name], self.ppl.passes)
        settings = section(name, SETTINGS[name])
        cost = self._costs.once(name, settings)
        steps = _whole(name, self.ppl.passes / cost.passes)
        changes = {"method.name": name, f"{name}.iterations": steps}
        return Budget(changes, [steps], steps * cost.passes, steps * cost.seconds)

    def _phased(self, name: str, phases: Phases, total: float | None) -> Budget:
        """With the teacher and the first student of params.yaml; the last student fills up.

        Args:
            total: None: with the last student of params.yaml, too.
        """
        teacher = self._costs.teacher(self._teacher)
        steps = [self._teacher.iterations]
        passes, seconds = steps[0] * teacher.passes, steps[0] * teacher.seconds
        if phases.ranking != "all":
            passes += self._one_look * self._teacher.snapshots
        passes += self._labeling
        if phases.student_1:
            first = self._costs.student(RELIABLE, def_up=phases.student_1 == "def_up")
            steps.append(section(RELIABLE, RetrainSettings).iterations)
            passes += steps[1] * first.passes
            seconds += steps[1] * first.seconds
        last = self._costs.student(FINAL, def_up=phases.final == "def_up")
        own = section(FINAL, RetrainSettings).iterations
        count = own if total is None else _whole(name, (total - passes) / last.passes)
        changes = {"method.name": name, f"{FINAL}.iterations": count}
        steps.append(count)
        return Budget(changes, steps, passes + count * last.passes, seconds + count * last.seconds)


def _whole(name: str, steps: float) -> int:
    if steps < 1:
        raise InputError(
            f"{name} has no step left at the cost of PPL: raise {FINAL}.iterations, or leave it out"
        )
    return int(steps)
