"""Networks that only predict, run on CPUs by ONNX Runtime or OpenVINO in place of PyTorch.

A network is written as a graph once for each size of its input; networks that differ in weights
alone share it, and the next stages find it in `.scratch`. Axes: B batch, C classes, H height,
W width.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ppl.core import processes
from ppl.core.declared import scratch_folder
from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import Network, not_installed, open_network
from ppl.core.settings import Settings
from ppl.network.graph import logits_graph, with_weights
from ppl.network.network import LIBRARIES, SegmentationNetwork

PYTORCH = "pytorch"

_MADE: set[Path] = set()
"""Where the graphs lie that this process made and kept."""

AGREE = 1e-3
"""Largest difference of a probability from PyTorch's on the first images, else PyTorch it is."""


class InferenceSettings(Settings):
    """Section `inference`: what runs networks that only predict, on CPUs."""

    runtime: Literal["pytorch", "onnxruntime", "openvino"]


def predicting(network: SegmentationNetwork, settings: InferenceSettings) -> SegmentationNetwork:
    """`network` itself, which predicts by the runtime of `settings` where it is on the CPU.

    Probabilities then differ by rounding. Where the runtime cannot do it or does not agree with
    PyTorch, a line says why, and PyTorch goes on. The weights are those of the first prediction:
    none may change after it.
    """
    name, on = settings.runtime, next(network.parameters()).device.type
    if name != PYTORCH and on == "cpu" and _installed(name):
        network.runtime = _Runtime(network, name)
    return network


@functools.cache
def _installed(name: str) -> bool:
    """Asked before a graph is made, which takes seconds; told once, however many networks ask."""
    found = find_spec(name) is not None
    if not found:
        _say(f"by PyTorch: {not_installed(name)}")
    return found


def _say(what: str) -> None:
    if processes.is_first():
        print(f"inference.runtime: {what}", flush=True)


class _Runtime:
    """The logits of a network by a runtime, one graph for each size of image."""

    def __init__(self, network: SegmentationNetwork, name: str) -> None:
        self._network = network
        self._name = name
        self._graphs: dict[tuple[int, int], Network | None] = {}

    def __call__(self, image_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) float32 in [0, 1] -> logits (B, C, H, W)."""
        size = (image_BCHW.shape[2], image_BCHW.shape[3])
        if size not in self._graphs:
            self._graphs[size] = self._opened(size, image_BCHW)
        run = self._graphs[size]
        if run is not None:
            try:
                return _logits(run, image_BCHW)
            except Exception as error:  # each runtime has exceptions of its own
                _say(f"by PyTorch from here: {self._name} failed: {str(error)[:200]}")
                self._graphs[size] = None
        return self._network.by_layers(image_BCHW)

    def _opened(self, size: tuple[int, int], image_BCHW: Tensor) -> Network | None:
        """What runs images of that size; None where PyTorch does."""
        file = _file_of(self._network, size)
        try:
            for graph in _graphs(self._network, size, file):
                # the first may have been kept, and be damaged
                found = self._tried(graph, image_BCHW)
                if not isinstance(found, str):
                    return found
            _say(f"by PyTorch: {found}")
        except InputError as error:
            _say(f"by PyTorch: {error}")
        except Exception as error:  # an exporter meets layers of all kinds
            _say(f"by PyTorch: the network's graph cannot be made: {str(error)[:200]}")
        return None

    def _tried(self, graph: bytes, image_BCHW: Tensor) -> Network | str:
        """What runs a graph, if it agrees with PyTorch; else why not."""
        threads = torch.get_num_threads()
        try:
            run = open_network(graph, self._name, "the network's graph", threads=threads)
            apart = self._apart(_logits(run, image_BCHW), image_BCHW)
        except InputError as error:
            return str(error)
        except Exception as error:  # each runtime has exceptions of its own
            return f"{self._name} cannot run the network: {str(error)[:200]}"
        return (
            run if apart <= AGREE else f"probabilities by {self._name} differ by up to {apart:.2g}"
        )

    def _apart(self, logits_BCHW: Tensor, image_BCHW: Tensor) -> float:
        """The largest difference of a probability from PyTorch's; NaN where one is no number."""
        expected = self._network.by_layers(image_BCHW)
        return (logits_BCHW.softmax(dim=1) - expected.softmax(dim=1)).abs().max().item()


def _logits(run: Network, image_BCHW: Tensor) -> Tensor:
    return torch.from_numpy(run(image_BCHW.expand(-1, 3, -1, -1).contiguous().numpy()))


def _file_of(network: SegmentationNetwork, size: tuple[int, int]) -> Path:
    """Where the graph of such networks at that size is kept."""
    facts = [network.description(), size, {name: version(name) for name in (*LIBRARIES, "onnx")}]
    name = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
    return scratch_folder() / f"graph-{name}.onnx"


def _graphs(network: SegmentationNetwork, size: tuple[int, int], file: Path) -> Iterator[bytes]:
    """The graph of the network: as it was kept, and, if that is not right, as it is made now.

    What this process made is right: made anew it would be the same.
    """
    with suppress(OSError, InputError):
        yield with_weights(file.read_bytes(), network)
        if file.resolve() in _MADE:
            return
    began = time.monotonic()
    graph = logits_graph(network, size)
    if processes.is_first():
        print(f"graph for {size[1]} x {size[0]}: {time.monotonic() - began:.0f} s", flush=True)
        _keep(file, graph)
        _MADE.add(file.resolve())
    yield with_weights(graph, network)


def _keep(file: Path, content: bytes) -> None:
    """For the next stages; without room they make their own."""
    half = file.with_suffix(f".{os.getpid()}.half")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        half.replace(file)
    except OSError:
        with suppress(OSError):
            half.unlink(missing_ok=True)
