"""Scores are shown with the run that they are of, and with no other."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.tools.diff import difference
from ppl.tools.scored import Scored, ran_since, scored_here, scores_here
from tests.pipeline.project import git
from tests.tools.test_diff import PARAMS, models

LOCK, FINAL = Path("dvc.lock"), Path("metrics/final.json")
MINE = {"name": "folder", "root": "data/raw/mine"}
MADE = {"name": "synthetic", "root": "data/raw/synthetic"}


def stages(data: dict[str, Any], *, sets: str, model: str, taken: str) -> dict[str, Any]:
    """What dvc.lock records of four stages.

    Args:
        sets: the hash of the image sets as `prepare` left them.
        model: that of what was trained.
        taken: that of the sets as the later stages took them.
    """
    final = hashlib.md5(FINAL.read_bytes()).hexdigest()
    sections = PARAMS | {"data": data, "split": {"labeled_fraction": 1}}
    return {
        "evaluate": {
            "deps": [{"path": "test", "md5": taken}, {"path": "model", "md5": model}],
            "params": {"params.yaml": {"evaluate": sections["evaluate"]}},
            "outs": [{"path": FINAL.as_posix(), "md5": final}],
        },
        "prepare": {
            "deps": [{"path": data["root"], "md5": "raw"}],
            "params": {"params.yaml": sections},
            "outs": [{"path": "test", "md5": sets}],
        },
        "audit": {"deps": [{"path": "test", "md5": sets}], "outs": [{"path": "a", "md5": "a"}]},
        "train": {
            "deps": [{"path": "test", "md5": taken}],
            "outs": [{"path": "model", "md5": "model"}],
        },
    }


def lock(data: dict[str, Any], *, sets: str = "1", model: str = "model", taken: str = "1") -> None:
    recorded = stages(data, sets=sets, model=model, taken=taken)
    LOCK.write_text(yaml.safe_dump({"stages": recorded}, sort_keys=False), encoding="utf-8")
    sections = recorded["prepare"]["params"]["params.yaml"]
    Path("params.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")


def leave(**changed: dict[str, Any]) -> None:
    FINAL.parent.mkdir(exist_ok=True)
    for model, found in models(**changed).items():
        (FINAL.parent / f"{model}.json").write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit of a run on generated pictures."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    leave()
    lock(MADE)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "run")
    return git(tmp_path, "rev-parse", "--short", "HEAD").strip()


def test_a_run_that_ended_has_its_scores(run: str) -> None:
    scored = scored_here(Path())
    assert (scored.title, scored.why, scored.note) == ("synthetic, 1 labeled", "", "")


def test_scores_of_former_data_are_named_by_their_commit(run: str) -> None:
    lock(MINE, sets="2")
    scored = scored_here(Path())
    assert scored.title == "synthetic, 1 labeled", "not folder, of which `prepare` alone ran"
    assert scored.note == (
        f"these scores are of commit {run} (synthetic, 1 labeled), not of the present data and "
        "settings (prepare ran since): run `make repro`"
    )
    assert difference("HEAD").splitlines()[-1] == scored.note
    assert "data.name" not in difference("HEAD"), "both scores are of the same settings"


def test_a_stage_between_that_ran_since_is_named_and_one_beside_is_not(run: str) -> None:
    lock(MADE, model="older")
    assert scored_here(Path()).why == "train ran since"
    recorded = stages(MADE, sets="1", model="model", taken="1")
    recorded["audit"]["deps"][0]["md5"] = "older"
    assert ran_since(recorded) == []
    assert ran_since({}) == []


def test_the_same_sets_again_leave_the_scores_in_place(run: str) -> None:
    lock(MINE)
    assert scored_here(Path()).note == ""
    assert scored_here(Path()).title == "folder, 1 labeled"


def test_scores_that_no_commit_has_are_of_an_unknown_run(run: str) -> None:
    leave(final={"miou": 0.7})
    lock(MINE, sets="2")
    scored = scored_here(Path())
    assert scored.title == ""
    assert scored.note.startswith("these scores are of an earlier run, not of the present data")


def test_metrics_that_the_lock_does_not_record_are_told(run: str) -> None:
    leave(final={"miou": 0.7})
    assert "an earlier run, not" in scored_here(Path()).note
    assert "(dvc.lock records other scores)" in scored_here(Path()).note


def test_without_git_and_without_a_lock_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scored_here(Path()) == Scored("")
    leave()
    lock(MADE, sets="2")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert scored_here(Path()).whose == "an earlier run"


def test_a_lock_that_was_committed_without_its_scores_is_told(run: str) -> None:
    git(Path(), "rm", "-q", "--cached", "-r", "metrics")
    git(Path(), "commit", "-q", "-m", "none")
    git(Path(), "add", "metrics")
    git(Path(), "commit", "-q", "-m", "scores")
    leave(final={"miou": 0.7})
    lock(MINE)
    git(Path(), "commit", "-q", "-m", "lock alone", "dvc.lock")
    text = difference("HEAD")
    assert "lacks the scores of its dvc.lock" in text
    assert "git add" in text
    assert "+20.0" in text, "the scores that it holds are compared all the same"


def test_a_first_run_on_own_data_has_nothing_to_compare_with(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise InputError("failed to load directory ('data', 'evaluation')")

    monkeypatch.setattr("ppl.tools.common_part.ask_dvc", fails)
    then = "`git add dvc.lock params.yaml metrics` and `git commit` keep this run, and the next is"
    counts = {"background": 9, "crack": 5, "dent": 9}
    iou = {"background": 0.9, "crack": 0.5, "dent": 0.1}
    leave(**{model: {"iou": iou, "parts": counts} for model in models()})
    lock(MINE)
    text = difference("HEAD")
    assert "failed to load" not in text
    assert text.splitlines()[1] == (
        f"nothing to compare with: the classes differ; {then} compared with it"
    )
    leave(final={"parts": {"background": 40, "crack": 20}})
    lock(MINE)
    assert difference("HEAD").splitlines()[1] == (
        "nothing to compare with: data.root was data/raw/synthetic, and is data/raw/mine; "
        f"{then} compared with it"
    )
    lock(MADE)
    text = difference("HEAD")
    assert "failed to load" not in text
    assert f"no data/evaluation of {run} in DVC's cache or remote: `dvc fetch` brings it" in text


def test_a_lock_that_was_committed_in_the_midst_of_a_merge_tells_nothing(run: str) -> None:
    LOCK.write_text("<<<<<<< HEAD\nstages:\n=======\n", encoding="utf-8")
    git(Path(), "commit", "-q", "-a", "-m", "conflict")
    with pytest.raises(InputError, match=r"dvc\.lock is not valid YAML, a merge conflict"):
        scored_here(Path())
    lock(MADE)
    assert "with which settings is not known" in difference("HEAD")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> b\n", r"a merge conflict\? .*git checkout --th"),
        ("{", "is not valid JSON"),
        ("[1]", "holds no scores"),
        ('{"test_images": 3}', "holds no scores"),
        ("", "is not valid JSON"),
    ],
)
def test_files_without_scores_are_named(run: str, text: str, said: str) -> None:
    FINAL.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^metrics/final\.json .*{said}[^\n]*$"):
        scores_here([Path("metrics/teacher.json"), FINAL])
    FINAL.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"metrics/final\.json is no UTF-8 text"):
        scores_here([FINAL])


def test_a_model_that_was_not_trained_may_lack_scores_but_the_final_one(tmp_path: Path) -> None:
    files = [tmp_path / f"{model}.json" for model in ("teacher", "final")]
    files[0].write_text('{"absent": "it trains once"}', encoding="utf-8")
    files[1].write_text(json.dumps(models()["final"]), encoding="utf-8")
    assert scores_here(files)["teacher"] == {"absent": "it trains once"}
    files[1].write_text('{"absent": "it trains once"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"final\.json holds no scores"):
        scores_here(files)
