"""The same bytes: from run to run, with any number of loader threads, on every platform."""

import subprocess
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml

import ppl.network.predict
import ppl.training.decoded
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import predict
from ppl.training.decoded import keep
from ppl.training.images import Masked, TrainingImages
from ppl.training.machine import GIB
from ppl.training.weak_augment import WeakAugmentSettings
from tests.conftest import MakeSet, whole
from tests.pipeline.architecture import modules
from tests.pipeline.project import ROOT, copy_project, dvc, git


@pytest.mark.long
def test_a_forced_run_leaves_lock_and_metrics_as_they_were(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    assert dvc(folder, "repro").returncode == 0
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "results")
    forced = dvc(folder, "repro", "--force")
    assert forced.returncode == 0, forced.stderr
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert forced.stdout.count("Running stage") == len(stages)
    assert not git(folder, "status", "--porcelain")


@pytest.mark.parametrize("decoders", [1, 3])
def test_the_number_of_loader_threads_changes_nothing(
    make_set: MakeSet,
    network: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
    decoders: int,
) -> None:
    images = make_set([f"{number:02}" for number in range(19)], sizes=[(40, 30)] * 19)
    weak = WeakAugmentSettings(
        scale_min=0.5, scale_max=2.0, flip_probability=0.5, vertical_flip_probability=0.0
    )

    def everything() -> list[torch.Tensor]:
        data = TrainingImages([Masked(images, images.mask, "a set")], whole(32, 32), weak, 3)
        found = [prob for _, [prob] in predict([network], images, whole(32, 32), what="a set")]
        return [*chain.from_iterable(keep(data, memory=GIB).pairs or []), *found]

    before = everything()
    monkeypatch.setattr(ppl.training.decoded, "DECODERS", decoders)
    monkeypatch.setattr(ppl.network.predict, "DECODERS", decoders)
    assert all(map(torch.equal, before, everything()))


def test_text_files_have_the_same_line_ends_on_every_platform() -> None:
    """DVC hashes what is checked out: with CRLF every stage would count as changed."""
    files = [file.as_posix() for file in modules(ROOT)]
    found = subprocess.run(
        [
            "git",
            "check-attr",
            "eol",
            "--",
            *sorted({*files, "params.yaml", "dvc.yaml", "dvc.lock"}),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(found) >= 40
    assert all(line.endswith("eol: lf") for line in found)


@pytest.mark.parametrize("file", sorted([*ROOT.glob("ppl/**/*.py"), *ROOT.glob("stages/*.py")]))
def test_written_text_has_fixed_line_ends_and_listed_files_a_fixed_order(file: Path) -> None:
    code = file.read_text(encoding="utf-8")
    for call in ("write_text(", 'open("w"'):
        for after in code.split(call)[1:]:
            assert "newline=" in after.partition("\n")[0], f"{call} without newline="
    for call in ("iterdir(", "glob("):
        for before in code.split(call)[:-1]:
            line = before[-140:]
            assert "sorted(" in line or "any(" in line or "sizes" in line, f"unsorted: {line}"
