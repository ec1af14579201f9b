"""The workspace against a commit: what people compare by, on a page, and what sets both apart."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.tools.diff import difference
from ppl.tools.used_settings import outdated_sections, used_settings
from tests.pipeline.project import git

SCORES: dict[str, Any] = {
    "miou": 0.5,
    "miou_low": 0.4,
    "miou_high": 0.6,
    "iou": {"background": 0.75, "crack": 0.25},
    "parts": {"background": 30, "crack": 10},
    "few_parts": 10,
    "image_recall": 0.9,
    "image_false_alarm_rate": 0.2,
    "calibration_error": 0.01,
}
COPYCAT = {key: value for key, value in SCORES.items() if not key.startswith("image")}
PARAMS: dict[str, Any] = {
    "seed": 0,
    "ranking": {"reliable_fraction": 0.5},
    "optimizer": {"momentum": 0.9, "weight_decay": 0.00001},
    "intervals": {"confidence": 0.8, "resamples": 100, "few_parts": 10},
    "evaluate": {"overlays": 3},
}


def write(scores: dict[str, dict[str, Any]], params: dict[str, Any]) -> None:
    """Metrics, dvc.lock and params.yaml of a run, into the working directory."""
    Path("metrics").mkdir(exist_ok=True)
    for model, found in scores.items():
        Path("metrics", f"{model}.json").write_text(json.dumps(found), encoding="utf-8")
    stages = {
        "train": {"params": {"params.yaml": {k: v for k, v in params.items() if k != "evaluate"}}},
        "evaluate": {"params": {"params.yaml": {"evaluate": params.get("evaluate")}}},
    }
    lock = yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)
    # as DVC writes it
    Path("dvc.lock").write_text(lock.replace("1.0e-05", "1e-05"), encoding="utf-8")
    write_params(params)


def write_params(params: dict[str, Any]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def models(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of all models, some of them with other numbers."""
    same = {"copycat": COPYCAT, "teacher": SCORES, "student_1": SCORES, "final": SCORES}
    return {name: copy.deepcopy(found) | changed.get(name, {}) for name, found in same.items()}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a Git repository with the committed scores of a run."""
    folder = tmp_path / "below"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git(tmp_path, "init", "-q")
    write(models(), PARAMS)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "run")
    return folder


RARE = {"background": 30, "crack": 9}


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the table's rows by their first one; names are without spaces here."""
    lines = (line.replace("image recall", "recall").split() for line in text.splitlines())
    return {words[0]: words[1:] for words in lines if words}


def test_the_same_scores_are_said_to_be_the_same(project: Path) -> None:
    commit = git(project, "rev-parse", "--short", "HEAD").strip()
    same = f"no difference to HEAD ({commit}) in mIoU, IoU by class, image recall, image false"
    assert difference("HEAD").splitlines() == [f"{same} alarms"]
    write(models(final={"calibration_error": 0.5}), PARAMS)
    assert difference("HEAD").splitlines() == [f"{same} alarms"]


def test_each_score_has_its_old_and_new_value_and_the_difference_in_points(project: Path) -> None:
    final = {
        "miou": 0.5128,
        "miou_low": 0.41,
        "iou": {"background": 0.75, "crack": 0.2},
        "image_recall": None,
    }
    write(models(final=final), PARAMS)
    text = difference("HEAD")
    assert text.splitlines()[1].split() == ["teacher", "student_1", "final"]
    found = rows(text)
    assert found["mIoU"] == ["50.0", "50.0", "+0.0"] * 2 + ["50.0", "51.3", "+1.3"]
    assert "mIoU, lower bound      40.0   40.0" in text
    assert found["crack"][6:] == ["25.0", "20.0", "-5.0"]
    assert found["recall"][6:] == ["90.0", "-", "-"]
    assert "settings" not in text
    assert max(map(len, text.splitlines())) < 100


def test_the_copycat_is_shown_where_it_changed(project: Path) -> None:
    write(models(copycat={"miou": 0.1}), PARAMS)
    text = difference("HEAD")
    assert text.splitlines()[1].split()[0] == "copycat"
    assert rows(text)["recall"][:3] == ["-", "-", "-"]
    Path("metrics/copycat.json").unlink()
    assert "no difference" in difference("HEAD")


def test_a_model_of_one_side_alone_is_named_and_the_others_are_compared(project: Path) -> None:
    none = {"absent": "it trains once"}
    write(models(final={"miou": 0.6}) | {"teacher": none, "student_1": none}, PARAMS)
    text = difference("HEAD")
    assert text.splitlines()[1].split() == ["final"]
    assert rows(text)["mIoU"] == ["50.0", "60.0", "+10.0"]
    commit = git(project, "rev-parse", "--short", "HEAD").strip()
    assert f"teacher, student_1: trained in HEAD ({commit}) alone" in text
    # and the other way round
    git(project, "commit", "-q", "-a", "-m", "trains once")
    assert "no difference" in difference("HEAD")
    assert "alone" not in difference("HEAD")
    write(models(), PARAMS)
    text = difference("HEAD")
    assert text.splitlines()[1].split() == ["final"]
    assert "teacher, student_1: trained in workspace alone" in text


def test_changed_settings_are_listed_and_no_more_than_ten(project: Path) -> None:
    params = PARAMS | {"ranking": {"reliable_fraction": 0.3, "by": "class"}}
    write(models(final={"miou": 0.6}), params)
    lines = difference("HEAD").splitlines()
    assert lines[-2:] == [
        "  ranking.reliable_fraction: 0.5 -> 0.3",
        "  ranking.by: not there -> class",
    ]
    write(models(final={"miou": 0.6}), params | {"more": {f"key{n}": n for n in range(30)}})
    lines = difference("HEAD").splitlines()
    assert len(lines) <= 25
    assert lines[-1] == "  and 22 more: `git diff HEAD -- dvc.lock`"


def test_settings_edited_after_the_run_are_named(project: Path) -> None:
    write_params(PARAMS | {"seed": 1})
    assert difference("HEAD").splitlines()[-1] == (
        "params.yaml has been edited since these scores were computed (seed): run `dvc repro` first"
    )


def test_a_run_that_broke_off_leaves_scores_of_older_settings() -> None:
    lock = """
    stages:
      train: {params: {params.yaml: {seed: 1}}}
      evaluate: {params: {params.yaml: {seed: 0, evaluate: {overlays: 3}}}}
    """
    assert used_settings(lock)["seed"] == 0
    assert outdated_sections(lock, {"seed": 1, "evaluate": {"overlays": 3}}) == ["seed"]


def test_another_data_set_shows_what_both_have_and_says_so(project: Path) -> None:
    other = {"iou": {"background": 0.7, "pore": 0.2}, "parts": {"background": 9, "pore": 9}}
    write(models(**dict.fromkeys(models(), other)), PARAMS)
    text = difference("HEAD")
    assert not {"background", "mIoU", "pore", "crack", "pore*"} & rows(text).keys()
    assert ") has crack, the workspace pore" in text
    assert rows(text)["workspace"][0] == "50.0"


def test_other_test_parts_are_no_fair_comparison(project: Path) -> None:
    write(models(final={"parts": {"background": 40, "crack": 20}}), PARAMS)
    lines = difference("HEAD").splitlines()
    assert lines[0].startswith("the test sets differ: scores of HEAD (")
    assert lines[0].endswith(") and of the workspace do not compare")
    # this repository is none of DVC's
    assert lines[1].startswith("which images both tested is not known (")
    assert [line.split()[0] for line in lines[3:]] == ["teacher", "HEAD", "workspace"]


def test_one_test_set_is_compared_as_ever(project: Path) -> None:
    tested = {"test_set": {"images": 30, "parts": 30, "digest": "1"}}
    write(models(**dict.fromkeys(models(), tested)), PARAMS)
    git(project, "commit", "-q", "-a", "-m", "tested")
    assert "no difference" in difference("HEAD")
    other = {"test_set": {"images": 30, "parts": 30, "digest": "2"}}
    write(models(**dict.fromkeys(models(), other)), PARAMS)
    assert "the test sets differ" in difference("HEAD"), "a mask was corrected"


def test_rare_classes_and_models_in_anothers_place_are_marked(project: Path) -> None:
    write(models(final={"few_parts": 10, "parts": RARE}), PARAMS)
    git(project, "commit", "-q", "-a", "-m", "few parts")
    write(models(final={"miou": 0.4, "parts": RARE, "fallen_back_to": "teacher"}), PARAMS)
    text = difference("HEAD")
    assert "crack*" in text
    assert "* fewer than 10 test parts show it" in text
    assert "final: teacher in its place (fall_back)" in text


@pytest.mark.parametrize("revision", ["nope", "HEAD~1", "", "--all"])
def test_a_commit_that_is_none_is_named(project: Path, revision: str) -> None:
    with pytest.raises(InputError, match=rf"^Git finds no commit `{revision}` here: [^\n]*$"):
        difference(revision)


def test_scores_of_an_earlier_version_are_no_traceback(project: Path) -> None:
    early = {key: value for key, value in SCORES.items() if key not in ("parts", "few_parts")}
    write(models(teacher=early) | {"final": early}, PARAMS)
    git(project, "commit", "-q", "-a", "-m", "early")
    write(models(), PARAMS)
    with pytest.raises(InputError, match="are of an earlier version, which wrote other numbers"):
        difference("HEAD")


def test_missing_scores_are_named(project: Path) -> None:
    git(project, "rm", "-q", "--cached", "metrics/final.json", "dvc.lock")
    git(project, "commit", "-q", "-m", "forgotten")
    with pytest.raises(InputError, match=r"^HEAD \(\w+\) holds no metrics/final.json: name a com"):
        difference("HEAD")
    git(project, "add", "metrics")
    git(project, "commit", "-q", "-m", "scores alone")
    assert "settings is not known: no evaluation in dvc.lock of HEAD" in difference("HEAD")
    Path("metrics/teacher.json").unlink()
    with pytest.raises(InputError, match=r"^no scores at metrics/teacher\.json: run `dvc"):
        difference("HEAD")
