"""Which phases a method has, and that another's settings change none of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ppl.all_settings import check_all
from ppl.core.errors import InputError
from ppl.core.plan import read_plan
from ppl.core.settings import read_params
from ppl.methods.at_once import SETTINGS
from ppl.methods.choose import NAMES, PHASED, PlanFiles, write_plan
from tests.pipeline.project import ROOT, edit_params

PHASES = ("teacher", "ranking", "student_1", "at_once", "final")


def planned(folder: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of each phase's file."""
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    edit_params(folder, changes)
    monkeypatch.chdir(folder)
    files = PlanFiles(**{phase: folder / f"{phase}.json" for phase in PHASES})
    write_plan(files)
    return [(folder / f"{phase}.json").read_text(encoding="utf-8") for phase in PHASES]


def test_every_method_has_phases_or_settings_of_its_own() -> None:
    assert sorted([*PHASED, *SETTINGS]) == sorted(NAMES)


def test_what_each_method_does_in_each_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(name: str) -> list[Any]:
        planned(tmp_path, {"method": {"name": name}}, monkeypatch)
        return [read_plan(tmp_path / f"{phase}.json") for phase in PHASES]

    assert values("ppl") == [True, "reliability", "def_up", None, "def_up"]
    assert values("st++") == [True, "stability", "strong", None, "strong"]
    assert values("st") == [True, "all", None, None, "strong"]
    teacher, ranking, student_1, once, final = values("cps")
    assert [teacher, ranking, student_1, final] == [False, None, None, None]
    assert once["name"] == "cps"
    assert once["settings"]["weight"] == read_params(ROOT / "params.yaml")["cps"]["weight"]


def test_methods_share_what_they_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ppl, st = (
        planned(tmp_path, {"method": {"name": name}}, monkeypatch) for name in ("ppl", "st++")
    )
    assert ppl[0] == st[0]
    assert ppl[3] == st[3]
    cps, unimatch = (
        planned(tmp_path, {"method": {"name": name}}, monkeypatch) for name in ("cps", "unimatch")
    )
    assert [at for at in range(5) if cps[at] != unimatch[at]] == [3]


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_of_another_method_changes_no_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = planned(tmp_path, {"method": {"name": name}}, monkeypatch)
    for other in SETTINGS:
        changes = {"method": {"name": name}, other: {"iterations": 77}}
        after = planned(tmp_path, changes, monkeypatch)
        assert (after != before) == (other == name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": {"name": "unimach"}}, "method.name: got 'unimach'"),
        ({"cps": {"labeled_batch": 1}}, "cps.labeled_batch: got 1"),
        ({"cps": {"unlabeled_batch": 1}}, "cps.unlabeled_batch: got 1"),
        ({"unimatch_v2": {"unlabeled_batch": 1}}, "unimatch_v2.unlabeled_batch: got 1"),
        ({"unimatch": {"snapshots": 3}}, "unimatch.snapshots: unknown key"),
        ({"fixmatch": {"threshold": 1.5}}, "fixmatch.threshold: got 1.5"),
        ({"fixmatch": {"box_area_min": 0.5}}, "box_area_min 0.5 is above box_area_max 0.4"),
        (
            {"method": {"name": "unimatch"}, "compute": {"compile": True}},
            "set compute.compile: false",
        ),
    ],
)
def test_wrong_settings_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    edit_params(tmp_path, changes)
    with pytest.raises(InputError) as refused:
        check_all(read_params(tmp_path / "params.yaml"))
    assert said in str(refused.value)
    if "unimach" in said:
        assert "did you mean" in str(refused.value) or "unimatch" in str(refused.value)


def test_a_plan_is_small_and_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in planned(tmp_path, {}, monkeypatch):
        assert len(json.loads(text)) == 1
