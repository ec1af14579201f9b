"""Networks: any image size, weights by the seed alone, files that give back the same network."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    load_network,
    new_network,
    read_made_with,
    read_origin,
    save_network,
)
from ppl.network.trial import stop_unless_it_runs

CPU = torch.device("cpu")


def images(batch: int, height: int, width: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=draws)


def save(folder: Path, network: SegmentationNetwork) -> Path:
    save_network(folder, network, network.state_dict(), Origin("teacher", 7))
    return folder


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (33, 50), (1, 1), (5, 90)])
@torch.no_grad()
def test_logits_have_the_size_of_the_images(
    network: SegmentationNetwork, size: tuple[int, int]
) -> None:
    logits = network(images(2, *size))
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ["FPN", "Unet", "DeepLabV3Plus"])
@torch.no_grad()
def test_every_architecture_takes_odd_sizes(
    network_settings: NetworkSettings, architecture: str
) -> None:
    settings = network_settings.model_copy(update={"architecture": architecture})
    assert new_network(settings, 2, seed=0).eval()(images(1, 41, 55)).shape == (1, 2, 41, 55)


@torch.no_grad()
def test_padding_repeats_the_border_and_is_cut_off(network: SegmentationNetwork) -> None:
    image = images(1, 32, 32)
    image[..., 30:] = image[..., 29:30]
    image[..., 27:, :] = image[..., 26:27, :]
    torch.testing.assert_close(network(image[..., :27, :30]), network(image)[..., :27, :30])


@torch.no_grad()
def test_normalisation_belongs_to_the_network(network: SegmentationNetwork) -> None:
    image = images(2, 32, 32)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    std = torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(network(image), network.body((image - mean) / std))


def test_the_seed_alone_decides_the_weights(network_settings: NetworkSettings) -> None:
    before = torch.get_rng_state()
    first = new_network(network_settings, 3, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"
    torch.rand(5)
    second = new_network(network_settings, 3, seed=1).state_dict()
    other = new_network(network_settings, 3, seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    "changes", [{"architecture": "Nope"}, {"encoder": "nope"}, {"encoder": "tu-nope"}]
)
def test_an_unknown_network_is_named(
    network_settings: NetworkSettings, changes: dict[str, str]
) -> None:
    with pytest.raises(InputError, match=r"model\.architecture .* cannot be built.*ope"):
        new_network(network_settings.model_copy(update=changes), 3, seed=0)


@torch.no_grad()
def test_a_saved_network_gives_the_same_logits(
    tmp_path: Path, network: SegmentationNetwork
) -> None:
    before = torch.get_rng_state()
    loaded = load_network(save(tmp_path / "deep" / "model", network), CPU)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"
    assert not loaded.training
    assert torch.equal(loaded(images(2, 40, 33)), network(images(2, 40, 33)))
    assert loaded.description() == network.description()


@torch.no_grad()
def test_normalisation_is_saved_to_the_last_digit(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    settings = network_settings.model_copy(
        update={"mean": [1 / 3, 2 / 7, 0.123456789], "std": [1e-8, 1 / 7, 1.0]}
    )
    network = new_network(settings, 2, seed=0)
    loaded = load_network(save(tmp_path, network), CPU)
    assert torch.equal(loaded.mean, network.mean)
    assert torch.equal(loaded.std, network.std)


def test_the_given_state_is_saved_and_not_the_networks_own(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    first, second = (new_network(network_settings, 3, seed=seed) for seed in (0, 1))
    save_network(tmp_path, first, second.state_dict(), Origin("student_1", 12))
    loaded = load_network(tmp_path, CPU).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in second.state_dict().items())
    assert read_origin(tmp_path) == Origin("student_1", 12)


def test_the_same_network_is_saved_as_the_same_bytes(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    for name in "ab":
        save(tmp_path / name, new_network(network_settings, 3, seed=0))
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "model.json"])
def test_a_missing_file_is_named(tmp_path: Path, network: SegmentationNetwork, file: str) -> None:
    save(tmp_path, network)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=f"is incomplete: {file} is missing"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize("file", ["model.safetensors", "model.json"])
@pytest.mark.parametrize(
    "content", [b"", b"garbage!", b"[]", b"{}", pickle.dumps({"a": 1})], ids=repr
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, network: SegmentationNetwork, file: str, content: bytes
) -> None:
    save(tmp_path, network)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize("changes", [{"classes": 5}, {"encoder": "tu-resnet10t"}, {"colour": 1}])
def test_weights_that_do_not_fit_their_description_are_refused(
    tmp_path: Path, network: SegmentationNetwork, changes: dict[str, object]
) -> None:
    save(tmp_path, network)
    described = json.loads((tmp_path / "model.json").read_text())
    described["network"] |= changes
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize(
    ("key", "value"), [("mean", [0.5, 0.5]), ("mean", [0.5, 0.5, 1.5]), ("std", [0.2, 0.2, 0])]
)
def test_an_impossible_normalisation_is_refused(
    network_settings: NetworkSettings, key: str, value: list[float]
) -> None:
    with pytest.raises(InputError, match=rf"model\.{key}"):
        check("model", network_settings.model_dump() | {key: value}, NetworkSettings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": "Linknett"}, "model.architecture 'Linknett'"),
        ({"encoder": "resnet19"}, "model.encoder 'resnet19'"),
        ({"options": {"depth_of_encoder": 3}}, "model.options"),
        ({"encoder": "resnet18", "options": {"nosuch": 1}}, "unknown: nosuch; allowed: .*depth"),
        ({"options": {"nosuch": 1}}, "model.options .* cannot be built: .*nosuch"),
        (
            {"architecture": "PAN"},
            r"cannot predict an image of 64 x 32 pixels.* works: image\.height: \d+ and image",
        ),
        (
            {"architecture": "DPT", "encoder": "tu-vit_tiny_patch16_224"},
            r"image of 64 x 32 pixels.* works: model\.options: \{dynamic_img_size: true\}$",
        ),
    ],
)
def test_a_network_that_cannot_run_is_found_before_training(
    network_settings: NetworkSettings, changes: dict[str, object], expected: str
) -> None:
    stop_unless_it_runs(network_settings, (32, 64))
    with pytest.raises(InputError, match=expected):
        stop_unless_it_runs(network_settings.model_copy(update=changes), (32, 64))


def test_a_model_says_what_it_was_made_with(
    network_settings: NetworkSettings, tmp_path: Path
) -> None:
    network = new_network(network_settings, 3, seed=0)
    save_network(tmp_path, network, network.state_dict(), Origin("teacher", 1))
    said = read_made_with(tmp_path)
    assert f"torch {torch.__version__.partition('+')[0]}, segmentation-models-pytorch " in said
    assert said.endswith(f", {torch.get_num_threads()} threads")
    described = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    del described["made_with"]
    (tmp_path / "model.json").write_text(json.dumps(described), encoding="utf-8")
    assert read_made_with(tmp_path) == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    tmp_path: Path, network: SegmentationNetwork, value: float
) -> None:
    state = network.state_dict()
    name = [name for name in state if name.endswith("weight")][3]
    state[name].flatten()[0] = value
    with pytest.raises(InputError, match=rf"cannot be loaded: {name} holds .* not finite"):
        load_network(save(tmp_path, network), CPU)


def test_weights_of_another_type_are_named(tmp_path: Path, network: SegmentationNetwork) -> None:
    state = {name: tensor.to(torch.int8) for name, tensor in network.state_dict().items()}
    save_network(tmp_path, network, state, Origin("teacher", 7))
    with pytest.raises(InputError, match=r"cannot be loaded: .* is of torch\.int8, expected"):
        load_network(tmp_path, CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [float("nan")] * 3},
        {"std": [0, 0.2, 0.2]},
        {"std": None},
        {"classes": "3"},
        {"classes": 10**30},
        {"encoder": ["tu-test_resnet"]},
        {"encoder": "tu-hf-hub:timm/test_resnet"},
        {"encoder": "tu-local-dir:/tmp"},
        {"options": {"checkpoint_path": "x.pth"}},
        {"options": {"encoder_depth": [[None]]}},
        {"options": {"encoder_depth": 10**30}},
        {"options": [None]},
        {"architecture": {}},
    ],
    ids=repr,
)
def test_a_description_that_was_tampered_with_is_refused_in_one_line(
    tmp_path: Path,
    network: SegmentationNetwork,
    changes: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    described = json.loads((save(tmp_path, network) / "model.json").read_text())
    described["network"] |= changes
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=f"model {tmp_path} cannot be loaded: ") as refused:
        load_network(tmp_path, CPU)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("origin", [None, [], {}, {"training": 1, "iteration": 2}, "x"], ids=repr)
def test_an_origin_that_says_nothing_is_refused(
    tmp_path: Path, network: SegmentationNetwork, origin: object
) -> None:
    described = json.loads((save(tmp_path, network) / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described | {"origin": origin}))
    with pytest.raises(InputError, match="does not say whose training made it"):
        read_origin(tmp_path)


def test_nested_without_end_is_no_description(tmp_path: Path, network: SegmentationNetwork) -> None:
    (save(tmp_path, network) / "model.json").write_text("[" * 10**6)
    with pytest.raises(InputError, match="is no JSON"):
        load_network(tmp_path, CPU)
