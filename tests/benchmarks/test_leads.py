"""Kept counts of leads become a table; what a lead changes is checked before hours are spent."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import leads
from benchmarks.accuracy import changed_params
from ppl.all_settings import SECTIONS
from ppl.core.errors import InputError
from ppl.core.settings import check


def given(**words: object) -> argparse.Namespace:
    chosen = {"set": "generated", "kind": "students", "leads": None, "data": None, "weights": None}
    return argparse.Namespace(**(chosen | {"fraction": "1/8", "budget": 1.0} | words))


def keep(lead: str, seed: int, right: dict[str, int]) -> None:
    """A run of two models; of a defect's 10 pixels on each of two parts so many are right."""
    counts = {
        f"{model}_{look}": np.array([[[90, 0], [10 - of, of]]] * 2)
        for model in ("teacher", "final")
        for look, of in right.items()
    }
    file = leads.COUNTS / f"generated-1_8-x1-students-{lead}-{seed}.npz"
    parts, classes = np.array(["a", "b"]), np.array(["background", "dent"])
    np.savez(file, parts=parts, classes=classes, commit="abc", **counts)


def test_a_lead_is_held_against_the_base_and_a_look_against_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leads, "COUNTS", tmp_path)
    for seed in (0, 1):
        keep("base", seed, {"plain": 5, "mirrored": 6, "four": 6})
    keep("xor", 1, {"plain": 7, "mirrored": 7, "four": 7})
    printed = list(leads.table())
    title = "## Generated pictures, 1/8 of the labels, x1 the steps, students"
    assert printed[1].strip() == title
    rows = {tuple(line[2:].split(" | ")[:2]): line for line in printed}
    assert "| - | - | - |" in rows["base", "plain"]
    assert "| base, plain | **+5.5 (+5.5 to +5.5)** | +5.5, +5.5 |" in rows["base", "mirrored"]
    assert "| base, plain | +11.0, one seed | - |" in rows["xor", "plain"]
    assert "| base, mirrored | +5.5, one seed | - |" in rows["xor", "mirrored"]


def test_the_tables_are_those_of_the_counts() -> None:
    """Mended by `python -m benchmarks.leads table > docs/leads/tables.md`."""
    kept = (leads.COUNTS / "tables.md").read_text(encoding="utf-8")
    assert kept.splitlines() == "\n".join(leads.table()).splitlines()


@pytest.mark.parametrize("kind", leads.KINDS)
@pytest.mark.parametrize("name", ["tiles", "strips", "generated"])
def test_every_lead_and_look_is_a_setting(kind: str, name: str, tmp_path: Path) -> None:
    assert leads.looks()["plain"].flips == [[]]
    assert len(leads.looks()["four"].flips) == 4
    weights = tmp_path / "w.safetensors"
    words = {} if name == "generated" else {"data": tmp_path, "weights": weights}
    assert not leads.read_leads()[kind][leads.BASE]
    for lead in leads.read_leads()[kind].values():
        changes, paths = leads.changes_for(given(set=name, kind=kind, **words), 3, lead)
        params = yaml.safe_load(changed_params(changes | paths))
        assert params["seed"] == 3
        for section in ("model", "cutmix", "pseudo_label", "mean_teacher", "retrain_final"):
            check(section, params[section], SECTIONS[section])


def test_a_lead_that_costs_more_takes_fewer_steps(tmp_path: Path) -> None:
    words = given(set="tiles", data=tmp_path, weights=tmp_path / "one.safetensors", budget=0.5)
    one, paths = leads.changes_for(words, 0, {})
    costly = {leads.COST: 2.0, leads.WEIGHTS: "two.safetensors"}
    half, other = leads.changes_for(words, 0, costly)
    key = "train_supervised.iterations"
    assert half[key] == round(one[key] / 2)
    assert half.keys() == one.keys()
    assert Path(paths["model.encoder_weights"]).name == "one.safetensors"
    assert Path(other["model.encoder_weights"]).name == "two.safetensors"


def test_a_lead_shares_the_steps_out_anew() -> None:
    words = given(budget=0.5)
    one, other = (
        leads.changes_for(words, 0, lead)[0] for lead in ({}, {leads.SHARES: [0.7, 0.1, 0.2]})
    )
    keys = [key for key in one if key.endswith(".iterations")]
    assert [key.split(".")[0] for key in keys] == [
        *("train_supervised", "retrain_reliable", "retrain_final")
    ]
    whole = sum(one[key] for key in keys)
    assert sum(other[key] for key in keys) == whole
    assert [other[key] / whole for key in keys] == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"leads": ["base", "nosuch"]}, "no lead nosuch of students; there are base, "),
        ({"leads": ["side_192"]}, "no lead side_192 of students; there are base, "),
        ({"set": "tiles"}, "tiles: give --data and --weights"),
    ],
)
def test_what_cannot_be_run_is_said_before(words: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        leads.run(given(**words))
