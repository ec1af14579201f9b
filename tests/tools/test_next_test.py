"""Whom the next run would test, without opening an image: as `prepare` itself decides it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, load_samples
from ppl.data.held import Held, write_held
from ppl.data.prepare import plan_sets
from ppl.data.split_settings import SplitSettings
from ppl.scores.tested import ScoredImages, write_tested
from ppl.tools.next_test import (
    Planned,
    holding,
    last_tested,
    moves,
    planned_split,
    words_of_test,
)
from ppl.tools.raw_counts import known_parts, last_sets, mask_values
from tests.tools.raw_project import RAW, draw_image, draw_mask, make_project, prepared

LISTS = Path("data/lists")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    """Forty images, thirty of them with a mask, four of these corrected."""
    data = make_project(tmp_path, monkeypatch.chdir)
    for number in range(40):
        draw_image(f"n/{number:02}", level=number)
        if number < 30:
            draw_mask(f"n/{number:02}", number % 3, folder="corrected" if number < 4 else "masks")
    return data


def split(**changes: Any) -> SplitSettings:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["split"] |= changes
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return section("split", SplitSettings)


def planned(data: DataSettings, settings: SplitSettings, seed: int, *, read: bool) -> Planned:
    samples = load_samples(RAW, data)
    parts = known_parts(RAW, samples, data, last_sets())
    assert parts is not None
    values = mask_values([one for one in samples if one.annotated], data) if read else None
    return planned_split(RAW, samples, parts, values, data, settings, seed)


def _by_parts() -> None:
    ids = sorted(file.relative_to(RAW / "images") for file in (RAW / "images").rglob("*.png"))
    rows = "".join(f"{id.as_posix()},{number // 3}\n" for number, id in enumerate(ids))
    (RAW / "groups.csv").write_text(f"image,group\n{rows}", encoding="utf-8")


def _held() -> None:
    write_held(LISTS, Held(test=frozenset({"n/05", "n/06"}), train=frozenset({"t1", "t2"})))


def _listed() -> None:
    (LISTS / "val.txt").write_text("n/08\nn/10\n", encoding="utf-8")


@pytest.mark.parametrize("arrange", [lambda: None, _by_parts, _held, _listed])
@pytest.mark.parametrize("changes", [{}, {"labeled_fraction": "1/3"}, {"test_fraction": 0.5}])
@pytest.mark.parametrize("seed", [1, 7])
def test_the_plan_is_what_prepare_decides(
    data: DataSettings, arrange: Any, changes: dict[str, Any], seed: int
) -> None:
    arrange()
    settings = split(**changes)
    decided = plan_sets(RAW, LISTS, data, settings, seed).split
    exact = planned(data, settings, seed, read=True)
    assert exact.exact
    assert exact.split == decided
    unread = planned(data, settings, seed, read=False)
    assert not unread.exact
    assert unread.split.test == decided.test


def test_what_stops_prepare_stops_the_plan(data: DataSettings) -> None:
    (LISTS / "val.txt").write_text("nobody\n", encoding="utf-8")
    for attempt in (
        lambda: planned(data, split(), 1, read=False),
        lambda: plan_sets(RAW, LISTS, data, split(), 1),
    ):
        with pytest.raises(InputError, match="nobody"):
            attempt()


def test_the_last_test_is_that_of_the_scores_or_of_the_sets(data: DataSettings) -> None:
    assert last_tested(last_sets()) == {"t1", "t2"}
    assert last_tested(None) is None
    Path("data/evaluation").mkdir()
    write_tested(Path("data/evaluation/images.json"), ScoredImages(["a"], ["a"], ["0"]))
    assert last_tested(last_sets()) == {"a"}
    for broken in ("", "[]", "{}"):
        Path("data/evaluation/images.json").write_text(broken, encoding="utf-8")
        assert last_tested(last_sets()) == {"t1", "t2"}


@pytest.mark.parametrize(
    ("before", "now", "redone", "said"),
    [
        ("ab", "ab", "", "2 images, as they were"),
        ("ab", "ab", "x", "2 images, as they were"),
        ("ab", "abc", "", "2 of 2 kept, 1 new in the next run: `make diff` compares what"),
        ("ab", "bc", "", "1 of 2 kept, 1 gone, 1 new in the next run"),
        ("ab", "ab", "bc", "2 of 2 kept, 1 with another picture or mask in the next run"),
        ("ab", "", "", "0 of 2 kept, 2 gone in the next run"),
    ],
)
def test_what_becomes_of_test_is_said(before: str, now: str, redone: str, said: str) -> None:
    assert words_of_test(before, now, redone, ran=False).startswith(said)
    there = words_of_test(before, now, redone, ran=True)
    assert there.startswith(said.replace(" in the next run", ""))


def test_held_images_and_those_that_are_not_yet(data: DataSettings) -> None:
    samples = load_samples(RAW, data)
    none = holding(samples, data, split())
    assert (str(none), none.open) == ("", False)
    _held()
    found = holding(samples, data, split())
    # 6 + 26 are drawn, four of which it holds; corrected ones are never tested
    assert (found.missing, found.open) == (28, True)
    assert str(found) == "held.csv holds 4, not 28 newer ones"
    every = {one.id for one in samples if one.annotated and not one.corrected}
    write_held(LISTS, Held(test=frozenset({"t1"}), train=frozenset(every - {"t1"})))
    found = holding(samples, data, split())
    assert (str(found), found.open) == ("held.csv holds 32", False)


def test_parts_that_likeness_tells_want_to_be_held(data: DataSettings) -> None:
    by_looks = data.model_copy(update={"groups": "content"})
    samples = load_samples(RAW, by_looks)
    assert holding(samples, by_looks, split()).open
    assert "likeness" in str(holding(samples, by_looks, split()))
    assert not holding(samples, by_looks, split(by="image")).open
    assert not holding(samples, by_looks, split(by="auto", folds=5)).open
    split(folds=0)
    _listed()
    assert not holding(samples, by_looks, split()).open


def test_sets_that_change_are_counted(data: DataSettings) -> None:
    prepared()
    plan = planned(data, split(), 1, read=True).split
    last = last_sets()
    assert last is not None
    said = moves(last.ids, plan)
    assert f"labeled 3 -> {len(plan.labeled)}" in said
    assert moves({name: getattr(plan, name) for name in last.ids if name != "hidden"}, plan) == ""
