"""One training loop for teacher and students: SGD, polynomial decay, selection, snapshots.

What a step minimises is handed in as a function, so the loop knows nothing of pseudo-masks.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.core.settings import Settings
from ppl.network.network import SegmentationNetwork
from ppl.training.checkpoint import Checkpoint
from ppl.training.shared_layers import share_layers

State = dict[str, Tensor]
PositiveInt = Annotated[int, Field(ge=1)]

REMEDY = "lower optimizer.encoder_lr or optimizer.decoder_lr_multiple"
"""Against a training that diverges."""

CURVE_POINTS = 50
"""Points of the training curve; each is the mean loss since the point before."""

LOOK_EVERY = {"cpu": 1, "cuda": 10}
"""Steps between two looks at the loss. A GPU stands still while its result is waited for."""


class OptimizerSettings(Settings):
    """Section `optimizer`: SGD with polynomial decay, the same for all trainings."""

    encoder_lr: Annotated[float, Field(gt=0, le=10)]
    decoder_lr_multiple: Annotated[float, Field(gt=0, le=1000)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    poly_power: Annotated[float, Field(ge=0, le=10)]


class SelectionSettings(Settings):
    """Section `selection`: which iteration's model a training keeps."""

    by: Literal["validation", "last"]
    every: PositiveInt


class ComputeSettings(Settings):
    """Section `compute`: how a training's steps are computed; each changes the result slightly."""

    precision: Literal["float32", "bfloat16"]
    compile: bool


class Stateful(Protocol):
    """What draws: it can say where it stands, and go on from there."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


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


def train(
    network: SegmentationNetwork,
    batch_loss: Callable[[nn.Module], Tensor],
    validate: Callable[[SegmentationNetwork], float] | None,
    *,
    iterations: int,
    batch: int,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    compute: ComputeSettings,
    snapshots: int = 0,
    name: str,
    draws: Mapping[str, Stateful] = MappingProxyType({}),
    waited: Callable[[], float] = lambda: 0.0,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train `network` in place for `iterations` steps of `batch_loss`.

    Of several processes each computes its part of every batch, and all end with the same state.

    Args:
        batch_loss: draws a batch and returns its loss, a scalar with gradients.
        validate: the score to maximise, called in eval mode; None where nothing can be scored.
        batch: images of a step, over all processes.
        snapshots: how many states to keep at equal distances, the last at the end.
        name: of the model, for the progress bar and for messages.
        draws: all that `batch_loss` draws from, by name, except torch's global generators.
        waited: seconds that `batch_loss` has spent until now waiting for images.
        checkpoint: where to go on from, and where to leave the state from time to time.

    Raises:
        InputError: selection by validation without a defect to see; more processes than images
            in a batch; a loss or weights that are not finite (names the iteration).
    """
    if validate is None and selection.by == "validation":
        raise InputError(
            "selection.by is validation, but no image that shows a defect was set aside for it: "
            "raise split.validation_fraction or split.labeled_fraction, or set selection.by: last"
        )
    if snapshots > iterations:
        raise InputError(f"{name}: {snapshots} snapshots do not fit into {iterations} iterations")
    if processes.count() > batch:
        raise InputError(
            f"{name}: {processes.count()} processes, but a batch has {batch} images: start fewer, "
            "or raise the batch"
        )
    snapshot_at = {round((k + 1) * iterations / snapshots) for k in range(snapshots)}
    curve_every = max(1, iterations // CURVE_POINTS)
    share_layers(network)
    network.precision = getattr(torch, compute.precision)
    sgd = _sgd(network, optimizer)
    training = Training()
    saved = processes.from_first(checkpoint.load() if checkpoint else None)
    if saved is not None:
        training = _restore(saved, network, sgd, draws)
        print(f"{name} goes on from iteration {training.iteration} of {iterations}")
    if compute.compile:
        network.body.compile()
    parallel = processes.together(network)
    look_every = LOOK_EVERY.get(next(network.parameters()).device.type, 1)
    unread: list[Tensor] = []
    began, first_step = time.perf_counter(), training.iteration

    with bar(
        total=iterations, initial=training.iteration, desc=f"train {name}", unit="step"
    ) as progress:
        while training.iteration < iterations:
            iteration = training.iteration = training.iteration + 1
            decay = poly_decay(iteration - 1, iterations, optimizer.poly_power)
            unread.append(train_step(parallel, batch_loss, sgd, decay))
            progress.update()

            last = iteration == iterations
            validated = validate is not None and (last or iteration % selection.every == 0)
            on_curve = last or validated or iteration % curve_every == 0
            snapshot = iteration in snapshot_at
            looked = on_curve or snapshot or len(unread) >= look_every
            if looked:
                _read(unread, training, name, iterations)
                share = waited() / (time.perf_counter() - began)
                progress.set_postfix_str(
                    f"loss={training.losses[-1]:.3f}, waiting={share:.0%}", refresh=False
                )
            if snapshot:
                training.snapshots.append((iteration, _copy(network, name, iteration)))
            score = None
            if validate is not None and validated:
                network.eval()
                score = validate(network)
            _keep(training, network, score, selection, name=name, last=last)
            if on_curve:
                _add_to_curve(training, score)
            if looked and checkpoint and checkpoint.due:
                checkpoint.save(_state(training, network, sgd, draws))
    seconds = time.perf_counter() - began
    if training.iteration > first_step:
        rate = (training.iteration - first_step) * batch / seconds
        together = f"{processes.count()} processes, " if processes.count() > 1 else ""
        print(
            f"{name}: {together}{rate:.1f} images/s, {waited() / seconds:.1%} of the time waiting "
            "for them"
        )
    return training


def _read(unread: list[Tensor], training: Training, name: str, iterations: int) -> None:
    """Move the losses of the latest steps to `training`; those of all processes are averaged.

    Raises:
        InputError: one is not finite.
    """
    losses = (processes.total(torch.stack(unread)) / processes.count()).tolist()
    for step, loss in enumerate(losses, start=training.iteration - len(losses) + 1):
        if not math.isfinite(loss):
            raise InputError(
                f"{name}: the loss is {loss} at iteration {step} of {iterations}: {REMEDY}"
            )
    training.losses += losses
    unread.clear()


def _keep(
    training: Training,
    network: SegmentationNetwork,
    score: float | None,
    selection: SelectionSettings,
    *,
    name: str,
    last: bool,
) -> None:
    if selection.by == "last":
        if not last:
            return
    # of equal scores the later one is kept: it has seen more
    elif score is None or (training.kept_score is not None and score < training.kept_score):
        return
    training.kept_score = score
    training.kept = _copy(network, name, training.iteration)
    training.kept_iteration = training.iteration


def _add_to_curve(training: Training, score: float | None) -> None:
    training.curve.append(
        {
            "iteration": training.iteration,
            "training_loss": round(math.fsum(training.losses) / len(training.losses), 6),
            "validation_miou": None if score is None else round(score, 6),
        }
    )
    training.losses.clear()


def _state(
    training: Training,
    network: SegmentationNetwork,
    sgd: torch.optim.SGD,
    draws: Mapping[str, Stateful],
) -> dict[str, Any]:
    return {
        "training": {item.name: getattr(training, item.name) for item in fields(training)},
        "network": network.state_dict(),
        "sgd": sgd.state_dict(),
        "draws": {name: source.state_dict() for name, source in draws.items()},
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _restore(
    saved: dict[str, Any],
    network: SegmentationNetwork,
    sgd: torch.optim.SGD,
    draws: Mapping[str, Stateful],
) -> Training:
    network.load_state_dict(saved["network"])
    sgd.load_state_dict(saved["sgd"])
    for name, source in draws.items():
        source.load_state_dict(saved["draws"][name])
    torch.set_rng_state(saved["cpu"])
    if saved["cuda"] is not None:
        torch.cuda.set_rng_state(saved["cuda"])
    return Training(**saved["training"])


def train_step(
    network: nn.Module,
    batch_loss: Callable[[nn.Module], Tensor],
    sgd: torch.optim.SGD,
    decay: float,
) -> Tensor:
    """One step of SGD at `decay` times each group's own rate; returns the loss before it, ().

    The loss stays on its device: to read it means to wait for the step.
    """
    for group in sgd.param_groups:
        group["lr"] = group["initial_lr"] * decay
    network.train()
    loss = batch_loss(network)
    sgd.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    sgd.step()
    return loss.detach()


def poly_decay(step: int, steps: int, power: float) -> float:
    """(1 - step / steps) ** power, the learning rate's factor at `step` of 0 .. steps - 1."""
    return float((1 - step / steps) ** power)


def _sgd(network: SegmentationNetwork, settings: OptimizerSettings) -> torch.optim.SGD:
    encoder = list(network.encoder.parameters())
    in_encoder = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in in_encoder]
    rate = settings.encoder_lr
    return torch.optim.SGD(
        [
            {"params": encoder, "lr": rate, "initial_lr": rate},
            {
                "params": rest,
                "lr": rate * settings.decoder_lr_multiple,
                "initial_lr": rate * settings.decoder_lr_multiple,
            },
        ],
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _copy(network: SegmentationNetwork, name: str, iteration: int) -> State:
    state = {key: tensor.detach().cpu().clone() for key, tensor in network.state_dict().items()}
    # the loss of a step is taken before it: the last step may leave what no loss has seen
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise InputError(f"{name}: weights are not finite after iteration {iteration}: {REMEDY}")
    return state
