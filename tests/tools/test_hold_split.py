"""The split that the last run made is held, and prepared again as it was."""

from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.data.held import Held, read_held, write_held
from ppl.images.sets import Entry, write_index
from ppl.tools.hold_split import PREPARED, hold_split
from tests.pipeline.project import ROOT

SETS = {"labeled": ["a", "b"], "validation": ["c"], "hidden": ["d"], "test": ["e/1", "e/2"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `prepare` left, with the settings that stand there."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr("ppl.tools.hold_split.ask_dvc", lambda *_: "{}")
    for name, ids in SETS.items():
        write_index(PREPARED / name, [Entry(id, f"{id}.png", 8, 8) for id in ids])
    Path("data/lists").mkdir()
    return tmp_path


def test_who_is_tested_and_who_is_not_is_written(project: Path) -> None:
    said = hold_split()
    assert "data/lists/held.csv: 2 images stay in test, 4 out of it; 6 are new there" in said
    held = read_held(Path("data/lists"), ())
    assert held.test == {"e/1", "e/2"}
    assert held.train == {"a", "b", "c", "d"}
    before = Path(held.file).read_bytes()
    assert "0 are new there" in hold_split()
    assert Path(held.file).read_bytes() == before


def test_what_was_held_before_stays_held(project: Path) -> None:
    before = Held(test=frozenset({"a", "gone"}), train=frozenset({"e/1", "x"}))
    write_held(Path("data/lists"), before)
    hold_split()
    held = read_held(Path("data/lists"), ())
    assert held.test == {"a", "gone", "e/1", "e/2"}
    assert held.train == {"x", "b", "c", "d"}


def test_no_split_and_another_split_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = Path("params.yaml").read_text(encoding="utf-8")
    assert "folds: 0" in params
    Path("params.yaml").write_text(params.replace("folds: 0", "folds: 3"), encoding="utf-8")
    with pytest.raises(InputError, match=r"split\.folds draws a test set for each fold"):
        hold_split()
    Path("params.yaml").write_text(params, encoding="utf-8")
    Path("data/lists/val.txt").write_text("e/1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"val\.txt fixes the test images already"):
        hold_split()
    Path("data/lists/val.txt").unlink()
    changed = '{"prepare": [{"changed deps": {"params.yaml": {"seed": "modified"}}}]}'
    monkeypatch.setattr("ppl.tools.hold_split.ask_dvc", lambda *_: changed)
    with pytest.raises(InputError, match="is not what params"):
        hold_split()
    (PREPARED / "test" / "index.json").unlink()
    with pytest.raises(InputError, match=r"there is no data/prepared/test: run `make repro`"):
        hold_split()
    assert not Path("data/lists/held.csv").exists()
