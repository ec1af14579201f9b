"""Several processes: they share a batch, train the same model as one, and fail with a word."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ppl.core import processes
from ppl.run.launch import PARALLEL
from ppl.training.shared_layers import SharedDropout, part_of_batch, share_layers
from tests.conftest import MakeSet
from tests.pipeline.project import ROOT, copy_project, dvc, environment

# what each process does; the first writes what came out
WORK = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ppl.core import processes
from ppl.training import loss, strong_augment
from ppl.training.checkpoint import Checkpoint
from ppl.core.errors import InputError
from ppl.images.sets import read_image_set
from ppl.network.network import new_network
from ppl.labeling.part_agreement import lone
from ppl.labeling.pseudo_masks import ONE_LOOK, write_pseudo_masks
from ppl.images.sets import DatasetInfo
from ppl.labeling.ranking import PAPER, score_images
from ppl.annotate.next import signs_of
from ppl.judge.evaluation import evaluate_models, pseudo_mask_quality, teacher_on_hard_half
from ppl.scores.counts import write_result
from tests.judge import test_evaluation as e
from tests.training import test_loop as t
from tests.conftest import COLOURS, whole
from ppl.network.network import NetworkSettings

out, batch, steps, architecture, encoder, options = sys.argv[1:7]
out = Path(out)
torch.set_num_threads(1)
processes.start()
settings = NetworkSettings(architecture=architecture, encoder=encoder, options=json.loads(options),
    encoder_weights=None, mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
labeled, unlabeled = read_image_set(out.parent / "labeled"), read_image_set(out.parent / "set")
try:
    # strong augmentation takes contrast, and deep layers' batch statistics then blow the last bits
    # up to percents: the student below has it, among images that keep theirs
    budget = {"loss": loss.PAPER, "strong": strong_augment.PAPER, "iterations": 3,
        "batch": int(batch)}
    network, teacher = t.teacher(labeled, labeled, settings, **budget)
    file = out.parent / "checkpoint.pt"
    if processes.count() == 1:
        try:
            t.teacher(labeled, labeled, settings, **budget,
                checkpoint=t.Interrupted(file, after=1))
        except KeyboardInterrupt:
            pass
    _, resumed = t.teacher(
        labeled, labeled, settings, **budget, checkpoint=Checkpoint(file, seconds=600))
    network.load_state_dict(teacher.kept)
    info = DatasetInfo("x", ("0", "1", "2"), tuple(COLOURS))
    write_pseudo_masks(network.eval(), lone(unlabeled), whole(32, 32),
        ONE_LOOK, info, out / "masks")
    processes.wait()
    ranked = {id: found.reliability for id, found in score_images([network] * 2, unlabeled,
        whole(32, 32), PAPER.model_copy(update={"foreground": True})).items()}
    student = t.student(labeled, unlabeled, [out / "masks"], settings, iterations=int(steps))
    plain = e.ByBrightness()
    models = {"right": plain, "blind": e.ByBrightness(blind=True)}
    tested = read_image_set(out.parent / "test")
    counted = evaluate_models(models, tested, 3, whole(32, 32), e.SETTINGS)
    pairs = [out / "masks", out.parent / "test" / "masks"]
    quality = [
        pseudo_mask_quality(*pairs, 3),
        teacher_on_hard_half(plain, lone(tested), pairs[1], 3, whole(32, 32),
            ONE_LOOK.model_copy(update={"ignore_fraction": 0.2})),
    ]
    doubtful = signs_of(plain, lone(unlabeled), whole(32, 32), ONE_LOOK, {}, [out / "masks"], 3)
except InputError as error:
    sys.exit(str(error))
if processes.is_first():
    for name, training in {"teacher": teacher, "resumed": resumed, "student": student}.items():
        state = {key: tensor.contiguous() for key, tensor in training.kept.items()}
        save_file(state, out / f"{name}.safetensors")
    for name, result in counted.items():
        write_result(out / f"{name}.safetensors", result)
    (out / "found.json").write_text(json.dumps({"ranked": ranked, "processes": processes.count(),
        "curves": [teacher.curve, student.curve],
        "quality": [[q.matrix.tolist(), q.miou_of] for q in quality], "doubtful": doubtful}))
processes.wait()
processes.stop()
"""


def work(
    folder: Path, count: int, batch: int, steps: int, *network: str
) -> subprocess.CompletedProcess[str]:
    out = folder / f"by_{count}"
    out.mkdir()
    script = folder / "work.py"
    script.write_text(WORK, encoding="utf-8")
    start = [sys.executable]
    if count > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.run(
        [*start, str(script), str(out), str(batch), str(steps), *network],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def folder(tmp_path: Path, make_set: MakeSet) -> Path:
    make_set(["a", "b", "c", "d"], folder="labeled")
    make_set([f"u{k}" for k in range(5)], sizes=[(32, 32 + k) for k in range(5)], masks=False)
    sizes = [(32, 32 + k) for k in range(5)]
    make_set([f"u{k}" for k in range(5)], folder="test", sizes=sizes)
    return tmp_path


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "steps"),
    [
        # dropout, batch normalisation by PyTorch and by timm, parameters that are never used
        ("DeepLabV3Plus", "tu-test_resnet", {}, 3),
        ("Unet", "resnet18", {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}, 3),
        # a student's third step makes percents of weights 1e-7 apart, in one process as well
        ("Linknet", "tu-test_efficientnet", {}, 2),
    ],
)
def test_two_processes_train_the_models_that_one_trains(
    folder: Path, architecture: str, encoder: str, options: dict[str, Any], steps: int
) -> None:
    for count in (1, 2):
        done = work(folder, count, 5, steps, architecture, encoder, json.dumps(options))
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((folder / f"by_{n}" / "found.json").read_text()) for n in (1, 2))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["ranked"] == pytest.approx(one["ranked"], abs=2e-3)
    for model in ("teacher", "resumed", "student"):
        alone, shared = (load_file(folder / f"by_{n}" / f"{model}.safetensors") for n in (1, 2))
        assert alone.keys() == shared.keys()
        if model == "resumed":
            alone = load_file(folder / "by_1" / "teacher.safetensors")
        for name, tensor in alone.items():
            torch.testing.assert_close(shared[name], tensor, atol=2e-3, rtol=2e-3, msg=name)
    for curve, other in zip(one["curves"], two["curves"], strict=True):
        for point, twin in zip(curve, other, strict=True):
            assert twin["training_loss"] == pytest.approx(point["training_loss"], abs=1e-3)
    for model in ("right", "blind"):
        alone, shared = (load_file(folder / f"by_{n}" / f"{model}.safetensors") for n in (1, 2))
        assert len(alone["matrices"]) == 5
        for name, tensor in alone.items():
            torch.testing.assert_close(shared[name], tensor, equal_nan=True, msg=name)
    [_, by_masks], [_, by_network] = one["quality"]
    assert len(by_masks) == len(by_network) == 5
    # the pseudo-masks are those of the trained networks, which differ by rounding
    assert two["quality"][0][1] == pytest.approx(by_masks, abs=2e-3)
    # what counts as doubtful is decided by the images of all processes
    assert two["quality"][1] == one["quality"][1]
    assert list(one["doubtful"]) == list(two["doubtful"]) == ["confidence", "disagreement"]
    for sign, alone in one["doubtful"].items():
        assert two["doubtful"][sign] == pytest.approx(alone, abs=2e-3)
        assert len(alone) == 5


LOSS = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ppl.core import processes
from ppl.training.loss import LossSettings, segmentation_loss

processes.start()
draws = torch.Generator().manual_seed(0)
logits = torch.randn(5, 4, 6, 7, generator=draws, dtype=torch.float64)
masks = torch.randint(3, (5, 6, 7), generator=draws)
masks[0, :3] = 255
masks[3:] = 0  # the second process sees no defect
mine = processes.own(5)
part = logits[mine.start : mine.stop].clone().requires_grad_()
settings = LossSettings(defect_weight=4.0, focal_gamma=1.0, tversky_weight=1.5, tversky_missed=0.7)
loss = segmentation_loss(part, masks[mine.start : mine.stop], settings)
loss.backward()
# what data-parallel training makes of it: the mean over processes
gradient = torch.zeros_like(logits)
gradient[mine.start : mine.stop] = part.grad
gradient = processes.total(gradient) / processes.count()
value = processes.total(loss.detach()) / processes.count()
if processes.is_first():
    save_file({"gradient": gradient, "loss": value}, Path(sys.argv[1]))
processes.stop()
"""


def test_the_loss_of_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "loss.py"
    script.write_text(LOSS, encoding="utf-8")
    found = []
    for count in (1, 2):
        start = [sys.executable]
        if count > 1:
            start += ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        out = tmp_path / f"{count}.safetensors"
        done = subprocess.run(
            [*start, str(script), str(out)],
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(load_file(out))
    one, two = found
    assert one["gradient"].abs().max() > 1e-3
    for key in ("loss", "gradient"):
        torch.testing.assert_close(two[key], one[key], atol=1e-7, rtol=1e-5)


def test_more_processes_than_images_in_a_batch_are_refused(folder: Path) -> None:
    done = work(folder, 3, 2, 3, "Linknet", "tu-test_resnet", "{}")
    assert done.returncode != 0
    assert "teacher: 3 processes, but a batch has 2 images" in done.stderr


def test_alone_nothing_is_shared() -> None:
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert list(processes.own(5)) == [0, 1, 2, 3, 4]
    assert processes.every([1, 2, 3]) == [1, 2, 3]
    assert processes.gathered("x") == ["x"]
    network = nn.Linear(2, 2)
    assert processes.together(network) is network
    assert processes.bare(network) is network


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_parts_of_a_batch_drop_what_the_whole_drops(kind: type[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1), kind(0.4))
    share_layers(network)
    dropout = network[1]
    assert isinstance(dropout, SharedDropout)
    images = torch.rand(5, 2, 6, 7)
    torch.manual_seed(1)
    whole = dropout(images)
    found = []
    for part in (range(2), range(2, 5)):
        torch.manual_seed(1)
        with part_of_batch(part, 5):
            found.append(dropout(images[part.start : part.stop]))
    assert torch.equal(torch.cat(found), whole)
    assert 0 < (whole == 0).float().mean() < 1
    # what is left is scaled, so that the mean stays
    torch.testing.assert_close(whole[whole != 0], images[whole != 0] / 0.6)
    assert torch.equal(dropout.eval()(images), images)


def test_whole_channels_fall_together() -> None:
    dropout = SharedDropout(0.5, channels=True)
    kept = dropout(torch.ones(20, 8, 3, 3)).flatten(2)
    assert ((kept == 0).all(dim=2) | (kept != 0).all(dim=2)).all()


def test_every_stage_that_is_shared_exists() -> None:
    assert all((ROOT / "stages" / f"{stage}.py").is_file() for stage in PARALLEL)


@pytest.mark.long
def test_the_whole_pipeline_by_two_processes_is_that_by_one(tmp_path: Path) -> None:
    scores, models, metrics, listed = [], [], [], []
    for count in ("1", "2"):
        folder = copy_project(tmp_path / count)
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=folder,
            env=environment() | {"PPL_PROCESSES": count},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"final: {count} processes" in done.stdout or count == "1"
        scores.append(json.loads((folder / "data/ranking/scores.json").read_text()))
        models.append(load_file(folder / "data/models/teacher/model.safetensors"))
        metrics.append(json.loads((folder / "metrics/teacher.json").read_text()))
        listed.append((folder / "data/annotate_next/list.csv").read_text().count("\n"))
        assert dvc(folder, "status").stdout.strip() == "Data and pipelines are up to date."
    assert scores[1] == pytest.approx(scores[0], abs=0.02)
    assert metrics[1]["miou"] == pytest.approx(metrics[0]["miou"], abs=0.02)
    assert listed[1] == listed[0] > 1
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name], tensor, atol=2e-3, rtol=2e-3, msg=name)
