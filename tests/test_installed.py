"""An installed copy: models and commands work from any folder, stages do not."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install PROJECT` would put into an environment: the wheel's content."""
    folder = tmp_path_factory.mktemp("installed")
    project = folder / "project"
    project.mkdir()
    shutil.copytree(ROOT / "ppl", project / "ppl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "-w",
            folder,
            project,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def python(installed: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_modules_and_the_pages_are_in_it(installed: Path) -> None:
    kinds = (".py", ".jinja", ".html", ".css", ".js", ".svg")

    def found(root: Path) -> set[str]:
        files = (file for file in (root / "ppl").rglob("*") if file.suffix in kinds)
        return {file.relative_to(root).as_posix() for file in files}

    assert found(installed) == found(ROOT)


def test_models_and_commands_work_from_any_folder(installed: Path, tmp_path: Path) -> None:
    code = (
        "import ppl.inspection.model as model\n"
        "print(model.__file__)\n"
        "try: model.load_model('nowhere')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed))
    assert "InputError nowhere holds no model" in done.stdout
    listed = python(installed, tmp_path, "-m", "ppl", "--help")
    assert listed.returncode == 0, listed.stderr
    entry = next(installed.glob("*.dist-info")) / "entry_points.txt"
    assert "ppl = ppl.__main__:main" in entry.read_text(encoding="utf-8")


def test_stages_refuse_to_run_from_it(installed: Path, tmp_path: Path) -> None:
    done = python(installed, tmp_path, "-m", "ppl.run", "prepare")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
