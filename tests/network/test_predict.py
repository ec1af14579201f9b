"""Prediction: own sizes, the set's order, no influence of batches, averages as by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.images.sets import ImageSet, read_image_set, write_index
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.network.predict import (
    BATCH,
    PLAIN,
    TestTimeSettings,
    at_own_size,
    average_softmax,
    predict,
    views_of,
)
from ppl.network.resize import resize_image
from tests.conftest import MakeSet, whole

SIZE = (32, 48)
WHOLE = whole(*SIZE)
STEP = BATCH["cpu"]
RICH = TestTimeSettings(scales=[0.5, 1.0, 1.5], flip=True)


@pytest.fixture
def images(make_set: MakeSet) -> ImageSet:
    """More than two batches, all of different sizes, one of them the network's own."""
    count = 2 * STEP + 3
    sizes = [SIZE] + [(20 + k, 60 - 2 * k) for k in range(1, count)]
    return make_set([f"{k % 3}/x.{k:02}" for k in range(count)], sizes=sizes, masks=False)


def softmax_of(network: SegmentationNetwork, image: Tensor, size: tuple[int, int]) -> Tensor:
    """The slow, obvious version: one image, one pass."""
    with torch.no_grad():
        return network(resize_image(image, size)[None].float() / 255).softmax(1)


def averaged(network: SegmentationNetwork, image: Tensor, test_time: TestTimeSettings) -> Tensor:
    return average_softmax(network, [views_of(image, WHOLE, test_time)], SIZE, test_time)


def test_each_image_comes_in_order_at_its_own_size(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    found = list(predict([network], images, WHOLE, RICH, what="test"))
    assert [entry for entry, _ in found] == list(images.entries)
    for entry, [prob] in found:
        assert prob.shape == (3, entry.height, entry.width)
        assert not prob.requires_grad
        torch.testing.assert_close(prob.sum(dim=0), torch.ones(entry.height, entry.width))


def test_batches_change_nothing_against_one_by_one(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    for entry, [prob] in predict([network], images, WHOLE, what="test"):
        single = softmax_of(network, images.image(entry), SIZE)
        own = at_own_size(single[0], (entry.height, entry.width))
        torch.testing.assert_close(prob, own, atol=1e-5, rtol=0)


def test_several_networks_in_one_pass_equal_separate_passes(
    network_settings: NetworkSettings, images: ImageSet
) -> None:
    networks = [new_network(network_settings, 3, seed=seed).eval() for seed in range(3)]
    together = predict(networks, images, WHOLE, what="test")
    separate = [predict([network], images, WHOLE, what="test") for network in networks]
    for (entry, probabilities), *singles in zip(together, *separate, strict=True):
        for prob, (same, [single]) in zip(probabilities, singles, strict=True):
            assert same == entry
            assert torch.equal(prob, single)


def test_the_average_over_scales_and_flips_equals_the_one_by_hand(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    image = images.image(images.entries[3])
    views = []
    for scaled in [(16, 24), SIZE, (48, 72)]:
        straight = softmax_of(network, image, scaled)
        mirrored = softmax_of(network, image.flip(-1), scaled).flip(-1)
        for view in (straight, mirrored):
            views.append(
                torch.nn.functional.interpolate(view, SIZE, mode="bilinear", align_corners=False)
            )
    average = averaged(network, image, RICH)
    torch.testing.assert_close(average, sum(views) / 6, atol=2e-3, rtol=0)


def test_flipping_makes_the_prediction_symmetric(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    image = images.image(images.entries[0])
    flip = TestTimeSettings(scales=[1.0], flip=True)
    straight = averaged(network, image, flip)
    mirrored = averaged(network, image.flip(-1), flip)
    torch.testing.assert_close(straight, mirrored.flip(-1))
    plain = averaged(network, image, PLAIN)
    assert not torch.allclose(straight, plain)


def test_both_flips_are_four_looks(network: SegmentationNetwork, images: ImageSet) -> None:
    image = images.image(images.entries[0])
    four = TestTimeSettings(scales=[1.0], flip=True, vertical_flip=True)
    assert four.flips == [[], [-1], [-2], [-2, -1]]
    straight = averaged(network, image, four)
    for axes in ([-1], [-2], [-1, -2]):
        turned = averaged(network, image.flip(axes), four)
        torch.testing.assert_close(straight, turned.flip(axes))
    upright = TestTimeSettings(scales=[1.0], flip=False, vertical_flip=True)
    assert upright.flips == [[], [-2]]
    assert not torch.allclose(averaged(network, image, upright), straight)


def test_what_is_not_used_is_not_described() -> None:
    assert PLAIN.described() == {"scales": [1.0], "flip": False}
    four = TestTimeSettings(scales=[1.0], flip=True, vertical_flip=True)
    assert four.described() == {"scales": [1.0], "flip": True, "vertical_flip": True}
    assert TestTimeSettings.model_validate(four.described()) == four


def test_a_single_image_and_no_image_are_no_error(
    network: SegmentationNetwork, images: ImageSet, tmp_path: Path
) -> None:
    assert len(list(predict([network], images.subset(images.ids[:1]), WHOLE, what="test"))) == 1
    write_index(tmp_path / "none", [])
    assert list(predict([network], read_image_set(tmp_path / "none"), WHOLE, what="test")) == []


def test_an_unreadable_image_is_named_and_those_of_earlier_batches_came_through(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    broken = images.entries[STEP + 2]
    images.image_file(broken).write_bytes(b"broken")
    found = predict([network], images, WHOLE, what="test")
    for _ in range(STEP):
        next(found)
    with pytest.raises(InputError, match=f"{broken.image} cannot be read"):
        next(found)


def test_stopping_early_leaves_gradients_and_modes_as_they_were(
    network: SegmentationNetwork, images: ImageSet
) -> None:
    found = predict([network], images, WHOLE, what="test")
    next(found)
    assert torch.is_grad_enabled(), "no_grad leaked out of the generator"
    found.close()
    assert not network.training


def test_resizing_keeps_probabilities() -> None:
    prob = torch.rand(2, 3, 9, 7).softmax(1)
    resized = at_own_size(prob, (20, 5))
    torch.testing.assert_close(resized.sum(1), torch.ones(2, 20, 5))
    torch.testing.assert_close(at_own_size(prob[0], (20, 5)), resized[0])
    assert at_own_size(prob, (9, 7)) is prob


@pytest.mark.parametrize("scales", [[], [0.1], [5.0], [1.0, "2"], 1.0])
def test_impossible_scales_are_refused(scales: object) -> None:
    with pytest.raises(InputError, match=r"evaluate\.scales"):
        check("evaluate", {"scales": scales, "flip": True}, TestTimeSettings)
