"""One training loop for teacher and students: SGD, polynomial decay, selection, snapshots.

What a step minimises is handed in as a function, so the loop knows nothing of pseudo-masks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ppl.errors import InputError
from ppl.network import SegmentationNetwork
from ppl.settings import Settings

State = dict[str, Tensor]
PositiveInt = Annotated[int, Field(ge=1)]

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


@dataclass(frozen=True)
class Training:
    """What a training leaves: the kept state, (iteration, state) snapshots, a curve for plots."""

    kept: State
    kept_iteration: int
    snapshots: list[tuple[int, State]]
    curve: list[dict[str, float | int | None]]


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
) -> Training:
    """Train `network` in place for `iterations` steps of `batch_loss`.

    Args:
        batch_loss: draws a batch and returns its loss, a scalar with gradients.
        validate: the score to maximise, called in eval mode; None where no validation image is.
        snapshots: how many states to keep at equal distances, the last at the end.
        name: of the model, for the progress bar and for messages.

    Raises:
        InputError: selection by validation without validation images; a loss that is not finite
            (names the iteration).
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
    result = Training(kept={}, kept_iteration=0, snapshots=[], curve=[])
    kept, kept_iteration, best = result.kept, 0, -1.0
    loss_sum, loss_count = 0.0, 0

    with tqdm(total=iterations, desc=f"train {name}", unit="step") as progress:
        for iteration in range(1, iterations + 1):
            decay = poly_decay(iteration - 1, iterations, optimizer.poly_power)
            loss = train_step(network, batch_loss, sgd, decay)
            if not torch.isfinite(torch.tensor(loss)):
                raise InputError(
                    f"{name}: the loss is {loss} at iteration {iteration} of {iterations}: "
                    "lower optimizer.encoder_lr or optimizer.decoder_lr_multiple"
                )
            loss_sum, loss_count = loss_sum + loss, loss_count + 1
            progress.update()
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)

            last = iteration == iterations
            if iteration in snapshot_at:
                result.snapshots.append((iteration, _copy(network)))
            score = None
            if validate is not None and (last or iteration % selection.every == 0):
                network.eval()
                score = validate(network)
                # of equal scores the later one: it has seen more
                if selection.by == "validation" and score >= best:
                    kept, kept_iteration, best = _copy(network), iteration, score
            if last and selection.by == "last":
                kept, kept_iteration = _copy(network), iteration
            if last or score is not None or iteration % curve_every == 0:
                result.curve.append(
                    {
                        "iteration": iteration,
                        "training_loss": round(loss_sum / loss_count, 6),
                        "validation_miou": None if score is None else round(score, 6),
                    }
                )
                loss_sum, loss_count = 0.0, 0
    return Training(kept, kept_iteration, result.snapshots, result.curve)


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


def _copy(network: SegmentationNetwork) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
