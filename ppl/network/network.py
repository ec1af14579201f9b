"""Networks by name, and their checkpoints: safetensors plus a JSON that rebuilds them."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.core.settings import Settings
from ppl.images.sets import write_json
from ppl.network.upsampling import reproducible_upsampling

Channels = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3, max_length=3)]

TAKEN_OPTIONS = {
    "activation",
    "aux_params",
    "classes",
    "encoder_name",
    "encoder_weights",
    "in_channels",
}
"""Arguments of an architecture that follow from the data, or would change what its output means."""

CPU = torch.device("cpu")

LIBRARIES = ("torch", "segmentation-models-pytorch", "timm")
"""Those whose version may change what a network learns."""

WEIGHTS = "model.safetensors"
"""The file of the weights in a model's folder."""

STRIDE = 32
"""All encoders halve the image five times; inputs are padded to a multiple of this (pixels)."""


class NetworkSettings(Settings):
    """Section `model`: which network, from which weights, on which normalisation."""

    architecture: str
    encoder: str
    options: dict[str, Any]
    encoder_weights: str | None
    mean: Channels
    std: Deviations

    @field_validator("options")
    @classmethod
    def _are_free_and_plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(options.keys() & TAKEN_OPTIONS)
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be chosen: the pipeline sets it")
        for key, value in options.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(item, bool | int | float | str) for item in values):
                raise ValueError(
                    f"{key} is {value!r}; expected true, false, a number, text or a list"
                )
        return options


class SegmentationNetwork(nn.Module):
    """A network of segmentation_models_pytorch that takes images in [0, 1] of any size.

    Normalisation is the last step before the network and belongs to it, so that no caller can
    forget it, apply it twice, or augment after it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        encoder: str,
        classes: int,
        *,
        options: dict[str, Any],
        mean: list[float],
        std: list[float],
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder_name = encoder
        self.classes = classes
        self.normalisation = {"mean": list(mean), "std": list(std)}
        self.options = options
        self.precision = torch.float32
        """Of the layers' products; training may lower it."""
        # convolutions run faster on this layout, on CPUs and on GPUs with tensor cores
        self.body = _smp_model(architecture, encoder, classes, options).to(
            memory_format=torch.channels_last
        )
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def encoder(self) -> nn.Module:
        """The part that pretrained weights fit and that learns at the encoder's rate."""
        encoder = self.body.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> logits (B, C, H, W); one channel serves for three."""
        height, width = image_BCHW.shape[-2:]
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        normalised = (image_BCHW - self.mean) / self.std
        padded = F.pad(normalised, padding, mode="replicate")
        lowered = self.precision != torch.float32
        device = image_BCHW.device
        with (
            torch.autocast(device.type, dtype=self.precision, enabled=lowered),
            reproducible_upsampling(device),
        ):
            logits: Tensor = self.body(padded.contiguous(memory_format=torch.channels_last))
        return logits[..., :height, :width].float()

    def description(self) -> dict[str, object]:
        """What `load_network` needs to build the same network."""
        return {
            "architecture": self.architecture,
            "encoder": self.encoder_name,
            "classes": self.classes,
            "options": self.options,
            **self.normalisation,
        }


def new_network(settings: NetworkSettings, classes: int, *, seed: int) -> SegmentationNetwork:
    """A network with random weights drawn from `seed`; the global generator is left as it was.

    Raises:
        InputError: no such architecture or encoder.
    """
    with torch.random.fork_rng(devices=[]):
        # the CPU's generator alone: weights are drawn there, and CUDA's would not be put back
        torch.default_generator.manual_seed(seed)
        return SegmentationNetwork(
            settings.architecture,
            settings.encoder,
            classes,
            options=settings.options,
            mean=settings.mean,
            std=settings.std,
        )


def stop_unless_it_runs(settings: NetworkSettings, size: tuple[int, int]) -> None:
    """Build the network and predict a black image of `size`, before a training waits for it.

    Raises:
        InputError: no such architecture or encoder, options that do not fit, or a size that is too
            small.
    """
    network = new_network(settings, 2, seed=0).eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(1, 3, *size))
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"model.architecture {settings.architecture!r} with model.encoder {settings.encoder!r} "
            f"cannot predict an image of {size[1]} x {size[0]} pixels (width x height): "
            f"{str(error)[:400]}"
        ) from None
    assert logits.shape == (1, 2, *size), logits.shape


class Origin(NamedTuple):
    """Where weights come from."""

    training: str
    """The model whose training made them: of one that fell back to another, that other."""
    iteration: int
    """Of that training."""


def save_network(
    folder: Path, network: SegmentationNetwork, state: dict[str, Tensor], origin: Origin
) -> None:
    """Write FOLDER/model.safetensors and FOLDER/model.json.

    `state` is given apart from the network, since the state to keep is often an earlier one;
    `origin` says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    (folder / WEIGHTS).write_bytes(save(tensors))
    described = {
        "network": network.description(),
        "origin": origin._asdict(),
        "made_with": made_with(next(network.parameters()).device),
    }
    write_json(folder / "model.json", described)


def made_with(device: torch.device) -> str:
    """What decides the last digits of a training beside code, settings and data, in a line."""
    libraries = [f"{name} {version(name).partition('+')[0]}" for name in LIBRARIES]
    if device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        machine = f"CPU with {torch.backends.cpu.get_cpu_capability()}, {threads} threads"
    return ", ".join([*libraries, machine])


def read_made_with(folder: Path) -> str:
    """What `made_with` said of the training whose weights lie in FOLDER; "" in older models."""
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return str(described.get("made_with", ""))


def read_origin(folder: Path) -> Origin:
    """What `save_network` was told of the weights in FOLDER."""
    return Origin(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["origin"])


def load_network(folder: Path, device: torch.device) -> SegmentationNetwork:
    """The network that `save_network` wrote, in eval mode. No code is run from the files.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit the description.
    """
    for name in ("model.json", WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"model {folder} is incomplete: {name} is missing")
    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):
            network = SegmentationNetwork(**described["network"])
        state = load_file(folder / WEIGHTS)
        network.load_state_dict(state)
    except (
        SafetensorError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        RuntimeError,
        KeyError,
        TypeError,
    ) as error:
        raise InputError(f"model {folder} cannot be loaded: {error}") from None
    return network.to(device).eval()


def pick_device() -> torch.device:
    """CUDA where there is one, else the CPU; the device is no parameter of the result."""
    # cuBLAS reads this when CUDA starts; without it some of its products vary from run to run
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else CPU


def _smp_model(architecture: str, encoder: str, classes: int, options: dict[str, Any]) -> nn.Module:
    # it takes seconds to import, which a stage that only reads these settings need not spend
    import segmentation_models_pytorch as smp

    try:
        model: nn.Module = smp.create_model(
            architecture, encoder_name=encoder, encoder_weights=None, classes=classes, **options
        )
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"model.architecture {architecture!r} with model.encoder {encoder!r} and "
            f"model.options {options} cannot be built: "
            f"{str(error)[:400]}"
        ) from None
    return model
