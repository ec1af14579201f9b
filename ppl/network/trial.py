"""Whether the network of params.yaml runs, before a training waits for it; if not, what does."""

import difflib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ppl.core.errors import InputError
from ppl.network.network import NetworkSettings, SegmentationNetwork, new_network, one_line
from ppl.network.resize import ImageSettings, scaled_size
from ppl.network.sizes import STRIDE

Size = tuple[int, int]
"""Height and width in pixels."""

TRIED_SIZES = 12
"""How many larger sizes are tried, each by a stride more, where one is too small."""

DECODERS = ("UPerNet", "FPN", "Unet", "Segformer", "DPT")
"""Architectures of which one takes nearly every encoder, in the order in which they are tried."""

LISTED = "docs/your_data.md lists networks that are tested, with the lines to set"


class _Trial(NamedTuple):
    """A network and the sizes at which it sees images."""

    settings: NetworkSettings
    size: Size
    """In training, and in prediction at scale 1."""
    scales: Sequence[float]
    """Of further predictions."""

    @property
    def sizes(self) -> list[Size]:
        """All of them, that of the training first."""
        scaled = (scaled_size(self.size, scale) for scale in self.scales)
        return list(dict.fromkeys([self.size, *scaled]))

    def with_options(self, options: dict[str, Any]) -> "_Trial":
        return self._replace(settings=self.settings.model_copy(update={"options": options}))


def scales_seen(image: ImageSettings, *scales: Sequence[float]) -> list[float]:
    """The multiples of `image.size` at which a network sees images, beside 1.

    Args:
        image: windows keep their size at each scale.
        scales: of the predictions.
    """
    return [] if image.fit == "windows" else [one for some in scales for one in some]


def stop_unless_it_runs(
    settings: NetworkSettings, size: Size, scales: Sequence[float] = ()
) -> None:
    """Build the network and predict a black image of each size, before a training waits for it.

    Args:
        settings: of the network.
        size: height and width in pixels of its input.
        scales: as `scales_seen` gives them.

    Raises:
        InputError: no such architecture or encoder, options that do not fit, or a size that it
            does not take; with the line to set instead, where trying finds one.
    """
    trial = _Trial(settings, size, scales)
    try:
        network = new_network(settings, 2, seed=0).eval()
    except InputError as error:
        said = _meant(settings) or f"{str(error).rstrip('.')}{_what_builds(trial)}"
        raise InputError(said) from None
    failed = _failure(network, trial.sizes)
    if failed is None:
        return
    (height, width), said = failed
    own = network.only_size
    del network  # a large one does not fit twice
    asked = "" if (height, width) == size else ", asked by predict.scales or pseudo_label.scales"
    raise InputError(
        f"model.architecture {settings.architecture!r} with model.encoder {settings.encoder!r} "
        f"cannot predict an image of {width} x {height} pixels (width x height){asked}: "
        f"{said}{_what_works(trial, own)}"
    ) from None


@torch.no_grad()
def _failure(network: SegmentationNetwork, sizes: Sequence[Size]) -> tuple[Size, str] | None:
    """The first size that the network does not predict, and why; None: it predicts all."""
    for size in sizes:
        try:
            found = network(torch.zeros(1, 3, *size)).shape
        except MemoryError:
            raise
        except Exception as error:  # whatever a layer is led to
            return size, _said(error, network)
        if tuple(found) != (1, 2, *size):
            return size, f"its output has {found[3]} x {found[2]}"
    return None


def _meant(settings: NetworkSettings) -> str:
    """What a misspelt name was meant to be; "" where smp or timm knows both names."""
    import segmentation_models_pytorch as smp

    encoder = settings.encoder.removeprefix("tu-")
    encoders = smp.encoders.get_encoder_names() if encoder == settings.encoder else _of_timm()
    architectures = [one.__name__ for one in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    for key, name, start, names in (
        ("architecture", settings.architecture, "", architectures),
        ("encoder", encoder, settings.encoder.removesuffix(encoder), encoders),
    ):
        # names of older versions, of which smp makes those of timm
        aged = smp.encoders.is_equivalent_to_timm_universal(name)
        if aged or name.lower() in map(str.lower, names):
            continue
        close = difflib.get_close_matches(name, names, n=1)
        meant = f", did you mean {start}{close[0]}?" if close else f". {LISTED}"
        return f"model.{key} {start + name!r}: there is no {start}{name}{meant}"
    return ""


def _of_timm() -> list[str]:
    """Names of its encoders, with and without the weights that they name."""
    import timm

    return [*timm.list_models(), *timm.list_models(pretrained=True)]


def _said(error: Exception, network: SegmentationNetwork) -> str:
    if network.only_size is None or not isinstance(error, InputError):
        return one_line(error).rstrip(".")
    height, width = network.only_size
    return f"it was made for {width} x {height} alone"


def _what_works(trial: _Trial, own: Size | None) -> str:
    """The line to set instead, found by trying, or where to look for one.

    Args:
        trial: what does not run.
        own: the size that the network was made for, if it is for one.
    """
    return _first_to_run(
        [
            *_other_options(trial),
            *_fewer_scales(trial),
            *_other_sizes(trial, own),
            *_other_architectures(trial),
        ]
    )


def _what_builds(trial: _Trial) -> str:
    """The same for what cannot be built, at whatever size."""
    return _first_to_run([*_fewer_options(trial), *_other_architectures(trial)])


def _first_to_run(changes: Sequence["_Change"]) -> str:
    for line, changed in changes:
        try:
            network = new_network(changed.settings, 2, seed=0).eval()
        except InputError:
            continue
        if _failure(network, changed.sizes) is None:
            return f". This works: {line}"
    return f". {LISTED}"


_Change = tuple[str, _Trial]
"""The line of params.yaml, and what is tried for it."""


def _other_options(trial: _Trial) -> Iterator[_Change]:
    for options in _freeing_options(trial):
        yield f"model.options: {_as_yaml(options)}", trial.with_options(options)
    yield from _fewer_options(trial)


def _freeing_options(trial: _Trial) -> Iterator[dict[str, Any]]:
    """The present options with such of timm's encoders as free them from a size."""
    given = trial.settings.options
    if not trial.settings.encoder.startswith("tu-"):
        return
    yield given | {"dynamic_img_size": True}
    # decoders halve and double, to which patches of 14 pixels do not lead
    yield given | {"patch_size": 16, "dynamic_img_size": True}
    yield given | {"strict_img_size": False}
    if len(trial.sizes) == 1:
        yield given | {"img_size": [_above(side) for side in trial.size]}


def _fewer_options(trial: _Trial) -> Iterator[_Change]:
    given = trial.settings.options
    for left_out in given:
        options = {name: value for name, value in given.items() if name != left_out}
        yield f"model.options: {_as_yaml(options)}", trial.with_options(options)
    if len(given) > 1:
        yield "model.options: {}", trial.with_options({})


def _above(side: int) -> int:
    return -(-side // STRIDE) * STRIDE


def _as_yaml(options: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in options.items()) + "}"


def _fewer_scales(trial: _Trial) -> Iterator[_Change]:
    if len(trial.sizes) > 1:
        line = "predict.scales: [1.0] and pseudo_label.scales: [1.0]"
        yield line, trial._replace(scales=())


def _other_sizes(trial: _Trial, own: Size | None) -> Iterator[_Change]:
    above = [_above(side) for side in trial.size]
    larger = [(above[0] + k * STRIDE, above[1] + k * STRIDE) for k in range(TRIED_SIZES)]
    for height, width in [*([own] if own else []), *larger]:
        line = f"image.height: {height} and image.width: {width}"
        yield line, trial._replace(size=(height, width))


def _other_architectures(trial: _Trial) -> Iterator[_Change]:
    for name in DECODERS:
        settings = trial.settings.model_copy(update={"architecture": name, "options": {}})
        other = trial._replace(settings=settings)
        line = f"model.architecture: {name} and model.options: "
        yield line + "{}", other
        for options in itertools.islice(_freeing_options(other), 2):
            yield line + _as_yaml(options), other.with_options(options)
