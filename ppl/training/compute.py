"""How a training's steps are computed: in which precision, compiled, as CUDA graphs."""

from typing import Literal

import torch

from ppl.core.settings import Settings
from ppl.network.network import SegmentationNetwork
from ppl.training.shared_layers import share_layers


class ComputeSettings(Settings):
    """Section `compute`: how a training's steps are computed.

    Precision and compilation change the result slightly.
    """

    precision: Literal["float32", "bfloat16"]
    compile: bool
    graphs: bool = False
    """Whether a GPU is given a step's passes as one graph; see `ppl/training/graphs.py`."""


def prepare(network: SegmentationNetwork, settings: ComputeSettings) -> None:
    """Make `network` ready to be trained, in place: shared layers, precision, compiled if asked."""
    share_layers(network)
    network.precision = getattr(torch, settings.precision)
    if settings.compile:
        network.body.compile()
