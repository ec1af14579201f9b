"""Each rule of the house names what breaks it, tried on a small house that breaks one at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import architecture
from tests.pipeline.project import ROOT, dvc, git

STAGE: dict[str, Any] = {"deps": ["ppl/core", "ppl/images", "stages/count.py", "data/raw"]}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two packages in their order, a stage that uses both, all tracked by Git."""
    for file, content in {
        "ppl/__init__.py": "",
        "ppl/core/__init__.py": "",
        "ppl/core/errors.py": "class Wrong(ValueError): ...\n",
        "ppl/images/__init__.py": "",
        "ppl/images/files.py": "from ppl.core.errors import Wrong\n",
        "ppl/run/__init__.py": "",
        "ppl/run/stage.py": "from ppl.core.errors import Wrong\n",
        "stages/__init__.py": "",
        "stages/count.py": "from ppl.images.files import Wrong\nfrom ppl.run import stage\n",
        ".dvcignore": (ROOT / ".dvcignore").read_text(encoding="utf-8"),
    }.items():
        write(tmp_path / file, content)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    return tmp_path


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


RULES: list[Callable[[Path], list[str]]] = [
    architecture.outside_the_packages,
    architecture.against_the_order,
    architecture.circles,
    architecture.packages_with_code,
    architecture.untracked_code,
    lambda root: architecture.unlisted_code("count", STAGE, root),
    lambda root: architecture.idle_code("count", STAGE, root),
]


def broken(root: Path) -> list[str]:
    return [said for rule in RULES for said in rule(root)]


def test_a_house_in_order_breaks_no_rule(house: Path) -> None:
    assert broken(house) == []


BREAKS = [
    ("ppl/helpers.py", "", "ppl/helpers.py lies in ppl/ itself"),
    ("ppl/helpers/tensors.py", "", "ppl/helpers/tensors.py lies in no package"),
    (
        "ppl/core/errors.py",
        "from ppl.images.files import Wrong\n",
        "ppl/core/errors.py imports ppl/images/files.py, but core comes before images",
    ),
    (
        "ppl/run/stage.py",
        "from ppl.images.files import Wrong\n",
        "ppl/run/stage.py imports ppl/images/files.py, but run comes before images",
    ),
    (
        "ppl/core/errors.py",
        "from ppl.core import colours\n",
        "ppl/core/errors.py and ppl/core/colours.py import each other",
    ),
    ("ppl/images/__init__.py", "SIZE = 3\n", "ppl/images/__init__.py holds code"),
    ("ppl/core/colours.py", "", "ppl/core/colours.py is not tracked by Git"),
    (
        "stages/count.py",
        "from ppl.network.resize import size\nfrom ppl.images.files import Wrong\n",
        "count reaches ppl/network/resize.py, which dvc.yaml does not list for it",
    ),
    (
        "stages/count.py",
        "from ppl.core.errors import Wrong\n",
        "count lists ppl/images, but reaches nothing of it",
    ),
    ("stages/other.py", "from stages.count import Wrong\n", "stages/other.py imports the stage"),
]


@pytest.mark.parametrize(("file", "content", "said"), BREAKS)
def test_what_breaks_a_rule_is_named(house: Path, file: str, content: str, said: str) -> None:
    write(house / "ppl/network/resize.py", "size = 3\n")
    if "each other" in said:
        write(house / "ppl/core/colours.py", "from ppl.core import errors\n")
    if "not tracked" not in said:
        git(house, "add", "-A")
    write(house / file, content)
    assert any(found.startswith(said) for found in broken(house)), broken(house)


def test_what_an_adapter_reaches_counts_for_the_stage_that_reads_raw_data(house: Path) -> None:
    write(house / "ppl/data/adapters/base.py", "")
    write(house / "ppl/data/adapters/tiles.py", "from ppl.network.resize import size\n")
    write(house / "ppl/network/resize.py", "size = 3\n")
    write(house / "stages/prepare.py", "from ppl.data.adapters import base\n")
    stage = {"deps": ["ppl/data", "stages/prepare.py"]}
    assert architecture.unlisted_code("prepare", stage, house) == [
        "prepare reaches ppl/network/resize.py, which dvc.yaml does not list for it"
    ]


def test_a_file_listed_beside_its_folder_is_named(house: Path) -> None:
    twice = {"deps": ["ppl/core", "ppl/core/errors.py", "ppl/images", "stages/count.py"]}
    assert architecture.idle_code("count", twice, house) == [
        "count lists ppl/core/errors.py and ppl/core, which holds it"
    ]


def test_wide_and_long_functions_are_named(house: Path) -> None:
    body = "".join(f"    a{n} = {n}\n" for n in range(9))
    write(house / "ppl/core/errors.py", f"def count(self, a, b, *, c):\n{body}")
    assert architecture.too_wide(house, 2) == [
        "ppl/core/errors.py: count takes 3 arguments, at most 2"
    ]
    assert architecture.too_long(house, 9) == ["ppl/core/errors.py: count has 10 lines, at most 9"]


def test_dvc_sees_python_files_of_the_code_and_nothing_else(house: Path) -> None:
    git(house, "config", "core.excludesFile", "/dev/null")
    assert dvc(house, "init", "-q").returncode == 0
    ignored = {
        file: dvc(house, "check-ignore", "-q", file).returncode == 0
        for file in [
            "ppl/core/errors.py",
            "ppl/core/__pycache__/errors.cpython-311.pyc",
            "ppl/core/.errors.py.swp",
            "ppl/core/notes.md",
            "ppl/core/.hidden.py",
            "ppl/core/.ipynb_checkpoints/errors-checkpoint.py",
            "ppl/tools/report.html.jinja",
        ]
    }
    assert [file for file, hidden in ignored.items() if not hidden] == ["ppl/core/errors.py"]


@pytest.mark.parametrize("name", ["to_correct", "review"])
def test_a_persons_work_is_no_data_to_dvc_but_images_in_such_a_folder_are(
    house: Path, name: str
) -> None:
    """Copies to correct, and decisions of a review."""
    assert dvc(house, "init", "-q").returncode == 0
    copies = [f"data/{name}/a.png", f"data/raw/parts/{name}/line/a.png"]
    data = [f"images/{name}/a.png", f"masks/line/{name}/a.png", f"corrected/{name}/a.png"]
    files = [*copies, *(f"data/raw/parts/{file}" for file in data), "ppl/review/items.py"]
    ignored = [file for file in files if not dvc(house, "check-ignore", "-q", file).returncode]
    assert ignored == copies


def test_an_editors_link_to_nowhere_does_not_stop_dvc(house: Path) -> None:
    """Emacs marks an unsaved buffer so."""
    pipeline = "stages: {count: {cmd: 'true', deps: [ppl/core], outs: [counted]}}"
    write(house / "dvc.yaml", pipeline)
    assert dvc(house, "init", "-q").returncode == 0
    before = dvc(house, "status", "--json").stdout
    (house / "ppl/core/.#errors.py").symlink_to("me@machine.4711")
    done = dvc(house, "status", "--json")
    assert (done.returncode, done.stdout) == (0, before), done.stderr
