"""One training loop for teacher and students: SGD, polynomial decay, selection, snapshots.

What a step minimises is handed in as a function, so the loop knows nothing of pseudo-masks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ppl.checkpoint import Checkpoint
from ppl.errors import InputError
from ppl.network import SegmentationNetwork
from ppl.settings import Settings

State = dict[str, Tensor]
PositiveInt = Annotated[int, Field(ge=1)]

REMEDY = "lower optimizer.encoder_lr or optimizer.decoder_lr_multiple"
"""Against a training that diverges."""

CURVE_POINTS = 50
"""Points of the training curve; each is the mean loss since the point before."""


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
    snapshots: list[tuple[int, State]] = field(default_factory=list)
    curve: list[dict[str, float | int | None]] = field(default_factory=list)
    iteration: int = 0
    best: float = -1.0
    losses: list[float] = field(default_factory=list)


def train(
    network: SegmentationNetwork,
    batch_loss: Callable[[SegmentationNetwork], Tensor],
    validate: Callable[[SegmentationNetwork], float] | None,
    *,
    iterations: int,
    optimizer: OptimizerSettings,
    selection: SelectionSettings,
    snapshots: int = 0,
    name: str,
    draws: Mapping[str, Stateful] = MappingProxyType({}),
    checkpoint: Checkpoint | None = None,
) -> Training:
    """Train `network` in place for `iterations` steps of `batch_loss`.

    Args:
        batch_loss: draws a batch and returns its loss, a scalar with gradients.
        validate: the score to maximise, called in eval mode; None where no validation image is.
        snapshots: how many states to keep at equal distances, the last at the end.
        name: of the model, for the progress bar and for messages.
        draws: all that `batch_loss` draws from, by name, except torch's global generators.
        checkpoint: where to go on from, and where to leave the state from time to time.

    Raises:
        InputError: selection by validation without validation images; a loss or weights that are
            not finite (names the iteration).
    """
    if validate is None and selection.by == "validation":
        raise InputError(
            "selection.by is validation, but no labeled pixel was set aside for it: raise "
            "split.validation_fraction or split.labeled_fraction, or set selection.by: last"
        )
    if snapshots > iterations:
        raise InputError(f"{name}: {snapshots} snapshots do not fit into {iterations} iterations")
    snapshot_at = {round((k + 1) * iterations / snapshots) for k in range(snapshots)}
    curve_every = max(1, iterations // CURVE_POINTS)
    sgd = _sgd(network, optimizer)
    training = Training()
    saved = checkpoint.load() if checkpoint else None
    if saved is not None:
        training = _restore(saved, network, sgd, draws)
        print(f"{name} goes on from iteration {training.iteration} of {iterations}")

    with tqdm(
        total=iterations, initial=training.iteration, desc=f"train {name}", unit="step"
    ) as progress:
        while training.iteration < iterations:
            iteration = training.iteration = training.iteration + 1
            decay = poly_decay(iteration - 1, iterations, optimizer.poly_power)
            loss = train_step(network, batch_loss, sgd, decay)
            if not math.isfinite(loss):
                raise InputError(
                    f"{name}: the loss is {loss} at iteration {iteration} of {iterations}: {REMEDY}"
                )
            training.losses.append(loss)
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)

            last = iteration == iterations
            if iteration in snapshot_at:
                training.snapshots.append((iteration, _copy(network, name, iteration)))
            score = None
            if validate is not None and (last or iteration % selection.every == 0):
                network.eval()
                score = validate(network)
            _keep(training, network, score, selection, name=name, last=last)
            if last or score is not None or iteration % curve_every == 0:
                _add_to_curve(training, score)
            if checkpoint and checkpoint.due:
                checkpoint.save(_state(training, network, sgd, draws))
    return training


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
    elif score is None or score < training.best:
        return
    else:
        training.best = score
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
    network: SegmentationNetwork,
    batch_loss: Callable[[SegmentationNetwork], Tensor],
    sgd: torch.optim.SGD,
    decay: float,
) -> float:
    """One step of SGD at `decay` times each group's own rate; returns the loss before it."""
    for group in sgd.param_groups:
        group["lr"] = group["initial_lr"] * decay
    network.train()
    loss = batch_loss(network)
    value = loss.item()
    sgd.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    sgd.step()
    return value


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
