"""Code as dvc.lock records it, and as a commit has it: DVC's own hashes are the measure."""

import subprocess
from pathlib import Path

import pytest
import yaml

from ppl.tools.code_of import code_of, doubt, files_at, files_here, recorded_code

PARAMS = {"loss": {"weight": 4}}

STAGES = """
stages:
  train:
    cmd: mkdir -p out && cat ppl/core/a.py > out/model
    deps: [ppl/core, ppl/one.py, stages/train.py]
    params: [loss]
    outs: [out/model]
  evaluate:
    cmd: cp out/model out/scores
    deps: [out/model, ppl/scores]
    outs: [out/scores]
  export:
    cmd: cp out/model out/export
    deps: [out/model, ppl/export]
    outs: [out/export]
"""


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one that DVC ran, committed."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("ppl/core/a.py", "a = 1\n")
        write("ppl/core/sub/b é.py", "b = 2\r\n")
        for name in ("ppl/one.py", "ppl/scores/c.py", "ppl/export/d.py", "stages/train.py"):
            write(name, name)
        write("dvc.yaml", STAGES)
        write("params.yaml", yaml.safe_dump(PARAMS))
        write(".gitignore", "__pycache__\n/out\n")
        write(".dvcignore", "__pycache__\n")
        git("init", "-q")
        git("config", "user.email", "a@b.c")
        git("config", "user.name", "a")
        git("config", "core.autocrlf", "false")
        for words in (["init", "-q"], ["repro", "-q"]):
            subprocess.run(["python", "-m", "dvc", *words], check=True)
        commit()
    return folder


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8", newline="")


def commit() -> str:
    git("add", "-A")
    git("commit", "-qm", "change", "--allow-empty")
    return git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    git("checkout", "-q", "--", ".")


def test_hashes_are_those_of_dvc() -> None:
    locked = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
    deps = {dep["path"]: dep for stage in locked.values() for dep in stage["deps"]}
    recorded = recorded_code(deps)
    assert sorted(recorded) == [
        *("ppl/core", "ppl/export", "ppl/one.py", "ppl/scores", "stages/train.py"),
    ]
    write("ppl/core/__pycache__/a.pyc", "no code")
    assert code_of(files_at("HEAD"), recorded) == recorded
    assert code_of(files_here(), recorded) == recorded
    write("ppl/core/a.py", "a = 3\n")
    edited = code_of(files_here(), recorded)
    assert [path for path in recorded if edited[path] != recorded[path]] == ["ppl/core"]
    assert code_of({}, recorded) == {}


def test_a_commit_that_was_run_is_not_doubted() -> None:
    assert doubt("HEAD", PARAMS) == ""


def test_settings_that_were_not_run_are_named() -> None:
    assert doubt("HEAD", {"loss": {"weight": 9}}) == "its scores are of other settings (loss)"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("ppl/core/sub/b é.py", "its scores are of other code (ppl/core)"),
        ("ppl/one.py", "its scores are of other code (ppl/one.py)"),
        ("ppl/scores/c.py", "its scores are of other code (ppl/scores)"),
        ("ppl/export/d.py", ""),
        ("ppl/elsewhere.py", ""),
    ],
)
def test_code_that_was_not_run_is_named_where_scores_rest_on_it(file: str, said: str) -> None:
    before = git("rev-parse", "HEAD")
    write(file, "changed\n")
    after = commit()
    try:
        assert doubt(after, PARAMS) == said
        assert doubt(before, PARAMS) == ""
    finally:
        git("reset", "-q", "--hard", before)


def test_a_file_that_is_gone_is_other_code() -> None:
    before = git("rev-parse", "HEAD")
    Path("stages/train.py").unlink()
    after = commit()
    try:
        assert doubt(after, PARAMS) == "its scores are of other code (stages/train.py)"
    finally:
        git("reset", "-q", "--hard", before)


def test_a_commit_without_a_lock_has_no_scores_of_its_own() -> None:
    assert doubt(git("rev-list", "--max-parents=0", "HEAD") + "x", PARAMS) == "it has no dvc.lock"
