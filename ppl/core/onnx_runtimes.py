"""What runs a network that was written as ONNX, on the CPU in float32: ONNX Runtime or OpenVINO."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
RUNTIMES = (ONNXRUNTIME, OPENVINO)

Network = Callable[[NDArray[Any]], NDArray[np.float32]]
"""The one input of the graph -> its one output."""


def open_network(content: bytes, runtime: str, what: str, *, threads: int | None = None) -> Network:
    """The network in the content of an ONNX file.

    Args:
        runtime: one of `RUNTIMES`.
        what: names the model in messages.
        threads: that share the work; None: as many as the runtime finds right.

    Raises:
        InputError: the runtime is not installed, or cannot read the file.
    """
    try:
        made_by = _openvino if runtime == OPENVINO else _onnxruntime
        return made_by(content, threads)
    except ImportError:
        raise InputError(not_installed(runtime)) from None
    except Exception as error:  # each runtime has exceptions of its own
        raise InputError(f"{runtime} cannot read {what}: {str(error)[:400]}") from None


def not_installed(runtime: str) -> str:
    """What to say of it."""
    return f"{runtime} is not installed: python -m pip install {runtime}"


def _onnxruntime(content: bytes, threads: int | None) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # 0 leaves it to the runtime
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        [output] = session.run(None, {name: batch})
        found: NDArray[np.float32] = output
        return found

    return run


def _openvino(content: bytes, threads: int | None) -> Network:
    import openvino

    core = openvino.Core()
    model = core.read_model(content)
    # else it would compute in bfloat16 where the processor can
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return partial(_run_openvino, core.compile_model(model, "CPU", options))


def _run_openvino(compiled: Any, batch: NDArray[Any]) -> NDArray[np.float32]:
    # a copy: the next pass writes into the same memory
    return np.array(compiled(batch)[0])
