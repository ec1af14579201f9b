"""How a training's steps are computed: in which precision, compiled, by several processes."""

from typing import Literal

import torch

from ppl.core.settings import Settings
from ppl.network.network import SegmentationNetwork
from ppl.training.shared_layers import share_layers


class ComputeSettings(Settings):
    """Section `compute`: how a training's steps are computed; each changes the result slightly."""

    precision: Literal["float32", "bfloat16"]
    compile: bool


def prepare(network: SegmentationNetwork, settings: ComputeSettings) -> None:
    """Make `network` ready to be trained, in place: shared layers, precision, compiled if asked."""
    share_layers(network)
    network.precision = getattr(torch, settings.precision)
    if settings.compile:
        network.body.compile()
