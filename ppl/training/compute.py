"""How a training's steps are computed: in which precision, compiled, by several processes."""

from typing import Literal

import torch
from torch import nn

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.network.network import SegmentationNetwork
from ppl.training.shared_layers import share_layers


class ComputeSettings(Settings):
    """Section `compute`: how a training's steps are computed; each changes the result slightly."""

    precision: Literal["float32", "bfloat16"]
    compile: bool


def prepare(network: SegmentationNetwork, settings: ComputeSettings) -> None:
    """Make `network` ready for an optimizer, in place: shared layers, precision."""
    share_layers(network)
    network.precision = getattr(torch, settings.precision)


def together(network: SegmentationNetwork, settings: ComputeSettings) -> nn.Module:
    """The prepared `network` as it is trained: compiled where asked, gradients averaged."""
    if settings.compile:
        network.body.compile()
    return processes.together(network)
