"""Files of timm's fit the encoders made of them, by name, by depth and by size of patches."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ppl.core.errors import InputError
from ppl.network.encoder_weights import (
    fit_to_encoder,
    import_encoder_weights,
    start_from_encoder_weights,
)
from ppl.network.network import NetworkSettings, new_network

FEW: dict[str, Any] = {
    "decoder_fusion_channels": 16,
    "decoder_intermediate_channels": [16, 16, 16, 16],
}

SHALLOW = {"encoder_depth": 3, "decoder_channels": [16, 16, 16]}


def whole(name: str) -> dict[str, Tensor]:
    """What a file of timm's holds, of random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state: dict[str, Tensor] = timm.create_model(name).state_dict()
        return {key: value.clone().contiguous() for key, value in state.items()}


def encoder_of(settings: NetworkSettings, **changes: Any) -> nn.Module:
    return new_network(settings.model_copy(update=changes), 2, seed=0).encoder


@pytest.mark.parametrize(
    ("architecture", "encoder", "options"),
    [
        ("UPerNet", "tu-test_convnext", {}),
        ("Unet", "tu-test_efficientnet", {}),
        ("Unet", "tu-test_resnet", SHALLOW),
        ("DPT", "tu-test_vit", FEW),
        ("UPerNet", "tu-swin_tiny_patch4_window7_224", {"dynamic_img_size": True}),
    ],
    ids=str,
)
def test_a_whole_network_fits_by_whatever_names(
    network_settings: NetworkSettings, architecture: str, encoder: str, options: dict[str, Any]
) -> None:
    made = encoder_of(network_settings, architecture=architecture, encoder=encoder, options=options)
    given = whole(encoder.removeprefix("tu-"))
    fitted = fit_to_encoder(made, given, source="f")
    assert fitted.keys() == made.state_dict().keys()
    by_plain = {name.replace(".", "_"): tensor for name, tensor in given.items()}
    for name, tensor in fitted.items():
        assert torch.equal(tensor, by_plain[name.removeprefix("model.").replace(".", "_")]), name


@pytest.mark.parametrize("patch", [8, 14])
def test_patches_are_resampled_as_timm_does(network_settings: NetworkSettings, patch: int) -> None:
    options = FEW | {"patch_size": patch}
    made = encoder_of(network_settings, architecture="DPT", encoder="tu-test_vit", options=options)
    given = whole("test_vit")
    fitted = fit_to_encoder(made, dict(given), source="f")
    resampled = timm.models.vision_transformer.checkpoint_filter_fn(dict(given), made.model)
    for name, tensor in resampled.items():
        torch.testing.assert_close(fitted[f"model.{name}"], tensor, msg=name)
    kernel = "patch_embed.proj.weight"
    assert fitted[f"model.{kernel}"].shape[-2:] == (patch, patch) != given[kernel].shape[-2:]


def test_a_larger_kernel_sees_in_larger_patches_what_it_saw(
    network_settings: NetworkSettings,
) -> None:
    options = FEW | {"patch_size": 32}
    made = encoder_of(network_settings, architecture="DPT", encoder="tu-test_vit", options=options)
    given = whole("test_vit")
    kernel = fit_to_encoder(made, dict(given), source="f")["model.patch_embed.proj.weight"]
    patch = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    large = nn.functional.interpolate(patch, size=32, mode="bicubic", antialias=True)
    before = nn.functional.conv2d(patch, given["patch_embed.proj.weight"])
    torch.testing.assert_close(nn.functional.conv2d(large, kernel), before, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "tensor", "expected"),
    [
        ("patch_embed.proj.weight", torch.rand(64, 3, 900, 900), "of another shape"),
        ("patch_embed.proj.weight", torch.rand(64, 4, 14, 14), "of another shape"),
        ("patch_embed.proj.weight", torch.rand(64, 3, 14), "of another shape"),
        ("pos_embed", torch.rand(1, 60, 64), "of another shape"),
        ("pos_embed", torch.rand(1, 101, 65), "of another shape"),
        ("pos_embed", torch.rand(101, 64), "of another shape"),
        ("pos_embed", torch.rand(1, 1, 64), "of another shape"),
        ("pos_embed", torch.rand(1, 50, 64).to(torch.int8), "of another shape"),
        ("blocks_0.norm1.weight", torch.rand(64), "1 too many: blocks_0.norm1.weight"),
        ("model.blocks.0.norm9.weight", torch.rand(64), "1 too many: model.blocks.0.norm9.weight"),
    ],
    ids=lambda value: str(tuple(value.shape)) if isinstance(value, Tensor) else str(value),
)
def test_what_does_not_fit_is_named(
    network_settings: NetworkSettings, name: str, tensor: Tensor, expected: str
) -> None:
    made = encoder_of(network_settings, architecture="DPT", encoder="tu-test_vit", options=FEW)
    with pytest.raises(InputError, match=expected):
        fit_to_encoder(made, whole("test_vit") | {name: tensor}, source="f")


@pytest.mark.parametrize(
    ("architecture", "encoder", "options"),
    [
        ("DPT", "tu-test_vit", FEW | {"patch_size": 8}),
        ("UPerNet", "tu-test_convnext", {}),
        ("Unet", "tu-test_resnet", SHALLOW),
    ],
)
@pytest.mark.parametrize("source", ["imagenet", "file"])
def test_a_hub_and_a_file_give_the_same_network(
    network_settings: NetworkSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    encoder: str,
    options: dict[str, Any],
    source: str,
) -> None:
    given = whole(encoder.removeprefix("tu-"))
    monkeypatch.setattr(
        "timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(given)
    )
    save_file(given, tmp_path / "w.safetensors")
    settings = network_settings.model_copy(
        update={
            "architecture": architecture,
            "encoder": encoder,
            "options": options,
            "encoder_weights": "imagenet" if source == "imagenet" else f"{tmp_path}/w.safetensors",
        }
    )
    import_encoder_weights(settings, tmp_path / "out")
    network = new_network(settings, 3, seed=5)
    start_from_encoder_weights(network, tmp_path / "out")
    expected = fit_to_encoder(network.encoder, dict(given), source="f")
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
