"""Which phases a method has, and that another's settings change none of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ppl.all_settings import check_all
from ppl.core.errors import InputError
from ppl.core.plan import MOST_BYTES, Once, Perturbed, Ranking, read_plan
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
        kinds = [bool, Ranking | None, Perturbed | None, Once | None, Perturbed | None]
        return [
            read_plan(tmp_path / f"{phase}.json", kind)
            for phase, kind in zip(PHASES, kinds, strict=True)
        ]

    assert values("ppl") == [True, "reliability", "def_up", None, "def_up"]
    assert values("st++") == [True, "stability", "strong", None, "strong"]
    assert values("st") == [True, "all", None, None, "strong"]
    teacher, ranking, student_1, once, final = values("cps")
    assert [teacher, ranking, student_1, final] == [False, None, None, None]
    assert once.name == "cps"
    assert once.settings["weight"] == read_params(ROOT / "params.yaml")["cps"]["weight"]


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
        ({"method": {"name": "unimach"}}, "(did you mean unimatch?)"),
        ({"method": {"name": "UniMatchV2"}}, "(did you mean unimatch_v2?)"),
        ({"method": {"name": "PPL"}}, "(did you mean ppl?)"),
        ({"method": {"name": "ST++ "}}, "(did you mean st++?)"),
        ({"method": {"name": "cps-cutmix"}}, "(did you mean cps_cutmix?)"),
        ({"selection": {"by": "validaton"}}, "(did you mean validation?)"),
        ({"cps": {"labeled_batch": 1}}, "cps.labeled_batch: got 1"),
        ({"cps": {"unlabeled_batch": 1}}, "cps.unlabeled_batch: got 1"),
        ({"fixmatch": {"unlabeled_batch": 1}}, "fixmatch.unlabeled_batch: got 1"),
        ({"unimatch_v2": {"unlabeled_batch": 1}}, "unimatch_v2.unlabeled_batch: got 1"),
        ({"unimatch": {"snapshots": 3}}, "unimatch.snapshots: unknown key"),
        ({"prevmatch": {"every": 580}}, "no earlier state would label anything; lower every"),
        ({"prevmatch": {"iterations": 25}}, "prevmatch: got every 25, iterations 25"),
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
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "zebra", "did you", "x" * 10_000])
def test_a_name_like_none_is_met_with_those_that_there_are(tmp_path: Path, name: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    edit_params(tmp_path, {"method": {"name": name}})
    with pytest.raises(InputError, match=r"'ppl', 'st\+\+'.* or 'prevmatch'$"):
        check_all(read_params(tmp_path / "params.yaml"))


def test_a_plan_is_small_and_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in planned(tmp_path, {}, monkeypatch):
        assert len(json.loads(text)) == 1


DAMAGED = {
    "empty": b"",
    "cut off": b'{"train": tr',
    "no text": b"\xff\xfe\x00",
    "no table": b"[true]",
    "a bare value": b"true",
    "no key": b"{}",
    "two keys": b'{"train": true, "by": null}',
    "another type": b'{"train": "yes"}',
    "a number": b'{"train": 1}',
    "nested": b"[" * 100_000,
    "too long": b'{"train": ' + b" " * MOST_BYTES + b"true}",
    "digits": b'{"train": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("kind", [bool, Ranking | None, Perturbed | None, Once | None])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_plan_is_one_line_with_a_remedy(tmp_path: Path, damage: str, kind: Any) -> None:
    file = tmp_path / "teacher.json"
    file.write_bytes(DAMAGED[damage])
    with pytest.raises(InputError) as refused:
        read_plan(file, kind)
    said = str(refused.value)
    assert said.startswith(str(file))
    assert "\n" not in said
    assert len(said) < 1000
    assert said.endswith("`dvc repro` makes it anew")


def test_a_plan_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"teacher.json is missing: `dvc repro`"):
        read_plan(tmp_path / "teacher.json", bool)


@pytest.mark.parametrize(
    "written",
    [
        {"by": "stabilty"},
        {"perturbed": "strong "},
        {"method": {"name": "cps"}},
        {"method": {"name": 1, "settings": {}}},
        {"method": {"name": "cps", "settings": {}, "more": 1}},
    ],
)
def test_a_plan_of_what_no_phase_does_is_refused(tmp_path: Path, written: dict[str, Any]) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(written), encoding="utf-8")
    kind: Any = {"by": Ranking, "perturbed": Perturbed, "method": Once}[next(iter(written))]
    with pytest.raises(InputError, match=f"^{file}: "):
        read_plan(file, kind | None)
