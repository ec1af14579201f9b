"""Steps as graphs: the same weights as without, and plain steps where there can be no graph."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import mask_file
from ppl.methods.at_once import Networks, OnceImages, train_together
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.training import graphs
from ppl.training.checkpoint import Checkpoint
from ppl.training.compute import ComputeSettings
from ppl.training.graphs import WARM_STEPS, Graphed, InTwoParts, Results, Tell, Work, new_graphed
from ppl.training.loop import Training, train_step
from ppl.training.loss import PAPER, cross_entropy
from ppl.training.optimizer import new_sgd
from tests.conftest import COLOURS, MakeSet
from tests.methods import given as of_methods
from tests.methods.test_at_once import settings_of
from tests.training import test_loop as loop
from tests.training.graph import CpuGraph, Kept

GRAPHS = ComputeSettings(precision="float32", compile=False, graphs=True)
STEPS = WARM_STEPS + 4


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[CpuGraph]:
    """The graphs that trainings on the CPU make."""
    kept = Kept()
    monkeypatch.setitem(graphs.KINDS, "cpu", kept)
    return kept.made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`compute.graphs: true` in what the helpers of the loop's tests train."""
    monkeypatch.setattr(loop, "RECIPE", replace(loop.RECIPE, compute=GRAPHS))


Train = Callable[[], Training]


@pytest.fixture
def graphs_of(request: pytest.FixtureRequest) -> int:
    """Of a step, of the confidence of CutMix, of the mean teacher's labels."""
    return {"teacher": 1, "teacher with dropout": 1, "student": 2, "student that relabels": 3}[
        request.node.callspec.params["train"]
    ]


@pytest.fixture(params=["teacher", "teacher with dropout", "student", "student that relabels"])
def train(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_set: MakeSet,
    network_settings: NetworkSettings,
) -> Train:
    """A training of some steps, the same at each call."""
    labeled = make_set(["a", "b", "c"])
    unlabeled = make_set(["u", "v", "w"], folder="unlabeled", masks=False, seed=1)
    for id in unlabeled.ids:
        write_mask(mask_file(tmp_path / "masks", id), torch.ones(32, 32), COLOURS)
    settings = network_settings
    if request.param == "teacher with dropout":
        settings = settings.model_copy(update={"architecture": "DeepLabV3Plus"})
    if request.param.startswith("teacher"):
        return lambda: loop.teacher(labeled, labeled, settings, iterations=STEPS)[1]
    relabels = request.param != "student"
    return lambda: loop.student(
        labeled,
        unlabeled,
        [tmp_path / "masks"],
        settings,
        iterations=STEPS,
        relabels=relabels,
    )


def test_replayed_steps_train_what_plain_ones_do(
    train: Train,
    graphs_of: int,
    made: list[CpuGraph],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = train()
    assert not made
    monkeypatch.setattr(loop, "RECIPE", replace(loop.RECIPE, compute=GRAPHS))
    found = train()
    assert loop.same(plain.kept, found.kept)
    assert plain.curve == found.curve
    assert {(graph.warmed, graph.replayed) for graph in made} == {(WARM_STEPS, 3)}
    assert len(made) == graphs_of
    assert "compute.graphs" not in capsys.readouterr().out


@pytest.mark.parametrize("after", [WARM_STEPS - 1, WARM_STEPS + 2])
@pytest.mark.usefixtures("made", "asked")
def test_a_replayed_training_goes_on_from_its_checkpoint(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings, after: int
) -> None:
    settings = network_settings.model_copy(update={"architecture": "DeepLabV3Plus"})
    labeled = make_set(["a", "b", "c"])
    budget = {"iterations": 2 * STEPS}
    _, whole = loop.teacher(labeled, labeled, settings, **budget)
    file = tmp_path / "c.pt"
    dies = loop.Interrupted(file, after=after)
    with pytest.raises(KeyboardInterrupt):
        loop.teacher(labeled, labeled, settings, checkpoint=dies, **budget)
    goes_on = Checkpoint(file, seconds=60)
    _, resumed = loop.teacher(labeled, labeled, settings, checkpoint=goes_on, **budget)
    assert loop.same(whole.kept, resumed.kept)
    assert whole.curve == resumed.curve


@pytest.mark.parametrize(
    ("name", "replays"),
    [("supervised", 2), ("cps", 2), ("cps_cutmix", 2), ("fixmatch", 0), ("unimatch", 0)],
)
def test_methods_that_draw_first_are_replayed_and_others_trained_as_ever(
    make_set: MakeSet,
    network_settings: NetworkSettings,
    made: list[CpuGraph],
    capsys: pytest.CaptureFixture[str],
    name: str,
    replays: int,
) -> None:
    labeled = make_set(["a", "b"])
    unlabeled = make_set(["u", "v", "w"], folder="unlabeled", masks=False, seed=1)
    images = OnceImages(labeled, unlabeled, labeled.subset([]))
    settings = settings_of(name).model_copy(update={"iterations": WARM_STEPS + 3})

    def trained(compute: ComputeSettings) -> Training:
        networks = [new_network(network_settings, 3, seed=seed) for seed in (0, 1)]
        recipe = replace(of_methods.RECIPE, compute=compute)
        draws = Draws(0, "final")
        return train_together(name, Networks(*networks), images, recipe, settings, draws)

    plain, found = trained(of_methods.RECIPE.compute), trained(GRAPHS)
    assert loop.same(plain.kept, found.kept)
    assert sum(graph.replayed for graph in made) == replays
    said = capsys.readouterr().out.count("compute.graphs has no effect: this method draws while")
    assert said == (not replays)


def batch(number: int, count: int = 2) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(number)
    images = torch.rand(count, 3, 32, 32, generator=draws)
    return images, torch.randint(3, (count, 32, 32), generator=draws)


class Batches:
    """A step of batches that are given, and remembers where its loss found them."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self._coming: Iterator[tuple[Tensor, Tensor]] = iter(batches)
        self.seen: list[list[int]] = []

    def __call__(self, network: nn.Module) -> Tensor:
        return self.loss_of(network, *self.drawn(network))

    def drawn(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        return next(self._coming)

    def loss_of(self, network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        self.seen.append([images.data_ptr(), masks.data_ptr()])
        return cross_entropy(network(images), masks, PAPER)


Made = tuple[SegmentationNetwork, list[Tensor], Batches]


def trained(
    network: SegmentationNetwork, batches: list[tuple[Tensor, Tensor]], graph: Any = None
) -> Made:
    """A copy of `network` after a step on each batch, with a graph or plainly; the losses."""
    network = copy.deepcopy(network)
    step, sgd = Batches(batches), new_sgd([network], loop.OPTIMIZER)
    parameters = [of for group in sgd.param_groups for of in group["params"]]
    graphed = Graphed(step, parameters, graph, Tell("x")) if graph else None
    # the losses are looked at in the end, as a GPU's are some steps later
    losses = [train_step(network, step, sgd, 1.0, graphed) for _ in batches]
    return network, losses, step


def agree(found: Made, plain: Made) -> bool:
    return loop.same(found[0].state_dict(), plain[0].state_dict()) and all(
        map(torch.equal, found[1], plain[1])
    )


class Copies(TorchDispatchMode):
    """Counts the copies into tensors that lie at given places."""

    def __init__(self) -> None:
        super().__init__()
        self.into: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket is torch.ops.aten.copy_:
            self.into.append(args[0].data_ptr())
        return func(*args, **(kwargs or {}))


def test_each_input_is_copied_once_to_where_the_captured_one_lay(
    network: SegmentationNetwork,
) -> None:
    batches = [batch(number) for number in range(STEPS)]
    graph = CpuGraph()
    with Copies() as copies:
        found = trained(network, batches, graph)
    assert agree(found, trained(network, batches))
    # Python asks for a loss while it is warm, and for the captured one
    *warm, captured = found[2].seen
    assert warm == [[of.data_ptr() for of in pair] for pair in batches[:WARM_STEPS]]
    assert graph.replayed == 3
    assert [copies.into.count(place) for place in captured] == [3, 3]
    given = {of.data_ptr() for pair in batches for of in pair}
    assert given.isdisjoint([*captured, *copies.into])


def test_batches_of_another_shape_are_computed_plainly_and_told_once(
    network: SegmentationNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [3, 2, 2, 2, 2, 3, 2, 4, 2]
    batches = [batch(number, count) for number, count in enumerate(sizes)]
    graph = CpuGraph()
    assert agree(trained(network, batches, graph), trained(network, batches))
    assert (graph.warmed, graph.replayed) == (1 + WARM_STEPS, 2)
    said = capsys.readouterr().out
    assert said == "x: compute.graphs leaves out batches of another shape than the one before\n"


def test_shapes_that_never_stay_are_never_captured(
    network: SegmentationNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = [batch(number, 2 + number % 2) for number in range(8)]
    graph = CpuGraph()
    assert agree(trained(network, batches, graph), trained(network, batches))
    assert (graph.warmed, graph.replayed) == (8, 0)
    assert capsys.readouterr().out.count("\n") == 1


class Fails(CpuGraph):
    """Cannot capture, as a graph whose memory or driver does not do."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__()
        self.error = error
        self.asked = 0

    def capture(self, work: Work) -> Results:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("of 2 GiB\nmore"), "the GPU's memory does not suffice for it"),
        (RuntimeError("CUDA driver error\nmore"), "they cannot be captured (CUDA driver error)"),
        (RuntimeError(""), "they cannot be captured (RuntimeError)"),
        (RuntimeError("y" * 900), f"they cannot be captured ({'y' * 160})"),
    ],
)
def test_where_a_step_cannot_be_captured_plain_ones_go_on(
    network: SegmentationNetwork,
    capsys: pytest.CaptureFixture[str],
    error: RuntimeError,
    said: str,
) -> None:
    batches = [batch(number) for number in range(STEPS)]
    graph = Fails(error)
    assert agree(trained(network, batches, graph), trained(network, batches))
    # it is not tried again
    assert graph.asked == 1
    assert capsys.readouterr().out == f"x: compute.graphs has no effect on steps: {said}\n"


@pytest.mark.parametrize("train", ["student that relabels"], indirect=True)
def test_each_thing_that_cannot_be_captured_is_told_and_the_rest_of_a_step_goes_on(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train()
    capsys.readouterr()
    monkeypatch.setattr(loop, "RECIPE", replace(loop.RECIPE, compute=GRAPHS))

    def told(fails: set[int]) -> list[str]:
        """What is said where the graphs of these numbers cannot be captured."""
        numbers = iter(range(3))

        def graph() -> CpuGraph:
            no_memory = torch.OutOfMemoryError("of 2 GiB")
            return Fails(no_memory) if next(numbers) in fails else CpuGraph()

        monkeypatch.setitem(graphs.KINDS, "cpu", graph)
        found = train()
        assert loop.same(plain.kept, found.kept)
        said = [x for x in capsys.readouterr().out.splitlines() if "graphs" in x]
        assert all(line.endswith(": the GPU's memory does not suffice for it") for line in said)
        return [line.partition(" no effect on ")[2].partition(":")[0] for line in said]

    # in the order in which a step computes them
    assert told({0, 1, 2}) == ["labels of the mean teacher", "confidence passes", "steps"]
    assert told({0}) == ["steps"]
    assert told({1}) == ["confidence passes"]


def test_what_asks_the_device_for_a_number_is_not_captured(
    network: SegmentationNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    class Asks(Batches):
        def loss_of(self, network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
            return super().loss_of(network, images, masks) * images.sum().sign().item()

    sgd = new_sgd([network], loop.OPTIMIZER)
    step = Asks([batch(number) for number in range(STEPS)])
    parameters = [of for group in sgd.param_groups for of in group["params"]]
    graphed = Graphed(step, parameters, CpuGraph(), Tell("x"))
    for _ in range(STEPS):
        train_step(network, step, sgd, 1.0, graphed)
    said = capsys.readouterr().out
    assert "they cannot be captured (operation not permitted when stream is capturing" in said
    assert said.count("\n") == 1


def test_a_network_that_draws_beside_its_device_is_not_captured(
    network_settings: NetworkSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    class Own(CpuGraph):
        """As of a GPU, whose draws are not those of the processor."""

        own_generator = True

    settings = network_settings.model_copy(update={"architecture": "DeepLabV3Plus"})
    network, batches = new_network(settings, 3, seed=0), [batch(k) for k in range(STEPS)]
    graph = Own()
    torch.manual_seed(0)
    found = trained(network, batches, graph)
    torch.manual_seed(0)
    assert agree(found, trained(network, batches))
    assert (graph.warmed, graph.replayed) == (1, 0)
    expected = "x: compute.graphs has no effect on steps: the network draws on the processor\n"
    assert capsys.readouterr().out == expected


def why_not(network: SegmentationNetwork, step: object, settings: ComputeSettings) -> Any:
    return new_graphed(step, new_sgd([network], loop.OPTIMIZER), settings, "x")


@pytest.mark.usefixtures("asked")
def test_a_cpu_has_no_graphs_and_a_training_says_so_once(
    make_set: MakeSet, network_settings: NetworkSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    labeled = make_set(["a", "b"])
    _, found = loop.teacher(labeled, labeled, network_settings, iterations=STEPS)
    said = capsys.readouterr().out
    assert said.count("compute.graphs") == 1
    assert "teacher: compute.graphs has no effect: graphs are for GPUs\n" in said
    assert found.iteration == STEPS


def test_what_else_stands_against_graphs_is_said(
    network: SegmentationNetwork,
    made: list[CpuGraph],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = Batches([])
    assert isinstance(step, InTwoParts)
    assert isinstance(why_not(network, step, GRAPHS), Graphed)
    assert why_not(network, step, GRAPHS.model_copy(update={"graphs": False})) is None
    assert not capsys.readouterr().out

    compiled = GRAPHS.model_copy(update={"compile": True})
    assert why_not(network, step, compiled) is None
    assert capsys.readouterr().out == "x: compute.graphs has no effect: compute.compile is true\n"

    assert why_not(network, loop.fixed_loss, GRAPHS) is None
    assert "has no effect: this method draws while it computes" in capsys.readouterr().out

    with monkeypatch.context() as patch:
        patch.setattr("ppl.core.processes.count", lambda: 2)
        assert why_not(network, step, GRAPHS) is None
        assert "has no effect: several processes share a step" in capsys.readouterr().out
        patch.setattr("ppl.core.processes.rank", lambda: 1)
        assert why_not(network, step, GRAPHS) is None
        assert not capsys.readouterr().out
    assert len(made) == 1

    def no_driver() -> CpuGraph:
        raise RuntimeError("CUDA Graphs are not supported\nmore")

    monkeypatch.setitem(graphs.KINDS, "cpu", no_driver)
    assert why_not(network, step, GRAPHS) is None
    expected = "x: compute.graphs has no effect: CUDA Graphs are not supported\n"
    assert capsys.readouterr().out == expected
