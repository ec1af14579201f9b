"""The forward and backward pass of a step as a CUDA graph: captured once, replayed at every step.

A GPU computes a small batch sooner than the processor launches its hundreds of kernels one by one;
a graph launches them all at once. It computes what was captured, at the same places in memory: a
batch is copied to where the captured one lay. What cannot be captured is computed as ever, and is
told in one line. The optimizer's step is not captured: its rate changes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ppl.core import processes
from ppl.training.compute import ComputeSettings

WARM_STEPS = 3
"""Steps of one shape before it is captured: libraries make plans, which a graph cannot hold."""


@runtime_checkable
class InTwoParts(Protocol):
    """A step whose draws all come before what it computes with the network."""

    def drawn(self, network: nn.Module) -> tuple[Tensor, ...]:
        """The next batch: all tensors that its loss is computed from."""

    def loss_of(self, network: nn.Module, *drawn: Tensor) -> Tensor:
        """The loss of a batch, (); draws from the device's own generator alone."""


class Passes(NamedTuple):
    """What a forward and a backward pass leave."""

    loss: Tensor
    """()"""
    gradients: Sequence[Tensor | None]
    """Of each parameter; None of one that the loss does not depend on."""


Work = Callable[[], Passes]

Shape = tuple[tuple[torch.Size, torch.dtype], ...]
"""Of each tensor of a batch."""


class Graph(Protocol):
    """What captures work and replays it; in tests a simple one stands for CUDA's."""

    own_generator: bool
    """Whether draws come from the device's generator, not from the processor's."""

    def warm(self, work: Work) -> Passes:
        """Do the work, where it will be captured."""

    def capture(self, work: Work) -> Passes:
        """Remember the work and do it once; the result stays where it is.

        Raises:
            RuntimeError: it cannot be captured, or memory does not suffice. Nothing was done.
        """

    def replay(self) -> None:
        """Do the work again on what its inputs hold now; the result lies where `capture` said."""


class CudaGraph:
    """A graph of the present GPU."""

    own_generator = True

    def __init__(self) -> None:
        self._aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()

    def warm(self, work: Work) -> Passes:
        """On another stream than the default one, on which nothing can be captured."""
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            found = work()
        here.wait_stream(self._aside)
        return found

    def capture(self, work: Work) -> Passes:
        """PyTorch registers the GPU's generator with the graph: a replay draws on from it."""
        here = torch.cuda.current_stream()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.clone_state()
        try:
            # threads that read images may ask for memory meanwhile
            with torch.cuda.graph(
                self._graph, stream=self._aside, capture_error_mode="thread_local"
            ):
                found = work()
        except BaseException:
            # a capture that fails leaves both as they were within it
            torch.cuda.set_stream(here)
            generator.graphsafe_set_state(before)
            raise
        self._graph.replay()
        return found

    def replay(self) -> None:
        """On the present stream."""
        self._graph.replay()


KINDS: dict[str, type[Graph]] = {"cuda": CudaGraph}
"""By the kind of device that has graphs."""


def new_graphed(
    step: object, sgd: torch.optim.SGD, settings: ComputeSettings, name: str
) -> "Graphed | None":
    """What computes the steps of the training `name`; None: nothing is captured.

    Where graphs are asked for and there are none, a line says why.
    """
    if not settings.graphs:
        return None
    parameters = [of for group in sgd.param_groups for of in group["params"]]
    kind = KINDS.get(parameters[0].device.type)
    if kind is None:
        why = "graphs are for GPUs"
    elif processes.count() > 1:
        why = "several processes share a step"
    elif settings.compile:
        why = "compute.compile is true"
    elif not isinstance(step, InTwoParts):
        why = "this method draws while it computes"
    else:
        try:
            return Graphed(step, parameters, kind(), name)
        except RuntimeError as error:  # of a driver that knows no graphs
            why = _first_line(error)
    _tell(name, f"has no effect: {why}")
    return None


def _tell(name: str, what: str) -> None:
    if processes.is_first():
        print(f"{name}: compute.graphs {what}", flush=True)


class Graphed:
    """Loss and gradients of a step's batches, by a graph as soon as and as far as there is one.

    Args:
        parameters: all that are trained.
        name: of the training, for messages.
    """

    def __init__(
        self, step: InTwoParts, parameters: Sequence[nn.Parameter], graph: Graph, name: str
    ) -> None:
        self._step = step
        self._parameters = parameters
        self._graph: Graph | None = graph
        self._name = name
        self._shape: Shape = ()
        """Of the captured batch; before there is one, of the latest."""
        self._warmed = 0
        """Steps of that shape in a row."""
        self._inputs: tuple[Tensor, ...] = ()
        """Where the captured batch lay."""
        self._result: Passes | None = None
        """Where replays leave it."""
        self._told_of_shapes = False

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch, (); its gradients are at the parameters."""
        drawn = self._step.drawn(network)
        if self._graph is None:
            return self._computed(network, drawn).loss
        if (shape := _shape(drawn)) != self._shape:
            self._tell_of_another_shape()
            if self._result is not None:
                return self._computed(network, drawn).loss
            self._shape, self._warmed = shape, 0
        if self._result is not None:
            return self._replayed(self._graph, drawn)
        if self._warmed < WARM_STEPS:
            return self._warm(self._graph, network, drawn)
        return self._captured(self._graph, network, drawn)

    def _computed(self, network: nn.Module, drawn: Sequence[Tensor]) -> Passes:
        """As without a graph: gradients are new tensors."""
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._step.loss_of(network, *drawn)
        loss.backward()  # type: ignore[no-untyped-call]
        return Passes(loss.detach(), [parameter.grad for parameter in self._parameters])

    def _warm(self, graph: Graph, network: nn.Module, drawn: Sequence[Tensor]) -> Tensor:
        before = torch.get_rng_state()
        found = graph.warm(lambda: self._computed(network, drawn))
        self._warmed += 1
        if graph.own_generator and not torch.equal(before, torch.get_rng_state()):
            # replayed, the same draw would come again and again
            self._do_without("the network draws on the processor")
        return found.loss

    def _captured(self, graph: Graph, network: nn.Module, drawn: Sequence[Tensor]) -> Tensor:
        why = ""
        try:
            self._inputs = tuple(tensor.clone() for tensor in drawn)
            self._result = graph.capture(lambda: self._computed(network, self._inputs))
        except torch.OutOfMemoryError:
            why = "the GPU's memory does not suffice for it"
        except RuntimeError as error:  # whatever an operation or the driver answers
            why = f"a step cannot be captured ({_first_line(error)})"
        if self._result is None:
            # past the error, which holds on to the tensors of its step
            for parameter in self._parameters:
                parameter.grad = None
            self._do_without(why)
            return self._computed(network, drawn).loss
        return self._given(self._result)

    def _replayed(self, graph: Graph, drawn: Sequence[Tensor]) -> Tensor:
        assert self._result is not None
        for place, tensor in zip(self._inputs, drawn, strict=True):
            place.copy_(tensor, non_blocking=True)
        graph.replay()
        return self._given(self._result)

    def _given(self, result: Passes) -> Tensor:
        """The loss, which the next replay writes over, apart; the gradients at the parameters."""
        # a batch of another shape may have put others there
        for parameter, gradient in zip(self._parameters, result.gradients, strict=True):
            parameter.grad = gradient
        return result.loss.clone()

    def _do_without(self, why: str) -> None:
        """Give up the graph and its memory."""
        self._graph, self._inputs = None, ()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _tell(self._name, f"has no effect: {why}")

    def _tell_of_another_shape(self) -> None:
        if self._shape and not self._told_of_shapes:
            self._told_of_shapes = True
            _tell(self._name, "leaves out batches of another shape than the one before")


def _shape(batch: Sequence[Tensor]) -> Shape:
    return tuple((of.shape, of.dtype) for of in batch)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__
