"""Scores of several trainings together, with intervals that resample trainings and parts.

An interval over parts alone says how far a score would move on other parts, of the same models. Who
claims that one method is better than another claims it of models trained anew, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.miou import mean_iou, shown_iou


@dataclass(frozen=True)
class Side:
    """What one model counted by seed: (parts, C, C) int64, and the names of the parts."""

    counts: Mapping[int, Tensor]
    parts: Mapping[int, Sequence[str]]


@dataclass(frozen=True)
class Resampled:
    """The IoU of each class over all seeds together, and of resampled sets of seeds and parts."""

    iou: Tensor
    """(C,) float64, NaN where no part shows a class."""
    drawn: Tensor
    """(R, C) float64; row r is of the same seeds and parts for every side that has them."""

    @property
    def miou(self) -> float:
        """Mean over the classes that are shown, 0-1."""
        return float(mean_iou(self.iou))

    @property
    def drawn_miou(self) -> Tensor:
        """(R,) mean IoU of each draw."""
        return mean_iou(self.drawn)


def resampled(side: Side, resamples: int) -> Resampled:
    """Seeds drawn with replacement and, crossed with these, parts.

    A part that several seeds tested is drawn or not with all it counted. Owen, Annals of Applied
    Statistics 2007 (the pigeonhole bootstrap). A class that no drawn part shows keeps its IoU of
    the whole.
    """
    seeds, names = sorted(side.counts), sorted({n for of in side.parts.values() for n in of})
    place = {name: number for number, name in enumerate(names)}
    draws = np.random.default_rng(0)
    of_seeds, of_parts = (
        torch.from_numpy(draws.multinomial(count, [1 / count] * count, resamples))
        for count in (len(seeds), len(names))
    )
    counts = torch.zeros(len(seeds), len(names), *side.counts[seeds[0]].shape[1:]).double()
    for number, seed in enumerate(seeds):
        counts[number, [place[name] for name in side.parts[seed]]] = side.counts[seed].double()
    whole = shown_iou(counts.sum(dim=(0, 1)))
    by_seed = torch.einsum("spcd,rp->rscd", counts, of_parts.double())
    drawn = shown_iou(torch.einsum("rs,rscd->rcd", of_seeds.double(), by_seed))
    return Resampled(whole, drawn.where(~drawn.isnan(), whole))


def difference(side: Side, other: Side, resamples: int) -> tuple[float, Tensor]:
    """The difference of mIoU of two sides (-1 to 1), and (R,) that of each draw, paired.

    Raises:
        InputError: the two have not the same seeds and test parts.
    """
    if {s: list(p) for s, p in side.parts.items()} != {s: list(p) for s, p in other.parts.items()}:
        raise InputError("two sides of a comparison were counted on other seeds or parts")
    first, second = resampled(side, resamples), resampled(other, resamples)
    return first.miou - second.miou, first.drawn_miou - second.drawn_miou
