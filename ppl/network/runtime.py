"""Networks that only predict, run on CPUs by ONNX Runtime or OpenVINO in place of PyTorch.

A network is written as a graph once for each size of its input; networks that differ in weights
alone share it, and the next stages find it in `.scratch`. Axes: B batch, C classes, H height,
W width.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ppl.core import processes
from ppl.core.declared import SCRATCH
from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import Network, open_network
from ppl.core.settings import Settings
from ppl.network.graph import logits_graph, with_weights
from ppl.network.network import LIBRARIES, SegmentationNetwork

PYTORCH = "pytorch"

AGREE = 1e-3
"""Largest difference of a probability from PyTorch's on the first images, else PyTorch it is."""


class InferenceSettings(Settings):
    """Section `inference`: what runs networks that only predict, on CPUs."""

    runtime: Literal["pytorch", "onnxruntime", "openvino"]


def predicting(network: SegmentationNetwork, settings: InferenceSettings) -> SegmentationNetwork:
    """`network` itself, which predicts by the runtime of `settings` where it is on the CPU.

    Probabilities then differ by rounding. Where the runtime cannot do it or does not agree with
    PyTorch, a line says why, and PyTorch goes on.
    """
    if settings.runtime != PYTORCH and next(network.parameters()).device.type == "cpu":
        network.runtime = _Runtime(network, settings.runtime)
    return network


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
        return self._network.by_layers(image_BCHW) if run is None else _logits(run, image_BCHW)

    def _opened(self, size: tuple[int, int], image_BCHW: Tensor) -> Network | None:
        """What runs images of that size; None where PyTorch does."""
        try:
            graph = with_weights(_graph(self._network, size), self._network)
            threads = torch.get_num_threads()
            run = open_network(graph, self._name, "the network's graph", threads=threads)
            found = _logits(run, image_BCHW)
        except InputError as error:
            self._say(f"by PyTorch: {error}")
            return None
        except Exception as error:  # each runtime has exceptions of its own
            self._say(f"by PyTorch: {self._name} cannot run the network: {str(error)[:200]}")
            return None
        expected = self._network.by_layers(image_BCHW)
        apart = (found.softmax(dim=1) - expected.softmax(dim=1)).abs().max().item()
        # not (apart <= AGREE) where it is no number
        if not apart <= AGREE:
            self._say(f"by PyTorch: probabilities by {self._name} differ by up to {apart:.2g}")
            return None
        return run

    def _say(self, what: str) -> None:
        if processes.is_first():
            print(f"inference.runtime: {what}", flush=True)


def _logits(run: Network, image_BCHW: Tensor) -> Tensor:
    return torch.from_numpy(run(image_BCHW.expand(-1, 3, -1, -1).contiguous().numpy()))


def _graph(network: SegmentationNetwork, size: tuple[int, int]) -> bytes:
    """The graph of such networks at that size, read from `.scratch` or made and left there."""
    facts = [network.description(), size, {name: version(name) for name in (*LIBRARIES, "onnx")}]
    name = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
    # queued runs work in copies of the project that are deleted; DVC_ROOT is where they came from
    file = Path(os.environ.get("DVC_ROOT", ".")) / SCRATCH / f"graph-{name}.onnx"
    try:
        graph = file.read_bytes()
        with_weights(graph, network)
    except (OSError, InputError):
        began = time.monotonic()
        graph = logits_graph(network, size)
        if processes.is_first():
            print(f"graph for {size[1]} x {size[0]}: {time.monotonic() - began:.0f} s", flush=True)
            _keep(file, graph)
    return graph


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
