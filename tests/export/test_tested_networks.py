"""Every network that docs/your_data.md lists gives the same masks when it is exported."""

import numpy as np
import pytest
import torch
from torch import nn

from ppl.export.compare import most_differing
from ppl.export.package import network_of
from ppl.network.network import SegmentationNetwork, new_network
from ppl.network.predict import PLAIN, views_of
from tests.conftest import whole, windows
from tests.export.conftest import model_of, predictor_of
from tests.network.documented import NETWORKS

QUICK = ("PAN, ResNet", "DPT, ViT")
"""Exported by `make test`, where Unet and DeepLabV3+ are by other tests."""

OWN_SIZES = [(97, 131), (33, 50), (200, 128), (128, 128)]
"""Of images, in pixels."""


def decided(name: str, images_BCHW: torch.Tensor) -> SegmentationNetwork:
    """The network with logits as far apart as a trained one's, so that rounding decides nothing."""
    network = new_network(NETWORKS[name].settings, 3, seed=0).eval()
    [*_, last] = [m for m in network.body.segmentation_head.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        last.weight *= (4 / network(images_BCHW).std(dim=(0, 2, 3)))[:, None, None, None]
        assert last.bias is not None
        last.bias -= last.bias
        last.bias -= network(images_BCHW).mean(dim=(0, 2, 3))
    return network


def as_seen(image_HWC: np.ndarray, side: int) -> torch.Tensor:
    """(3, side, side) in [0, 1]"""
    [view] = views_of(torch.from_numpy(image_HWC).permute(2, 0, 1), whole(side, side), PLAIN)
    return view / 255


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in NETWORKS],
)
def test_a_station_sees_the_masks_of_pytorch(name: str) -> None:
    side = max(64, NETWORKS[name].side)
    draws = np.random.default_rng(0)
    images = [draws.integers(0, 256, (*size, 3), dtype=np.uint8) for size in OWN_SIZES]
    network = decided(name, torch.stack([as_seen(image, side) for image in images]))
    content = network_of(model_of(network, whole(side, side)))
    for image in (whole(side, side), windows(side, side)):
        model = model_of(network, image)
        exported = predictor_of(model, content)
        expected, found = list(model.probabilities(images)), list(exported.probabilities(images))
        for own, prob in zip(expected, found, strict=True):
            np.testing.assert_allclose(prob, own, rtol=0, atol=1e-3)
        classes = np.concatenate([prob.argmax(axis=0).ravel() for prob in expected])
        others = np.concatenate([prob.argmax(axis=0).ravel() for prob in found])
        assert len(set(classes.tolist())) > 1, "a mask of one class tells nothing"
        assert int((classes != others).sum()) <= most_differing(classes.size)
