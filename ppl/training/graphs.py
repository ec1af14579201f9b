"""A step's forward and backward pass as a CUDA graph: captured once, replayed at every step.

A GPU computes a small batch sooner than the processor launches its hundreds of kernels one by one;
a graph launches them all at once. It computes what was captured, at the same places in memory: a
batch is copied to where the captured one lay. What cannot be captured is computed as ever, and is
told in one line. Passes that a step makes for labels and confidence are graphs of their own. The
optimizer's step is not captured: its rate changes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Predicts(Protocol):
    """A step that asks networks for predictions, too."""

    def replay_predictions(self, replayed: "NewReplayed") -> None:
        """Have each kind of prediction computed by a `Replayed` of its own."""


Results = tuple[Tensor | None, ...]
"""What is computed; None of what there is none."""

Compute = Callable[..., Results]
"""Of tensors."""

Work = Callable[[], Results]

Shape = tuple[tuple[torch.Size, torch.dtype], ...]
"""Of each tensor of a batch."""


class Graph(Protocol):
    """What captures work and replays it; in tests a simple one stands for CUDA's."""

    own_generator: bool
    """Whether draws come from the device's generator, not from the processor's."""

    def warm(self, work: Work) -> Results:
        """Do the work, where it will be captured."""

    def capture(self, work: Work) -> Results:
        """Remember the work and do it once; the results stay where they are.

        Raises:
            RuntimeError: it cannot be captured, or memory does not suffice. Nothing was done.
        """

    def replay(self) -> None:
        """Do the work again on what its inputs hold now; results lie where `capture` said."""


class CudaGraph:
    """A graph of the present GPU."""

    own_generator = True

    def __init__(self) -> None:
        self._aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()

    def warm(self, work: Work) -> Results:
        """On another stream than the default one, on which nothing can be captured."""
        here = torch.cuda.current_stream()
        self._aside.wait_stream(here)
        with torch.cuda.stream(self._aside):
            found = work()
        here.wait_stream(self._aside)
        return found

    def capture(self, work: Work) -> Results:
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
    kind, tell = KINDS.get(parameters[0].device.type), Tell(name)
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
            return _graphed(step, parameters, kind, tell)
        except RuntimeError as error:  # of a driver that knows no graphs
            why = _first_line(error)
    tell(f"has no effect: {why}")
    return None


def _graphed(
    step: InTwoParts, parameters: Sequence[nn.Parameter], kind: type[Graph], tell: "Tell"
) -> "Graphed":
    graphed = Graphed(step, parameters, kind(), tell)
    if isinstance(step, Predicts):
        step.replay_predictions(lambda compute, what: Replayed(compute, kind(), tell, what))
    return graphed


class Tell:
    """Tells the user what becomes of a training's graphs, each thing once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()

    def __call__(self, what: str) -> None:
        if processes.is_first() and what not in self._told:
            print(f"{self._name}: compute.graphs {what}", flush=True)
        self._told.add(what)


class Replayed:
    """Computes the same of batch after batch, by a graph as soon as and as far as there is one.

    Args:
        compute: draws from the device's own generator alone.
        what: is computed, in the plural, for messages.
    """

    def __init__(self, compute: Compute, graph: Graph, tell: Tell, what: str) -> None:
        self._compute = compute
        self._graph: Graph | None = graph
        self._tell = tell
        self._what = what
        self._shape: Shape = ()
        """Of the captured batch; before there is one, of the latest."""
        self._warmed = 0
        """Batches of that shape in a row."""
        self._inputs: tuple[Tensor, ...] = ()
        """Where the captured batch lay."""
        self._results: Results | None = None
        """Where replays leave them."""

    def __call__(self, *batch: Tensor) -> Results:
        """The results; the next call may write over them."""
        if self._graph is None:
            return self._compute(*batch)
        if (shape := _shape(batch)) != self._shape:
            if self._shape:
                self._tell("leaves out batches of another shape than the one before")
            if self._results is not None:
                return self._compute(*batch)
            self._shape, self._warmed = shape, 0
        if self._results is not None:
            for place, tensor in zip(self._inputs, batch, strict=True):
                place.copy_(tensor, non_blocking=True)
            self._graph.replay()
            return self._results
        if self._warmed < WARM_STEPS:
            return self._warm(self._graph, batch)
        return self._capture(self._graph, batch)

    def _warm(self, graph: Graph, batch: Sequence[Tensor]) -> Results:
        before = torch.get_rng_state()
        found = graph.warm(lambda: self._compute(*batch))
        self._warmed += 1
        if graph.own_generator and not torch.equal(before, torch.get_rng_state()):
            # replayed, the same draw would come again and again
            self._do_without("the network draws on the processor")
        return found

    def _capture(self, graph: Graph, batch: Sequence[Tensor]) -> Results:
        why = ""
        try:
            self._inputs = tuple(tensor.clone() for tensor in batch)
            self._results = graph.capture(lambda: self._compute(*self._inputs))
        except torch.OutOfMemoryError:
            why = "the GPU's memory does not suffice for it"
        except RuntimeError as error:  # whatever an operation or the driver answers
            why = f"they cannot be captured ({_first_line(error)})"
        if self._results is None:
            # past the error, which holds on to tensors
            self._do_without(why)
            return self._compute(*batch)
        return self._results

    def _do_without(self, why: str) -> None:
        """Give up the graph and its memory."""
        self._graph, self._inputs = None, ()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._tell(f"has no effect on {self._what}: {why}")


NewReplayed = Callable[[Compute, str], Replayed]
"""Of what is computed, and what that is."""


class Graphed:
    """Loss and gradients of a step's batches, by a graph where there is one.

    Args:
        parameters: all that are trained.
    """

    def __init__(
        self, step: InTwoParts, parameters: Sequence[nn.Parameter], graph: Graph, tell: Tell
    ) -> None:
        self._step = step
        self._parameters = parameters
        self._network: nn.Module | None = None
        self._passes = Replayed(self._computed, graph, tell, "steps")

    def __call__(self, network: nn.Module) -> Tensor:
        """The loss of the next batch, (); its gradients are at the parameters."""
        self._network = network
        loss, *gradients = self._passes(*self._step.drawn(network))
        # replays leave them where the first one did, and a plain step may have put others here
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        assert loss is not None
        # the next replay writes over it
        return loss.clone()

    def _computed(self, *drawn: Tensor) -> Results:
        """As without a graph: gradients are new tensors."""
        assert self._network is not None
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._step.loss_of(self._network, *drawn)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), *(parameter.grad for parameter in self._parameters)


def _shape(batch: Sequence[Tensor]) -> Shape:
    return tuple((of.shape, of.dtype) for of in batch)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160] or type(error).__name__
