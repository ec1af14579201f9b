"""Encoder weights from a file: they fit or the keys are named, and no pickled code ever runs."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ppl.core.errors import InputError
from ppl.network.encoder_weights import (
    fit_to_encoder,
    import_encoder_weights,
    read_weights_file,
    start_from_encoder_weights,
)
from ppl.network.network import NetworkSettings, new_network


class Touch:
    """Unpickling this creates a file: what a malicious checkpoint might do."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def weights_of(settings: NetworkSettings, seed: int = 1) -> dict[str, Tensor]:
    state = new_network(settings, 2, seed=seed).encoder.state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


def from_file(settings: NetworkSettings, file: Path) -> NetworkSettings:
    return settings.model_copy(update={"encoder_weights": str(file)})


def write(file: Path, tensors: dict[str, Tensor]) -> Path:
    if file.suffix == ".safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file)
    return file


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt"])
@pytest.mark.parametrize("prefixed", [True, False])
def test_weights_of_a_file_arrive_in_the_encoder(
    tmp_path: Path, network_settings: NetworkSettings, name: str, prefixed: bool
) -> None:
    weights = weights_of(network_settings)
    given = weights if prefixed else {k.removeprefix("model."): v for k, v in weights.items()}
    # what a classifier's file has more than an encoder
    head = "model.fc" if prefixed else "fc"
    given = given | {f"{head}.weight": torch.rand(10, 64), f"{head}.bias": torch.rand(10)}
    file = write(tmp_path / name, given)
    said = import_encoder_weights(from_file(network_settings, file), tmp_path / "out")
    assert said == f"tu-test_resnet, weights: {name}"

    network = new_network(network_settings, 3, seed=5)
    start_from_encoder_weights(network, tmp_path / "out")
    for key, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, weights[key])


def test_weights_below_state_dict_are_found(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    weights = weights_of(network_settings)
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "w.pth")
    assert read_weights_file(tmp_path / "w.pth").keys() == weights.keys()


def test_half_precision_and_parameters_are_taken_at_the_encoders_type(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    weights = {
        name: torch.nn.Parameter(tensor.half()) if tensor.is_floating_point() else tensor
        for name, tensor in weights_of(network_settings).items()
    }
    file = write(tmp_path / "w.pth", weights)
    import_encoder_weights(from_file(network_settings, file), tmp_path / "out")
    network = new_network(network_settings, 3, seed=5)
    start_from_encoder_weights(network, tmp_path / "out")
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_what_was_imported_is_described(tmp_path: Path, network_settings: NetworkSettings) -> None:
    file = write(tmp_path / "w.pth", weights_of(network_settings))
    import_encoder_weights(from_file(network_settings, file), tmp_path / "out")
    content = (tmp_path / "out" / "encoder.safetensors").read_bytes()
    assert json.loads((tmp_path / "out" / "encoder.json").read_text()) == {
        "encoder": "tu-test_resnet",
        "source": "w.pth",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_no_weights_leave_the_encoder_at_random_even_after_an_earlier_import(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    file = write(tmp_path / "w.pth", weights_of(network_settings))
    import_encoder_weights(from_file(network_settings, file), tmp_path / "out")
    assert "random" in import_encoder_weights(network_settings, tmp_path / "out")
    network = new_network(network_settings, 3, seed=5)
    start_from_encoder_weights(network, tmp_path / "out")
    fresh = new_network(network_settings, 3, seed=5).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("wrap", ["alone", "beside tensors", "plain pickle"])
def test_pickled_code_never_runs(tmp_path: Path, wrap: str) -> None:
    trap, file = tmp_path / "touched", tmp_path / "w.pth"
    if wrap == "alone":
        torch.save(Touch(trap), file)
    elif wrap == "beside tensors":
        torch.save({"conv1.weight": torch.rand(2), "x": Touch(trap)}, file)
    else:
        file.write_bytes(pickle.dumps(Touch(trap), protocol=2))
    with pytest.raises(InputError, match=r"w\.pth cannot be read .*never run") as raised:
        read_weights_file(file)
    assert not trap.exists()
    assert "weights_only" not in str(raised.value), "no advice to run the code after all"
    # the trap itself works: without the check it would have sprung
    pickle.loads(pickle.dumps(Touch(trap)))
    assert trap.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02."])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.encoder_weights: .*{name} cannot be read"):
        read_weights_file(tmp_path / name)


def test_a_file_cut_short_is_refused(tmp_path: Path, network_settings: NetworkSettings) -> None:
    for name in ["w.pth", "w.safetensors"]:
        file = write(tmp_path / name, weights_of(network_settings))
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(InputError, match="cannot be read"):
            read_weights_file(file)


@pytest.mark.parametrize(
    "content", [[torch.rand(2)], torch.rand(2), {1: torch.rand(2)}, {"epoch": 3}, 7]
)
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="no table of tensors by name"):
        read_weights_file(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["nowhere.pth", "folder"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name} does not exist"):
        read_weights_file(tmp_path / name)


def test_another_kind_of_file_is_told_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "w.bin").touch()
    with pytest.raises(InputError, match=r"neither \.safetensors nor \.pth; allowed: imagenet"):
        read_weights_file(tmp_path / "w.bin")


def test_missing_keys_are_named(network_settings: NetworkSettings) -> None:
    weights = weights_of(network_settings)
    gone = [name for name in weights if name.endswith("weight")][:2]
    for name in gone:
        del weights[name]
    encoder = new_network(network_settings, 2, seed=0).encoder
    with pytest.raises(InputError, match=f"f.pth does not fit .*2 missing: {', '.join(gone)}"):
        fit_to_encoder(encoder, weights, source="f.pth")


def test_keys_too_many_are_named(network_settings: NetworkSettings) -> None:
    weights = weights_of(network_settings) | {"model.layer9.weight": torch.rand(2)}
    encoder = new_network(network_settings, 2, seed=0).encoder
    with pytest.raises(InputError, match=r"1 too many: model\.layer9\.weight"):
        fit_to_encoder(encoder, weights, source="f.pth")


def test_keys_of_another_shape_are_named(network_settings: NetworkSettings) -> None:
    weights = weights_of(network_settings)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] = torch.rand(1, 2, 3)
    encoder = new_network(network_settings, 2, seed=0).encoder
    with pytest.raises(InputError, match=rf"1 of another shape: {name} is \(1, 2, 3\), the encod"):
        fit_to_encoder(encoder, weights, source="f.pth")


def test_a_larger_resnet_does_not_pass_for_a_smaller_one(
    network_settings: NetworkSettings,
) -> None:
    small, large = (
        new_network(network_settings.model_copy(update={"encoder": name}), 2, seed=0).encoder
        for name in ("resnet18", "resnet34")
    )
    with pytest.raises(InputError, match=r"too many: layer1\.2\.conv1\.weight"):
        fit_to_encoder(small, dict(large.state_dict()), source="resnet34.pth")
    with pytest.raises(InputError, match=r"missing: layer1\.2\.conv1\.weight"):
        fit_to_encoder(large, dict(small.state_dict()), source="resnet18.pth")
    # a whole classifier fits: its head is left out
    classifier = small.state_dict() | {"fc.weight": torch.rand(9, 512), "fc.bias": torch.rand(9)}
    assert fit_to_encoder(small, classifier, source="x").keys() == small.state_dict().keys()


def test_counters_of_batches_may_be_missing(network_settings: NetworkSettings) -> None:
    weights = weights_of(network_settings)
    plain = {name: tensor for name, tensor in weights.items() if "num_batches" not in name}
    encoder = new_network(network_settings, 2, seed=0).encoder
    assert fit_to_encoder(encoder, plain, source="x").keys() == weights.keys()


def test_a_hub_out_of_reach_says_what_else_is_possible(
    tmp_path: Path, network_settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("segmentation_models_pytorch.encoders.get_encoder", unreachable)
    settings = network_settings.model_copy(update={"encoder_weights": "imagenet"})
    with pytest.raises(InputError, match=r"\(ConnectionError\).*\.pth file, or to null"):
        import_encoder_weights(settings, tmp_path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda tensor: tensor.to_sparse(), "sparse or nested"),
        (lambda tensor: tensor.to("meta"), "meta device"),
        (lambda tensor: tensor.to(torch.complex64), r"torch\.complex64, expected"),
        (lambda tensor: tensor.to(torch.int8), r"torch\.int8, expected torch\.float32"),
        (lambda tensor: tensor * float("nan"), "not finite"),
        (lambda tensor: tensor.double() + 1e300, "not finite"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_named(
    tmp_path: Path, network_settings: NetworkSettings, make: Any, expected: str
) -> None:
    weights = weights_of(network_settings)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name] = make(weights[name])
    file = write(tmp_path / "w.pth", weights)
    with pytest.raises(InputError, match=rf"w\.pth: {name} .*{expected}"):
        import_encoder_weights(from_file(network_settings, file), tmp_path / "out")
