"""A network as an ONNX graph: the same bytes from run to run.

Axes: B batch, H height, W width, C classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.network.network import SegmentationNetwork

OPSET = 18

INPUT, OUTPUT = "image", "probabilities"


LOGITS = "logits"


class _FromBytes(nn.Module):
    """What `ppl/network/predict.py` does to a batch, images last in colour as a camera's are."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BHWC: Tensor) -> Tensor:
        logits: Tensor = self.network(image_BHWC.permute(0, 3, 1, 2).float() / 255)
        return logits.softmax(dim=1)


def onnx_bytes(network: SegmentationNetwork, size: tuple[int, int], *, any_size: bool) -> bytes:
    """The graph (B, H, W, 3) uint8 RGB -> (B, C, H, W) float32 softmax, for any B.

    Args:
        network: on the CPU, in eval mode.
        size: height and width of the images in pixels.
        any_size: the graph takes other sizes, too; not every architecture can.

    Raises:
        InputError: the architecture cannot be exported so.
    """
    if any_size:
        _stop_at_padding_by_size(network)
    batch = torch.export.Dim("batch", min=1)
    sides = (torch.export.Dim("height", min=1), torch.export.Dim("width", min=1))
    dynamic = {0: batch} | (dict(enumerate(sides, start=1)) if any_size else {})
    # two images: a batch of one would be taken for a constant
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    try:
        model = _exported(_FromBytes(network).eval(), example, dynamic, OUTPUT, optimize=True)
    except Exception as error:  # whatever a layer leads the exporter to
        raise InputError(
            f"model.architecture {network.architecture!r} with model.encoder "
            f"{network.encoder_name!r} cannot be exported{' for several sizes' * any_size}: "
            f"{_first_line(error)}. Architectures known to work: Unet, UnetPlusPlus, FPN, Linknet, "
            "MAnet, DeepLabV3Plus, Segformer"
        ) from None
    return _written(model)


class _Within(nn.Module):
    """So that each weight has a name that no other value of the graph can have."""

    NAME = "network."
    """Before the weight's own name."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.network.by_layers(image_BCHW)
        return logits


def logits_graph(network: SegmentationNetwork, size: tuple[int, int]) -> bytes:
    """The graph (B, 3, H, W) float32 in [0, 1] -> logits (B, C, H, W), for any B.

    It keeps all layers as they are, so that `with_weights` can give it those of a network that
    differs in weights alone. Nothing is drawn from a generator.

    Args:
        network: on the CPU, in eval mode.
        size: height and width of the images in pixels.

    Raises:
        InputError: the architecture cannot be exported so.
    """
    example = torch.zeros(2, 3, *size)
    dynamic = {0: torch.export.Dim("batch", min=1)}
    try:
        model = _exported(_Within(network).eval(), example, dynamic, LOGITS, optimize=False)
    except Exception as error:  # whatever a layer leads the exporter to
        raise InputError(f"the network cannot be exported: {_first_line(error)}") from None
    return _written(model)


def with_weights(graph: bytes, network: SegmentationNetwork) -> bytes:
    """`graph`, of `logits_graph`, with the weights of this network.

    Layers that the network has and never uses are not in its graph.

    Raises:
        InputError: it is no such graph of this network.
    """
    import onnx

    try:
        model = onnx.load_from_string(graph)
    except Exception as error:  # a damaged file leads its reader to whatever there is
        raise InputError(f"no ONNX graph: {_first_line(error)}") from None
    weights = {f"{_Within.NAME}{name}": of for name, of in network.state_dict().items()}
    found = 0
    for place in model.graph.initializer:
        if place.name in weights:
            weight = weights[place.name]
            if tuple(place.dims) != tuple(weight.shape):
                raise InputError(f"the graph has another {place.name}")
            place.CopyFrom(onnx.numpy_helper.from_array(weight.contiguous().numpy(), place.name))
            found += 1
    if not found:
        raise InputError("the graph has no weight of the network")
    return _written(model)


def _exported(
    network: nn.Module, example: Tensor, dynamic: dict[int, Any], output: str, *, optimize: bool
) -> Any:
    """The ONNX message of `network`, some of whose input's axes take any length."""
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(dynamic,),
        input_names=[INPUT],
        output_names=[output],
        optimize=optimize,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _written(model: Any) -> bytes:
    _strip(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _stop_at_padding_by_size(network: SegmentationNetwork) -> None:
    """With any size a formula of it goes from layer to layer: no end was seen in ten minutes."""
    if any(type(layer).__name__.endswith("Same") for layer in network.body.modules()):
        raise InputError(
            f"model.encoder {network.encoder_name!r} pads each layer by the size of its input, as "
            "TensorFlow does, and cannot be exported for several sizes: set predict.scales: [1.0] "
            "or image.fit: windows"
        )


def _first_line(error: Exception) -> str:
    """What it says first, or the error below it."""
    cause = error.__cause__ or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]


def _strip(message: Any) -> None:
    """Take notes out of an ONNX message and all within: paths of this machine, lines of code."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            repeated = not hasattr(value, "ListFields")
            for part in value if repeated else [value]:
                _strip(part)
