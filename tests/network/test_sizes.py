"""What inputs are padded to: what smp and timm ask for, and 32 where that will do."""

from typing import Any

import pytest
import torch

from ppl.core.errors import InputError
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network


def vit(encoder: str = "tu-test_vit", **options: Any) -> dict[str, Any]:
    """DPT with a decoder that is made in a moment."""
    few = {"decoder_fusion_channels": 16, "decoder_intermediate_channels": [16, 16, 16, 16]}
    return {"architecture": "DPT", "encoder": encoder, "options": few | options}


def made(settings: NetworkSettings, **changes: Any) -> SegmentationNetwork:
    return new_network(settings.model_copy(update=changes), 2, seed=0).eval()


@pytest.mark.parametrize(
    ("changes", "multiple"),
    [
        ({"architecture": "Unet", "encoder": "resnet18"}, 32),
        (
            {
                "architecture": "Unet",
                "encoder": "resnet18",
                "options": {"encoder_depth": 3, "decoder_channels": [64, 32, 16]},
            },
            32,
        ),
        ({"architecture": "DeepLabV3Plus", "encoder": "resnet18"}, 32),
        # patches of 7 pixels that overlap, every 4 pixels
        ({"architecture": "Segformer", "encoder": "mit_b0"}, 32),
        (vit(), 32),
        (vit(patch_size=8), 32),
        (vit(patch_size=14), 14),
        (vit(patch_size=64), 64),
    ],
    ids=str,
)
def test_the_network_says_what_it_takes(
    network_settings: NetworkSettings, changes: dict[str, Any], multiple: int
) -> None:
    assert made(network_settings, **changes).multiple == multiple


@torch.no_grad()
def test_inputs_are_padded_to_larger_patches(network_settings: NetworkSettings) -> None:
    network = made(network_settings, **vit(patch_size=64))
    seen: list[tuple[int, ...]] = []
    network.body.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    for size in ((64, 64), (65, 30), (96, 130)):
        assert network(torch.zeros(1, 3, *size)).shape == (1, 2, *size)
    assert [shape[2:] for shape in seen] == [(64, 64), (128, 64), (128, 192)]


def test_a_network_of_one_size_names_it(network_settings: NetworkSettings) -> None:
    network = made(network_settings, **vit("tu-test_vit3"))
    assert network.only_size == (160, 160)
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 160, 150)).shape == (1, 2, 160, 150)
    with pytest.raises(InputError, match=r"made for 160 x 160 .* image\.height: 160"):
        network(torch.zeros(1, 3, 64, 64))


def test_a_freed_network_has_no_one_size(network_settings: NetworkSettings) -> None:
    network = made(network_settings, **vit("tu-test_vit3", dynamic_img_size=True))
    assert network.only_size is None
