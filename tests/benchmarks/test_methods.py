"""Kept counts of methods become tables; strips become what `folder` reads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks import methods
from benchmarks.accuracy import ITERATIONS, changed_params, changes_of
from ppl.core.settings import read_params
from ppl.data.adapters.base import DataSettings, load_samples


def keep(folder: Path, name: str, seed: int, right: int, parts: int = 3) -> None:
    counts = np.array([[[90, 0], [10 - right, right]]] * parts)
    budget = json.dumps([{"method.name": name}, [7], 99.0, 60.0])
    np.savez(
        folder / f"strips-1_8-x0.25-{name}-{seed}.npz",
        final_own=counts,
        parts=np.array([f"p{k}" for k in range(parts)]),
        classes=np.array(["background", "dent"]),
        budget=budget,
    )


def test_a_table_has_the_seeds_that_all_methods_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "COUNTS", tmp_path)
    for seed in (0, 1):
        keep(tmp_path, "ppl", seed, right=5)
    keep(tmp_path, "cps", 1, right=9)
    printed = "\n".join(methods.table())
    assert "Steel strips (SD-saliency-900), 1/8 of the labels, x0.25 the steps" in printed
    assert "over seed 1, on 3 test parts. 95 % intervals resample parts alone" in printed
    assert "| cps | 94.5 (94.5-94.5) | +22.1 (+22.1 to +22.1) | 94.5 |" in printed
    keep(tmp_path, "st", 7, right=9)
    printed = "\n".join(methods.table())
    assert "no seed was run with all" in printed
    assert "| cps |" not in printed
    keep(tmp_path, "cps", 0, right=9)
    assert "over the seeds 0, 1 together, on 3 test parts" in "\n".join(methods.table())


def test_methods_that_have_more_seeds_get_a_table_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "COUNTS", tmp_path)
    for seed in (0, 1, 2):
        keep(tmp_path, "ppl", seed, right=5)
        keep(tmp_path, "supervised", seed, right=6)
    for seed in (0, 1):
        keep(tmp_path, "cps", seed, right=9)
    first, second = "\n".join(methods.table()).split("| method |")[1:]
    assert "| cps |" in first
    assert "over the seeds 0, 1 together" in first
    assert "| cps |" not in second
    assert "| supervised |" in second
    assert "over the seeds 0, 1, 2 together" in second


def test_the_tables_are_those_of_the_counts() -> None:
    """Mended by `python -m benchmarks.methods table > docs/methods/tables.md`."""
    kept = (methods.COUNTS / "tables.md").read_text(encoding="utf-8")
    assert kept.splitlines() == "\n".join(methods.table()).splitlines()


def test_every_score_of_the_document_is_in_the_tables() -> None:
    """Mended by a look at docs/methods/tables.md."""
    known = (methods.COUNTS / "tables.md").read_text(encoding="utf-8")
    said = (methods.ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    found = re.findall(r"[+-]?\d+\.\d \([^)]*\d\)", said)
    assert len(found) > 20, "nothing was looked at"
    assert [score for score in found if score not in known] == []


def test_strips_are_read_by_folder(tmp_path: Path) -> None:
    for name in ("Source Images", "Ground truth"):
        (tmp_path / "sd" / name).mkdir(parents=True)
    for number, start in enumerate(methods.STRIPS, start=1):
        pixels = np.full((20, 20), 100, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "sd/Source Images" / f"{start}_{number}.bmp")
        mask = np.zeros((20, 20), dtype=np.uint8)
        mask[:number] = 255
        Image.fromarray(mask).save(tmp_path / "sd/Ground truth" / f"{start}_{number}.png")
    assert methods.write_strips(tmp_path / "sd", tmp_path / "out") == 3
    classes = methods.SETS["strips"]["data.classes"]
    data = DataSettings.model_validate(
        {
            "name": "folder",
            "root": str(tmp_path / "out"),
            "mask_threshold": 128,
            "classes": classes,
            "groups": "none",
            "group_pattern": "",
            "same_part": 0.9,
        }
    )
    samples = load_samples(tmp_path / "out", data)
    assert len(samples) == 3
    for number, start in enumerate(methods.STRIPS, start=1):
        with Image.open(tmp_path / "out/masks" / f"{start}_{number}.png") as mask:
            values = np.asarray(mask)
        assert (values == number).sum() == 20 * number
        assert set(np.unique(values)) == {0, number}


OF_THE_BENCHMARK = {
    "data": {"name"},
    "split": {"validation_fraction", "test_fraction"},
    "model": {"architecture", "encoder", "options", "mean", "std"},
    "image": {"height", "width"},
    "weak_augment": {"vertical_flip_probability"},
    "optimizer": {"encoder_lr", "decoder_lr_multiple"},
    # without validation images it asks nobody
    "fall_back": {"enabled"},
    **{name: {"iterations"} for name in ITERATIONS},
}


def test_runs_have_the_settings_of_params_yaml_but_for_what_is_said() -> None:
    ours = read_params(methods.ROOT / "params.yaml")
    theirs = yaml.safe_load(changed_params(changes_of(methods.ROW)))
    changed = {
        section: found
        for section, settings in ours.items()
        if isinstance(settings, dict)
        and (found := {key for key in settings if settings[key] != theirs[section][key]})
    }
    assert changed == OF_THE_BENCHMARK
