from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode

from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    load_network,
    new_network,
    save_network,
)
from ppl.network.upsampling import (
    FEW_CHANNELS,
    ByProducts,
    Unaligned,
    resize_by_products,
    upsampling,
)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("channels", [1, 3, FEW_CHANNELS, FEW_CHANNELS + 1])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        *[((4, 6), (16, 24)), ((5, 7), (9, 20)), ((16, 16), (64, 64)), ((30, 31), (11, 13))],
        *[((1, 1), (4, 5)), ((4, 5), (1, 1)), ((1, 9), (3, 9)), ((2, 2), (7, 2)), ((3, 8), (3, 8))],
    ],
)
def test_products_are_pytorchs_bilinear_resize_and_so_is_their_gradient(
    size: tuple[int, int], wanted: tuple[int, int], channels: int, aligned: bool
) -> None:
    draws = torch.Generator().manual_seed(0)
    image = torch.rand(2, channels, *size, generator=draws, dtype=torch.float64)
    image.requires_grad_()
    expected = F.interpolate(image, wanted, mode="bilinear", align_corners=aligned)
    found = resize_by_products(image, wanted, aligned=aligned)
    # PyTorch keeps its weights in float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    slope = torch.rand(expected.shape, generator=draws, dtype=torch.float64)
    gradients = [torch.autograd.grad(of, image, slope)[0] for of in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_a_resize_to_the_same_size_changes_no_bit() -> None:
    image = torch.rand(1, 40, 9, 7)
    for aligned in (True, False):
        assert torch.equal(resize_by_products(image, (9, 7), aligned=aligned), image)


def test_the_type_stays_inside_of_autocast() -> None:
    image = torch.rand(1, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        resized = resize_by_products(image, (8, 8), aligned=True)
    assert resized.dtype == torch.float32
    assert torch.equal(resized, resize_by_products(image, (8, 8), aligned=True))


class Seen:
    """Counts the resizes that go by products."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._monkeypatch = monkeypatch

        def counted(image: Tensor, size: tuple[int, int], *, aligned: bool) -> Tensor:
            self.count += 1
            return resize_by_products(image, size, aligned=aligned)

        monkeypatch.setattr("ppl.network.upsampling.resize_by_products", counted)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


@pytest.mark.parametrize(
    "resize",
    [
        nn.UpsamplingBilinear2d(scale_factor=2),
        nn.Upsample(size=(5, 9), mode="bilinear", align_corners=False),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear"),
        lambda x: F.interpolate(input=x, size=7, mode="bilinear"),
        lambda x: F.interpolate(x, x.shape[2:], mode="bilinear"),
        lambda x: F.interpolate(x, 7, None, "bilinear", True),
    ],
)
def test_every_bilinear_resize_is_caught(resize: Any, seen: Seen) -> None:
    image = torch.rand(2, 3, 4, 6)
    expected = resize(image)
    with ByProducts():
        found = resize(image)
    assert seen.count == 1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "resize",
    [
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, size=(8, 8), mode="bicubic"),
        lambda x: F.interpolate(x, size=(2, 2), mode="bilinear", antialias=True),
        # a factor that is no whole number is used as it is, not as the quotient of both sizes
        lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"),
        lambda x: F.avg_pool2d(x, 2),
    ],
)
def test_everything_else_is_left_to_pytorch(resize: Any, seen: Seen) -> None:
    image = torch.rand(2, 3, 4, 6)
    expected = resize(image)
    with ByProducts():
        assert torch.equal(resize(image), expected)
    assert seen.count == 0


class Operators(TorchDispatchMode):
    """The names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "architecture", ["DeepLabV3Plus", "FPN", "Linknet", "PAN", "PSPNet", "Segformer", "UPerNet"]
)
def test_a_network_says_the_same_by_products_alone(architecture: str) -> None:
    network = SegmentationNetwork(
        architecture, "resnet18", 3, options={}, mean=[0.5] * 3, std=[0.25] * 3
    ).eval()
    image = torch.rand(1, 3, 128, 160)
    with torch.no_grad():
        with Operators() as before:
            expected = network(image)
        with Operators() as after, ByProducts():
            found = network(image)
    resizes = [any("upsample_bilinear" in name for name in of.names) for of in (before, after)]
    assert resizes == [architecture != "Linknet", False]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def modes(device: str, *, unaligned: bool = False) -> list[str]:
    """What a forward pass there runs in, the innermost first."""
    with upsampling(torch.device(device), unaligned=unaligned):
        return [type(mode).__name__ for mode in _get_current_function_mode_stack()][::-1]


def test_it_is_for_gpus_where_determinism_is_asked_for() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        assert modes("cuda:0") == ["ByProducts"]
        assert modes("cuda:0", unaligned=True) == ["Unaligned", "ByProducts"]
        assert modes("cpu") == []
        torch.use_deterministic_algorithms(False)
        assert modes("cuda:0") == []
        assert modes("cpu", unaligned=True) == ["Unaligned"]
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def test_unaligned_up_sampling_keeps_every_pixel_in_its_place() -> None:
    """A step between two pixels stays where it is: aligned, it moves towards the border."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., 2:] = 1
    layer = torch.nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True)

    def edge(found: torch.Tensor) -> float:
        return float((found[0, 0, 16] < 0.5).sum())

    with torch.no_grad():
        assert edge(layer(image)) != 8
        with Unaligned():
            assert edge(layer(image)) == 8
            nearest = F.interpolate(image, scale_factor=4, mode="nearest")
        torch.testing.assert_close(nearest, F.interpolate(image, scale_factor=4, mode="nearest"))
        with ByProducts(), Unaligned():
            found = layer(image)
    expected = F.interpolate(image, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("architecture", ["DeepLabV3Plus", "FPN", "PAN", "PSPNet"])
def test_a_network_of_either_kind_is_saved_with_what_it_is(
    network_settings: NetworkSettings, tmp_path: Path, architecture: str
) -> None:
    changes = {"architecture": architecture, "encoder": "resnet18"}
    published = new_network(network_settings.model_copy(update=changes), 2, seed=0).eval()
    settings = network_settings.model_copy(update=changes | {"align_corners": False})
    network = new_network(settings, 2, seed=0).eval()
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        first, second = published(image), network(image)
        assert not torch.allclose(first, second)
        save_network(tmp_path, network, network.state_dict(), Origin("final", 1))
        loaded = load_network(tmp_path, torch.device("cpu"))
        assert loaded.align_corners is False
        torch.testing.assert_close(loaded(image), second)
    assert "align_corners" not in published.description()
