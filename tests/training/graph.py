"""A graph for CPUs: what was computed while it was captured is computed again, at the same places.

As with CUDA's, no line of Python runs at a replay, results lie where the captured ones lay, and
what asks the device for a number cannot be captured.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ppl.training.graphs import Results, Work

ASKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "item")
"""Operators for whose result the processor waits."""

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


def tensors(of: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(of) if isinstance(leaf, Tensor)]


class Recorded(TorchDispatchMode):
    """Remembers every operator with what it took and gave; stops at one that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket.__name__ in ASKS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}\nmore")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found


class CpuGraph:
    """Stands for `CudaGraph`."""

    own_generator = False

    def __init__(self) -> None:
        self.recorded = Recorded()
        self.warmed = self.replayed = 0

    def warm(self, work: Work) -> Results:
        self.warmed += 1
        return work()

    def capture(self, work: Work) -> Results:
        with self.recorded:
            return work()

    @torch.no_grad()
    def replay(self) -> None:
        self.replayed += 1
        for func, args, kwargs, places in self.recorded.calls:
            found = func(*args, **kwargs)
            for place, new in zip(tensors(places), tensors(found), strict=True):
                # what is a view of its argument, or that argument, is in its place already
                if place.data_ptr() != new.data_ptr():
                    place.copy_(new)


class Kept:
    """In place of a class of graphs: makes them, and keeps them for a test to look at."""

    def __init__(self, kind: Callable[[], CpuGraph] = CpuGraph) -> None:
        self._kind = kind
        self.made: list[CpuGraph] = []

    def __call__(self) -> CpuGraph:
        self.made.append(self._kind())
        return self.made[-1]
