"""dvc.yaml against the code: what a stage declares is what it reaches, no more and no less."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.all_settings import SECTIONS
from tests.pipeline.architecture import (
    against_the_order,
    circles,
    idle_code,
    lengths,
    listed_code,
    modules,
    outside_the_packages,
    packages_with_code,
    reruns,
    too_long,
    too_wide,
    unlisted_code,
    untracked_code,
)
from tests.pipeline.import_closure import import_closure, sections_read
from tests.pipeline.project import ROOT, outputs, paths

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = PIPELINE["stages"]

PREDICT = [
    "rank_stability",
    "pseudo_label_reliable",
    "pseudo_label_hard",
    "calibrate",
    "evaluate",
    "annotate_next",
]
TRAIN = ["train_supervised", "retrain_reliable", "train_at_once", "retrain_final"]
STUDENTS = ["retrain_reliable", "retrain_final"]
EVERY = [name for name in STAGES if name != "check_settings"]

RERUNS = {
    "ppl/core/": EVERY,
    "ppl/images/": EVERY,
    "ppl/network/": [
        name for name in EVERY if name in {"import_encoder", *TRAIN, *PREDICT, "export"}
    ],
    "ppl/data/": ["prepare"],
    "ppl/data/near_duplicates.py": [
        "prepare",
        "audit",
        *(name for name in PREDICT if name not in ("rank_stability", "calibrate")),
    ],
    "ppl/data/shared_parts.py": ["prepare", "audit"],
    "ppl/data/synthetic.py": ["synthesize", "prepare"],
    "ppl/data/synthetic_defects.py": ["synthesize", "prepare"],
    "ppl/data/synthetic_surface.py": ["synthesize", "prepare"],
    "ppl/scores/": ["audit", "evaluate"],
    "ppl/scores/bootstrap.py": ["audit", *STUDENTS, "evaluate"],
    "ppl/training/": TRAIN,
    "ppl/methods/": ["train_at_once"],
    "ppl/methods/choose.py": ["choose_method", "train_at_once"],
    "ppl/labeling/": [name for name in PREDICT if name != "calibrate"],
    "ppl/students/": STUDENTS,
    "ppl/students/cutmix.py": ["retrain_reliable", "train_at_once", "retrain_final"],
    "ppl/station/": ["calibrate", "evaluate", "export"],
    "ppl/inspection/": ["calibrate", "evaluate", "export"],
    "ppl/judge/": ["audit", "evaluate"],
    "ppl/judge/overlays.py": ["audit", "evaluate", "annotate_next"],
    "ppl/annotate/": ["annotate_next"],
    "ppl/export/": ["export"],
    "ppl/formats/": ["prepare"],
    "ppl/run/": [],
    "ppl/review/": [],
    "ppl/tools/": [],
}
"""What an edit reruns at once, after check_settings: a change of bytes goes on from there."""


def test_every_module_lies_in_a_package() -> None:
    assert outside_the_packages(ROOT) == []


def test_packages_import_in_their_order_alone() -> None:
    assert against_the_order(ROOT) == []


def test_no_modules_import_each_other() -> None:
    assert circles(ROOT) == []


def test_packages_hold_no_code_of_their_own() -> None:
    assert packages_with_code(ROOT) == []


@pytest.mark.parametrize("name", STAGES)
def test_listed_code_covers_the_import_closure(name: str) -> None:
    assert unlisted_code(name, STAGES[name], ROOT) == []


@pytest.mark.parametrize("name", STAGES)
def test_no_listed_code_is_idle(name: str) -> None:
    assert idle_code(name, STAGES[name], ROOT) == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone")
def test_git_tracks_every_python_file() -> None:
    assert untracked_code(ROOT) == []


@pytest.mark.parametrize("file", RERUNS)
def test_an_edit_reruns_exactly_these(file: str) -> None:
    assert (ROOT / file).exists(), file
    module = file if file.endswith(".py") else f"{file}__init__.py"
    assert reruns(module, STAGES) == RERUNS[file]


def test_every_module_has_a_row_that_says_what_an_edit_reruns() -> None:
    """A folder's row counts for all of its modules but those that have rows of their own."""
    for module in modules(ROOT):
        rows = [file for file in RERUNS if module.as_posix().startswith(file)]
        if module.parts[0] == "ppl" and len(module.parts) > 2:
            assert rows, module
            assert reruns(module.as_posix(), STAGES) == RERUNS[max(rows, key=len)], module


def test_the_house_stays_small() -> None:
    assert too_wide(ROOT, 8) == []
    assert too_long(ROOT, 60) == []
    found = lengths(ROOT)
    assert found[len(found) // 2] <= 9
    # a stage more is 32 lines and 7 dependencies of code more, no others
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 32 * len(STAGES)
    assert sum(len(listed_code(stage)) for stage in STAGES.values()) <= 7 * len(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_listed_params_are_the_sections_that_the_code_reads(name: str) -> None:
    if name == "check_settings":
        assert set(STAGES[name]["params"]) == set(SECTIONS)
        return
    reached = import_closure(Path("stages", f"{name}.py"), ROOT)
    # students read their own budget section; the shared module reads the rest
    assert set(STAGES[name].get("params", [])) == sections_read(reached, ROOT)


def in_command(name: str) -> list[str]:
    """The paths that a stage's command names, those of settings as its deps have them."""
    words = re.findall(r"--[a-z0-9-]+ (\S+)", STAGES[name]["cmd"])
    return [re.sub(r"^@(\S+)$", r"${\1}", word) for word in words]


@pytest.mark.parametrize("name", STAGES)
def test_every_path_of_a_command_is_declared(name: str) -> None:
    declared = paths(STAGES[name]["deps"]) | outputs(STAGES[name])
    for path in in_command(name):
        below = [known for known in declared if known.startswith(f"{path}/")]
        assert path in declared or below, f"{path} is neither under deps nor under outs"


@pytest.mark.parametrize("name", STAGES)
def test_every_declared_file_stands_in_the_command(name: str) -> None:
    declared = paths(STAGES[name]["deps"]) | outputs(STAGES[name])
    named = in_command(name)
    for path in declared - listed_code(STAGES[name]) - {"data/settings_checked"}:
        assert any(path == given or path.startswith(f"{given}/") for given in named), path


def test_no_training_can_see_hidden_labels_or_test() -> None:
    def readers(path: str) -> set[str]:
        return {name for name in STAGES if path in paths(STAGES[name]["deps"])}

    assert readers("data/prepared/hidden") == {"evaluate"}
    assert readers("data/prepared/test") == {"audit", "evaluate", "export"}
    for output in outputs(STAGES["audit"]) | outputs(STAGES["evaluate"]):
        # the export copies scores onto a card, and teaches nothing
        assert readers(output) <= {"export"}, f"what knows of test labels feeds {readers(output)}"


@pytest.mark.parametrize("name", STAGES)
def test_the_run_cache_works_for_every_stage(name: str) -> None:
    """Each of these switches it off, or reruns what did not change."""
    stage = STAGES[name]
    assert not {"always_changed", "frozen"} & stage.keys()
    options = [next(iter(out.values())) for out in stage.get("outs", []) if isinstance(out, dict)]
    assert not [option for option in options if "persist" in option or "cache" in option]


def test_dvc_sends_nothing_and_asks_for_no_update() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config", encoding="utf-8")
    assert config["core"]["analytics"] == config["core"]["check_update"] == "false"


def test_params_yaml_has_exactly_the_known_sections() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert list(params) == list(SECTIONS)


def test_every_number_in_params_yaml_has_a_comment_or_a_speaking_name() -> None:
    plain = {"momentum", "weight_decay", "enabled", "flip"}
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        key = line.strip().partition(":")[0]
        if line.startswith("  ") and not line.strip().startswith("#") and key not in plain:
            assert "#" in line or key.endswith("probability"), line


@pytest.mark.parametrize("file", ["README.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))])
def test_documents_name_files_that_exist_and_hold_no_placeholder(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.findall(r"@[A-Z0-9]+@", text)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / file).parent.joinpath(target).exists(), target
