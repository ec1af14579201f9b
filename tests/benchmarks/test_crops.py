"""The crops' benchmark at toy size: every way is measured, and nothing is left behind."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import crops


def test_every_way_is_measured_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--side", "200", "--size", "64", "--batches", "2", "--out", "crops.json"]
    monkeypatch.setattr(sys, "argv", ["crops", *small])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPL_WORKERS", "1")
    monkeypatch.delenv("PPL_DISK_CACHE_GIB", raising=False)
    crops.main()
    found = json.loads(Path("crops.json").read_text(encoding="utf-8"))
    assert set(found["ms_a_crop"]) == {"anew", "fill, s", "cold", "warm"}
    assert all(found["ms_a_crop"][way] > 0 for way in ("anew", "cold", "warm"))
    assert [file.name for file in tmp_path.iterdir()] == ["crops.json"]
