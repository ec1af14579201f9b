"""The running mean by lists of tensors: bit for bit what PyTorch's own gives, one by one."""

import copy
from collections.abc import Sequence
from itertools import chain

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ppl.methods.unimatch_v2 import follow as follow_by_step
from ppl.methods.unimatch_v2 import running_mean
from ppl.network.network import SegmentationNetwork
from ppl.training.running_mean import averaged, copied, move, rounded_down
from tests.training.graph import ASKS
from tests.training.operators import Calls


class Odd(nn.Module):
    """Tensors of every kind that a network may hold: halves, whole numbers of two shapes, flags."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 2))
        self.scalar = nn.Parameter(torch.zeros(()))
        self.register_buffer("small", torch.zeros(5, dtype=torch.bfloat16))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("index", torch.zeros(7, 7, dtype=torch.int64))
        self.register_buffer("few", torch.zeros(2, dtype=torch.int32))
        self.register_buffer("flag", torch.zeros(3, dtype=torch.bool))
        self.register_buffer("none", torch.zeros(0, 4))


def drawn_anew(network: nn.Module, draws: torch.Generator, step: int) -> None:
    """Other values than before; whole numbers above those of all steps before."""
    for of in chain(network.parameters(), network.buffers()):
        numbers = torch.rand(of.shape, generator=draws)
        of.data.copy_(4 * numbers - 2 if of.is_floating_point() else 400 * (numbers + step))


def slow_by_step(
    mean: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int, momentum: float
) -> None:
    """What UniMatch V2's mean did, tensor by tensor."""
    kept = min(1 - 1 / int(steps), momentum)
    for of_mean, of_current in zip(mean, current, strict=True):
        if of_mean.is_floating_point():
            of_mean.lerp_(of_current, 1 - kept)
        else:
            of_mean.copy_(of_current)


def same(first: AveragedModel, second: AveragedModel) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    buffers = zip(first.buffers(), second.buffers(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs) and all(
        torch.equal(x, y) for x, y in buffers
    )


@pytest.mark.parametrize("kind", ["odd", "network"])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 0.996, 0.9995])
def test_a_mean_is_to_the_bit_that_of_pytorch(
    network: SegmentationNetwork, kind: str, momentum: float
) -> None:
    student = Odd() if kind == "odd" else network
    draws = torch.Generator().manual_seed(0)
    averages = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    slow = AveragedModel(student, multi_avg_fn=averages, use_buffers=True)
    mean = AveragedModel(student, use_buffers=True)
    assert not [of for of in mean.parameters() if of.grad is not None]
    for step in range(6):
        drawn_anew(student, draws, step)
        before = copy.deepcopy(student.state_dict())
        slow.update_parameters(student)
        move(mean, student, averaged(momentum), rounded_down(momentum))
        assert same(mean, slow), step
        assert all(torch.equal(of, before[name]) for name, of in student.state_dict().items())
    assert int(mean.n_averaged) == 6


@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.996])
def test_that_of_unimatch_v2_is_what_it_was_tensor_by_tensor(
    network: SegmentationNetwork, momentum: float
) -> None:
    def moved(mean: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        slow_by_step(mean, current, steps, momentum)

    draws = torch.Generator().manual_seed(0)
    slow = AveragedModel(network, multi_avg_fn=moved, use_buffers=True)
    mean = running_mean(network)
    for step in range(6):
        drawn_anew(network, draws, step)
        slow.update_parameters(network)
        follow_by_step(mean, network, momentum)
        assert same(mean, slow), step


def test_layers_more_take_no_operators_more() -> None:
    def calls(layers: int) -> list[str]:
        network = nn.Sequential(*[nn.BatchNorm2d(4) for _ in range(layers)])
        mean = AveragedModel(network, use_buffers=True)
        for _ in range(2):
            with Calls() as found:
                move(mean, network, averaged(0.9), rounded_down(0.9))
        return [name for name in found.names if name != "detach"]

    assert calls(9) == calls(2)
    # how often it was called is a number of the CPU
    assert [name for name in calls(2) if name in ASKS] == ["_local_scalar_dense"]
    assert AveragedModel(nn.Linear(2, 2), use_buffers=True).n_averaged.device.type == "cpu"


@pytest.mark.parametrize("momentum", [0.9, 0.95, 0.99, 0.9995])
def test_whole_numbers_that_never_change_are_in_the_mean_as_they_are(momentum: float) -> None:
    network = Odd()
    network.index.copy_(torch.arange(49).view(7, 7))
    averages = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    pytorch = AveragedModel(network, multi_avg_fn=averages, use_buffers=True)
    mean = AveragedModel(network, use_buffers=True)
    for _ in range(3):
        pytorch.update_parameters(network)
        move(mean, network, averaged(momentum), rounded_down(momentum))
    assert torch.equal(mean.module.index, network.index)
    # PyTorch's loses some of them to rounding at most momenta
    assert momentum == 0.99 or not torch.equal(pytorch.module.index, network.index)


def test_whole_numbers_that_are_copied_are_the_others() -> None:
    mine, others = [torch.zeros(2, dtype=torch.int64)], [torch.tensor([3, -4])]
    copied(mine, others)
    assert mine[0].tolist() == [3, -4]
