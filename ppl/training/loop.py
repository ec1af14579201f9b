"""One training loop for teacher and students: steps, validation, snapshots, checkpoints.

What a step minimises is handed in as a `Step`, so the loop knows nothing of pseudo-masks.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.network.network import SegmentationNetwork
from ppl.training import compute
from ppl.training.checkpoint import Checkpoint
from ppl.training.graphs import Graphed, new_graphed
from ppl.training.optimizer import new_sgd, poly_decay, set_rates
from ppl.training.recipe import Recipe
from ppl.training.selection import SelectionSettings
from ppl.training.stream import lost_readers_told

State = dict[str, Tensor]

Validate = Callable[[SegmentationNetwork], float]
"""The score to maximise, asked of a network in eval mode."""

REMEDY = "lower optimizer.encoder_lr or optimizer.decoder_lr_multiple"
"""Against a training that diverges."""

CURVE_POINTS = 50
"""Points of the training curve; each is the mean loss since the point before."""

LOOK_EVERY = {"cpu": 1, "cuda": 10}
"""Steps between two looks at the loss. A GPU stands still while its result is waited for."""


class Step(Protocol):
    """What a training minimises.

    Its state is all that it draws from, except torch's global generators.
    """

    batch: int
    """Images of a step, over all processes."""

    companions: Sequence[SegmentationNetwork]
    """Networks that are trained along and not kept."""

    @property
    def waited(self) -> float:
        """Seconds spent until now waiting for images."""

    def __call__(self, network: nn.Module) -> Tensor:
        """Draw a batch and return its loss, a scalar with gradients."""

    def product(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """What is validated and kept of the network that is trained: itself, or a mean of it."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another such step stood; before the first batch is drawn."""


@dataclass
class Training:
    """What a training leaves: the kept state, (iteration, state) snapshots, a curve for plots.

    The rest is where it stands, `losses` those since the curve's last point. All of it goes into
    every checkpoint.
    """

    kept: State = field(default_factory=dict)
    kept_iteration: int = 0
    kept_score: float | None = None
    """On the validation images; None where there is none."""
    snapshots: list[tuple[int, State]] = field(default_factory=list)
    curve: list[dict[str, float | int | None]] = field(default_factory=list)
    iteration: int = 0
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Beat:
    """At which iterations a training of `iterations` does what."""

    iterations: int
    snapshots: frozenset[int]
    validate_every: int | None
    """None: never."""
    curve_every: int

    @staticmethod
    def of(iterations: int, snapshots: int, validate_every: int | None) -> "Beat":
        """`snapshots` stand at equal distances, the last at the end."""
        at = {round((k + 1) * iterations / snapshots) for k in range(snapshots)}
        curve_every = max(1, iterations // CURVE_POINTS)
        return Beat(iterations, frozenset(at), validate_every, curve_every)

    def last(self, iteration: int) -> bool:
        return iteration == self.iterations

    def validates(self, iteration: int) -> bool:
        if self.validate_every is None:
            return False
        return self.last(iteration) or iteration % self.validate_every == 0

    def on_curve(self, iteration: int) -> bool:
        due = self.last(iteration) or iteration % self.curve_every == 0
        return due or self.validates(iteration)


def train(
    network: SegmentationNetwork,
    step: Step,
    validate: Validate | None,
    recipe: Recipe,
    *,
    iterations: int,
    snapshots: int = 0,
    name: str,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train `network` in place for `iterations` of `step`.

    Of several processes each computes its part of every batch, and all end with the same state.

    Args:
        validate: None where nothing can be scored.
        snapshots: how many states to keep at equal distances, the last at the end.
        name: of the model, for the progress bar and for messages.
        checkpoint: where to go on from, and where to leave the state from time to time.

    Raises:
        InputError: selection by validation without a defect to see; more processes than images
            in a batch; a loss or weights that are not finite (names the iteration); a process
            that reads images has died.
    """
    _stop_unless_it_can_select(validate, recipe.selection)
    _stop_unless_it_fits(step.batch, iterations, snapshots, name)
    for one in (network, *step.companions):
        compute.prepare(one, recipe.compute)
    beat = Beat.of(iterations, snapshots, recipe.selection.every if validate else None)
    work = _Work(network, step, recipe, beat, name)
    work.go_on_from(checkpoint)
    parallel = processes.together(network)
    began, first_step = time.perf_counter(), work.training.iteration
    with (
        lost_readers_told(),
        bar(total=iterations, initial=first_step, desc=f"train {name}", unit="step") as progress,
    ):
        while work.training.iteration < iterations:
            work.one_step(parallel)
            progress.update()
            if not work.looks:
                continue
            work.read_losses()
            share = step.waited / (time.perf_counter() - began)
            progress.set_postfix_str(
                f"loss={work.training.losses[-1]:.3f}, waiting={share:.0%}", refresh=False
            )
            work.keep_what_is_due(validate)
            if checkpoint and checkpoint.due:
                checkpoint.save(work.state())
    if work.training.iteration > first_step:
        steps = work.training.iteration - first_step
        print(_rate(name, steps * step.batch, time.perf_counter() - began, step.waited))
    return work.training


def _stop_unless_it_can_select(validate: Validate | None, selection: SelectionSettings) -> None:
    if validate is None and selection.by == "validation":
        raise InputError(
            "selection.by is validation, but no image that shows a defect was set aside for it: "
            "raise split.validation_fraction or split.labeled_fraction, or set selection.by: last"
        )


def _stop_unless_it_fits(batch: int, iterations: int, snapshots: int, name: str) -> None:
    if snapshots > iterations:
        raise InputError(f"{name}: {snapshots} snapshots do not fit into {iterations} iterations")
    if processes.count() > batch:
        raise InputError(
            f"{name}: {processes.count()} processes, but a batch has {batch} images: start fewer, "
            "or raise the batch"
        )


class _Work:
    """A training at work: network, optimizer and step, and what it has left so far."""

    def __init__(
        self, network: SegmentationNetwork, step: Step, recipe: Recipe, beat: Beat, name: str
    ) -> None:
        self.training = Training()
        self._network = network
        self._step = step
        self._sgd = new_sgd((network, *step.companions), recipe.optimizer)
        self._graphed = new_graphed(step, self._sgd, recipe.compute, name)
        self._power = recipe.optimizer.poly_power
        self._selection = recipe.selection
        self._beat = beat
        self._name = name
        self._look_every = LOOK_EVERY.get(next(network.parameters()).device.type, 1)
        self._unread: list[Tensor] = []
        """Losses of the latest steps, still on the device."""

    def one_step(self, parallel: nn.Module) -> None:
        """`train_step` at the rate of its iteration."""
        decay = poly_decay(self.training.iteration, self._beat.iterations, self._power)
        self.training.iteration += 1
        self._unread.append(train_step(parallel, self._step, self._sgd, decay, self._graphed))

    @property
    def looks(self) -> bool:
        """Whether the losses are to be read now: a GPU stands still for it."""
        at = self.training.iteration
        due = self._beat.on_curve(at) or at in self._beat.snapshots
        return due or len(self._unread) >= self._look_every

    def read_losses(self) -> None:
        """Move the losses of the latest steps to `training`; those of all processes are averaged.

        Raises:
            InputError: one is not finite.
        """
        losses = (processes.total(torch.stack(self._unread)) / processes.count()).tolist()
        first = self.training.iteration - len(losses) + 1
        for iteration, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise InputError(
                    f"{self._name}: the loss is {loss} at iteration {iteration} of "
                    f"{self._beat.iterations}: {REMEDY}"
                )
        self.training.losses += losses
        self._unread.clear()

    def keep_what_is_due(self, validate: Validate | None) -> None:
        """A snapshot, a validation, the model if it is preferred, a point of the curve."""
        training, at = self.training, self.training.iteration
        if at in self._beat.snapshots:
            training.snapshots.append((at, self._copy()))
        score = None
        if validate is not None and self._beat.validates(at):
            product = self._step.product(self._network)
            product.eval()
            score = validate(product)
        if self._selection.prefers(score, training.kept_score, last=self._beat.last(at)):
            training.kept = self._copy()
            training.kept_iteration, training.kept_score = at, score
        if self._beat.on_curve(at):
            training.curve.append(
                {
                    "iteration": at,
                    "training_loss": round(math.fsum(training.losses) / len(training.losses), 6),
                    "validation_miou": None if score is None else round(score, 6),
                }
            )
            training.losses.clear()

    def _copy(self) -> State:
        state = self._step.product(self._network).state_dict()
        state = {key: tensor.detach().cpu().clone() for key, tensor in state.items()}
        # the loss of a step is taken before it: the last step may leave what no loss has seen
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
            raise InputError(
                f"{self._name}: weights are not finite after iteration {self.training.iteration}: "
                f"{REMEDY}"
            )
        return state

    def state(self) -> dict[str, Any]:
        """All that decides what comes, for a checkpoint."""
        return {
            "training": {of.name: getattr(self.training, of.name) for of in fields(Training)},
            "network": self._network.state_dict(),
            "sgd": self._sgd.state_dict(),
            "step": self._step.state_dict(),
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def go_on_from(self, checkpoint: Checkpoint | None) -> None:
        """Take up the state that an interrupted training left, if there is one."""
        saved = processes.from_first(checkpoint.load() if checkpoint else None)
        if saved is None:
            return
        self._network.load_state_dict(saved["network"])
        self._sgd.load_state_dict(saved["sgd"])
        self._step.load_state_dict(saved["step"])
        torch.set_rng_state(saved["cpu"])
        if saved["cuda"] is not None:
            torch.cuda.set_rng_state(saved["cuda"])
        self.training = Training(**saved["training"])
        print(
            f"{self._name} goes on from iteration {self.training.iteration} of "
            f"{self._beat.iterations}"
        )


def train_step(
    network: nn.Module,
    step: Callable[[nn.Module], Tensor],
    sgd: torch.optim.SGD,
    decay: float,
    graphed: Graphed | None = None,
) -> Tensor:
    """One step of SGD at `decay` times each group's own rate; returns the loss before it, ().

    The loss stays on its device: to read it means to wait for the step.

    Args:
        graphed: computes loss and gradients of `step` by a graph.
    """
    set_rates(sgd, decay)
    network.train()
    if graphed is not None:
        loss = graphed(network)
    else:
        loss = step(network)
        sgd.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
    sgd.step()
    return loss.detach()


def _rate(name: str, images: int, seconds: float, waited: float) -> str:
    together = f"{processes.count()} processes, " if processes.count() > 1 else ""
    return (
        f"{name}: {together}{images / seconds:.1f} images/s, {waited / seconds:.1%} of the time "
        "waiting for them"
    )
