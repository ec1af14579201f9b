"""Prediction by a runtime: PyTorch's probabilities by rounding, or PyTorch itself with a word."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from ppl.core import onnx_runtimes
from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import RUNTIMES
from ppl.core.settings import check, section
from ppl.images.sets import ImageSet
from ppl.network import runtime
from ppl.network.graph import logits_graph, with_weights
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network
from ppl.network.predict import TestTimeSettings, predict
from ppl.network.runtime import InferenceSettings, predicting
from tests.conftest import MakeSet, whole
from tests.pipeline.project import ROOT

SIZE = (32, 48)


@pytest.fixture(scope="module")
def graph(network_settings: NetworkSettings) -> bytes:
    """Of another network of the kind: with its own weights it would be found out."""
    return logits_graph(new_network(network_settings, 3, seed=9).eval(), SIZE)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, graph: bytes) -> list[tuple[int, int]]:
    """The sizes for which a graph was made; to make one takes seconds, so it is `graph`."""
    sizes: list[tuple[int, int]] = []

    def make(network: SegmentationNetwork, size: tuple[int, int]) -> bytes:
        sizes.append(size)
        return graph

    monkeypatch.setattr(runtime, "logits_graph", make)
    return sizes


@pytest.fixture
def fresh(network_settings: NetworkSettings) -> SegmentationNetwork:
    return new_network(network_settings, 3, seed=1).eval()


def by(name: str) -> InferenceSettings:
    return InferenceSettings(runtime=name)  # type: ignore[arg-type]


def some_images(channels: int = 3, count: int = 3) -> Tensor:
    return torch.rand(count, channels, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_runtime_gives_the_layers_logits_but_for_rounding(
    fresh: SegmentationNetwork, made: list[tuple[int, int]], name: str, channels: int
) -> None:
    pytest.importorskip(name)
    predicting(fresh, by(name))
    for count in (3, 1, 5):
        images = some_images(channels, count)
        with torch.no_grad():
            found, expected = fresh(images), fresh.by_layers(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        # it is not PyTorch that computed it
        assert not torch.equal(found, expected)
    assert made == [SIZE]


def test_pytorch_and_a_network_that_learns_are_left_alone(
    fresh: SegmentationNetwork, made: list[tuple[int, int]]
) -> None:
    assert predicting(fresh, by("pytorch")).runtime is None
    predicting(fresh, by("onnxruntime"))
    assert fresh(some_images()).requires_grad
    with torch.no_grad():
        fresh.train()(some_images())
    assert not made


def test_networks_share_a_graph_and_the_next_stage_finds_it(
    network_settings: NetworkSettings, made: list[tuple[int, int]], project: Path
) -> None:
    for seed in (1, 2):
        network = predicting(new_network(network_settings, 3, seed=seed).eval(), by("onnxruntime"))
        with torch.no_grad():
            found, expected = network(some_images()), network.by_layers(some_images())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert made == [SIZE]
    [kept] = (project / ".scratch").iterdir()
    # a damaged one is made anew
    kept.write_bytes(kept.read_bytes()[:1000])
    network = predicting(new_network(network_settings, 3, seed=3).eval(), by("onnxruntime"))
    with torch.no_grad():
        assert not torch.equal(network(some_images()), network.by_layers(some_images()))
    assert made == [SIZE, SIZE]


def test_without_room_on_the_disk_it_works_all_the_same(
    fresh: SegmentationNetwork, made: list[tuple[int, int]], project: Path
) -> None:
    (project / ".scratch").write_text("no folder")
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        assert not torch.equal(fresh(some_images()), fresh.by_layers(some_images()))


@pytest.mark.parametrize("wrong", [0.05, np.nan])
def test_a_runtime_that_disagrees_is_told_by_how_much_and_pytorch_goes_on(
    fresh: SegmentationNetwork,
    made: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: float,
) -> None:
    def off(*_: Any, **__: Any) -> onnx_runtimes.Network:
        def run(batch: Any) -> Any:
            logits = fresh.by_layers(torch.from_numpy(batch)).detach().numpy()
            logits[0, 0, 0, 0] += wrong
            return logits

        return run

    monkeypatch.setattr(runtime, "open_network", off)
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    said = capsys.readouterr().out
    assert said.count("by PyTorch: probabilities by onnxruntime differ by up to ") == 1


def test_a_runtime_that_is_absent_is_told_once_before_any_graph_is_made(
    fresh: SegmentationNetwork,
    made: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    runtime._installed.cache_clear()
    try:
        for _ in range(3):
            predicting(fresh, by("openvino"))
    finally:
        runtime._installed.cache_clear()
    with torch.no_grad():
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    assert not made
    said = "by PyTorch: openvino is not installed: python -m pip install openvino\n"
    assert capsys.readouterr().out == f"inference.runtime: {said}"


@pytest.mark.parametrize(
    ("stopped_by", "said"),
    [
        (
            InputError("onnxruntime is not installed: pip"),
            "by PyTorch: onnxruntime is not installed",
        ),
        (
            RuntimeError("no kernel for it"),
            "by PyTorch: onnxruntime cannot run the network: no ker",
        ),
    ],
)
def test_a_runtime_that_cannot_is_named_and_pytorch_goes_on(
    fresh: SegmentationNetwork,
    made: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stopped_by: Exception,
    said: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise stopped_by

    monkeypatch.setattr(runtime, "open_network", fail)
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    assert said in capsys.readouterr().out


def test_a_network_that_cannot_be_exported_predicts_by_pytorch(
    fresh: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("a layer like no other\nand more")

    monkeypatch.setattr("ppl.network.graph.torch.onnx.export", fail)
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    said = capsys.readouterr().out
    assert "by PyTorch: the network cannot be exported: a layer like no other\n" in said


def test_a_set_is_predicted_as_by_pytorch(
    fresh: SegmentationNetwork, made: list[tuple[int, int]], make_set: MakeSet
) -> None:
    images: ImageSet = make_set(
        [f"{k:02}" for k in range(11)], sizes=[(30 + k, 40) for k in range(11)], masks=False
    )
    mirrored = TestTimeSettings(scales=[1.0], flip=True, vertical_flip=True)

    def probs() -> Iterator[Tensor]:
        for _, [prob] in predict([fresh], images, whole(*SIZE), mirrored, what="test"):
            yield prob

    expected = list(probs())
    predicting(fresh, by("onnxruntime"))
    for found, one in zip(probs(), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=0, atol=1e-5)
    assert made == [SIZE]


def test_the_network_of_params_yaml_has_layers_that_it_never_uses(project: Path) -> None:
    """They are in no graph, and what is kept serves the next network all the same."""
    settings = section("model", NetworkSettings, file=ROOT / "params.yaml")
    made: list[int] = []
    for seed in (1, 2):
        network = predicting(new_network(settings, 5, seed=seed).eval(), by("onnxruntime"))
        images = torch.rand(2, 3, 64, 64)
        with torch.no_grad():
            found, expected = network(images), network.by_layers(images)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        assert not torch.equal(found, expected)
        [kept] = (project / ".scratch").iterdir()
        made.append(kept.stat().st_mtime_ns)
    assert made[0] == made[1]


def assert_made_anew(
    kept: onnx.ModelProto, network: SegmentationNetwork, made: list[tuple[int, int]], graph: bytes
) -> None:
    """Where `kept` lies, `graph` does once the network has predicted, as by its layers."""
    file = runtime._file_of(network, SIZE)
    file.parent.mkdir()
    file.write_bytes(kept.SerializeToString())
    predicting(network, by("onnxruntime"))
    with torch.no_grad():
        found, expected = network(some_images()), network.by_layers(some_images())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert made == [SIZE]
    assert file.read_bytes() == graph


def test_a_kept_graph_that_disagrees_is_made_anew(
    fresh: SegmentationNetwork, made: list[tuple[int, int]], graph: bytes
) -> None:
    """It may be of another version of the network's code."""
    wrong = onnx.load_from_string(graph)
    [scale] = [one for one in wrong.graph.initializer if one.name == "network.std"]
    scale.name = "other"
    for node in wrong.graph.node:
        node.input[:] = ["other" if name == "network.std" else name for name in node.input]
    scale.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), 9, np.float32), "other"))
    assert_made_anew(wrong, fresh, made, graph)


def test_a_kept_graph_that_the_runtime_refuses_is_made_anew(
    fresh: SegmentationNetwork, made: list[tuple[int, int]], graph: bytes
) -> None:
    wrong = onnx.load_from_string(graph)
    wrong.graph.node[0].op_type = "NoSuchOperator"
    assert_made_anew(wrong, fresh, made, graph)


def test_a_runtime_that_refuses_a_graph_has_it_made_anew_once(
    network_settings: NetworkSettings, made: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("no such operator")

    monkeypatch.setattr(runtime, "open_network", refuse)
    with torch.no_grad():
        for seed in range(3):
            predicting(new_network(network_settings, 3, seed=seed).eval(), by("onnxruntime"))(
                some_images()
            )
    assert made == [SIZE]


def test_a_graph_that_cannot_be_written_leaves_it_to_pytorch(
    fresh: SegmentationNetwork,
    made: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> bytes:
        raise ValueError("more than 2 GB")

    monkeypatch.setattr(runtime, "with_weights", fail)
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    assert (
        "by PyTorch: the network's graph cannot be made: more than 2 GB" in capsys.readouterr().out
    )


def test_a_runtime_that_fails_later_is_named_and_pytorch_goes_on(
    fresh: SegmentationNetwork,
    made: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = runtime._logits
    predicting(fresh, by("onnxruntime"))
    with torch.no_grad():
        fresh(some_images())

        def fail(*_: Any) -> Tensor:
            raise RuntimeError("no memory")

        monkeypatch.setattr(runtime, "_logits", fail)
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
        monkeypatch.setattr(runtime, "_logits", real)
        assert torch.equal(fresh(some_images()), fresh.by_layers(some_images()))
    said = capsys.readouterr().out
    assert "by PyTorch from here: onnxruntime failed: no memory" in said


def test_weights_that_do_not_fit_a_graph_are_named(graph: bytes, network_settings: Any) -> None:
    with pytest.raises(InputError, match=r"the graph has another network\.body"):
        with_weights(graph, new_network(network_settings, 4, seed=0))
    with pytest.raises(InputError, match="no ONNX graph"):
        with_weights(b"nothing", new_network(network_settings, 3, seed=0))


def test_a_runtime_misspelt_is_refused() -> None:
    with pytest.raises(InputError, match=r"inference\.runtime: got 'onnx' .*'onnxruntime'"):
        check("inference", {"runtime": "onnx"}, InferenceSettings)
