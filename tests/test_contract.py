"""dvc.yaml against the code: what a stage declares is what it reaches, no more and no less."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.all_settings import SECTIONS
from tests.import_closure import import_closure, imported_files, sections_read
from tests.project import ROOT, outputs, paths

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = PIPELINE["stages"]
ADAPTER = "ppl/datasets/${data.name}.py"


@pytest.mark.parametrize("name", STAGES)
def test_listed_code_is_the_import_closure(name: str) -> None:
    listed = {dep for dep in paths(STAGES[name]["deps"]) if dep.endswith(".py")} - {ADAPTER}
    reached = import_closure(Path("stages", f"{name}.py"), ROOT)
    assert listed == {file.as_posix() for file in reached}


def test_only_prepare_depends_on_the_chosen_adapter() -> None:
    assert [name for name in STAGES if ADAPTER in STAGES[name]["deps"]] == ["prepare"]


@pytest.mark.parametrize("file", sorted((ROOT / "ppl" / "datasets").glob("*.py")))
def test_an_adapter_needs_nothing_that_prepare_does_not_list(file: Path) -> None:
    reached = import_closure(file.relative_to(ROOT), ROOT) - {file.relative_to(ROOT)}
    assert {path.as_posix() for path in reached} <= paths(STAGES["prepare"]["deps"])


@pytest.mark.parametrize("name", STAGES)
def test_listed_params_are_the_sections_that_the_code_reads(name: str) -> None:
    if name == "check_settings":
        assert set(STAGES[name]["params"]) == set(SECTIONS)
        return
    reached = import_closure(Path("stages", f"{name}.py"), ROOT)
    # students read their own budget section; the shared module reads the rest
    assert set(STAGES[name].get("params", [])) == sections_read(reached, ROOT)


@pytest.mark.parametrize("name", STAGES)
def test_every_path_of_a_command_is_declared(name: str) -> None:
    declared = paths(STAGES[name]["deps"]) | outputs(STAGES[name])
    for path in re.findall(r'--[a-z0-9-]+ "?([^"\s]+)', STAGES[name]["cmd"]):
        below = [known for known in declared if known.startswith(f"{path}/")]
        assert path in declared or below, f"{path} is neither under deps nor under outs"


@pytest.mark.parametrize("name", STAGES)
def test_every_declared_file_stands_in_the_command(name: str) -> None:
    declared = paths(STAGES[name]["deps"]) | outputs(STAGES[name])
    in_command = re.findall(r'--[a-z0-9-]+ "?([^"\s]+)', STAGES[name]["cmd"])
    for path in declared - {ADAPTER, "data/settings_checked"}:
        if not path.endswith(".py"):
            assert any(path == given or path.startswith(f"{given}/") for given in in_command), path


def test_no_training_can_see_hidden_labels_or_test() -> None:
    def readers(path: str) -> set[str]:
        return {name for name in STAGES if path in paths(STAGES[name]["deps"])}

    assert readers("data/prepared/hidden") == {"evaluate"}
    assert readers("data/prepared/test") == {"audit", "evaluate"}
    for output in outputs(STAGES["audit"]) | outputs(STAGES["evaluate"]):
        assert readers(output) == set(), f"what knows of test labels feeds {readers(output)}"


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


def test_no_stage_depends_on_pycache() -> None:
    for stage in STAGES.values():
        assert not {dep for dep in paths(stage["deps"]) if dep in {"ppl", "stages", "ppl/datasets"}}


def test_imports_have_no_cycle_and_no_stage_imports_a_stage() -> None:
    files = [
        file.relative_to(ROOT)
        for folder in ("ppl", "stages")
        for file in (ROOT / folder).rglob("*.py")
    ]
    for file in files:
        direct = imported_files(file, ROOT)
        assert not {other for other in direct if other.parts[0] == "stages"}, file
        assert not any(file in import_closure(other, ROOT) for other in direct), f"{file}: cycle"


def test_params_yaml_has_exactly_the_known_sections() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert list(params) == list(SECTIONS)


def test_every_number_in_params_yaml_has_a_comment_or_a_speaking_name() -> None:
    plain = {"momentum", "weight_decay", "enabled", "flip"}
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        key = line.strip().partition(":")[0]
        if line.startswith("  ") and not line.strip().startswith("#") and key not in plain:
            assert "#" in line or key.endswith("probability"), line


def test_packages_hold_no_code_of_their_own() -> None:
    # they are imported by every stage and listed by none
    for package in ("ppl", "ppl/datasets", "stages"):
        file = ROOT / package / "__init__.py"
        assert not file.exists() or not file.read_text(encoding="utf-8").strip(), file


@pytest.mark.parametrize("file", ["README.md", *(f"docs/{f.name}" for f in ROOT.glob("docs/*.md"))])
def test_documents_name_files_that_exist_and_hold_no_placeholder(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.findall(r"@[A-Z0-9]+@", text)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / file).parent.joinpath(target).exists(), target
