"""A file of timm's for a whole network, under the names and shapes of an encoder made of it."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ppl.network.sizes import patch_layers

PREFIX = "model."
"""Before the names of a network of timm in an encoder of smp."""

LARGEST_PATCH = 64
"""Pixels; a kernel is resampled by a matrix of its pixels, which grows with the fourth power."""


def under_names_of(expected: Iterable[str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` as the encoder calls them: `stages.0.x` of a file is `model.stages_0.x` there.

    Names that the encoder does not know get its prefix, so that they are named as its own are.
    """
    known = set(expected)
    by_plain = {_plain(name): name for name in known}
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = name if name in known else by_plain.get(_plain(name), name)
        if own not in known and not own.startswith(PREFIX):
            own = PREFIX + own
        # two of a file for one of the encoder: the second keeps its name, and is one too many
        named[name if own in named else own] = tensor
    return named


def _plain(name: str) -> str:
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name.replace(".", "_")


def left_out(names: Iterable[str], encoder: nn.Module) -> set[str]:
    """Those of `names` that timm's whole network has and the encoder made of it has not."""
    names = list(names)
    behind = _whole_network(encoder) - set(map(_plain, encoder.state_dict())) if names else set()
    return {name for name in names if _plain(name) in behind}


def _whole_network(encoder: nn.Module) -> set[str]:
    import timm

    try:
        with torch.device("meta"):
            names = timm.create_model(str(encoder.name)).state_dict()
    except Exception:  # not every network can be made without its numbers
        return set()
    return set(map(_plain, names))


def resampled(tensors: dict[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """Kernels of patches and embeddings of places for the encoder's patches and size.

    What cannot be resampled stays as it is. The kernels act on resized patches as those of the file
    did on theirs: Beyer et al., FlexiViT, CVPR 2023.
    """
    result = dict(tensors)
    for layer in patch_layers(encoder)[:1]:
        for name, expected in encoder.state_dict().items():
            tensor = tensors.get(name)
            if tensor is None or tensor.shape == expected.shape or not _plain_floats(tensor):
                continue
            if name.endswith("patch_embed.proj.weight"):
                result[name] = _kernel(tensor, expected)
            elif name.endswith("pos_embed") and layer.grid_size is not None:
                result[name] = _places(tensor, expected, layer.grid_size)
    return result


def _plain_floats(tensor: Tensor) -> bool:
    plain = tensor.layout == torch.strided and not tensor.is_nested
    return plain and tensor.device.type != "meta" and tensor.is_floating_point()


def _kernel(kernel: Tensor, expected: Tensor) -> Tensor:
    """(out, in, height, width) -> the same for `expected`'s height and width."""
    from timm.layers.patch_embed import resample_patch_embed

    sides = [*kernel.shape[2:], *expected.shape[2:]]
    if kernel.ndim != 4 or kernel.shape[:2] != expected.shape[:2] or max(sides) > LARGEST_PATCH:
        return kernel
    sampled: Tensor = resample_patch_embed(kernel, list(expected.shape[2:]))
    return sampled


def _places(places: Tensor, expected: Tensor, grid: tuple[int, int]) -> Tensor:
    """(1, tokens, channels) of a square of patches -> of a grid of rows and columns."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    if places.ndim != 3 or places.shape[::2] != expected.shape[::2]:
        return places
    further = expected.shape[1] - grid[0] * grid[1]
    patches = places.shape[1] - further
    if further < 0 or patches < 1 or math.isqrt(patches) ** 2 != patches:
        return places
    sampled: Tensor = resample_abs_pos_embed(places, list(grid), num_prefix_tokens=further)
    return sampled
