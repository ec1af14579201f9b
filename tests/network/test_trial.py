"""What stops a network before it is trained: one line that names what was tried and works."""

from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.network import trial
from ppl.network.network import NetworkSettings
from ppl.network.trial import scales_seen, stop_unless_it_runs
from tests.conftest import whole, windows

FEW: dict[str, Any] = {
    "decoder_fusion_channels": 16,
    "decoder_intermediate_channels": [16, 16, 16, 16],
}
"""Channels of a decoder that is made in a moment."""

FIXED: dict[str, Any] = {"architecture": "DPT", "encoder": "tu-test_vit3", "options": FEW}
"""Made for 160 x 160 pixels."""

PATCHES = FIXED | {"encoder": "tu-test_vit", "options": FEW | {"patch_size": 14}}


def said(settings: NetworkSettings, changes: dict[str, Any], *given: Any) -> str:
    with pytest.raises(InputError) as stopped:
        stop_unless_it_runs(settings.model_copy(update=changes), *given)
    message = str(stopped.value)
    assert "\n" not in message
    assert "Error" not in message
    assert ".." not in message.replace("[...]", "")
    return message


def obeyed(settings: NetworkSettings, changes: dict[str, Any], message: str, *given: Any) -> None:
    """What a message says to set is set, and then the network runs."""
    *_, line = message.split("This works: ")
    parts = dict(part.split(": ", 1) for part in line.split(" and "))
    new = {key.removeprefix("model."): yaml.safe_load(value) for key, value in parts.items()}
    stop_unless_it_runs(settings.model_copy(update=changes | new), *given)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (FIXED, "it was made for 160 x 160 alone. This works: model.options: "),
        (PATCHES, "16], patch_size: 16, dynamic_img_size: true}"),
        (
            {"options": {"nosuch": 1}},
            "unexpected keyword argument 'nosuch'. This works: model.options: {}",
        ),
        (
            {"encoder": "resnet18", "options": {"encoder_depth": 5, "nosuch": [1, 2]}},
            "This works: model.options: {encoder_depth: 5}",
        ),
        (
            {"architecture": "FPN", "options": {"upsampling": 2}},
            "its output has 32 x 32. This works: model.options: {}",
        ),
        (
            {"architecture": "DPT", "encoder": "resnet18"},
            "This works: model.architecture: UPerNet and model.options: {}",
        ),
    ],
    ids=str,
)
def test_a_line_that_works_is_named(
    network_settings: NetworkSettings, changes: dict[str, Any], expected: str
) -> None:
    message = said(network_settings, changes, (64, 64))
    assert expected in message
    obeyed(network_settings, changes, message, (64, 64))


def test_what_was_chosen_stays_in_the_line(network_settings: NetworkSettings) -> None:
    changes = FIXED | {"options": FEW | {"decoder_readout": "add"}}
    message = said(network_settings, changes, (64, 64))
    assert ', decoder_readout: "add", dynamic_img_size: true}' in message


def test_a_network_of_one_size_runs_at_it(network_settings: NetworkSettings) -> None:
    stop_unless_it_runs(network_settings.model_copy(update=FIXED), (160, 160))


def test_scales_are_tried_too(network_settings: NetworkSettings) -> None:
    changes = {"architecture": "PAN"}
    message = said(network_settings, changes, (128, 128), [1.0, 0.5])
    assert "image of 64 x 64 pixels (width x height), asked by predict.scales or" in message
    assert "This works: predict.scales: [1.0] and pseudo_label.scales: [1.0]" in message
    stop_unless_it_runs(network_settings.model_copy(update=changes), (128, 128), [1.0])


def test_windows_keep_their_size_at_every_scale() -> None:
    assert scales_seen(whole(64, 64), [0.5, 1.0], [2.0]) == [0.5, 1.0, 2.0]
    assert scales_seen(windows(64, 64), [0.5, 1.0], [2.0]) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": "Unett"}, "there is no Unett, did you mean Unet?"),
        ({"encoder": "resnet19"}, "there is no resnet19, did you mean resnet18?"),
        ({"encoder": "tu-resnet19"}, "there is no tu-resnet19, did you mean tu-resnet18?"),
        ({"encoder": "tu-resnet18.a1_in1"}, "did you mean tu-resnet18.a1_in1k?"),
        ({"encoder": "zzz"}, "there is no zzz. docs/your_data.md lists networks that are tested"),
        ({"architecture": "zzz"}, "there is no zzz. docs/your_data.md lists networks that are"),
    ],
    ids=str,
)
def test_a_misspelt_name_is_told(
    network_settings: NetworkSettings, changes: dict[str, Any], expected: str
) -> None:
    assert expected in said(network_settings, changes, (64, 64))


def test_where_nothing_is_found_the_page_is_named(
    network_settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "TRIED_SIZES", 1)
    monkeypatch.setattr(trial, "DECODERS", ())
    assert said(network_settings, {"architecture": "PAN"}, (32, 32)).endswith(trial.LISTED)
