"""Two runs on what both tested: read from DVC, scored as one test set, nothing else subtracted."""

import json
import re
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.images.miou import pooled_miou
from ppl.scores.calibration import CalibrationBins
from ppl.scores.counts import ModelResult, write_result
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts
from ppl.scores.tested import ScoredImages, write_tested
from ppl.tools.common_part import (
    Evaluation,
    common_ids,
    evaluation_at,
    evaluation_here,
    numbers_on,
    parts_on,
)
from ppl.tools.diff import difference
from ppl.tools.report import since_former_run
from tests.pipeline.project import dvc, git
from tests.tools.test_diff import PARAMS, SCORES, models, write

CLASSES = ("background", "crack")
OLD = ScoredImages(["a", "b", "c"], ["one", "one", "two"], ["1", "2", "3"])
NEW = ScoredImages(["d", "c", "b", "a"], ["four", "two", "one", "one"], ["4", "3", "9", "1"])


def matrices(images: ScoredImages, model: int) -> torch.Tensor:
    """Counts that depend on the image and the model alone."""
    numbers = [[[40, model], [ord(id) - 96, 10 * model]] for id in images.ids]
    return torch.tensor(numbers, dtype=torch.int64)


def evaluation(images: ScoredImages, better: int = 0) -> Evaluation:
    names = ("teacher", "student_1", "final")
    return Evaluation(
        images, {name: matrices(images, better + n) for n, name in enumerate(names, 1)}
    )


def leave(images: ScoredImages, better: int = 0) -> None:
    """Metrics and data/evaluation of a run, into the working directory."""
    folder = Path("data/evaluation")
    for model, counts in evaluation(images, better).matrices.items():
        count = len(images.ids)
        result = ModelResult(
            counts,
            torch.zeros(count, dtype=torch.float64),
            torch.ones(count, dtype=torch.bool),
            DetectionCounts(),
            DefectCounts.nothing(2),
            CalibrationBins.nothing(2),
        )
        write_result(folder / f"{model}.safetensors", result)
    write_tested(folder / "images.json", images)
    write(models(**{name: {"test_set": images.record} for name in models()}), PARAMS)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose last commit was tested on the old images, the workspace on the new ones."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    assert dvc(tmp_path, "init", "-q").returncode == 0
    leave(OLD)
    assert dvc(tmp_path, "add", "-q", "data/evaluation").returncode == 0
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "run")
    leave(NEW, better=1)
    return tmp_path


def test_common_are_the_images_with_the_same_mask() -> None:
    old, new = evaluation(OLD), evaluation(NEW)
    assert common_ids([old, new]) == common_ids([new, old]) == {"a", "c"}
    assert common_ids([old]) == {"a", "b", "c"}
    assert common_ids([old, new, evaluation(ScoredImages(["c"], ["two"], ["3"]))]) == {"c"}


def test_numbers_on_some_images_are_pooled_over_them_alone() -> None:
    for images in (OLD, NEW):
        found = numbers_on(evaluation(images), {"a", "c"}, CLASSES)
        alone = matrices(ScoredImages(["a", "c"], ["", ""], None), 3)
        assert found["final"]["mIoU"] == pytest.approx(pooled_miou(alone), abs=1e-6)
        assert list(found["final"]) == ["mIoU", *CLASSES]
        assert parts_on(evaluation(images), {"a", "c"}, CLASSES) == dict.fromkeys(CLASSES, 2)
    assert parts_on(evaluation(OLD), {"a", "b"}, CLASSES) == dict.fromkeys(CLASSES, 1)


def test_the_workspace_is_compared_with_a_commit_on_what_both_tested(project: Path) -> None:
    lines = difference("HEAD").splitlines()
    assert lines[0].startswith("the test sets differ: scores of HEAD (")
    assert lines[1] == "test: 2 of 3 kept, 1 with another picture or mask, 1 new"
    assert lines[2] == "on the 2 images of both, in percent, differences in points"
    before, now = (
        numbers_on(one, {"a", "c"}, CLASSES)["final"]["mIoU"]
        for one in (evaluation(OLD), evaluation(NEW, 1))
    )
    assert before is not None
    assert now is not None
    [miou] = [line.split() for line in lines if line.startswith("mIoU ")]
    assert miou[-3:] == [
        f"{100 * before:.1f}",
        f"{100 * now:.1f}",
        f"{100 * (now - before):+.1f}",
    ]
    assert any(line.startswith("crack* ") for line in lines), "two parts are few"
    # each state's own score stands there, not subtracted
    own = "50.0 (40.0-60.0)"
    [at_head, here] = [line for line in lines if own in line]
    assert re.match(r"HEAD \(\w+\) ", at_head)
    assert here.startswith("workspace ")
    assert "+0.0" not in "\n".join([at_head, here])


def test_a_report_tells_of_the_newest_run_with_other_scores(project: Path) -> None:
    for _ in range(2):
        [finding] = since_former_run()
        assert "was tested on other images" in finding.text
        assert "(test: 2 of 3 kept, 1 with another picture or mask, 1 new)" in finding.text
        assert "On the 2 images of both, final had " in finding.text
        # once the run is committed, it is compared with the one before
        assert dvc(project, "add", "-q", "data/evaluation").returncode == 0
        git(project, "add", "-A")
        git(project, "commit", "-q", "--allow-empty", "-m", "another run")
    # a third run, on the same test images
    same = {"test_set": NEW.record, "miou": 0.6}
    write(models(**dict.fromkeys(models(), same)), PARAMS)
    assert since_former_run() == []


def test_what_cannot_be_read_is_said(project: Path) -> None:
    metrics = {"final": SCORES | {"test_set": OLD.record}}
    assert evaluation_at("HEAD", metrics).images == OLD
    with pytest.raises(InputError, match="is of another run than the metrics"):
        evaluation_here(metrics)
    for file in Path("data/evaluation").iterdir():
        file.unlink()
    assert "is not known (no data/evaluation here: `dvc pull" in difference("HEAD")


def test_an_earlier_version_named_no_test_set_and_is_told_by_its_images(project: Path) -> None:
    leave(ScoredImages(OLD.ids, OLD.parts, None))
    write(models(), PARAMS)
    assert dvc(project, "add", "-q", "data/evaluation").returncode == 0
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "earlier version")
    assert "test_set" not in json.loads(Path("metrics/final.json").read_text(encoding="utf-8"))
    leave(OLD)
    assert "no difference" in difference("HEAD")
    leave(NEW)
    assert "test: 3 of 3 kept, 1 new" in difference("HEAD")
