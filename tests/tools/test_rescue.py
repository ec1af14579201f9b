"""What a person edited among the outputs is kept before DVC puts its own copy back."""

import hashlib
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ppl.__main__ import main
from ppl.core.errors import InputError
from ppl.tools.rescue import rescue
from tests.pipeline.project import dvc, git

PIPELINE = """
stages:
  annotate_next:
    cmd: python make.py
    deps: [make.py]
    outs: [data/annotate_next/masks]
"""
MAKE = """
from pathlib import Path
for name in ("a", "line 1/b", "line-1/c", "line/d"):
    file = Path("data/annotate_next/masks", f"{name}.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"drawn {name}")
"""
MASKS = Path("data/annotate_next/masks")


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of one stage that has run."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    Path("data").mkdir()
    Path("dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    Path("make.py").write_text(MAKE, encoding="utf-8")
    assert dvc(tmp_path, "init", "-q").returncode == 0
    assert dvc(tmp_path, "repro", "-q").returncode == 0
    return tmp_path


def test_an_edited_mask_is_kept_where_dvc_overwrites_it(project: Path) -> None:
    edited = MASKS / "line 1" / "b.png"
    edited.write_text("corrected by hand", encoding="utf-8")
    (MASKS / "new.png").write_text("drawn by hand", encoding="utf-8")
    before = md5(edited)
    # the settings are missing here: what was edited is kept all the same
    done = CliRunner().invoke(main, ["check"])
    assert "2 files among the pipeline's outputs had been edited" in done.output
    assert re.search(r"kept in data/rescued/1\b", done.output)
    assert dvc(project, "repro", "-q").returncode == 0
    assert edited.read_text(encoding="utf-8") == "drawn line 1/b"
    assert not (MASKS / "new.png").exists()
    kept = Path("data/rescued/1")
    assert md5(kept / edited) == before
    assert (kept / MASKS / "new.png").read_text(encoding="utf-8") == "drawn by hand"
    assert sum(file.is_file() for file in kept.rglob("*")) == 2
    assert rescue() is None


def test_nothing_is_kept_twice_and_a_second_edit_has_a_place_of_its_own(project: Path) -> None:
    (MASKS / "a.png").write_text("first", encoding="utf-8")
    assert rescue() == Path("data/rescued/1")
    assert rescue() is None
    (MASKS / "a.png").write_text("second", encoding="utf-8")
    assert rescue() == Path("data/rescued/2")
    texts = [Path(f"data/rescued/{n}") / MASKS / "a.png" for n in (1, 2)]
    assert [file.read_text(encoding="utf-8") for file in texts] == ["first", "second"]


def test_an_unchanged_output_asks_nobody(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl.tools.rescue.ask_dvc", None)
    assert rescue() is None


def test_a_copy_of_another_mask_is_a_correction(project: Path) -> None:
    """An empty mask in place of a false alarm, say: the cache has it, under another name."""
    (MASKS / "a.png").write_text("drawn line/d", encoding="utf-8")
    kept = rescue()
    assert kept == Path("data/rescued/1")
    assert [file.relative_to(kept) for file in kept.rglob("*.png")] == [MASKS / "a.png"]


def test_a_deleted_mask_and_an_older_result_are_no_edits(project: Path) -> None:
    (MASKS / "line" / "d.png").unlink()
    assert rescue() is None
    Path("make.py").write_text(MAKE.replace("drawn", "painted"), encoding="utf-8")
    assert dvc(project, "repro", "-q").returncode == 0
    lock = Path("dvc.lock").read_text(encoding="utf-8")
    Path("make.py").write_text(MAKE, encoding="utf-8")
    assert dvc(project, "repro", "-q").returncode == 0
    Path("dvc.lock").write_text(lock, encoding="utf-8")
    assert rescue() is None


def test_without_a_record_what_dvc_has_no_copy_of_is_kept(project: Path) -> None:
    (MASKS / "a.png").write_text("by hand", encoding="utf-8")
    Path("dvc.lock").unlink()
    kept = rescue()
    assert kept is not None
    assert [file.relative_to(kept) for file in kept.rglob("*.png")] == [MASKS / "a.png"]


def test_a_lock_with_a_merge_conflict_is_said_in_a_line(project: Path) -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"dvc\.lock is not valid YAML, a merge conflict\?"):
        rescue()


def test_without_masks_there_is_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert rescue() is None
    MASKS.mkdir(parents=True)
    assert rescue() is None
