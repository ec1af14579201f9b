"""Every network that docs/your_data.md lists: made, trained, of any size, saved, with no hub."""

from pathlib import Path

import pytest
import timm
import torch

from ppl.core.errors import InputError
from ppl.network.network import (
    Origin,
    SegmentationNetwork,
    load_network,
    new_network,
    save_network,
)
from ppl.network.predict import TestTimeSettings, batch_softmax, views_of
from ppl.network.resize import ImageSettings
from ppl.network.trial import stop_unless_it_runs
from tests.conftest import whole, windows
from tests.network.documented import NETWORKS, PARAMS, Documented

CPU = torch.device("cpu")

OWN_SIZES = [(97, 131), (33, 50), (140, 64)]
"""Of images on disk: odd, and smaller and larger than what the networks see."""

WANTED = {
    ("DPT", "dinov2"),
    ("DPT", "dinov3"),
    ("UPerNet", "convnext"),
    ("UPerNet", "swin"),
    ("PAN", "resnet"),
    ("Unet", "resnet"),
    ("DeepLabV3Plus", "resnet"),
    ("FPN", "resnet"),
    ("Segformer", "mit"),
    ("Unet", "tu-tf_efficientnet_lite0"),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("a model asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.fixture(params=list(NETWORKS))
def one(request: pytest.FixtureRequest) -> Documented:
    return NETWORKS[request.param]


def images(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_the_page_lists_what_people_ask_for() -> None:
    listed = {(one.settings.architecture, one.settings.encoder) for one in NETWORKS.values()}
    for architecture, encoder in WANTED:
        assert any(a == architecture and encoder in e for a, e in listed), (architecture, encoder)


def test_the_lines_are_complete(one: Documented) -> None:
    assert one.lines["model"].keys() == PARAMS["model"].keys()
    size = PARAMS["image"] | one.lines.get("image", {})
    assert size["height"] >= one.side
    assert size["width"] >= one.side


def test_normalisation_and_licence_are_those_of_timm(one: Documented) -> None:
    known = timm.get_pretrained_cfg(one.settings.encoder.removeprefix("tu-"))
    if not one.settings.encoder.startswith("tu-"):
        assert one.licence == "not known here"
        return
    assert known is not None
    assert (one.settings.mean, one.settings.std) == (list(known.mean), list(known.std))
    assert one.licence == known.license


def test_it_learns_predicts_any_size_and_is_saved(one: Documented, tmp_path: Path) -> None:
    side = one.side
    network = new_network(one.settings, 3, seed=0)
    all_of_it_learns(network, side)
    network.eval()
    for size in ((side + 9, side + 1), (side, side + 32)):
        with torch.no_grad():
            logits = network(images(1, *size))
        assert logits.shape == (1, 3, *size)
        assert logits.isfinite().all()
    for kind in (whole, windows):
        sums_to_one(network, kind(max(64, side), max(64, side)))
    save_network(tmp_path, network, network.state_dict(), Origin("teacher", 1))
    loaded = load_network(tmp_path, CPU)
    assert loaded.description() == network.description()
    with torch.no_grad():
        assert torch.equal(loaded(images(2, side, side)), network(images(2, side, side)))


def all_of_it_learns(network: SegmentationNetwork, side: int) -> None:
    """A step's gradients are finite, and hardly a weight is without one."""
    truth = torch.randint(3, (2, side, side), generator=torch.Generator().manual_seed(1))
    network.train()
    torch.nn.functional.cross_entropy(network(images(2, side, side)), truth).backward()
    weights = dict(network.named_parameters())
    idle = [name for name, weight in weights.items() if weight.grad is None]
    assert len(idle) <= 0.05 * len(weights), idle
    assert all(w.grad.isfinite().all() for w in weights.values() if w.grad is not None)


def sums_to_one(network: SegmentationNetwork, image: ImageSettings) -> None:
    """Images of any size, the way that predictions go; whole ones mirrored, too."""
    test_time = TestTimeSettings(scales=[1.0], flip=image.fit == "whole")
    pixels = [(images(1, *size)[0] * 255).to(torch.uint8) for size in OWN_SIZES]
    views = [views_of(one, image, test_time) for one in pixels]
    for prob, size in zip(
        batch_softmax(network, views, OWN_SIZES, image, test_time), OWN_SIZES, strict=True
    ):
        assert prob.shape == (3, *size)
        torch.testing.assert_close(prob.sum(dim=0), torch.ones(size), rtol=0, atol=1e-4)


def test_a_smaller_image_than_the_table_says_is_refused_with_that_size() -> None:
    demanding = [one for one in NETWORKS.values() if one.side > 32]
    assert demanding
    for one in demanding:
        less = one.side - 32
        works = rf"This works: image\.height: {one.side} and image\.width: {one.side}$"
        with pytest.raises(InputError, match=works):
            stop_unless_it_runs(one.settings, (less, less))
