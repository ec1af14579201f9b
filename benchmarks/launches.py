"""How many operators a student's step calls, and where: on a GPU most of them are a launch each.

    python -m benchmarks.launches                            # 8 images of 128 px; a minute on a CPU
    python -m benchmarks.launches --size 512 --out launches.json

Counted is what PyTorch dispatches, without views and what only allocates: an operator of lists of
tensors (`_foreach_...`) once. Some take several kernels, an operator of CPUs may take none on a
GPU, and SGD on a GPU is one operator of lists whatever it is here. `copies` are tensors that would
be moved to a GPU; of images, as where they do not fit its memory. What stays on the processor
wherever the network is has a row of its own and is in no sum. `waits` are operators for whose
result the processor has to wait, which on a GPU holds up all that comes after.
"""

import argparse
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ppl.training.loop
from benchmarks import stages
from benchmarks.gpu import Given, settings_of
from benchmarks.network_step import network_of, write_result
from benchmarks.stages import device_of, in_place_of_train_step

PARTS = {
    "images": ("ppl.training.stream.BatchStream.next",),
    "paste": ("ppl.training.paste.Pasting.__call__",),
    "strong": ("ppl.students.def_up.strong_augment",),
    "cutmix": ("ppl.students.def_up.label_efficient_cutmix",),
    "confidence": ("ppl.students.def_up.network_confidence",),
    "mean follows": ("ppl.students.mean_teacher.MeanTeacher.follow",),
    "mean labels": ("ppl.students.mean_teacher.MeanTeacher.labels",),
    "forward": ("ppl.network.network.SegmentationNetwork.forward",),
    "loss": ("ppl.students.def_up.segmentation_loss",),
    "backward": ("torch.Tensor.backward",),
    "sgd": ("torch.optim.SGD.step",),
}
"""What is called within each; a part within another one counts for the outer."""

ON_CPU = "on the processor"
NUMBERS = (
    "ppl.training.stream.BatchStream._draw",
    "ppl.training.stream.stack",
    "ppl.training.paste.Pasting.draw",
    "ppl.training.paste._numbers",
    "ppl.training.weak_augment._lines",
    "ppl.students.def_up.draw_strong",
    "ppl.students.def_up.draw_cutmix",
    "ppl.training.strong_augment._kernel",
)
"""What stays on the processor wherever the network is, and launches nothing."""

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")

FREE = ("empty", "empty_like", "empty_strided", "detach", "alias", "lift_fresh", "set_")
"""Operators that compute nothing, beside views."""

FIRST_STEPS = 2
"""Not counted: in them gradients and sums have no place yet."""


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators by the part that calls them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = ""
        self.calls: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not func.is_view and name not in FREE:
            self.calls[self.part or "rest"] += 1
            self.waits[self.part or "rest"] += name in WAITS
        return found

    def of(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, whose operators count for `part`."""

        @functools.wraps(work)
        def counted(*arguments: Any, **named: Any) -> Any:
            outer = self.part
            self.part = part if part == ON_CPU else outer or part
            try:
                return work(*arguments, **named)
            finally:
                self.part = outer

        return counted

    @contextmanager
    def parts(self) -> Iterator[None]:
        """Inside, operators count for the parts that call them."""
        with ExitStack() as stack:
            for part, places in (PARTS | {ON_CPU: NUMBERS}).items():
                for place in places:
                    owner, _, name = place.rpartition(".")
                    work = getattr(_found(owner), name)
                    stack.enter_context(patch(place, self.of(part, work)))
            stack.enter_context(patch.object(Tensor, "to", self._moved(Tensor.to)))
            yield

    def _moved(self, real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def to(tensor: Tensor, *arguments: Any, **named: Any) -> Tensor:
            if arguments and isinstance(arguments[0], torch.device):
                self.copies[self.part or "rest"] += 1
            return real(tensor, *arguments, **named)

        return to


def _found(path: str) -> Any:
    """The module or class at a dotted path."""
    names = path.split(".")
    found: Any = __import__(names[0])
    for name in names[1:]:
        found = getattr(found, name)
    return found


def counts(given: stages.Given, folder: Path) -> dict[str, Any]:
    """Operators and waits of a step, by part, on average."""
    device = device_of(given)
    torch.manual_seed(0)
    network = network_of(given.architecture, given.encoder).to(device)
    counted, real = Counted(), ppl.training.loop.train_step
    done = 0

    def step(*arguments: Any) -> Tensor:
        nonlocal done
        done += 1
        if done <= FIRST_STEPS:
            return real(*arguments)
        with counted, counted.parts():
            return real(*arguments)

    whole = stages.Given(**vars(given) | {"steps": FIRST_STEPS + given.steps})
    with in_place_of_train_step(step):
        stages.trained(whole, folder, network, device, student=True, weak=stages.WEAK)

    def mean(of: Counter[str]) -> dict[str, float]:
        by_part = {part: of[part] / given.steps for part in (*PARTS, "rest") if of[part]}
        whole = by_part | {"all": sum(by_part.values()), ON_CPU: of[ON_CPU] / given.steps}
        return {part: round(value, 1) for part, value in whole.items()}

    kinds = {"calls": counted.calls, "copies": counted.copies, "waits": counted.waits}
    return {kind: mean(of) for kind, of in kinds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--batches", type=int, nargs=1, default=[8])
    parser.add_argument("--architecture", default="DeepLabV3Plus")
    parser.add_argument("--encoders", nargs=1, default=["resnet18"])
    parser.add_argument("--steps", type=int, default=4, help="counted")
    parser.add_argument("--images", type=int, default=16, help="of each set")
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    given = parser.parse_args(namespace=Given())
    with tempfile.TemporaryDirectory() as folder:
        found = counts(settings_of(given, {"precision": "float32"}), Path(folder))
    write_result(found, given.out)


if __name__ == "__main__":
    main()
