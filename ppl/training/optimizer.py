"""SGD with polynomial decay, the decoder at a multiple of the encoder's rate."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from ppl.core.settings import Settings
from ppl.network.network import SegmentationNetwork


class OptimizerSettings(Settings):
    """Section `optimizer`: SGD with polynomial decay, the same for all trainings."""

    encoder_lr: Annotated[float, Field(gt=0, le=10)]
    decoder_lr_multiple: Annotated[float, Field(gt=0, le=1000)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    poly_power: Annotated[float, Field(ge=0, le=10)]

    def times(self, rate: float) -> "OptimizerSettings":
        """With all rates multiplied; the decoder's is a multiple of the encoder's anyhow."""
        return self.model_copy(update={"encoder_lr": self.encoder_lr * rate})


def new_sgd(
    networks: Sequence[SegmentationNetwork], settings: OptimizerSettings
) -> torch.optim.SGD:
    """Of all parameters, in two groups: encoders and the rest, each with its `initial_lr`.

    SGD treats each parameter by itself: of several networks, each is trained as if alone.
    """
    encoder = [parameter for one in networks for parameter in one.encoder.parameters()]
    in_encoder = {id(parameter) for parameter in encoder}
    every = [parameter for one in networks for parameter in one.parameters()]
    rest = [parameter for parameter in every if id(parameter) not in in_encoder]
    rate = settings.encoder_lr
    on_gpu = every[0].device.type == "cuda"
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
        # all parameters in a few launches; a CPU has none to save, and keeps its bytes
        fused=True if on_gpu else None,
    )


def set_rates(sgd: torch.optim.SGD, decay: float) -> None:
    """Give each group `decay` times its own rate."""
    for group in sgd.param_groups:
        group["lr"] = group["initial_lr"] * decay


def poly_decay(step: int, steps: int, power: float) -> float:
    """(1 - step / steps) ** power, the learning rate's factor at `step` of 0 .. steps - 1."""
    return float((1 - step / steps) ** power)
