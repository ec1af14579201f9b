"""Networks by name, and their checkpoints: safetensors plus a JSON that rebuilds them."""

import inspect
import json
import math
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.core.settings import Settings, checked
from ppl.images.sets import write_json
from ppl.network.bounded import no_larger_than
from ppl.network.sizes import fixed_size, input_multiple
from ppl.network.upsampling import upsampling

Channels = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3, max_length=3)]

TAKEN_OPTIONS = {
    "activation",
    "aux_params",
    "checkpoint_path",
    "classes",
    "encoder_name",
    "encoder_weights",
    "in_channels",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
}
"""Arguments of an architecture that follow from the data, would change what its output means, or
would fetch weights from elsewhere."""

CPU = torch.device("cpu")

LIBRARIES = ("torch", "segmentation-models-pytorch", "timm")
"""Those whose version may change what a network learns."""

WEIGHTS = "model.safetensors"
"""The file of the weights in a model's folder."""

MOST_DESCRIBED = 16 << 20
"""Bytes of a model.json; written ones have some thousands."""


LARGEST_OPTION = 2**16
"""Of a number in `options`: channels, sides in pixels, layers."""


class _NetworkKind(Settings):
    """Which network, on which normalisation."""

    architecture: str
    encoder: str
    options: dict[str, Any]
    mean: Channels
    std: Deviations
    align_corners: Literal[False] | None = None
    """Of the decoder's up-sampling; None: as the architecture was published."""

    @field_validator("encoder")
    @classmethod
    def _needs_no_hub(cls, encoder: str) -> str:
        # such a name asks a hub or a folder what the network is, even to load a finished model
        if ":" in encoder or "/" in encoder:
            raise ValueError(
                "it names a place of a hub, but a model must load without one; take the name that "
                "segmentation_models_pytorch or timm has for it"
            )
        return encoder

    @field_validator("options")
    @classmethod
    def _are_free_and_plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(options.keys() & TAKEN_OPTIONS)
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be chosen: the pipeline sets it")
        for key, value in options.items():
            values = value if isinstance(value, list) else [value]
            plain = all(isinstance(item, bool | int | float | str) for item in values)
            if any(isinstance(x, int | float) and abs(x) > LARGEST_OPTION for x in values):
                raise ValueError(f"{key} is {value!r}; expected numbers to {LARGEST_OPTION:,}")
            if not plain or any(isinstance(x, float) and not math.isfinite(x) for x in values):
                raise ValueError(
                    f"{key} is {value!r}; expected true, false, a number, text or a list"
                )
        return options


class NetworkSettings(_NetworkKind):
    """Section `model`: which network, from which weights, on which normalisation."""

    encoder_weights: str | None


class _Description(_NetworkKind):
    """The network in model.json."""

    classes: Annotated[int, Field(ge=1, le=255)]


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
        align_corners: Literal[False] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder_name = encoder
        self.classes = classes
        self.normalisation = {"mean": list(mean), "std": list(std)}
        self.options = options
        self.align_corners = align_corners
        self.precision = torch.float32
        """Of the layers' products; training may lower it."""
        self.runtime: Callable[[Tensor], Tensor] | None = None
        """What computes the logits in place of the layers where nothing learns; see runtime."""
        # convolutions run faster on this layout, on CPUs and on GPUs with tensor cores
        self.body = _smp_model(architecture, encoder, classes, options).to(
            memory_format=torch.channels_last
        )
        self.multiple = input_multiple(self.body)
        """Pixels; inputs are padded to a multiple of it."""
        self.only_size = fixed_size(self.body)
        """Height and width in pixels of padded inputs, where the network takes no others."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def encoder(self) -> nn.Module:
        """The part that pretrained weights fit and that learns at the encoder's rate."""
        encoder = self.body.encoder
        assert isinstance(encoder, nn.Module)
        return encoder

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1] -> logits (B, C, H, W); one channel serves for three.

        Raises:
            InputError: the network takes images of another size alone.
        """
        if self.runtime is None or self.training or torch.is_grad_enabled():
            return self.by_layers(image_BCHW)
        return self.runtime(image_BCHW)

    def by_layers(self, image_BCHW: Tensor) -> Tensor:
        """What `forward` says, by the layers themselves."""
        height, width = image_BCHW.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        normalised = (image_BCHW - self.mean) / self.std
        padded = F.pad(normalised, padding, mode="replicate")
        self._stop_at_another_size(padded)
        lowered = self.precision != torch.float32
        device = image_BCHW.device
        with (
            torch.autocast(device.type, dtype=self.precision, enabled=lowered),
            upsampling(device, unaligned=self.align_corners is False),
        ):
            logits: Tensor = self.body(padded.contiguous(memory_format=torch.channels_last))
        return logits[..., :height, :width].float()

    def _stop_at_another_size(self, padded_BCHW: Tensor) -> None:
        if self.only_size is None or tuple(padded_BCHW.shape[-2:]) == self.only_size:
            return
        height, width = padded_BCHW.shape[-2:]
        raise InputError(
            f"model.encoder {self.encoder_name!r} was made for {self.only_size[1]} x "
            f"{self.only_size[0]} pixels (width x height) and got {width} x {height}: set "
            f"image.height: {self.only_size[0]} and image.width: {self.only_size[1]} and scales to "
            "[1.0], or model.options: {dynamic_img_size: true}, if the encoder takes it, and train "
            "again"
        )

    def description(self) -> dict[str, object]:
        """What `load_network` needs to build the same network."""
        return {
            "architecture": self.architecture,
            "encoder": self.encoder_name,
            "classes": self.classes,
            "options": self.options,
            **self.normalisation,
            **({} if self.align_corners is None else {"align_corners": self.align_corners}),
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
            align_corners=settings.align_corners,
        )


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
    """What `save_network` was told of the weights in FOLDER.

    Raises:
        InputError: model.json is missing or damaged, or does not say it.
    """
    origin = read_description(folder).get("origin")
    try:
        found = Origin(**origin) if isinstance(origin, dict) else None
    except TypeError:
        found = None
    if found is None or type(found.training) is not str or type(found.iteration) is not int:
        raise InputError(
            f"model {folder} cannot be loaded: model.json does not say whose training made it"
        )
    return found


def read_description(folder: Path) -> dict[str, Any]:
    """The content of FOLDER/model.json.

    Raises:
        InputError: it is missing, too long, no JSON, or no table.
    """
    file = folder / "model.json"
    if not file.is_file():
        raise InputError(f"model {folder} is incomplete: {file.name} is missing")
    refused = f"model {folder} cannot be loaded: {file.name}"
    if file.stat().st_size > MOST_DESCRIBED:
        raise InputError(f"{refused} has more than {MOST_DESCRIBED >> 20} MiB")
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{refused} is no JSON: {one_line(error)}") from None
    if not isinstance(described, dict):
        raise InputError(f"{refused} describes no model")
    return described


def load_network(folder: Path, device: torch.device) -> SegmentationNetwork:
    """The network that `save_network` wrote, in eval mode. No code is run from the files.

    Raises:
        InputError: a file is missing or damaged, the weights do not fit the description, or are
            not finite.
    """
    described = read_description(folder)
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"model {folder} is incomplete: {WEIGHTS} is missing")
    try:
        kind = checked("network", described.get("network"), _Description, file=Path("model.json"))
        with torch.random.fork_rng(devices=[]), no_larger_than(folder / WEIGHTS):
            network = SegmentationNetwork(**kind.model_dump())
        state = load_file(folder / WEIGHTS)
        network.load_state_dict(state)
        stop_at_odd_tensors(state, network.state_dict())
    except MemoryError:
        raise
    except Exception as error:  # timm and smp raise whatever a description leads them to
        raise InputError(f"model {folder} cannot be loaded: {one_line(error)}") from None
    return network.to(device).eval()


def stop_at_odd_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Of `tensors`, those with a name in `expected` must be plain, finite numbers of its kind.

    Half and double precision pass for floats.

    Raises:
        InputError: names the first tensor that is not.
    """
    for name, tensor in tensors.items():
        if name not in expected:
            continue
        if tensor.layout != torch.strided or tensor.is_nested or tensor.device.type == "meta":
            where = "on the meta device" if tensor.device.type == "meta" else "sparse or nested"
            raise InputError(f"{name} is {where}: expected plain numbers, each in its place")
        wanted = expected[name].dtype
        if tensor.dtype != wanted and not (wanted.is_floating_point and tensor.dtype in _FLOATS):
            raise InputError(f"{name} is of {tensor.dtype}, expected {wanted}")
        if wanted.is_floating_point and not bool(tensor.to(wanted).isfinite().all()):
            raise InputError(f"{name} holds numbers that are not finite (NaN or infinite)")


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
        _stop_at_unknown_options(architecture, encoder, options)
        model: nn.Module = smp.create_model(
            architecture, encoder_name=encoder, encoder_weights=None, classes=classes, **options
        )
    except MemoryError:
        raise
    except Exception as error:  # whatever smp and timm are led to
        raise InputError(
            f"model.architecture {architecture!r} with model.encoder {encoder!r} and "
            f"model.options {options} cannot be built: "
            f"{one_line(error)}"
        ) from None
    return model


def _stop_at_unknown_options(architecture: str, encoder: str, options: dict[str, Any]) -> None:
    """What the architecture does not take goes to its encoder: timm looks at it, smp does not."""
    import segmentation_models_pytorch as smp

    kind = smp.MODEL_ARCHITECTURES_MAPPING.get(architecture.lower())
    of_timm = smp.encoders.is_equivalent_to_timm_universal(encoder) or encoder.startswith("tu-")
    if kind is None or of_timm:
        return
    taken = set(inspect.signature(kind.__init__).parameters) - TAKEN_OPTIONS - {"self", "kwargs"}
    unknown = sorted(options.keys() - taken)
    if unknown:
        raise InputError(f"unknown: {', '.join(unknown)}; allowed: {', '.join(sorted(taken))}")


def one_line(error: Exception) -> str:
    """What it says, in a line of bounded length."""
    return " ".join(str(error).split())[:400] or type(error).__name__
