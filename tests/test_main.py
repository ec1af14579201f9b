"""The command line: help comes at once and is true, and what is mistyped does nothing."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ppl.__main__ import main

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    """What the command line says to these words."""
    return CliRunner().invoke(main, list(words), prog_name="python -m ppl")


def parse(line: str) -> click.Context:
    """The arguments of a command line, read and not run."""
    start, name, *words = shlex.split(line.removeprefix("python -m "))
    assert start == "ppl"
    return main.commands[name].make_context(name, words)


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    said = call("--help").stdout
    listed = re.findall(r"^  ([a-z-]+) {2,}\S.*[.?]$", said, flags=re.MULTILINE)
    assert listed == [
        "check",
        "status",
        "scores",
        "diff",
        "compare",
        "queue",
        "seeds",
        "folds",
        "methods",
        "predict",
        "report",
        "annotate-next",
        "review",
        "annotate",
        "hold-split",
        "fetch-data",
        "unlock",
    ]
    assert "..." not in said.split("Commands:")[1]


@pytest.mark.parametrize("name", main.commands)
def test_each_command_has_help_with_defaults_and_an_example_that_it_takes(name: str) -> None:
    done = call(name, "--help")
    assert done.exit_code == 0
    [example] = re.findall(r"Example:\n    (python -m ppl .*)", done.stdout)
    assert parse(example).info_name == name
    required = [f"{part.name}".upper() for part in main.commands[name].params if part.required]
    for part, default in parse(f"python -m ppl {name} {' '.join(required)}").params.items():
        for value in default if isinstance(default, tuple) else [default]:
            assert not value or str(value) in done.stdout, part


def test_help_needs_no_heavy_library() -> None:
    script = "import sys; from ppl.__main__ import main; main(['--help'], standalone_mode=False)"
    heavy = "print({'torch', 'numpy', 'yaml', 'pydantic', 'dvc'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; {heavy}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("set()\n")


WRONG = [
    "nope",
    "annotate",
    "annotate out labelme",
    "annotate out yolo folder",
    "annotate in labelme",
    "annotate-next folder",
    "compare --sinc 3",
    "compare --since 0",
    "compare folder",
    "diff HEAD HEAD~1",
    "fetch-data",
    "fetch-data tiles /mnt/usb",
    "folds --count 1",
    "predict model",
    "predict model images --every -1",
    "predict model images --watched",
    "queue 2",
    "queue --jobs two",
    "report --out .",
    "report other.html",
    "review folder",
    "review --masks all",
    "scores --all",
    "seeds --count 0",
    "unlock all",
]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_end_with_usage_and_leave_no_file(empty: Path, words: str) -> None:
    done = call(*words.split())
    assert done.exit_code == 2
    assert "Usage: python -m ppl" in done.output
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "meant"), [("compar", "compare"), ("fetch_data", "fetch-data"), ("seed", "seeds")]
)
def test_a_mistyped_command_names_the_one_that_was_meant(words: str, meant: str) -> None:
    assert f"Did you mean '{meant}'?" in call(words).output


MENDED = ["check", "scores", "diff", "report", "fetch-data tiles", "predict model images"]


@pytest.mark.parametrize("words", MENDED)
def test_what_a_user_can_mend_is_said_in_a_line(empty: Path, words: str) -> None:
    done = call(*words.split())
    assert done.exit_code == 1
    assert re.fullmatch(r"Error: [^\n]+\n", done.output), done.output
    assert list(empty.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_said_in_a_line(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.tools.report.page", lambda project: "page")
    (empty / "file").touch()
    done = call("report", "--out", "file/report.html")
    assert done.exit_code == 1
    assert done.output == "Error: file: File exists\n"


def test_scores_may_be_those_of_other_files(empty: Path) -> None:
    for name in ("copycat", "final"):
        shutil.copy(ROOT / "metrics" / f"{name}.json", empty)
    done = call("scores", "final.json", "copycat.json")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Scores on the test set, in percent:"
    assert [line.split()[0] for line in lines[1:4]] == ["model", "final", "copycat"]


def test_scores_say_of_which_data_they_are_and_whether_settings_changed(empty: Path) -> None:
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, empty)
    shutil.copytree(ROOT / "metrics", empty / "metrics")
    said = call("scores")
    first = said.stdout.splitlines()[0]
    assert first == "Scores on the test set of synthetic, 1/8 labeled, in percent:"
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(
        text.replace("name: synthetic ", "name: folder "), encoding="utf-8"
    )
    said = call("scores")
    assert said.stdout.splitlines()[0] == first
    edited = re.search(r"edited since these scores were computed \((.*)\): run", said.stderr)
    assert edited is not None
    assert "data" in edited[1].split(", ")


def test_a_section_that_stands_twice_is_said_without_a_traceback(empty: Path) -> None:
    for name in ("params.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, empty)
    shutil.copytree(ROOT / "metrics", empty / "metrics")
    with Path("params.yaml").open("a", encoding="utf-8") as stream:
        stream.write("data:\n  name: folder\n")
    for words in ("report", "scores", "check"):
        done = call(words)
        assert done.exit_code == 1
        assert re.fullmatch(
            r"Error: params\.yaml is not valid YAML: `data` stands there twice, in the lines \d+ "
            r"and \d+: keep one of the two\n",
            done.output,
        ), done.output


@pytest.mark.parametrize("command", ["python -m ppl unlock", "make -s unlock"])
def test_unlock_removes_empty_lists_of_locks_alone(empty: Path, command: str) -> None:
    for place, content in [(".", ""), ("exps/copy/.dvc/tmp", ""), ("exps/other", "{}")]:
        folder = empty / ".dvc" / "tmp" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rwlock").write_text(content, encoding="utf-8")
    (empty / ".dvc" / "tmp" / "lock").touch()
    if command.startswith("make"):
        subprocess.run([*command.split(), "-f", ROOT / "Makefile"], check=True)
    else:
        assert call("unlock").stdout == (
            "removed .dvc/tmp/exps/copy/.dvc/tmp/rwlock\nremoved .dvc/tmp/rwlock\n"
        )
        assert call("unlock").stdout == "no empty list of locks\n"
    left = {file.relative_to(empty / ".dvc" / "tmp") for file in empty.rglob("*lock")}
    assert left == {Path("lock"), Path("exps/other/rwlock")}


def test_no_other_module_reads_the_command_line() -> None:
    """Such a one took `--help` for the name of a folder."""
    for file in [*(ROOT / "ppl").rglob("*.py")]:
        if file.parent.name != "run" and file.name != "__main__.py":
            text = file.read_text(encoding="utf-8")
            assert "sys.argv" not in text, file
            assert "__main__" not in text, file


def make(*words: str) -> str:
    """What `make` prints in a folder without an environment."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_make_help_has_a_line_for_every_target_and_needs_no_environment(empty: Path) -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    listed = re.findall(r"^  make (\S+) +\S", make("help"), flags=re.MULTILINE)
    assert sorted(listed) == sorted([*phony.split(), "data-NAME"])
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "command", "arguments"),
    [
        ("status", "status", {}),
        ("scores", "scores", {"files": ()}),
        ("diff", "diff", {"rev": "HEAD"}),
        ("diff REV=HEAD~2", "diff", {"rev": "HEAD~2"}),
        ("compare", "compare", {"out": Path("compare"), "since": 1}),
        ("compare SINCE=3", "compare", {"out": Path("compare"), "since": 3}),
        ("queue", "queue", {"jobs": 1}),
        ("queue JOBS=2", "queue", {"jobs": 2}),
        ("seeds", "seeds", {"count": 5, "jobs": 1}),
        ("folds K=3 JOBS=2", "folds", {"count": 3, "jobs": 2}),
        ("report", "report", {"out": Path("report.html")}),
        ("annotate-next", "annotate-next", {"to": None}),
        ("annotate-next TO=/my/masks", "annotate-next", {"to": Path("/my/masks")}),
        ("data-tiles", "fetch-data", {"name": "tiles", "source": None}),
        ("data-tiles FROM=/my/tiles", "fetch-data", {"name": "tiles", "source": "/my/tiles"}),
    ],
)
def test_make_starts_the_command_with_its_arguments(
    empty: Path, words: str, command: str, arguments: dict[str, object]
) -> None:
    (empty / "requirements.txt").touch()
    printed = make("-n", *words.split()).splitlines()
    [line] = [line for line in printed if line.startswith("python -m ppl")]
    parsed = parse(line)
    assert parsed.info_name == command
    assert parsed.params == arguments


def test_make_says_what_is_wrong_with_its_arguments(empty: Path) -> None:
    for name in ("requirements.txt", ".venv/bin/ready"):  # the latter is not older
        (empty / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / name).touch()
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "queue", "JOBS=two"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Invalid value for '--jobs': 'two' is not a valid integer" in done.stderr
