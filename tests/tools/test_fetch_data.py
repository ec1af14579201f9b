"""Published data sets: what is pinned and nothing else, from a repository or from a folder."""

import shutil
from pathlib import Path

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.tools.fetch_data import PINS, RAW, fetch, read_pin
from tests.pipeline.project import ROOT, dvc, git

NAME = "tiles"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A Git repository with pictures, whose newest commit is not the pinned one."""
    folder = tmp_path / "published"
    (folder / "images").mkdir(parents=True)
    git(folder, "init", "-q")
    for name, content in [("README.md", "tiles\r\n"), ("images/1.png", "one"), ("2.png", "two")]:
        (folder / name).write_bytes(content.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "pinned")
    return folder


@pytest.fixture
def project(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the pin of `published`, made by `dvc add` of its work tree."""
    folder = tmp_path / "project"
    (folder / PINS).mkdir(parents=True)
    (folder / RAW).mkdir(parents=True)
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    assert dvc(folder, "init", "-q").returncode == 0
    monkeypatch.chdir(folder)
    shutil.copytree(published, RAW / NAME, ignore=shutil.ignore_patterns(".git"))
    assert dvc(folder, "add", "-q", "--no-commit", f"{RAW}/{NAME}").returncode == 0
    pin = yaml.safe_load((RAW / f"{NAME}.dvc").read_text(encoding="utf-8"))
    pin["meta"] = {"url": str(published), "rev": git(published, "rev-parse", "HEAD").strip()}
    (PINS / f"{NAME}.dvc").write_text(yaml.safe_dump(pin, sort_keys=False), encoding="utf-8")
    shutil.rmtree(RAW / NAME)
    (RAW / f"{NAME}.dvc").unlink()
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "pin")
    return folder


def test_the_pinned_revision_comes_though_the_newest_differs(
    project: Path, published: Path, tmp_path: Path
) -> None:
    (published / "2.png").write_text("other", encoding="utf-8")
    git(published, "commit", "-q", "-am", "later")
    fetch(NAME)
    assert (RAW / NAME / "2.png").read_text(encoding="utf-8") == "two"
    assert (RAW / NAME / "README.md").read_bytes() == b"tiles\r\n"
    assert not (RAW / NAME / ".git").exists()
    # tracked where queued experiments and clones look for it, under the pinned hash
    assert git(project, "status", "--porcelain").split() == ["A", f"{RAW}/{NAME}.dvc"]
    assert (RAW / f"{NAME}.dvc").read_bytes() == (PINS / f"{NAME}.dvc").read_bytes()
    git(project, "commit", "-q", "-m", "data")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project), str(clone))
    dvc(clone, "cache", "dir", "--local", str(project / ".dvc" / "cache"))
    restored = dvc(clone, "checkout")
    assert restored.returncode == 0, restored.stderr
    assert (clone / RAW / NAME / "2.png").read_text(encoding="utf-8") == "two"
    # a second time nothing is copied
    shutil.rmtree(published)
    fetch(NAME)


def test_a_folder_serves_as_well(project: Path, published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "usb stick"
    shutil.copytree(published, copy, ignore=shutil.ignore_patterns(".git"))
    # left by an earlier try that broke off
    (RAW / f".{NAME}.part").mkdir()
    (RAW / f".{NAME}.part" / "half").touch()
    fetch(NAME, str(copy))
    assert sorted(file.name for file in (RAW / NAME).rglob("*.*")) == [
        "1.png",
        "2.png",
        "README.md",
    ]
    assert not (RAW / f".{NAME}.part").exists()


def test_other_content_is_not_kept(project: Path, published: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(published, copy, ignore=shutil.ignore_patterns(".git"))
    (copy / "2.png").write_text("TWO", encoding="utf-8")
    with pytest.raises(InputError, match=r"3 files, 13 bytes instead of 3 files, 13 bytes, or oth"):
        fetch(NAME, str(copy))
    assert list(RAW.iterdir()) == []


def test_what_lies_there_already_is_not_touched(project: Path) -> None:
    (RAW / NAME).mkdir()
    (RAW / NAME / "mine.png").touch()
    with pytest.raises(InputError, match=r"exists and is not the pinned .* \(1 files, 0 bytes"):
        fetch(NAME)
    assert [file.name for file in RAW.rglob("*")] == [NAME, "mine.png"]


def test_a_link_is_refused_and_dvcs_own_errors_are_shown(project: Path, tmp_path: Path) -> None:
    (RAW / NAME).symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a link"):
        fetch(NAME)
    (RAW / NAME).unlink()
    (RAW / NAME).mkdir()
    (project / ".dvc" / "config").write_text("[core\n", encoding="utf-8")
    with pytest.raises(InputError, match="config"):
        fetch(NAME)
    assert not (RAW / f"{NAME}.dvc").exists()


def test_a_source_out_of_reach_says_how_to_go_on_offline(project: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gave no revision .* make data-tiles FROM="):
        fetch(NAME, str(tmp_path / "nowhere"))
    assert list(RAW.iterdir()) == []


def test_a_repository_without_the_revision_is_refused(project: Path, published: Path) -> None:
    git(published, "commit", "-q", "--amend", "-m", "rewritten")
    git(published, "reflog", "expire", "--expire=now", "--all")
    git(published, "gc", "-q", "--prune=now")
    with pytest.raises(InputError, match="gave no revision"):
        fetch(NAME)


def test_an_unknown_name_says_which_there_are(project: Path) -> None:
    with pytest.raises(
        InputError, match="no published data set `tile` is pinned; there are: tiles"
    ):
        fetch("tile")


def test_without_the_data_dvc_goes_on_as_ever(project: Path) -> None:
    for command in (["status"], ["checkout"], ["repro"], ["data", "status"]):
        done = dvc(project, *command)
        # `repro` has no pipeline here; the point is that it asks for no data set
        assert NAME not in done.stdout + done.stderr
        assert done.returncode == 0 or command == ["repro"], done.stderr


def test_the_pins_of_this_project_are_full_hashes_and_revisions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    for name, images in (("magnetic_tile", 1344), ("neu_seg", 4470)):
        pin = read_pin(name)
        assert len(pin.rev) == 40
        assert pin.url.startswith("https://github.com/")
        # an image and a mask each
        assert 2 * images <= pin.files <= 2 * images + 3
