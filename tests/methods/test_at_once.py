"""Methods that train once: from image sets to the same model each time, interrupted or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.core.settings import check
from ppl.images.sets import ImageSet
from ppl.methods.at_once import SETTINGS, Networks, OnceImages, train_together
from ppl.methods.consistency import OnceSettings
from ppl.network.network import NetworkSettings, new_network
from ppl.training.checkpoint import Checkpoint
from ppl.training.compute import ComputeSettings
from ppl.training.loop import Training
from tests.conftest import MakeSet
from tests.methods.given import RECIPE
from tests.pipeline.project import ROOT

PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def settings_of(name: str, **changes: Any) -> OnceSettings:
    """Those of params.yaml, for a short training on few images, in which states come early."""
    small = {"iterations": 4, "labeled_batch": 2, "unlabeled_batch": 2, "every": 1}
    section = PARAMS[name]
    used = {key: value for key, value in (small | changes).items() if key in section}
    return check(name, section | used, SETTINGS[name])


@pytest.fixture
def images(make_set: MakeSet) -> OnceImages:
    labeled = make_set(["a", "b", "c"])
    return OnceImages(
        labeled, make_set(["u", "v", "w"], folder="bare", masks=False, seed=1), labeled
    )


def trained(
    name: str,
    images: OnceImages,
    network_settings: NetworkSettings,
    checkpoint: Checkpoint | None = None,
    **changes: Any,
) -> Training:
    networks = [new_network(network_settings, 3, seed=seed) for seed in (0, 1)]
    both = Networks(networks[0], networks[1] if name.startswith("cps") else None)
    settings = settings_of(name, **changes)
    return train_together(name, both, images, RECIPE, settings, Draws(0, "final"), checkpoint)


def same(first: Training, second: Training) -> bool:
    return all(torch.equal(first.kept[name], second.kept[name]) for name in first.kept)


class CutError(Exception):
    """The machine goes down."""


class CutOff(Checkpoint):
    """Saves after every step, and ends the training after the second."""

    saved = 0

    @property
    def due(self) -> bool:
        return True

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        self.saved += 1
        if self.saved == 2:
            raise CutError


@pytest.mark.parametrize("name", SETTINGS)
def test_a_training_interrupted_leaves_what_one_in_a_piece_does(
    tmp_path: Path, images: OnceImages, network_settings: NetworkSettings, name: str
) -> None:
    whole = trained(name, images, network_settings)
    file = tmp_path / "checkpoint"
    with pytest.raises(CutError):
        trained(name, images, network_settings, CutOff(file, seconds=0.0))
    resumed = trained(name, images, network_settings, Checkpoint(file, seconds=1e9))
    assert same(whole, resumed)
    assert whole.curve == resumed.curve
    assert len(whole.curve) == 4


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "supervised"])
def test_unlabeled_images_change_what_is_learned(
    images: OnceImages, make_set: MakeSet, network_settings: NetworkSettings, name: str
) -> None:
    others = make_set(["u", "v", "w"], folder="others", masks=False, seed=9)
    changed = OnceImages(images.labeled, others, images.validation)
    # all of them teach, however unsure the network is
    found = [trained(name, given, network_settings, threshold=0.0) for given in (images, changed)]
    assert not same(*found)


def test_supervised_needs_no_unlabeled_image(
    images: OnceImages, network_settings: NetworkSettings
) -> None:
    none = ImageSet(images.unlabeled.folder, ())
    without = OnceImages(images.labeled, none, images.validation)
    assert same(
        trained("supervised", images, network_settings),
        trained("supervised", without, network_settings),
    )


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "supervised"])
def test_a_method_that_lives_on_unlabeled_images_says_that_there_are_none(
    images: OnceImages, network_settings: NetworkSettings, name: str
) -> None:
    none = ImageSet(images.unlabeled.folder, ())
    with pytest.raises(InputError, match=r"split\.labeled_fraction or add images without masks$"):
        trained(name, OnceImages(images.labeled, none, images.validation), network_settings)


def test_no_labeled_image_is_said(images: OnceImages, network_settings: NetworkSettings) -> None:
    none = ImageSet(images.labeled.folder, ())
    with pytest.raises(InputError, match="no labeled image"):
        trained("cps", OnceImages(none, images.unlabeled, none), network_settings)


def test_one_unlabeled_image_fills_a_batch(
    images: OnceImages, network_settings: NetworkSettings
) -> None:
    one = ImageSet(images.unlabeled.folder, images.unlabeled.entries[:1])
    only = OnceImages(images.labeled, one, images.validation)
    assert len(trained("unimatch", only, network_settings).curve) == 4


def test_where_asked_every_network_that_learns_is_compiled(
    monkeypatch: pytest.MonkeyPatch, images: OnceImages, network_settings: NetworkSettings
) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    networks = [new_network(network_settings, 3, seed=seed) for seed in (0, 1)]
    recipe = replace(RECIPE, compute=ComputeSettings(precision="float32", compile=True))
    settings = settings_of("cps")
    train_together("cps", Networks(*networks), images, recipe, settings, Draws(0, "final"))
    assert compiled == [network.body for network in networks]


def test_both_networks_of_cps_learn(images: OnceImages, network_settings: NetworkSettings) -> None:
    networks = [new_network(network_settings, 3, seed=seed) for seed in (0, 1)]
    before = [
        {name: of.clone() for name, of in network.state_dict().items()} for network in networks
    ]
    settings = settings_of("cps")
    train_together("cps", Networks(*networks), images, RECIPE, settings, Draws(0, "final"))
    for network, state in zip(networks, before, strict=True):
        weights = {name for name, _ in network.named_parameters()}
        after = network.state_dict()
        assert all(not torch.equal(after[name], state[name]) for name in weights if "conv" in name)
