"""The stages that judge and hand on, after a method that trains once or has but one student."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.images.files import write_mask
from ppl.images.sets import mask_file, masked_ids, read_dataset_info, read_image_set
from ppl.labeling.ranking import write_ids, write_reliability
from ppl.network.absent import leave_absent
from ppl.network.network import NetworkSettings, Origin, new_network, save_network
from ppl.students.student import StudentFiles
from stages import retrain_final
from tests.pipeline.project import ROOT, TINY, edit_params
from tests.pipeline.test_stages import draw_own_data, run_stage

MODELS = Path("data", "models")
WHY = "this method trains once"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Image sets of somebody's own data, half of the masks hidden, before any training."""
    draw_own_data(tmp_path / "data" / "raw" / "own", annotated=20, bare=2)
    for name in ("ppl", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("lists", "sound"):
        (tmp_path / "data" / name).mkdir()
    own = {"name": "folder", "root": "data/raw/own", "classes": ["background", "dent", "rust"]}
    edit_params(tmp_path, TINY | {"data": own})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name in ("import_encoder", "prepare", "audit"):
        run_stage(name)
    return tmp_path


def leave(trained: Sequence[str], labeled_by_teacher: bool) -> None:
    """What trainings, ranking and pseudo-labels of a method leave that trains these models."""
    for name in ("teacher", "student_1", "snapshots", "final"):
        if name in trained:
            network = new_network(section("model", NetworkSettings), 3, seed=len(name))
            save_network(MODELS / name, network, network.state_dict(), Origin(name, 1))
        else:
            leave_absent(MODELS / name, WHY)
    unlabeled = read_image_set(Path("data/prepared/unlabeled"))
    colours = read_dataset_info(Path("data/prepared/dataset.json")).colours
    write_reliability(Path("data/ranking/scores.json"), {})
    write_ids(Path("data/ranking/reliable.txt"), unlabeled.ids if labeled_by_teacher else [])
    write_ids(Path("data/ranking/hard.txt"), [])
    for half in ("reliable", "hard"):
        Path("data/pseudo", half).mkdir(parents=True)
    for entry in unlabeled.entries if labeled_by_teacher else ():
        mask = torch.ones((entry.height, entry.width))
        write_mask(mask_file(Path("data/pseudo/reliable"), entry.id), mask, colours)


def metrics(name: str) -> Any:
    return json.loads(Path("metrics", f"{name}.json").read_text(encoding="utf-8"))


def widths() -> set[int]:
    """Of the pictures of test images."""
    found = set()
    for file in Path("data/overlays").glob("*.png"):
        with Image.open(file) as picture:
            found.add(picture.width)
    return found


def signs() -> list[str]:
    with Path("data/annotate_next/list.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert rows
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[4:-2])
    return header[5:-2]


def test_a_method_that_trains_once_goes_all_the_way(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(["final"], labeled_by_teacher=False)
    for name in ("calibrate", "evaluate"):
        run_stage(name)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"no teacher, no student_1: {WHY}"
    assert "gain" not in printed
    assert metrics("teacher") == metrics("student_1") == {"absent": WHY}
    assert metrics("pseudo_masks") == {"absent": WHY}
    assert 0 <= metrics("final")["miou"] <= 1
    assert not {"gain", "fallen_back_to"} & metrics("final").keys()
    left = {file.name for file in Path("data/evaluation").iterdir()}
    assert left == {"final.safetensors", "images.json"}
    three_panels = widths()

    run_stage("annotate_next")
    assert signs() == ["confidence"]
    assert masked_ids(Path("data/annotate_next/masks"))
    run_stage("export")
    card = json.loads(Path("data/export/card.json").read_text(encoding="utf-8"))
    assert card["scores"] == metrics("final")

    # the picture of a method with a teacher is wider by a panel
    shutil.rmtree("data/pseudo")
    shutil.rmtree(MODELS)
    leave(["teacher", "final"], labeled_by_teacher=True)
    run_stage("evaluate")
    assert min(widths()) > max(three_panels)


def test_a_method_with_a_teacher_and_one_student_goes_all_the_way(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(["teacher", "final"], labeled_by_teacher=True)
    for name in ("calibrate", "evaluate", "annotate_next"):
        run_stage(name)
    printed = capsys.readouterr().out
    assert f"\nno student_1: {WHY}\n" in printed
    assert "gain over teacher" in printed
    assert metrics("student_1") == {"absent": WHY}
    teacher, final = metrics("teacher"), metrics("final")
    assert final["gain"] == pytest.approx(final["miou"] - teacher["miou"], abs=2e-6)
    hidden = masked_ids(Path("data/prepared/hidden/masks"))
    [(labeler, found)] = metrics("pseudo_masks").items()
    assert (labeler, found["images"]) == ("reliable_by_teacher", len(hidden))
    assert json.loads(Path("metrics/plots/reliability.json").read_text()) == []
    rows = json.loads(Path("metrics/plots/iou_per_class.json").read_text())
    assert Counter(row["model"] for row in rows) == {"teacher": 3, "final": 3}
    assert signs() == ["confidence", "disagreement"]


def once(folder: Path, written: str) -> dict[str, Path]:
    """A model of a method that trains once, and the paths that retrain_final is given."""
    network = new_network(section("model", NetworkSettings), 3, seed=0)
    save_network(MODELS / "at_once", network, network.state_dict(), Origin("final", 1))
    (MODELS / "at_once" / "curve.json").write_text("[]", encoding="utf-8")
    Path("plan.json").write_text(written, encoding="utf-8")
    return {
        name: folder / name
        for name in ("labeled", "validation", "unlabeled", "dataset", "record", "encoder")
    } | {"student": MODELS / "final", "curve": folder / "curve.json"}


def take(paths: dict[str, Path]) -> None:
    retrain_final.main(
        StudentFiles(**paths),
        plan=Path("plan.json"),
        teacher=MODELS / "teacher",
        student_1=MODELS / "student_1",
        at_once=MODELS / "at_once",
        reliable_masks=Path("reliable"),
        hard_masks=Path("hard"),
    )


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings alone."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    edit_params(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of_several_processes_one_hands_on_the_model_of_a_method_that_trains_once(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = once(bare, '{"perturbed": null}')
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(processes, "is_first", lambda: False)
        take(paths)
    assert not (MODELS / "final").exists()
    assert not paths["curve"].exists()
    take(paths)
    left = {file.name for file in (MODELS / "final").iterdir()}
    assert left == {"model.json", "model.safetensors"}
    assert paths["curve"].read_text(encoding="utf-8") == "[]"


def test_a_product_that_nobody_trains_is_told(bare: Path) -> None:
    paths = once(bare, '{"perturbed": null}')
    shutil.rmtree(MODELS / "at_once")
    leave_absent(MODELS / "at_once", WHY)
    with pytest.raises(InputError, match=f"at_once holds no model .{WHY}"):
        take(paths)


def test_a_final_student_of_an_unknown_kind_is_refused(bare: Path) -> None:
    with pytest.raises(InputError, match=r"plan.json: perturbed: got 'strange'"):
        take(once(bare, '{"perturbed": "strange"}'))
