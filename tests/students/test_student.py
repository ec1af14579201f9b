"""A student that is worse than a model before it on the validation images is not kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ppl.images.files import write_mask
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import DatasetInfo, ImageSet, mask_file, read_image_set, write_dataset_info
from ppl.network.network import NetworkSettings, Origin, new_network, read_origin, save_network
from ppl.students.def_up import RetrainSettings
from ppl.students.fall_back import FallBackSettings
from ppl.students.student import StudentFiles, better_before, train_student
from ppl.training.checkpoint import Checkpoint
from ppl.training.loop import State
from ppl.training.optimizer import OptimizerSettings
from tests.conftest import COLOURS, MakeSet, whole
from tests.pipeline.project import ROOT
from tests.training.test_loop import teacher

INFO = DatasetInfo("tiles", ("background", "crack", "stain"), tuple(COLOURS))
BUDGET = RetrainSettings(start="labeler", iterations=2, labeled_batch=1, unlabeled_batch=3)


@pytest.fixture
def labeler(make_set: MakeSet, network_settings: NetworkSettings, tmp_path: Path) -> Path:
    labeled = make_set(["a", "b", "c", "d"], folder="labeled")
    network, training = teacher(labeled, labeled, network_settings, iterations=40, batch=4)
    save_network(tmp_path / "teacher", network, training.kept, Origin("teacher", 40))
    return tmp_path / "teacher"


def student(
    folder: Path,
    labeler: Path,
    unlabeled: ImageSet,
    *,
    fall_back: bool,
    validation: str,
    parts: dict[str, str] | None = None,
) -> dict[str, torch.Tensor]:
    settings: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["image"].update(height=32, width=32)
    # so fast, on masks so wrong, that two steps spoil it
    settings["optimizer"].update(encoder_lr=0.5, decoder_lr_multiple=1.0)
    settings["selection"].update(by="last")
    settings["fall_back"].update(enabled=fall_back)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    write_dataset_info(folder / "dataset.json", INFO)
    write_split_record(folder / "split.json", SplitRecord("image", groups={}, parts=parts or {}))
    train_student(
        "final",
        StudentFiles(
            labeled=folder / "labeled",
            validation=folder / validation,
            unlabeled=unlabeled.folder,
            dataset=folder / "dataset.json",
            record=folder / "split.json",
            encoder=folder / "encoder",
            student=folder / "student",
            curve=folder / "curve.json",
        ),
        BUDGET,
        before=[labeler],
        masks=[folder / "wrong"],
        def_up=True,
        checkpoint=Checkpoint(folder / "checkpoint.pt", seconds=600),
    )
    return load_file(folder / "student" / "model.safetensors")


ONE_PART = dict.fromkeys("abcd", "p1")
UNCHECKED = "final: no validation image shows a defect, so whether it is worse than"
UNSURE = "1 part with defects can tell that with 50 % confidence, and fall_back.confidence asks"


def test_a_rate_multiplies_those_of_the_optimizer() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    settings = OptimizerSettings(**params["optimizer"])
    slow = settings.times(0.25)
    assert slow.encoder_lr == settings.encoder_lr / 4
    assert slow.decoder_lr_multiple == settings.decoder_lr_multiple
    assert settings.times(1.0) == settings


def test_a_slower_student_stays_nearer_to_its_labeler(
    tmp_path: Path,
    make_set: MakeSet,
    labeler: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    unlabeled = make_set(["u", "v", "w"], folder="unlabeled", masks=False, seed=1)
    for id in unlabeled.ids:
        write_mask(mask_file(tmp_path / "wrong", id), torch.full((32, 32), 2), COLOURS)
    before = load_file(labeler / "model.safetensors")
    name = next(name for name in before if name.endswith("weight"))
    moved = []
    for rate in (1.0, 0.01):
        with monkeypatch.context() as patch:
            patch.setattr(f"{__name__}.BUDGET", BUDGET.model_copy(update={"rate": rate}))
            after = student(tmp_path, labeler, unlabeled, fall_back=False, validation="labeled")
        moved.append(float((after[name] - before[name]).abs().sum()))
    assert 0 < moved[1] < moved[0] / 10


@pytest.mark.parametrize(
    ("fall_back", "validation", "parts", "kept", "said"),
    [
        (True, "labeled", None, False, "teacher is kept in its place (fall_back)"),
        (False, "labeled", None, True, ""),
        (True, "nothing", None, True, UNCHECKED),
        (True, "labeled", ONE_PART, True, UNSURE),
    ],
)
def test_a_spoilt_student_gives_way_to_its_labeler(
    tmp_path: Path,
    make_set: MakeSet,
    labeler: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fall_back: bool,
    validation: str,
    parts: dict[str, str] | None,
    kept: bool,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    unlabeled = make_set(["u", "v", "w"], folder="unlabeled", masks=False, seed=1)
    make_set([], folder="nothing")
    for id in unlabeled.ids:
        write_mask(mask_file(tmp_path / "wrong", id), torch.full((32, 32), 2), COLOURS)
    found = student(
        tmp_path, labeler, unlabeled, fall_back=fall_back, validation=validation, parts=parts
    )
    before = load_file(labeler / "model.safetensors")
    same = all(torch.equal(found[key], before[key]) for key in before)
    assert same != kept
    printed = capsys.readouterr().out
    assert said in printed
    assert ("fall_back" in printed) == bool(said)
    trained = Origin("final", 2) if kept else Origin("teacher", 40)
    assert read_origin(tmp_path / "student") == trained


def test_a_student_as_bad_as_its_labeler_gives_way_to_the_teacher(
    tmp_path: Path,
    labeler: Path,
    network_settings: NetworkSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What two students lose one after the other is seen as well."""
    validation = read_image_set(tmp_path / "labeled")
    spoilt = new_network(network_settings, 3, seed=5).eval()

    def chosen(origin: Origin, *before: Path) -> tuple[State, Origin] | None:
        save_network(tmp_path / "student_1", spoilt, spoilt.state_dict(), origin)
        settings = FallBackSettings(enabled=True, confidence=0.9, resamples=400)
        return better_before(
            "final", spoilt, before, validation, validation.ids, whole(32, 32), settings
        )

    def is_teacher(found: tuple[State, Origin] | None) -> bool:
        assert found is not None
        state, origin = found
        of_teacher = load_file(labeler / "model.safetensors")
        same = all(torch.equal(state[key], of_teacher[key]) for key in of_teacher)
        return same and origin == Origin("teacher", 40)

    own = Origin("student_1", 2)
    assert chosen(own, tmp_path / "student_1") is None
    assert capsys.readouterr().out == ""
    assert is_teacher(chosen(own, tmp_path / "student_1", labeler))
    assert "final scores " in (said := capsys.readouterr().out)
    assert "% of teacher" in said
    # where student 1 gave way to the teacher, that is asked once
    assert is_teacher(chosen(Origin("teacher", 40), tmp_path / "student_1", labeler))
    assert capsys.readouterr().out.count("final scores ") == 1
