"""PrevMatch: UniMatch, taught by earlier states of the network, too.

Source: the published code of PrevMatch (Shin et al.). How often a state is kept, it ties to passes
over the data; here it is a setting.

Axes: B batch, C channels, H height, W width.
"""

import copy
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ppl.methods.consistency import Labels, ThresholdSettings
from ppl.methods.together import Given
from ppl.methods.unimatch import Seen, UniMatch, UniMatchSettings
from ppl.network.network import SegmentationNetwork
from ppl.training.loop import State

MOST = 3
"""Earlier states that label a batch together."""


class PrevMatchSettings(UniMatchSettings):
    """Section `prevmatch`."""

    snapshots: Annotated[int, Field(ge=1, le=100)]
    every: Annotated[int, Field(ge=1, le=10_000_000)]
    previous_threshold: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _keeps_a_state(self) -> "PrevMatchSettings":
        if self.every >= self.iterations:
            raise ValueError(
                f"every {self.every} is not below iterations {self.iterations}, so no earlier "
                "state would label anything; lower every"
            )
        return self


class PrevMatch(UniMatch):
    """UniMatch's unlabeled losses once more, with labels of one to three earlier states.

    Their logits are averaged by weights that are uniform on the simplex (Dirichlet). The weight of
    these losses rises from 0 to 1 over the first half of the training and falls back.
    """

    def __init__(self, given: Given, settings: PrevMatchSettings) -> None:
        super().__init__(given, settings)
        self._previous = settings
        self._by = ThresholdSettings(
            threshold=settings.previous_threshold, class_share=settings.class_share
        )
        self._ensemble_draws = given.draws("ensemble")
        self._memory = Memory(given.network, settings)

    def further(self, network: SegmentationNetwork, seen: Seen) -> Tensor | float:
        """The losses by earlier labels, weighted; none before there is an earlier state."""
        weight = ramp(self._memory.step, self._previous.iterations)
        self._memory.follow(network)
        states = self._memory.earlier
        if not states or not weight:
            return 0.0
        drawn = torch.rand(2 + MOST, generator=self._ensemble_draws)
        count = min(1 + int(drawn[0] * MOST), len(states))
        order = torch.randperm(len(states), generator=self._ensemble_draws)[:count].tolist()
        # of exponential numbers the shares are uniform on the simplex
        shares = -torch.log1p(-drawn[2 : 2 + count])
        shares = shares / shares.sum()
        images = torch.cat([seen.pair.weak, seen.pair.others])
        logits = self._memory.logits([states[i] for i in order], shares.tolist(), images)
        own, of_others = logits.chunk(2)
        labels = Labels.of(own, seen.pair.shown)
        others = Labels.of(of_others, seen.pair.others_shown)
        return weight * self.unknown(seen, labels, others, self._by)

    def parts(self) -> dict[str, Any]:
        """The earlier states, too."""
        return super().parts() | {"memory": self._memory}


def ramp(step: int, steps: int) -> float:
    """0 at first, 1 in the middle, 0 at the end; straight between them."""
    return 1 - abs(2 * step / steps - 1)


class Memory:
    """The latest earlier states of a network, and what they predict."""

    def __init__(self, network: SegmentationNetwork, settings: PrevMatchSettings) -> None:
        self.step = 0
        self.earlier: list[State] = []
        self._settings = settings
        self._loaded = copy.deepcopy(network).eval().requires_grad_(False)

    def follow(self, network: SegmentationNetwork) -> None:
        """A step is made; every so often the state is kept, and the oldest forgotten."""
        self.step += 1
        if self.step % self._settings.every == 0:
            state = {name: of.detach().clone() for name, of in network.state_dict().items()}
            self.earlier = [*self.earlier, state][-self._settings.snapshots :]
        self._loaded.precision = network.precision

    @torch.no_grad()
    def logits(self, states: list[State], shares: list[float], images_BCHW: Tensor) -> Tensor:
        """(B, C, H, W): the mean of what these states say, weighted by shares that sum to 1."""
        mean = torch.zeros(())
        for state, share in zip(states, shares, strict=True):
            self._loaded.load_state_dict(state)
            mean = mean.to(images_BCHW.device) + share * self._loaded(images_BCHW)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step, "earlier": self.earlier}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another one stood."""
        device = next(self._loaded.parameters()).device
        self.step = state["step"]
        self.earlier = [
            {name: of.to(device) for name, of in one.items()} for one in state["earlier"]
        ]
