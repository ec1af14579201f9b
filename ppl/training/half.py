"""One half of a batch, ready to train on: the labeled images or the pseudo-labeled ones."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppl.core.seeds import Draws
from ppl.training.decoded import Kept
from ppl.training.paste import Pasting
from ppl.training.stream import BatchStream

Relabel = Callable[[Tensor, Tensor], Tensor]
"""Images (B, C, H, W) in [0, 1] and their masks (B, H, W) int64 -> other masks."""


class Half:
    """Images and masks of one half, weakly augmented, with defects pasted into them.

    Args:
        kept: where they come from; may be empty where `batch` is 0.
        batch: images of this half in a step, over all processes.
        draws: of this half.
        positions: which of them this process computes.
        repeats: as in `BatchStream`.
    """

    def __init__(
        self,
        kept: Kept,
        batch: int,
        pasting: Pasting,
        draws: Draws,
        *,
        positions: Sequence[int],
        repeats: Sequence[float] | None = None,
        device: torch.device,
    ) -> None:
        self.batch = batch
        self._pasting = pasting
        self._positions = list(positions)
        self._stream = BatchStream(
            kept,
            batch,
            order=draws("order"),
            augment=draws("weak"),
            positions=positions,
            repeats=repeats,
            device=device,
        )

    @property
    def waited(self) -> float:
        """Seconds spent until now waiting for images."""
        return self._stream.waited

    def next(self, relabel: Relabel | None = None) -> tuple[Tensor, Tensor]:
        """The next (B, C, H, W) float32 images in [0, 1] and (B, H, W) int64 masks.

        Args:
            relabel: makes the masks anew before defects are pasted: what is pasted is known.
        """
        drawn = self._pasting.draw(self.batch)
        batch = self._stream.next()
        if relabel is not None:
            batch = batch._replace(masks=relabel(batch.images, batch.masks))
        return self._pasting(batch, drawn[self._positions])

    def state_dict(self) -> dict[str, Any]:
        """Where the half stands, its draws apart."""
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a half of the same images stood; before its first batch is taken."""
        self._stream.load_state_dict(state)
