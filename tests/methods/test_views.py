"""Boxes of strong views, features that lose channels."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ppl.methods.features import changed_features, complementary_dropout, with_dropped_copy
from ppl.methods.views import NO_BOX, BoxSettings, draw_box, drawn_inside, mixed
from ppl.network.network import NetworkSettings, new_network
from ppl.students.cutmix import box_masks, elongated_boxes
from tests.methods.given import BOXES

SETTINGS = BoxSettings(**BOXES)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_boxes_lie_inside_and_cover_what_was_asked() -> None:
    draws = generator()
    boxes = [draw_box((100, 80), SETTINGS, draws) for _ in range(2000)]
    shown = [box for box in boxes if box != NO_BOX]
    assert len(shown) / len(boxes) == pytest.approx(0.7, abs=0.04)
    for top, left, bottom, right in shown:
        assert 0 <= top < bottom <= 100
        assert 0 <= left < right <= 80
        height, width = bottom - top, right - left
        # both sides are rounded down
        assert height * width <= 0.4 * 8000
        assert (height + 1) * (width + 1) >= 0.02 * 8000
        assert height / (width + 1) <= 3.334
        assert (height + 1) / width >= 1 / 3.334


@pytest.mark.parametrize("size", [(32, 512), (512, 32), (8, 400), (64, 64)])
@pytest.mark.parametrize("aspect_max", [1.0, 3.333, 10.0])
def test_a_box_is_found_in_an_image_of_any_shape(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], aspect_max: float
) -> None:
    settings = SETTINGS.model_copy(
        update={"box_probability": 1.0, "box_area_max": 0.5, "box_aspect_max": aspect_max}
    )
    drawn, rand = [0], torch.rand

    def counted(*size: Any, **options: Any) -> Tensor:
        drawn[0] += 1
        assert drawn[0] < 300_000, "boxes that never fit are drawn again and again"
        return rand(*size, **options)

    monkeypatch.setattr(torch, "rand", counted)
    draws = generator()
    for _ in range(100):
        top, left, bottom, right = draw_box(size, settings, draws)
        assert 0 <= top <= bottom <= size[0]
        assert 0 <= left <= right <= size[1]
        share = (bottom - top + 1) * (right - left + 1) / (size[0] * size[1])
        assert share >= 0.02
        assert (bottom - top) * (right - left) <= 0.5 * size[0] * size[1]


def test_a_mixed_image_shows_the_other_inside_its_box() -> None:
    images, others = torch.zeros(3, 1, 20, 20), torch.ones(3, 1, 20, 20)
    where = drawn_inside(images, SETTINGS.model_copy(update={"box_probability": 1.0}), generator())
    assert torch.equal(mixed(images, others, where)[:, 0], where.float())
    assert 0 < where.float().mean() < 0.4
    never = drawn_inside(images, SETTINGS.model_copy(update={"box_probability": 0.0}), generator())
    assert not never.any()


def test_swapped_areas_are_refused() -> None:
    with pytest.raises(ValidationError, match="swap them"):
        BoxSettings(**BOXES | {"box_area_min": 0.5})


def test_elongated_boxes_cover_a_quarter_by_exclusive_or() -> None:
    """Mean 0.251, 5 % 0.144, 95 % 0.367 at 128 pixels, as simulated from the published code."""
    draws = generator()
    boxes = [elongated_boxes((128, 128), 3, (0.25, 0.5), draws) for _ in range(3000)]
    assert all(0 <= t <= b <= 128 and 0 <= le <= r <= 128 for one in boxes for t, le, b, r in one)
    area = box_masks(boxes, (128, 128), torch.device("cpu"), "xor").float().mean(dim=(1, 2))
    low, high = area.quantile(torch.tensor([0.05, 0.95])).tolist()
    assert area.mean().item() == pytest.approx(0.251, abs=0.006)
    assert (low, high) == (pytest.approx(0.144, abs=0.012), pytest.approx(0.367, abs=0.012))


def test_exclusive_or_uncovers_what_two_boxes_share() -> None:
    boxes = [[(0, 0, 2, 4), (1, 0, 3, 4)]]
    mask = box_masks(boxes, (4, 4), torch.device("cpu"), "xor")
    assert mask[0, :, 0].tolist() == [True, False, True, False]


def test_complementary_views_share_out_the_channels() -> None:
    change = complementary_dropout(4, generator())
    first, second = change(torch.ones(8, 64, 2, 2)).chunk(2)
    assert set(first.unique().tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(first + second, torch.full_like(first, 2.0))
    kept = [(one == 1).all().item() for one in first]
    assert sum(kept) == 2
    # maps with as many channels lose the same
    again = change(torch.ones(8, 64, 5, 5)).chunk(2)[0]
    assert torch.equal(again[:, :, 0, 0], first[:, :, 0, 0])


def test_an_odd_number_of_pairs_leaves_the_smaller_half_as_it_is() -> None:
    first = complementary_dropout(3, generator())(torch.ones(6, 32, 1, 1))[:3]
    assert sum((one == 1).all().item() for one in first) == 1


def test_a_dropped_copy_follows_the_maps() -> None:
    of_maps, of_rest = with_dropped_copy(generator())
    found = of_maps(torch.ones(3, 200, 2, 2))
    assert torch.equal(found[:3], torch.ones(3, 200, 2, 2))
    assert set(found[3:].unique().tolist()) == {0.0, 2.0}
    assert found[3:].mean().item() == pytest.approx(1, abs=0.1)
    assert of_rest(torch.ones(2, 3)).shape == (4, 3)


NETWORKS: list[dict[str, Any]] = [
    {"architecture": "Unet", "encoder": "resnet18"},
    {"architecture": "DeepLabV3Plus", "encoder": "tu-test_resnet"},
    {"architecture": "FPN", "encoder": "tu-tf_efficientnet_lite0"},
    {
        "architecture": "DPT",
        "encoder": "tu-vit_tiny_patch16_224",
        "options": {"dynamic_img_size": True},
    },
    {"architecture": "Segformer", "encoder": "mit_b0"},
]


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: f"{kind['architecture']}")
def test_features_change_inside_every_kind_of_network(
    network_settings: NetworkSettings, kind: dict[str, Any]
) -> None:
    network = new_network(network_settings.model_copy(update=kind), 2, seed=0).eval()
    images = torch.rand(2, 3, 64, 64)
    touched: list[int] = []

    def zero(map_BCHW: Tensor) -> Tensor:
        touched.append(map_BCHW.shape[1])
        return torch.zeros_like(map_BCHW)

    with torch.no_grad():
        plain = network(images)
        with changed_features(network, *with_dropped_copy(generator())):
            both = network(images)
        with changed_features(network, zero):
            blind = network(images)
        after = network(images)
    assert both.shape == (4, 2, 64, 64)
    torch.testing.assert_close(both[:2], plain, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(both[2:], plain)
    assert touched
    assert not torch.allclose(blind, plain)
    # what is seen of the image is gone, and nothing stays changed
    torch.testing.assert_close(after, plain)
