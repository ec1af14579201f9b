"""Perturbed features: channels dropped between a network's encoder and its decoder.

Every network of segmentation_models_pytorch hands its decoder a list of feature maps, the input
itself among them, which stays as it is. Vision transformers hand on tokens beside them.

Axes: B batch, C channels of a map, H height, W width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from ppl.network.network import SegmentationNetwork

DROPPED = 0.5
"""Share of the channels; in all methods that drop them."""

Change = Callable[[Tensor], Tensor]


@contextmanager
def changed_features(
    network: SegmentationNetwork, of_maps: Change, of_rest: Change | None = None
) -> Iterator[None]:
    """Inside, the decoder sees `of_maps` of each feature map (B, C, H, W).

    Args:
        of_rest: of the input and of tokens; as they are unless given.
    """
    rest = of_rest or (lambda tensor: tensor)

    def hook(_: Any, given: tuple[Tensor, ...], found: Any) -> Any:
        def changed(feature: Tensor | None) -> Tensor | None:
            if feature is None:
                return None
            return rest(feature) if feature is given[0] else of_maps(feature)

        if isinstance(found, tuple) and isinstance(found[0], list | tuple):
            maps, *others = found
            tokens = [[None if x is None else rest(x) for x in other] for other in others]
            return ([changed(feature) for feature in maps], *tokens)
        return [changed(feature) for feature in found]

    handle = network.encoder.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def with_dropped_copy(generator: Generator) -> tuple[Change, Change]:
    """Of B maps 2B: these, then copies in which half of the channels are 0 and the rest doubled."""

    def of_maps(map_BCHW: Tensor) -> Tensor:
        kept = torch.rand(map_BCHW.shape[:2], generator=generator) >= DROPPED
        scale = kept.to(map_BCHW.device, map_BCHW.dtype) / (1 - DROPPED)
        return torch.cat([map_BCHW, map_BCHW * scale[:, :, None, None]])

    return of_maps, lambda tensor: torch.cat([tensor, tensor])


def complementary_dropout(images: int, generator: Generator) -> Change:
    """Of maps of [first views; second views]: each keeps the channels that the other one loses.

    Of a pair the first view keeps a channel with probability 0.5, doubled. Half of the pairs stay
    as they are, drawn anew each time. Maps with as many channels lose the same ones. Source: Yang
    et al., TPAMI 2025 (UniMatch V2).

    Args:
        images: pairs.
    """
    drawn: dict[int, Tensor] = {}
    whole = torch.randperm(images, generator=generator)[: images // 2]

    def of_maps(map_BCHW: Tensor) -> Tensor:
        channels = map_BCHW.shape[1]
        if channels not in drawn:
            first = 2 * (torch.rand(images, channels, generator=generator) >= DROPPED).float()
            both = torch.stack([first, 2 - first])
            both[:, whole] = 1
            drawn[channels] = both.flatten(0, 1)
        scale = drawn[channels].to(map_BCHW.device, map_BCHW.dtype)
        return map_BCHW * scale[:, :, None, None]

    return of_maps
