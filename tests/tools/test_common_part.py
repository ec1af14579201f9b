"""Two runs on what both tested: read from DVC, scored as one test set, nothing else subtracted."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.core.seeds import generator
from ppl.images.miou import pooled_miou, rounded
from ppl.scores.bootstrap import IntervalSettings, percentile_interval
from ppl.scores.calibration import CalibrationBins
from ppl.scores.counts import ModelResult, write_result
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts
from ppl.scores.tested import ScoredImages, write_tested
from ppl.tools.common_part import (
    CommonPart,
    Evaluation,
    common_ids,
    common_part,
    evaluation_at,
    interval_settings,
)
from ppl.tools.diff import at_commit, difference, in_workspace
from ppl.tools.report import since_former_run
from tests.pipeline.project import dvc, git
from tests.tools.test_diff import PARAMS, SCORES, models, write

CLASSES = ("background", "crack")
SETTINGS = IntervalSettings(confidence=0.8, resamples=100, few_parts=10)
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
            torch.zeros(count, dtype=torch.float64),
        )
        write_result(folder / f"{model}.safetensors", result)
    write_tested(folder / "images.json", images)
    write_metrics(images, better, test_set=images.record)


def write_metrics(images: ScoredImages, better: int = 0, **changed: object) -> None:
    """The metrics that go with an evaluation, and dvc.lock."""
    scores = {
        name: changed | {"miou": rounded(pooled_miou(counts))}
        for name, counts in evaluation(images, better).matrices.items()
    }
    write(models(**scores), PARAMS)


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


def test_scores_of_a_common_part_are_pooled_over_it_alone() -> None:
    alone = matrices(ScoredImages(["a", "c"], ["", ""], None), 3)
    common = common_part([evaluation(OLD), evaluation(NEW)], CLASSES)
    assert common is not None
    assert str(common) == "2 images (2 parts)"
    for images in (OLD, NEW):
        final = common.scores(evaluation(images), SETTINGS)["final"]
        assert final["miou"] == pytest.approx(pooled_miou(alone), abs=1e-6)
        assert final["parts"] == dict.fromkeys(CLASSES, 2)
    part = CommonPart({"a", "b"}, OLD.parts[:2], CLASSES)
    assert str(part) == "2 images (1 part)"
    alone_has_no_spread = part.scores(evaluation(OLD), SETTINGS)["final"]
    assert alone_has_no_spread["parts"] == dict.fromkeys(CLASSES, 1)
    assert alone_has_no_spread["miou_low"] is None
    other = ScoredImages(["e"], ["five"], ["5"])
    assert common_part([evaluation(OLD), evaluation(other)], CLASSES) is None


def test_a_difference_on_the_common_part_is_resampled_over_the_same_parts_of_both() -> None:
    ids = [chr(97 + number) for number in range(8)]
    # two photos a part; the later run knows no parts, and has the images in another order
    old = evaluation(ScoredImages(ids, [f"part {number // 2}" for number in range(8)], ids))
    new = evaluation(ScoredImages(ids[::-1], ids[::-1], ids[::-1]), better=3)
    common = common_part([old, new], CLASSES)
    assert common is not None
    assert str(common) == "8 images (4 parts)", "no interval is too narrow"
    found = common.scores(new, SETTINGS, over=old)
    for model in ("teacher", "student_1", "final"):
        draws, differences = generator(0, "bootstrap"), []
        for _ in range(SETTINGS.resamples):
            drawn = torch.randint(4, (4,), generator=draws).tolist()
            photos = [photo for part in drawn for photo in (2 * part, 2 * part + 1)]
            before = pooled_miou(old.matrices[model][photos])
            differences.append(pooled_miou(new.matrices[model].flip(0)[photos]) - before)
        bounds = percentile_interval(torch.tensor(differences, dtype=torch.float64), 0.8)
        assert found[model]["gain_low"] == pytest.approx(bounds.low, abs=2e-6)
        assert found[model]["gain_high"] == pytest.approx(bounds.high, abs=2e-6)
        assert bounds.low != bounds.high
    # without another run, the gain is over the run's own teacher
    assert "gain" not in common.scores(new, SETTINGS)["teacher"]
    assert common.scores(new, SETTINGS)["final"]["gain"] != found["final"]["gain"]


def test_intervals_are_those_of_the_run_or_of_params_yaml(project: Path) -> None:
    own = {"confidence": 0.5, "resamples": 300, "few_parts": 3}
    found = interval_settings({f"intervals.{key}": value for key, value in own.items()} | {"a": 1})
    assert found == IntervalSettings(confidence=0.5, resamples=300, few_parts=3)
    for earlier in ({}, {"intervals.resamples": 300}):
        assert interval_settings(earlier) == SETTINGS


def test_the_workspace_is_compared_with_a_commit_on_what_both_tested(project: Path) -> None:
    lines = difference("HEAD").splitlines()
    assert lines[0].startswith("the test sets differ: scores of HEAD (")
    assert lines[1] == "test: 2 of 3 kept, 1 with another picture or mask, 1 new"
    assert lines[2] == "on the 2 images (2 parts) of both, in percent, differences in points"
    old, new = evaluation(OLD), evaluation(NEW, 1)
    common = common_part([old, new], CLASSES)
    assert common is not None
    before = common.scores(old, SETTINGS)["final"]
    now = common.scores(new, SETTINGS, over=old)["final"]
    for name, key in (("mIoU  ", "miou"), ("mIoU, l", "miou_low"), ("mIoU, u", "miou_high")):
        [words] = [line.split() for line in lines if line.startswith(name)]
        change = [f"{100 * now['gain']:+.1f}"] if key == "miou" else []
        cells = [f"{100 * before[key]:.1f}", f"{100 * now[key]:.1f}", *change]
        assert words[-len(cells) :] == cells
    for name, key in (("mIoU diff, l", "gain_low"), ("mIoU diff, u", "gain_high")):
        [words] = [line.split() for line in lines if line.startswith(name)]
        assert words[-1] == f"{100 * now[key]:+.1f}"
    assert max(map(len, lines)) < 100
    assert any(line.startswith("crack* ") for line in lines), "two parts are few"
    # each state's own score stands there, not subtracted
    own = "(40.0-60.0)"
    [at_head, here] = [line for line in lines if own in line]
    assert re.match(r"HEAD \(\w+\) ", at_head)
    assert here.startswith("workspace ")
    assert "+0.0" not in "\n".join([at_head, here])


def test_a_run_without_teacher_is_compared_by_what_both_trained(project: Path) -> None:
    for model in ("teacher", "student_1"):
        Path("metrics", f"{model}.json").write_text('{"absent": "it trains once"}')
        Path("data/evaluation", f"{model}.safetensors").unlink()
    lines = difference("HEAD").splitlines()
    assert lines[2] == "on the 2 images (2 parts) of both, in percent, differences in points"
    assert lines[3].split() == ["final"]
    [at_head, here] = [line for line in lines if "(40.0-60.0)" in line]
    assert at_head.count("(40.0-60.0)") == 3
    assert here.split()[1:3] == ["-", "-"]
    assert here.count("(40.0-60.0)") == 1
    # a gain is over the former run's model of the same name, and over no teacher
    old = evaluation(OLD)
    new = Evaluation(NEW, {"final": evaluation(NEW, 1).matrices["final"]})
    common = common_part([old, new], CLASSES)
    assert common is not None
    assert "gain" not in common.scores(new, SETTINGS)["final"]
    whole = common.scores(evaluation(NEW, 1), SETTINGS, over=old)["final"]
    assert common.scores(new, SETTINGS, over=old) == {"final": whole}
    assert "gain" not in common.scores(old, SETTINGS, over=new)["teacher"]


def test_counts_of_a_model_that_metrics_hold_have_to_be_there(project: Path) -> None:
    Path("data/evaluation/teacher.safetensors").unlink()
    assert "is not whole, or of an earlier version" in difference("HEAD")


def test_a_report_tells_of_the_newest_run_with_other_scores(project: Path) -> None:
    for _ in range(2):
        [finding] = since_former_run()
        assert "was tested on other images" in finding.text
        assert "(test: 2 of 3 kept, 1 with another picture or mask, 1 new)" in finding.text
        assert "On the 2 images (2 parts) of both, the final student had " in finding.text
        assert "Few of these parts show crack (2)" in finding.text
        # once the run is committed, it is compared with the one before
        assert dvc(project, "add", "-q", "data/evaluation").returncode == 0
        git(project, "add", "-A")
        git(project, "commit", "-q", "--allow-empty", "-m", "another run")
    # a third run, on the same test images
    same = {"test_set": NEW.record, "miou": 0.6}
    write(models(**dict.fromkeys(models(), same)), PARAMS)
    assert since_former_run() == []


def test_a_report_says_why_it_knows_of_no_former_test_set(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = "Whether a former run was tested on other images is not known: "
    # neither in DVC's cache nor in a remote
    shutil.rmtree(".dvc/cache")
    [finding] = since_former_run()
    commit = git(project, "rev-parse", "--short", "HEAD").strip()
    no_cache = f"no data/evaluation of {commit} in DVC's cache or remote: "
    assert f"(which images both tested is not known ({no_cache}" in finding.text
    # what is at the end of history cannot be told from what began there
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "another run")
    clone = project / "clone"
    git(project, "clone", "-q", "--depth=1", project.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    [finding] = since_former_run()
    monkeypatch.chdir(project)
    assert finding.text == f"{unknown}this clone holds but the latest commits."
    # an earlier version's, of which the newer one alone counts
    early = {key: value for key, value in SCORES.items() if key != "parts"}
    write(models() | {"final": early}, PARAMS)
    git(project, "commit", "-q", "-a", "-m", "early")
    write(models(final={"test_set": NEW.record}), PARAMS)
    [finding] = since_former_run()
    commit = git(project, "rev-parse", "--short", "HEAD").strip()
    assert finding.text == (
        f"{unknown}the scores of {commit} are of an earlier version, which wrote other numbers."
    )


def test_a_report_needs_no_commit_before_the_one_that_it_compares_with(project: Path) -> None:
    git(project, "commit", "-q", "-a", "-m", "the run of the workspace")
    early = {key: value for key, value in SCORES.items() if key != "parts"}
    write(models() | {"final": early}, PARAMS)
    git(project, "commit", "-q", "-a", "-m", "early")
    leave(OLD, better=2)
    git(project, "commit", "-q", "-a", "-m", "a former run")
    leave(NEW, better=1)
    [finding] = since_former_run()
    assert "was tested on other images" in finding.text


def test_a_report_without_git_or_without_a_former_run_says_nothing(project: Path) -> None:
    git(project, "commit", "-q", "-a", "--amend", "-m", "the first run")
    assert since_former_run() == []
    shutil.rmtree(".git")
    assert since_former_run() == []


def test_what_cannot_be_read_is_said(project: Path) -> None:
    old, new = at_commit("HEAD").scores, in_workspace().scores
    assert evaluation_at("HEAD", old).images == OLD
    no_match = "is not what its metrics were made of"
    with pytest.raises(InputError, match=rf"^data/evaluation of HEAD {no_match}$"):
        evaluation_at("HEAD", new)
    # the same images, other models: Git has moved, DVC has not
    write_metrics(NEW, better=2, test_set=NEW.record)
    assert f"data/evaluation here {no_match}: run `dvc checkout`" in difference("HEAD")
    for broken, text in (
        ("final.safetensors", "x"),
        ("images.json", "{"),
        ("images.json", '{"ids": [], "groups": []}'),
    ):
        leave(NEW)
        assert "is not known" not in difference("HEAD")
        Path("data/evaluation", broken).write_text(text, encoding="utf-8")
        assert "data/evaluation here is not whole, or of an earlier version" in difference("HEAD")
    leave(NEW)
    Path("data/evaluation/teacher.safetensors").unlink()
    assert "data/evaluation here is not whole" in difference("HEAD")
    Path("data/evaluation/images.json").unlink()
    assert "is not known (no data/evaluation here: `dvc pull" in difference("HEAD")


def test_metrics_that_are_no_json_are_named(project: Path) -> None:
    Path("metrics/final.json").write_text("<<<<<<< HEAD", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"^metrics/final\.json is not valid JSON, a merge conflict\?"
    ):
        difference("HEAD")
    git(project, "commit", "-q", "-a", "-m", "conflict")
    leave(NEW)
    with pytest.raises(
        InputError, match=r"^metrics/final\.json of HEAD \(\w+\) is not valid JSON: "
    ):
        difference("HEAD")
    [finding] = since_former_run()
    assert finding.text.endswith(" is not valid JSON.")


def test_an_earlier_version_named_no_test_set_and_is_told_by_its_images(project: Path) -> None:
    leave(ScoredImages(OLD.ids, OLD.parts, None))
    write_metrics(OLD)
    assert dvc(project, "add", "-q", "data/evaluation").returncode == 0
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "earlier version")
    assert "test_set" not in json.loads(Path("metrics/final.json").read_text(encoding="utf-8"))
    leave(OLD)
    assert "no difference" in difference("HEAD")
    leave(NEW)
    assert "test: 3 of 3 kept, 1 new" in difference("HEAD")
    # as many parts, and nothing else is known
    shutil.rmtree(".dvc/cache")
    first, second, *_ = difference("HEAD").splitlines()
    assert first.startswith("whether the test sets differ is not known: scores of HEAD (")
    assert first.endswith(") and of the workspace may not compare")
    assert second.startswith("which images both tested is not known (")
    [finding] = since_former_run()
    assert " may have been tested on other images (which images both tested" in finding.text
