"""A network is built of a file's description only as large as the weights beside it can fill."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ppl.core.errors import InputError

SMALLEST = 2
"""Bytes of a weight, in half precision."""

DISCARDED = 2**28
"""Weights that a network may make beside and throw away, as of the classifier that an encoder was
pretrained with: 124 million of vgg16."""


@contextmanager
def no_larger_than(weights: Path) -> Iterator[None]:
    """Inside, layers may be made with as many weights as the file can hold, and `DISCARDED` more.

    A layer that is too large stops before its memory is written, which is when a machine gives it.

    Raises:
        InputError: more.
    """
    most = weights.stat().st_size // SMALLEST + DISCARDED
    made = 0

    def count(layer: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal made
        made += parameter.numel() if parameter is not None else 0
        if made > most:
            raise InputError(
                f"the description is of more than {most:,} weights, but {weights.name} has "
                f"{weights.stat().st_size:,} bytes: the two are not of one model"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
