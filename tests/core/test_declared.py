"""What a stage depends on, as dvc.yaml says it."""

from pathlib import Path

import pytest

from ppl.core.declared import declared, digest, files_below, named_setting
from ppl.core.errors import InputError
from tests.pipeline.project import write_project

PIPELINE = """
stages:
  prepare:
    cmd: python -m stages.prepare --raw @data.root
    deps:
      - ${data.root}
      - ppl/data
      - ppl/judge/overlays.py
      - stages/prepare.py
    params:
      - data
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    params = "data: {name: folder, root: data/my parts}\nother: 3\n"
    return write_project(tmp_path, pipeline=PIPELINE, params=params, files=[])


def test_settings_fill_in_paths_and_only_listed_sections_come(project: Path) -> None:
    found = declared("prepare")
    assert found.inputs == [Path("data/my parts")]
    listed = ["ppl/data", "ppl/judge/overlays.py", "stages/prepare.py"]
    assert found.code == [Path(name) for name in listed]
    assert found.params == {"data": {"name": "folder", "root": "data/my parts"}}


def test_a_path_of_a_command_is_itself_or_what_a_setting_holds(project: Path) -> None:
    assert named_setting("@data.root") == Path("data/my parts")
    for word in ("data/a b", "@data", "./@data.root", "@data.root/x", "a@data.root"):
        assert named_setting(word) == Path(word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("@nothing.root", "section `nothing` is missing"),
        ("@data.lists", r"data\.lists: got None; expected a path"),
        ("@other.root", "other: got 3"),
    ],
)
def test_a_setting_that_holds_no_path_is_named(project: Path, word: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        named_setting(word)


def test_a_folder_of_code_is_all_python_files_below_it_and_nothing_else(project: Path) -> None:
    code = ["ppl/data/prepare.py", "ppl/data/adapters/folder.py", "ppl/data/adapters/zebra.py"]
    other = [
        "ppl/data/notes.md",
        "ppl/data/.hidden.py",
        "ppl/data/.ipynb_checkpoints/prepare-checkpoint.py",
        "ppl/data/__pycache__/prepare.cpython-311.pyc",
        "ppl/judge/table.py",
    ]
    for name in [*code, *other, "ppl/judge/overlays.py", "stages/prepare.py"]:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name, encoding="utf-8")
    found = {file.as_posix() for file in declared("prepare").code_files}
    assert found == {*code, "ppl/judge/overlays.py", "stages/prepare.py"}
    (project / code[2]).unlink()
    assert Path(code[2]) not in declared("prepare").code_files


def test_an_unknown_stage_depends_on_nothing(project: Path) -> None:
    found = declared("else")
    assert (found.code, found.inputs, found.params) == ([], [], {})


def test_the_projects_own_stages_exist_as_declared() -> None:
    found = declared("train_supervised")
    assert Path("ppl/training/loop.py") in found.code_files
    assert all(path.exists() for path in found.code)
    assert Path("data/prepared/labeled") in found.inputs
    assert found.params["optimizer"]["momentum"] == 0.9


def test_files_below_are_sorted_and_a_file_is_itself(tmp_path: Path) -> None:
    for name in ["b/2.txt", "a.txt", "b/1.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert list(files_below(tmp_path)) == [
        tmp_path / "a.txt",
        tmp_path / "b" / "1.txt",
        tmp_path / "b" / "2.txt",
    ]
    assert list(files_below(tmp_path / "a.txt")) == [tmp_path / "a.txt"]
    assert list(files_below(tmp_path / "none")) == []


def test_a_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    for name, content in [("a", "x"), ("b", "x"), ("c", "y")]:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
