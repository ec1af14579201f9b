"""The graph: the same bytes each time, nothing of the machine in them, and most architectures."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import open_network
from ppl.export.package import network_of
from ppl.network.graph import onnx_bytes
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.network.predict import TestTimeSettings
from tests.conftest import windows
from tests.export.conftest import SIZE, model_of


def test_the_same_network_gives_the_same_bytes(
    decided: SegmentationNetwork, of_one_size: bytes
) -> None:
    state = torch.random.get_rng_state()
    assert network_of(model_of(decided)) == of_one_size
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_bytes_say_nothing_of_the_machine(of_one_size: bytes, of_any_size: bytes) -> None:
    for content in (of_one_size, of_any_size):
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        for word in (b"site-packages", b".py", str(Path(torch.__file__).parents[1]).encode()):
            assert word not in content


def sides(content: bytes) -> list[int]:
    """Of the input: 0 where any number will do."""
    [given] = onnx.load_from_string(content).graph.input
    return [axis.dim_value for axis in given.type.tensor_type.shape.dim]


def test_one_size_is_fixed_and_several_are_not(
    decided: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[int, int], bool]] = []

    def note(network: SegmentationNetwork, size: tuple[int, int], *, any_size: bool) -> bytes:
        asked.append((size, any_size))
        return b""

    monkeypatch.setattr("ppl.export.package.onnx_bytes", note)
    for scales in ([1.0], [0.5], [0.5, 1.0, 1.001]):
        network_of(model_of(decided, None, TestTimeSettings(scales=scales, flip=False)))
    # windows have their size at every scale of the image
    several = TestTimeSettings(scales=[0.5, 1.0], flip=False)
    network_of(model_of(decided, windows(*SIZE), several))
    assert asked == [(SIZE, False), ((32, 48), False), (SIZE, True), (SIZE, False)]


def test_the_graph_takes_bytes_of_any_number_of_images(
    of_one_size: bytes, of_any_size: bytes
) -> None:
    assert sides(of_one_size) == [0, *SIZE, 3]
    assert sides(of_any_size) == [0, 0, 0, 3]
    run = open_network(of_one_size, "onnxruntime", "test")
    images = np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    together = run(images)
    assert together.shape == (5, 3, *SIZE)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    for image, prob in zip(images, together, strict=True):
        np.testing.assert_allclose(run(image[None])[0], prob, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus"])
def test_architectures_that_are_trained_are_exported(
    network_settings: NetworkSettings, architecture: str
) -> None:
    settings = network_settings.model_copy(update={"architecture": architecture})
    network = new_network(settings, 3, seed=0).eval()
    run = open_network(onnx_bytes(network, (64, 50), any_size=False), "onnxruntime", "test")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 50, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).softmax(dim=1)
    np.testing.assert_allclose(run(images), expected.numpy(), rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_named(
    decided: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise RuntimeError("no such operator: fold\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InputError, match=r"'Linknet' .*'tu-test_resnet'.* no such operator: fold"):
        onnx_bytes(decided, SIZE, any_size=True)


def test_padding_by_size_is_refused_for_several_sizes_alone(
    network_settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = network_settings.model_copy(update={"encoder": "tu-tf_efficientnet_lite0"})
    network = new_network(settings, 2, seed=0).eval()

    def fail(*given: object, **options: object) -> None:
        raise RuntimeError("came to the exporter")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InputError, match=r"lite0.* several sizes: set predict\.scales: \[1\.0\]"):
        onnx_bytes(network, SIZE, any_size=True)
    with pytest.raises(InputError, match="came to the exporter"):
        onnx_bytes(network, SIZE, any_size=False)


def test_a_damaged_file_and_a_missing_runtime_are_told(
    of_one_size: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="onnxruntime cannot read parts"):
        open_network(of_one_size[: len(of_one_size) // 2], "onnxruntime", "parts")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(InputError, match="openvino is not installed"):
        open_network(of_one_size, "openvino", json.dumps("parts"))
