"""Pretrained encoder weights: from a model hub, or from a file where there is no hub."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.images.sets import write_json
from ppl.network.network import (
    NetworkSettings,
    SegmentationNetwork,
    new_network,
    stop_at_odd_tensors,
)
from ppl.network.timm_weights import PREFIX, left_out, resampled, under_names_of

WEIGHTS_FILE = "encoder.safetensors"

# Layers behind the last feature map: a classifier's file has them, a segmentation encoder does
# not. Any other key too many means that the file belongs to another network.
HEAD_PREFIXES = ("fc.", "classifier.", "head.", "last_linear.", "conv_head.", "bn2.", "head_norm.")
COUNTER = "num_batches_tracked"


def import_encoder_weights(settings: NetworkSettings, out: Path) -> str:
    """Leave the weights that every training starts from in OUT, and return what they are.

    With `encoder_weights: null` only OUT/encoder.json is written and encoders start at random.

    Raises:
        InputError: no such file, a file that does not fit (names the keys), no hub in reach.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS_FILE).unlink(missing_ok=True)
    source = settings.encoder_weights
    described: dict[str, object] = {"encoder": settings.encoder, "source": "random"}
    if source is not None:
        encoder = new_network(settings, classes=2, seed=0).encoder
        if source == "imagenet":
            tensors = _download(settings)
            described["source"] = "imagenet"
        else:
            tensors = read_weights_file(Path(source))
            described["source"] = Path(source).name
        fitted = fit_to_encoder(encoder, tensors, source=source)
        content = save(fitted)
        (out / WEIGHTS_FILE).write_bytes(content)
        described["sha256"] = hashlib.sha256(content).hexdigest()
    write_json(out / "encoder.json", described)
    return f"{settings.encoder}, weights: {described['source']}"


def start_from_encoder_weights(network: SegmentationNetwork, folder: Path) -> None:
    """Load what `import_encoder_weights` left in `folder` into the network's encoder, in place."""
    file = folder / WEIGHTS_FILE
    if file.exists():
        tensors = load_file(file)
        network.encoder.load_state_dict(fit_to_encoder(network.encoder, tensors, source=str(file)))


def network_from_encoder(
    settings: NetworkSettings, classes: int, folder: Path, draws: Draws
) -> SegmentationNetwork:
    """A new network for `classes`, its encoder from `folder`, the rest by its owner's seed."""
    network = new_network(settings, classes, seed=draws.seed("weights"))
    start_from_encoder_weights(network, folder)
    return network


def read_weights_file(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file. Pickled code in a .pth is refused, never run.

    Raises:
        InputError: missing, another kind of file, damaged, or holding more than tensors.
    """
    if not file.is_file():
        raise InputError(f"model.encoder_weights: {file} does not exist")
    content: object
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        elif file.suffix in {".pth", ".pt"}:
            content = torch.load(file, map_location="cpu", weights_only=True)
        else:
            raise InputError(
                f"model.encoder_weights: {file} is neither .safetensors nor .pth; "
                "allowed: imagenet, null, or the path of such a file"
            )
    except InputError:
        raise
    except SafetensorError as error:
        raise InputError(f"model.encoder_weights: {file} cannot be read: {error}") from None
    # torch.load raises anything from UnpicklingError to EOFError on a damaged or unsafe file, and
    # its own message advises to run the code that we refuse
    except Exception as error:
        raise InputError(
            f"model.encoder_weights: {file} cannot be read ({type(error).__name__}): it is damaged "
            "or holds pickled code besides tensors, which is never run; use a .safetensors file"
        ) from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise InputError(f"model.encoder_weights: {file} holds no table of tensors by name")
    return content


def fit_to_encoder(
    encoder: nn.Module, tensors: dict[str, Tensor], *, source: str
) -> dict[str, Tensor]:
    """`tensors` under the names of `encoder`, and in its shapes where patches can be resampled.

    A file of timm's has plain names, and layers that the encoder leaves out.

    Raises:
        InputError: keys that are missing, too many (a classifier's head excepted), or of another
            shape, each named.
    """
    expected = encoder.state_dict()
    # smp's own ResNets accept and drop the classifier's keys while loading; compare before that
    of_timm = any(name.startswith(PREFIX) for name in expected)
    if of_timm:
        tensors = resampled(under_names_of(expected, tensors), encoder)
    missing = [name for name in expected if name not in tensors and not name.endswith(COUNTER)]
    extra = [
        name
        for name in tensors
        if name not in expected
        and not name.removeprefix(PREFIX).startswith(HEAD_PREFIXES)
        and not name.endswith(COUNTER)
    ]
    if of_timm:
        behind = left_out(extra, encoder)
        extra = [name for name in extra if name not in behind]
    reshaped = [
        f"{name} is {tuple(tensors[name].shape)}, the encoder has {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if missing or extra or reshaped:
        problems = [
            f"{len(names)} {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
            for what, names in [
                ("missing", missing),
                ("too many", extra),
                ("of another shape", reshaped),
            ]
            if names
        ]
        raise InputError(
            f"model.encoder_weights: {source} does not fit model.encoder: keys "
            + "; ".join(problems)
            + ". Choose the encoder that the file was made for."
        )
    try:
        stop_at_odd_tensors(tensors, expected)
    except InputError as error:
        raise InputError(
            f"model.encoder_weights: {source}: {error}. Take a sound file of the weights"
        ) from None
    return {
        name: tensors.get(name, tensor).to(tensor.dtype).contiguous()
        for name, tensor in expected.items()
    }


def _download(settings: NetworkSettings) -> dict[str, Tensor]:
    import segmentation_models_pytorch as smp

    name = settings.encoder
    of_timm = name.startswith("tu-")
    try:
        if settings.architecture.lower() == "dpt":
            # the whole network, of which it takes layers all at one resolution
            built = smp.encoders.TimmViTEncoder(name.removeprefix("tu-"), pretrained=True)
        else:
            built = smp.encoders.get_encoder(name, weights=True if of_timm else "imagenet")
    # the hub client raises its own, requests' and OSError's exceptions, by version
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"model.encoder_weights: imagenet weights of {name} could not be fetched "
            f"({reason}). Without a hub, set model.encoder_weights to the path of a .safetensors "
            "or .pth file, or to null to start at random."
        ) from None
    state: dict[str, Tensor] = built.state_dict()
    return state
