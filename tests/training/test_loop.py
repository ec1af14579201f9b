"""The training loop: rates, selection, snapshots, stopping, and the same bytes from one seed."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import ImageSet, mask_file
from ppl.network.network import (
    NetworkSettings,
    Origin,
    SegmentationNetwork,
    new_network,
    save_network,
)
from ppl.students.cutmix import CutMixSettings
from ppl.students.def_up import RetrainSettings
from ppl.students.fall_back import FallBackSettings
from ppl.students.mean_teacher import PAPER as MASKS_STAY
from ppl.students.student import StudentImages, StudentSettings, retrain
from ppl.training.checkpoint import Checkpoint
from ppl.training.compute import ComputeSettings
from ppl.training.curve import write_training_curve
from ppl.training.decoded import keep
from ppl.training.images import labeled_images
from ppl.training.loop import Training, train, train_step
from ppl.training.loss import PAPER, LossSettings, cross_entropy
from ppl.training.optimizer import OptimizerSettings, new_sgd, poly_decay
from ppl.training.paste import PAPER as NOTHING_PASTED
from ppl.training.recipe import Recipe
from ppl.training.sampling import SamplingSettings
from ppl.training.selection import SelectionSettings
from ppl.training.stream import BatchStream
from ppl.training.strong_augment import PAPER as PAPER_STRONG
from ppl.training.strong_augment import StrongAugmentSettings
from ppl.training.teacher import SupervisedSettings, train_supervised
from ppl.training.validation import validation_counts, validation_score
from ppl.training.weak_augment import WeakAugmentSettings
from tests.conftest import COLOURS, MakeSet, whole

CPU = torch.device("cpu")
OPTIMIZER = OptimizerSettings(
    encoder_lr=0.01, decoder_lr_multiple=10.0, momentum=0.9, weight_decay=1e-4, poly_power=0.9
)
IMAGE = whole(32, 32)
PLAINLY = ComputeSettings(precision="float32", compile=False)
LOSS = PAPER.model_copy(update={"defect_weight": 2.0, "tversky_weight": 1.0})
WEAK = WeakAugmentSettings(
    scale_min=0.8, scale_max=1.25, flip_probability=0.5, vertical_flip_probability=0.0
)
PASTE = NOTHING_PASTED.model_copy(update={"probability": 0.5, "margin": 2})
STRONG = PAPER_STRONG.model_copy(update={"of_labeled": True})
MIX = CutMixSettings(
    enabled=True,
    order="after_strong",
    sure_of="image",
    sure_by="network",
    combine="union",
    boxes=3,
    area_min=0.25,
    area_max=0.5,
    aspect_max=2.0,
)


def by(what: str, every: int = 2) -> SelectionSettings:
    return SelectionSettings.model_validate({"by": what, "every": every})


RECIPE = Recipe(
    image=IMAGE,
    weak_augment=WEAK,
    strong_augment=STRONG,
    sampling=SamplingSettings(repeat_below=0.9),
    paste=PASTE,
    loss=LOSS,
    optimizer=OPTIMIZER,
    selection=by("validation"),
    compute=PLAINLY,
)


class Fixed:
    """A step that asks `loss` of the network, and draws nothing."""

    batch = 2
    waited = 0.0
    companions = ()

    def __init__(self, loss: Callable[[torch.nn.Module], Tensor]) -> None:
        self._loss = loss

    def __call__(self, network: torch.nn.Module) -> Tensor:
        return self._loss(network)

    def product(self, network: SegmentationNetwork) -> SegmentationNetwork:
        return network

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {}


def fixed_loss(network: torch.nn.Module) -> Tensor:
    """The same two random images at every step."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 32, generator=draws)
    return cross_entropy(network(images), torch.randint(3, (2, 32, 32), generator=draws), PAPER)


def scores(values: list[float]) -> Callable[[SegmentationNetwork], float]:
    """A validation that gives these scores in turn."""
    coming = iter(values)
    return lambda network: next(coming)


def run(
    network: SegmentationNetwork,
    validate: Any = None,
    *,
    loss: Callable[[torch.nn.Module], Tensor] = fixed_loss,
    selection: SelectionSettings | None = None,
    optimizer: OptimizerSettings = OPTIMIZER,
    name: str = "teacher",
    **changes: Any,
) -> Training:
    recipe = replace(RECIPE, selection=selection or by("last"), optimizer=optimizer)
    return train(
        network, Fixed(loss), validate, recipe, **({"iterations": 6, "name": name} | changes)
    )


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("power", [0.0, 0.9, 2.0])
def test_the_rate_decays_from_one_towards_zero(power: float) -> None:
    assert poly_decay(0, 10, power) == 1
    assert [poly_decay(step, 10, power) for step in range(10)] == pytest.approx(
        [((10 - step) / 10) ** power for step in range(10)]
    )


def test_every_parameter_learns_and_the_decoder_at_the_multiple(
    network: SegmentationNetwork,
) -> None:
    encoder, decoder = new_sgd([network], OPTIMIZER).param_groups
    assert (encoder["lr"], decoder["lr"]) == (0.01, 0.1)
    assert (encoder["momentum"], encoder["weight_decay"]) == (0.9, 1e-4)
    assert {id(p) for p in encoder["params"]} == {id(p) for p in network.encoder.parameters()}
    both = [id(p) for group in (encoder, decoder) for p in group["params"]]
    assert sorted(both) == sorted(id(p) for p in network.parameters())


def test_a_step_moves_each_part_by_its_decayed_rate_times_the_gradient(
    network: SegmentationNetwork,
) -> None:
    plain = OPTIMIZER.model_copy(update={"momentum": 0.0, "weight_decay": 0.0})
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loss = train_step(network, fixed_loss, new_sgd([network], plain), 0.5)
    assert loss > 0
    for name, parameter in network.named_parameters():
        rate = 0.005 if name.startswith("body.encoder.") else 0.05
        assert parameter.grad is not None
        torch.testing.assert_close(parameter, before[name] - rate * parameter.grad)


def test_training_lowers_the_loss(network: SegmentationNetwork) -> None:
    curve = run(network, iterations=10).curve
    losses = [point["training_loss"] for point in curve]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("iterations", "snapshots", "expected"),
    [(9, 3, [3, 6, 9]), (10, 3, [3, 7, 10]), (3, 3, [1, 2, 3]), (5, 2, [2, 5]), (7, 0, [])],
)
def test_snapshots_stand_at_equal_distances_and_the_last_at_the_end(
    network: SegmentationNetwork, iterations: int, snapshots: int, expected: list[int]
) -> None:
    training = run(network, iterations=iterations, snapshots=snapshots)
    assert [iteration for iteration, _ in training.snapshots] == expected
    if snapshots:
        assert same(training.snapshots[-1][1], training.kept)
        assert not same(training.snapshots[0][1], training.snapshots[1][1])


def test_any_number_of_snapshots_that_fits_is_kept() -> None:
    for iterations in range(1, 60):
        for count in range(1, iterations + 1):
            at = {round((k + 1) * iterations / count) for k in range(count)}
            assert len(at) == count
            assert max(at) == iterations
            assert min(at) >= 1


def test_more_snapshots_than_iterations_are_refused(network: SegmentationNetwork) -> None:
    with pytest.raises(InputError, match="7 snapshots do not fit into 6 iterations"):
        run(network, snapshots=7)


@pytest.mark.parametrize(
    ("values", "kept"), [([0.1, 0.9, 0.5], 4), ([0.5, 0.1, 0.5], 6), ([0.0, 0.0, 0.0], 6)]
)
def test_the_best_validated_state_is_kept_and_of_equals_the_later(
    network: SegmentationNetwork, values: list[float], kept: int
) -> None:
    training = run(network, scores(values), selection=by("validation"), snapshots=3)
    assert training.kept_iteration == kept
    states = dict(training.snapshots)
    assert same(training.kept, states[kept])


def test_the_last_state_is_kept_whatever_its_score(network: SegmentationNetwork) -> None:
    training = run(network, scores([0.9, 0.5, 0.1]))
    assert training.kept_iteration == 6
    assert same(training.kept, network.state_dict())
    assert [point["validation_miou"] for point in training.curve][1::2] == [0.9, 0.5, 0.1]


def test_the_end_is_validated_even_off_the_beat(network: SegmentationNetwork) -> None:
    training = run(network, scores([0.1, 0.9]), selection=by("validation", every=4))
    assert training.kept_iteration == 6


def test_validation_sees_the_network_in_eval_mode_and_training_goes_on_in_training_mode(
    network: SegmentationNetwork,
) -> None:
    modes = []

    def loss(network: torch.nn.Module) -> Tensor:
        modes.append(network.training)
        return fixed_loss(network)

    def validate(network: SegmentationNetwork) -> float:
        modes.append(network.training)
        return 0.5

    run(network, validate, loss=loss, iterations=3)
    assert modes == [True, True, False, True, False]


def test_selection_by_validation_without_images_says_what_to_change(
    network: SegmentationNetwork,
) -> None:
    with pytest.raises(InputError, match=r"split\.validation_fraction .*selection\.by: last"):
        run(network, selection=by("validation"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_names_the_iteration(
    network: SegmentationNetwork, value: float
) -> None:
    calls = []

    def loss(network: torch.nn.Module) -> Tensor:
        calls.append(1)
        return fixed_loss(network) * (value if len(calls) == 4 else 1.0)

    with pytest.raises(InputError, match=rf"x: the loss is {value} at iteration 4 of 6"):
        run(network, loss=loss, name="x")


def test_a_reader_that_dies_between_two_reads_is_told_as_one_that_dies_in_a_read(
    network: SegmentationNetwork,
) -> None:
    def dies(network: torch.nn.Module) -> Tensor:
        # as PyTorch raises it from a signal, wherever the program is
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    with pytest.raises(InputError, match=r"reads images has died .*pid 7.*set PPL_WORKERS below"):
        run(network, loss=dies)

    def fails(network: torch.nn.Module) -> Tensor:
        raise RuntimeError("of us")

    with pytest.raises(RuntimeError, match="of us"):
        run(network, loss=fails)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_reader_that_is_killed_between_two_reads_of_a_training_is_told(
    network: SegmentationNetwork, make_set: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process, killed while the training computes: PyTorch raises in the middle of that."""
    monkeypatch.setenv("PPL_WORKERS", "2")
    still = WeakAugmentSettings(
        scale_min=1.0, scale_max=1.0, flip_probability=0.0, vertical_flip_probability=0.0
    )
    data = labeled_images(make_set([str(k) for k in range(9)]), whole(32, 32), still, 3)
    draws = Draws(0, "killed")
    cpu = torch.device("cpu")
    batches = BatchStream(
        keep(data, memory=100), 3, order=draws("order"), augment=draws("augment"), device=cpu
    )
    steps = []

    def reads(network: torch.nn.Module) -> Tensor:
        batches.next()
        steps.append(1)
        if len(steps) == 3:
            reader = next(child for child in psutil.Process().children() if child.pid not in before)
            os.kill(reader.pid, signal.SIGKILL)
            # until the signal of its end comes, which is where PyTorch raises
            time.sleep(60)
            raise AssertionError("nobody noticed")
        return fixed_loss(network)

    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(InputError, match=r"reads images has died .*set PPL_WORKERS below 2") as no:
        run(network, loss=reads)
    assert len(steps) == 3
    assert len(str(no.value).splitlines()) == 1


@pytest.mark.parametrize("by_what", ["last", "validation"])
def test_weights_that_are_not_finite_are_never_kept(
    network: SegmentationNetwork, by_what: str
) -> None:
    # the loss before the last step is still finite, the weights after it are not
    wild = OPTIMIZER.model_copy(update={"encoder_lr": 1e20, "weight_decay": 1e20})
    with pytest.raises(InputError, match="teacher: weights are not finite after iteration 1"):
        run(network, scores([0.5]), iterations=1, optimizer=wild, selection=by(by_what))


def test_the_curve_covers_every_iteration_and_can_be_written(
    network: SegmentationNetwork, tmp_path: Path
) -> None:
    training = run(network, scores([0.1, 0.2, 0.3, 0.4]), iterations=7)
    assert [point["iteration"] for point in training.curve] == [1, 2, 3, 4, 5, 6, 7]
    write_training_curve(tmp_path / "curve.json", training, model="teacher")
    assert (tmp_path / "curve.json").read_text().count('"model": "teacher"') == 7


def teacher(
    labeled: ImageSet,
    validation: ImageSet,
    settings: NetworkSettings,
    *,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    loss: LossSettings = LOSS,
    strong: StrongAugmentSettings = STRONG,
    **sup: int,
) -> tuple[SegmentationNetwork, Training]:
    network = new_network(settings, 3, seed=seed)
    budget = SupervisedSettings(**({"iterations": 4, "batch": 2, "snapshots": 2} | sup))
    recipe = replace(RECIPE, loss=loss, strong_augment=strong)
    draws = Draws(seed, "teacher")
    training = train_supervised(network, labeled, validation, recipe, budget, draws, checkpoint)
    return network, training


def test_the_same_seed_gives_the_same_bytes_even_with_dropout(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    settings = network_settings.model_copy(update={"architecture": "DeepLabV3Plus"})
    labeled, validation = make_set(["a", "b", "c/d.1"]), make_set(["v"], folder="val")
    before = torch.get_rng_state()
    for name, seed in [("first", 0), ("second", 0), ("other", 1)]:
        network, training = teacher(labeled, validation, settings, seed=seed)
        assert any(isinstance(layer, torch.nn.Dropout) for layer in network.modules())
        save_network(tmp_path / name, network, training.kept, Origin("teacher", 1))
        assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"
        # what someone else draws in between must not matter
        torch.rand(7)
        before = torch.get_rng_state()
    first, second, other = (
        (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("first", "second", "other")
    )
    assert first == second
    assert first != other


def test_a_teacher_learns_a_few_images_by_heart(
    make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a", "b", "c", "d"])
    network, training = teacher(labeled, labeled, network_settings, iterations=40, batch=4)
    # pure background scores 0.3
    assert training.curve[-1]["validation_miou"] > 0.6
    network.load_state_dict(training.kept)
    score = validation_score(labeled, whole(32, 32), 3)
    assert score is not None
    best = max(point["validation_miou"] or 0 for point in training.curve)
    assert score(network.eval()) == pytest.approx(best, abs=1e-6)


def test_a_single_labeled_image_is_enough_and_none_is_not(
    make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a"])
    _, training = teacher(labeled, labeled, network_settings, iterations=2, batch=3)
    assert training.kept_iteration == 2
    with pytest.raises(InputError, match="no labeled image is left for training: raise split"):
        teacher(labeled.subset([]), labeled, network_settings)


def validated_on(make_set: MakeSet, values: list[int]) -> ImageSet:
    """Validation images whose masks hold one value each."""
    ids = [f"v{number}" for number in range(len(values))]
    validation = make_set([*ids, "w"], folder="val").subset(ids)
    for id, value in zip(ids, values, strict=True):
        mask = torch.full((32, 32), value)
        write_mask(mask_file(validation.folder / "masks", id), mask, COLOURS)
    return validation


@pytest.mark.parametrize("values", [[], [255], [0], [0, 255]])
def test_validation_images_without_a_defect_score_nothing(
    make_set: MakeSet, values: list[int]
) -> None:
    assert validation_score(validated_on(make_set, values), whole(32, 32), 3) is None


class UpperHalf(torch.nn.Module):
    """Class 1 on the upper 16 rows, class 0 below; `stray` on the last row."""

    def __init__(self, stray: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.stray = stray

    def forward(self, images: Tensor) -> Tensor:
        predicted = torch.zeros(len(images), *images.shape[2:], dtype=torch.long)
        predicted[:, :16] = 1
        predicted[:, -1] = self.stray
        return torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float() * 50


def test_a_class_that_validation_lacks_costs_its_pixels_and_no_more(make_set: MakeSet) -> None:
    score = validation_score(validated_on(make_set, [0, 1]), whole(32, 32), 3)
    assert score is not None
    of_background, of_defect = 16 / (32 + 16), 16 / (32 + 16)
    assert score(UpperHalf(stray=0)) == pytest.approx((of_background + of_defect) / 2)  # type: ignore[arg-type]
    stray = 15 / (32 + 15)
    # not a third of it and 0: class 2 is on none of these images
    assert score(UpperHalf(stray=2)) == pytest.approx((stray + of_defect) / 2)  # type: ignore[arg-type]


def test_counts_of_several_processes_are_those_of_one(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # more than one batch for each of two
    validation = validated_on(make_set, [number % 3 for number in range(20)])
    network: Any = UpperHalf(stray=2)
    whole_set = validation_counts(validation, whole(32, 32), 3)
    assert whole_set is not None
    expected = whole_set(network)
    shown = [counts.sum(dim=1).argmax().item() for counts in expected]
    assert shown == [int(id.removeprefix("v")) % 3 for id in validation.ids]
    shares = []
    for rank in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("ppl.core.processes.every", lambda items, rank=rank: items[rank::2])
            count = validation_counts(validation, whole(32, 32), 3)
            assert count is not None
            shares.append(count(network))
    assert torch.equal(shares[0] + shares[1], expected)
    assert not torch.equal(shares[0], expected)


def student(
    labeled: ImageSet,
    unlabeled: ImageSet,
    folders: list[Path],
    settings: NetworkSettings,
    *,
    iterations: int = 3,
    unlabeled_batch: int = 2,
    relabels: bool = False,
    kept: bool = False,
    validation: ImageSet | None = None,
    checkpoint: Checkpoint | None = None,
) -> Training:
    return retrain(
        new_network(settings, 3, seed=0),
        StudentImages(labeled, unlabeled, folders, validation=validation or labeled),
        RECIPE,
        StudentSettings(
            cutmix=MIX,
            mean_teacher=MASKS_STAY.model_copy(
                update={"enabled": relabels, "momentum": 0.5, "kept": kept}
            ),
            fall_back=FallBackSettings(enabled=False, confidence=0.9, resamples=400),
        ),
        RetrainSettings(
            start="fresh",
            iterations=iterations,
            labeled_batch=2,
            unlabeled_batch=unlabeled_batch,
        ),
        Draws(0, "student_1"),
        checkpoint,
    )


def test_the_running_mean_may_be_the_student(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled, unlabeled = make_set(["a", "b"]), make_set(["u", "v"], folder="bare", masks=False)
    for id in unlabeled.ids:
        write_mask(mask_file(tmp_path / "masks", id), torch.zeros(32, 32), COLOURS)

    plain, mean = (
        student(
            labeled, unlabeled, [tmp_path / "masks"], network_settings, relabels=True, kept=kept
        ).kept
        for kept in (False, True)
    )
    assert plain.keys() == mean.keys()
    start = new_network(network_settings, 3, seed=0).state_dict()
    weights = [name for name in plain if name.endswith("weight")]
    moved = {name: (plain[name] - start[name]).norm() for name in weights}
    # the mean has gone a part of the way
    nearer = [(mean[name] - start[name]).norm() < moved[name] for name in weights]
    assert all(nearer)
    assert all((mean[name] - start[name]).norm() > 0 for name in weights)


def test_a_student_learns_from_pseudo_masks_alone_of_the_unlabeled_images(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a", "b"])
    unlabeled = make_set(["u/1", "u/2.5", "w"], folder="unlabeled", masks=False, seed=1)
    reliable, hard = tmp_path / "reliable", tmp_path / "hard"
    hard.mkdir()
    for id in ["u/1", "u/2.5"]:
        write_mask(mask_file(reliable, id), torch.zeros(32, 32), COLOURS)
    first = student(labeled, unlabeled, [reliable], network_settings)
    torch.rand(3)
    # an empty hard half adds nothing and draws nothing
    second = student(labeled, unlabeled, [reliable, hard], network_settings)
    assert same(first.kept, second.kept)
    write_mask(mask_file(hard, "w"), torch.ones(32, 32), COLOURS)
    third = student(labeled, unlabeled, [reliable, hard], network_settings)
    assert not same(first.kept, third.kept)


def test_a_student_without_unlabeled_images_learns_from_the_labeled_ones_alone(
    tmp_path: Path,
    make_set: MakeSet,
    network_settings: NetworkSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labeled = make_set(["a", "b"])
    unlabeled = make_set(["u", "v"], folder="unlabeled", masks=False, seed=1)

    def trained(value: int, unlabeled_batch: int) -> Training:
        for id in unlabeled.ids:
            write_mask(mask_file(tmp_path / "masks", id), torch.full((32, 32), value), COLOURS)
        masks = [tmp_path / "masks"]
        return student(labeled, unlabeled, masks, network_settings, unlabeled_batch=unlabeled_batch)

    alone = trained(1, 0)
    assert same(alone.kept, trained(2, 0).kept)
    assert not same(alone.kept, trained(2, 2).kept)
    assert not same(trained(1, 2).kept, trained(2, 2).kept)
    before = new_network(network_settings, 3, seed=0).state_dict()
    assert not same(alone.kept, before)
    # it does not even look for pseudo-masks; nor does it matter how the labeled images are read
    monkeypatch.setenv("PPL_CACHE_GIB", "0")
    nowhere = [tmp_path / "nowhere"]
    other = student(labeled, unlabeled, nowhere, network_settings, unlabeled_batch=0)
    assert same(alone.kept, other.kept)


def test_a_student_that_relabels_learns_from_what_its_mean_sees(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a", "b"])
    unlabeled = make_set(["u", "v"], folder="unlabeled", masks=False, seed=1)
    folder = tmp_path / "masks"

    def trained(value: int, relabels: bool) -> Training:
        for id in unlabeled.ids:
            write_mask(mask_file(folder, id), torch.full((32, 32), value), COLOURS)
        return student(labeled, unlabeled, [folder], network_settings, relabels=relabels)

    found = trained(1, True)
    assert not same(found.kept, trained(1, False).kept)
    # what a pseudo-mask says still counts, and what it leaves out is not filled in
    assert not same(found.kept, trained(2, True).kept)
    assert same(trained(255, True).kept, trained(255, False).kept)


def test_masks_that_are_ignored_altogether_do_not_end_a_training(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a", "b"])
    for id in labeled.ids:
        write_mask(mask_file(tmp_path / "masks", id), torch.full((32, 32), 255), COLOURS)
    training = student(labeled, labeled, [tmp_path / "masks"], network_settings)
    assert all(tensor.isfinite().all() for tensor in training.kept.values())


def test_too_few_pseudo_labeled_images_say_what_to_change(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> None:
    labeled = make_set(["a", "b"])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"2 labeled and 0 pseudo-labeled .*reliable_fraction"):
        student(labeled, labeled, [tmp_path / "none"], network_settings)


class Interrupted(Checkpoint):
    """Saves after every step; after so many saves the training dies."""

    def __init__(self, file: Path, *, after: int) -> None:
        super().__init__(file, seconds=0)
        self._left = after

    @property
    def due(self) -> bool:
        return True

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_resumed_teacher_is_the_uninterrupted_one(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings, after: int
) -> None:
    settings = network_settings.model_copy(update={"architecture": "DeepLabV3Plus"})
    labeled, validation = make_set(["a", "b", "c"]), make_set(["v"], folder="val")
    budget = {"iterations": 6, "snapshots": 3}
    _, whole = teacher(labeled, validation, settings, **budget)
    file = tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):
        teacher(labeled, validation, settings, checkpoint=Interrupted(file, after=after), **budget)
    _, resumed = teacher(
        labeled, validation, settings, checkpoint=Checkpoint(file, seconds=60), **budget
    )
    assert same(whole.kept, resumed.kept)
    assert (whole.kept_iteration, whole.curve) == (resumed.kept_iteration, resumed.curve)
    assert [at for at, _ in whole.snapshots] == [at for at, _ in resumed.snapshots]
    assert all(
        same(first, second)
        for (_, first), (_, second) in zip(whole.snapshots, resumed.snapshots, strict=True)
    )


@pytest.mark.parametrize("relabels", [False, True])
@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_student_is_the_uninterrupted_one(
    tmp_path: Path,
    make_set: MakeSet,
    network_settings: NetworkSettings,
    after: int,
    relabels: bool,
) -> None:
    labeled = make_set(["a", "b", "c"])
    unlabeled = make_set(["u", "v", "w"], folder="unlabeled", masks=False, seed=1)
    masks = tmp_path / "masks"
    for id in unlabeled.ids:
        write_mask(mask_file(masks, id), torch.zeros(32, 32), COLOURS)

    def trained(checkpoint: Checkpoint | None) -> Training:
        return student(
            labeled,
            unlabeled,
            [masks],
            network_settings,
            relabels=relabels,
            checkpoint=checkpoint,
        )

    whole = trained(None)
    file = tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(Interrupted(file, after=after))
    resumed = trained(Checkpoint(file, seconds=60))
    assert same(whole.kept, resumed.kept)
    assert whole.curve == resumed.curve
