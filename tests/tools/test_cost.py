"""What steps cost in passes of the network, and budgets that cost the same."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.images.sets import Entry, ImageSet, write_index
from ppl.methods.at_once import SETTINGS
from ppl.methods.choose import NAMES
from ppl.tools.cost import Costs, EqualCosts, counted, passes_of_prediction
from ppl.training.teacher import SupervisedSettings
from tests.conftest import whole, windows
from tests.pipeline.project import ROOT, TINY, edit_params

UNLABELED = 10


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    shutil.copy(ROOT / "params.yaml", folder)
    edit_params(folder, TINY)
    edit_params(folder, {"prevmatch": {"every": 1}})
    edit_params(folder, changes)
    entries = [Entry(f"{k}", f"{k}.png", 32, 32) for k in range(UNLABELED)]
    (folder / "data/prepared/unlabeled").mkdir(parents=True)
    write_index(folder / "data/prepared/unlabeled", entries)
    monkeypatch.chdir(folder)


def test_a_step_costs_the_passes_that_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two labeled and two unlabeled images a step; `trained` is an image forward and backward."""
    project(tmp_path, monkeypatch, {})
    costs = Costs()
    trained = costs.teacher(section("train_supervised", SupervisedSettings)).passes / 2
    # blurring strong views counts, too, next to nothing
    # a backward pass costs twice a forward one, less what the first layer has no input to teach
    assert 2.6 < trained < 3.001
    once = {name: costs.once(name, section(name, SETTINGS[name])).passes for name in SETTINGS}
    assert once["supervised"] == pytest.approx(2 * trained, rel=0.005)
    # two networks
    assert once["cps"] == pytest.approx(2 * 4 * trained, rel=0.005)
    assert once["cps_cutmix"] == pytest.approx(2 * (4 + 4 * trained), rel=0.005)
    # the partners, both weak views, one strong view
    assert once["fixmatch"] == pytest.approx(2 + 4 * trained + 2 * trained, rel=0.005)
    # the running mean, the labeled images, both strong views
    assert once["unimatch_v2"] == pytest.approx(2 + 2 * trained + 4 * trained, rel=0.005)
    # beside two strong views, the decoder sees the weak ones a second time
    plain = 2 + 8 * trained
    assert plain < once["unimatch"] < plain + 4 * trained
    # two of one to three earlier states, on average, predict both batches
    assert once["prevmatch"] == pytest.approx(once["unimatch"] + 2 * 4, rel=0.005)


def test_students_cost_their_confidence_and_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, monkeypatch, {"mean_teacher": {"enabled": True}})
    costs = Costs()
    trained = costs.teacher(section("train_supervised", SupervisedSettings)).passes / 2
    strong = costs.student("retrain_final", def_up=False).passes
    assert strong == pytest.approx(4 * trained, rel=0.005)
    # the mean labels two images, and the network says how sure it is of them
    assert costs.student("retrain_final", def_up=True).passes == pytest.approx(
        strong + 2 + 2, rel=0.005
    )


def test_all_methods_cost_what_ppl_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = {"iterations": 30, "labeled_batch": 2, "unlabeled_batch": 2}
    changes = {
        "train_supervised": {"iterations": 20, "batch": 2},
        "retrain_reliable": budget,
        "retrain_final": {**budget, "iterations": 60},
    }
    project(tmp_path, monkeypatch, changes)
    costs = EqualCosts()
    assert costs.ppl.steps == [20, 30, 60]
    measured = costs._costs
    for name in NAMES:
        found = costs.of(name)
        assert found.changes["method.name"] == name
        # no step more fits
        assert 0 <= costs.ppl.passes - found.passes < 40, name
        assert found.seconds > 0
    assert costs.of("st++").steps[:2] == [20, 30]
    assert costs.of("st++").steps[2] > 60
    assert len(costs.of("st").steps) == 2
    teacher = measured.teacher(section("train_supervised", SupervisedSettings)).passes
    students = [
        measured.student(name, def_up=True).passes for name in ("retrain_reliable", "retrain_final")
    ]
    # three snapshots rank, and both mirror images are labeled
    looks = UNLABELED * (3 + 2)
    expected = 20 * teacher + 30 * students[0] + 60 * students[1] + looks
    assert costs.ppl.passes == pytest.approx(expected)


def test_windows_are_passes() -> None:
    images = ImageSet(Path(), (Entry("a", "a.png", 100, 64), Entry("b", "b.png", 64, 64)))
    assert passes_of_prediction(images, whole(64, 64), [1.0]) == 2
    assert passes_of_prediction(images, whole(64, 64), [1.0, 0.5]) == 2.5
    # of 100 pixels, two windows of 64 show all
    assert passes_of_prediction(images, windows(64, 64), [1.0]) == 3


def test_unprepared_images_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch, {})
    (tmp_path / "data/prepared/unlabeled/index.json").unlink()
    with pytest.raises(InputError, match="dvc repro prepare"):
        EqualCosts()


def test_a_method_without_a_step_left_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"iterations": 1, "labeled_batch": 2, "unlabeled_batch": 2}
    project(
        tmp_path,
        monkeypatch,
        {
            "train_supervised": {"iterations": 4, "batch": 2},
            "retrain_reliable": short,
            "retrain_final": short,
            "prevmatch": {"labeled_batch": 64, "unlabeled_batch": 64},
        },
    )
    with pytest.raises(InputError, match="prevmatch has no step left"):
        EqualCosts().of("prevmatch")


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 16, 3, padding=1, stride=2, groups=4),
        nn.Conv2d(8, 4, 3, dilation=2),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2),
    ],
)
def test_each_gradient_of_a_convolution_costs_what_its_forward_pass_does(layer: nn.Module) -> None:
    """Also of one in groups: a network of depthwise layers would else cost twelve times as much."""
    image = torch.rand(2, 8, 16, 16)
    for asked in (False, True):
        with counted() as forward:
            layer(image.requires_grad_(asked))
        with counted() as both:
            layer(image).sum().backward()
        assert both.get_total_flops() == (3 if asked else 2) * forward.get_total_flops()
