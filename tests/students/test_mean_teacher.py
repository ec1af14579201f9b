"""The running mean of a student's weights, and what it makes of pseudo-masks."""

import copy

import pytest
import torch
from torch import Tensor

from ppl.images.pictures import IGNORE
from ppl.network.confidence import defect_confidence
from ppl.network.network import SegmentationNetwork
from ppl.students.mean_teacher import PAPER, MeanTeacher, relabeled

SETTINGS = PAPER.model_copy(update={"enabled": True, "momentum": 0.75, "confident": 0.6})


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def shifted(network: SegmentationNetwork, by: float) -> SegmentationNetwork:
    other = copy.deepcopy(network)
    for tensor in [*other.parameters(), *other.buffers()]:
        if tensor.is_floating_point():
            tensor.data += by
    return other


def weights(mean: MeanTeacher) -> dict[str, Tensor]:
    return {
        key.removeprefix("module."): tensor
        for key, tensor in mean.state_dict().items()
        if key.startswith("module.")
    }


def test_a_pixel_teaches_what_is_predicted_where_sure_or_agreed() -> None:
    predicted = torch.tensor([[0.9, 0.1], [0.55, 0.45], [0.55, 0.45], [0.3, 0.7], [0.9, 0.1]])
    mask = torch.tensor([1, 1, 0, 0, IGNORE])
    prob_BCHW = predicted.T.reshape(1, 2, 1, 5)
    found = relabeled(prob_BCHW, mask.reshape(1, 1, 5), confident=0.6)
    # overruled, in doubt, agreed, overruled, left out
    assert found.flatten().tolist() == [0, IGNORE, 0, 1, IGNORE]
    assert found.dtype == torch.int64


def test_of_equal_confidence_a_pixel_is_sure() -> None:
    prob_BCHW = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1)
    mask = torch.zeros(1, 1, 1, dtype=torch.int64)
    assert relabeled(prob_BCHW, mask, confident=0.75).item() == 1
    assert relabeled(prob_BCHW, mask, confident=0.76).item() == IGNORE


def test_the_mean_starts_as_the_student_and_follows_it(network: SegmentationNetwork) -> None:
    mean = MeanTeacher(network, SETTINGS)
    # not the weights that it was made from: those of the first step
    mean.follow(shifted(network, 1.0))
    mean.follow(shifted(network, 2.0))
    mean.follow(shifted(network, 4.0))
    # 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4
    expected = shifted(network, 1.9375).state_dict()
    found = weights(mean)
    assert set(expected) <= set(found)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor)


def test_labels_are_those_of_the_mean_in_eval_mode(network: SegmentationNetwork) -> None:
    mean = MeanTeacher(network.train(), SETTINGS)
    student = shifted(network, 0.02)
    mean.follow(student)
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    masks = torch.randint(3, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    masks[:, :4] = IGNORE
    first = mean.labels(images(2), masks)
    assert torch.equal(mean.labels(images(2), masks), first), "asking changes the mean"
    expected = relabeled(student.eval()(images(2)).softmax(dim=1), masks, confident=0.6)
    assert torch.equal(first, expected)
    assert not torch.equal(first, masks)
    assert all(torch.equal(before[key], t) for key, t in student.state_dict().items())
    assert not first.requires_grad


def test_no_images_need_no_labels(network: SegmentationNetwork) -> None:
    mean = MeanTeacher(network, SETTINGS)
    mean.follow(network)
    masks = torch.zeros(0, 32, 32, dtype=torch.int64)
    assert mean.labels(images(0), masks).shape == (0, 32, 32)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_mean_computes_as_the_student_does(
    network: SegmentationNetwork, precision: torch.dtype
) -> None:
    mean = MeanTeacher(network, SETTINGS)
    network.precision = precision
    mean.follow(network)
    masks = torch.zeros(2, 32, 32, dtype=torch.int64)
    prob = network(images(2)).softmax(dim=1)
    assert torch.equal(mean.labels(images(2), masks), relabeled(prob, masks, confident=0.6))


def test_a_mean_goes_on_where_another_stood(network: SegmentationNetwork) -> None:
    mean = MeanTeacher(network, SETTINGS)
    mean.follow(shifted(network, 1.0))
    other = MeanTeacher(shifted(network, 9.0), SETTINGS)
    other.load_state_dict(copy.deepcopy(mean.state_dict()))
    for one in (mean, other):
        one.follow(shifted(network, 3.0))
    found = weights(other)
    assert all(torch.equal(found[key], tensor) for key, tensor in weights(mean).items())


def test_one_pass_gives_labels_and_sureness(network: SegmentationNetwork) -> None:
    mean = MeanTeacher(network, SETTINGS, defect_confidence)
    mean.follow(network)
    masks = torch.zeros(3, 32, 32, dtype=torch.int64)
    labels = mean.labels(images(3), masks)
    plain = MeanTeacher(network, SETTINGS)
    plain.follow(network)
    assert torch.equal(labels, plain.labels(images(3), masks))
    assert plain.sureness is None
    assert mean.sureness is not None
    expected = defect_confidence(network(images(3)).softmax(dim=1)).detach()
    torch.testing.assert_close(mean.sureness, expected)
    mean.labels(images(0), masks[:0])
    assert mean.sureness.shape == (0,)
