"""The check of the whole params.yaml: all problems at once, each naming its key."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.all_settings import check_all, data_note, stop_without_data
from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings
from ppl.data.split_settings import SplitSettings
from tests.pipeline.project import git

PARAMS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent.parent / "params.yaml").read_text(encoding="utf-8")
)


def test_the_committed_settings_are_valid() -> None:
    check_all(PARAMS)


def test_every_problem_is_named_at_once() -> None:
    params = copy.deepcopy(PARAMS)
    params["rankng"] = params.pop("ranking")
    params["optimizer"]["momentum"] = 1.5
    params["cutmix"]["boxs"] = 3
    with pytest.raises(InputError) as caught:
        check_all(params)
    message = str(caught.value)
    assert "rankng: unknown section" in message
    assert "section `ranking` is missing" in message
    assert "optimizer.momentum: got 1.5" in message
    assert "cutmix.boxs: unknown key (did you mean boxes?)" in message


def test_each_number_is_checked_for_its_type() -> None:
    for section, values in PARAMS.items():
        if not isinstance(values, dict):
            continue
        for key, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                params = copy.deepcopy(PARAMS)
                params[section][key] = True
                with pytest.raises(InputError, match=rf"{section}\.{key}"):
                    check_all(params)


def test_no_number_is_so_large_that_a_run_would_never_end_or_fill_the_memory() -> None:
    refused = 0
    for section, values in PARAMS.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                for huge in (10**30, 1e300):
                    changed = PARAMS | {section: values | {key: huge}}
                    with pytest.raises(InputError, match=rf"{section}[.:].*\b{key}\b"):
                        check_all(changed)
                    refused += 1
    assert refused > 100


def test_a_student_needs_two_images_a_step() -> None:
    for labeled, unlabeled in ((1, 1), (2, 0)):
        batch = {"labeled_batch": labeled, "unlabeled_batch": unlabeled}
        check_all(PARAMS | {"retrain_final": PARAMS["retrain_final"] | batch})
    alone = PARAMS["retrain_final"] | {"labeled_batch": 1, "unlabeled_batch": 0}
    with pytest.raises(InputError, match=r"^params.yaml: retrain_final: got .*two images a step"):
        check_all(PARAMS | {"retrain_final": alone})


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        (
            "split",
            {"folds": 1},
            "split: got folds 1, fold 1; folds: 1 fold leaves nothing to train",
        ),
        ("data", {"groups": "pattern"}, "data: got groups 'pattern', group_pattern ''; group_pat"),
        ("weak_augment", {"scale_min": 2.0}, "weak_augment: got scale_min 2.0, scale_max 1.0; sc"),
        ("cutmix", {"area_min": 0.9}, "cutmix: got area_min 0.9, area_max 0.5; area_min 0.9 is n"),
        (
            "retrain_final",
            {"labeled_batch": 1, "unlabeled_batch": 0},
            "retrain_final: got labeled_batch 1, unlabeled_batch 0; ",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_shown_without_their_section(
    section: str, changes: dict[str, Any], said: str
) -> None:
    params = copy.deepcopy(PARAMS)
    params[section] |= changes
    params["optimizer"]["momentum"] = 2.0
    with pytest.raises(InputError) as caught:
        check_all(params)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2, "each problem is a line"
    [line] = [line for line in lines if "momentum" not in line]
    assert line.startswith(f"params.yaml: {said}")
    assert "{" not in line


def test_boxes_that_are_not_drawn_need_not_fit() -> None:
    cutmix = PARAMS["cutmix"] | {"enabled": False, "area_min": 0.7, "area_max": 0.71}
    check_all(PARAMS | {"cutmix": cutmix})


def data(**changes: Any) -> DataSettings:
    return DataSettings(**{**PARAMS["data"], **changes})


def test_missing_data_is_named_with_its_layout_and_the_default(tmp_path: Path) -> None:
    split = SplitSettings(**{**PARAMS["split"], "lists": str(tmp_path)})
    with pytest.raises(InputError, match=r"MT_Break.*data\.name: synthetic"):
        stop_without_data(data(name="magnetic_tile", root=str(tmp_path / "no")), split)
    stop_without_data(data(), split)


@pytest.mark.parametrize("root", ["/", ".", "..", "data/.."])
def test_a_data_set_that_would_hold_the_project_is_named(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    split = SplitSettings(**{**PARAMS["split"], "lists": str(tmp_path)})
    with pytest.raises(InputError, match=r"data\.root\) holds the project itself"):
        stop_without_data(data(root=root), split)


def test_data_that_dvc_can_fetch_need_not_be_there(tmp_path: Path) -> None:
    split = SplitSettings(**{**PARAMS["split"], "lists": str(tmp_path)})
    (tmp_path / "tiles.dvc").touch()
    stop_without_data(data(name="magnetic_tile", root=str(tmp_path / "tiles")), split)


def test_a_copy_of_the_project_says_why_it_lacks_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_project = tmp_path / ".dvc/tmp/exps/standalone/tmpx"
    (copy_of_project / "lists").mkdir(parents=True)
    monkeypatch.chdir(copy_of_project)
    split = SplitSettings(**{**PARAMS["split"], "lists": "lists"})
    own = data(name="folder", root="data/raw/mine", classes=["background", "dent"])
    with pytest.raises(InputError, match=r"not in this copy .*absolute path, or run `dvc add data"):
        stop_without_data(own, split)


def test_data_that_git_ignores_are_named_before_an_experiment_misses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("data/raw/mine")
    root.mkdir(parents=True)
    own = {"name": "folder", "classes": ["background", "dent"]}
    assert data_note(data(root=str(root), **own)) == "", "no repository"
    git(tmp_path, "init", "-q")
    assert data_note(data(root=str(root), **own)) == ""
    Path(".gitignore").write_text("/data/raw/*\n", encoding="utf-8")
    said = data_note(data(root=str(root), **own))
    assert said.startswith("note: Git ignores data/raw/mine (data.root)")
    assert "`dvc add data/raw/mine` and `git add data/raw/mine.dvc`" in said
    assert data_note(data(root=str(root.resolve()), **own)) == ""
    assert data_note(data(root=str(root))) == "", "the pipeline draws synthetic data"
    Path("data/raw/mine.dvc").touch()
    assert data_note(data(root=str(root), **own)) == ""


def test_a_name_that_dvc_cannot_record_is_named_before_dvc_starts(tmp_path: Path) -> None:
    split = SplitSettings(**{**PARAMS["split"], "lists": str(tmp_path)})
    (tmp_path / "mine").mkdir()
    (tmp_path / os.fsdecode(b"mine/\xff.png")).touch()
    with pytest.raises(InputError, match=r"no UTF-8 text.*rename '.*mine/\\+xff\.png'"):
        stop_without_data(data(root=str(tmp_path / "mine")), split)


def test_missing_lists_are_named(tmp_path: Path) -> None:
    split = SplitSettings(**{**PARAMS["split"], "lists": str(tmp_path / "no")})
    with pytest.raises(InputError, match=r"split\.lists"):
        stop_without_data(data(), split)


@pytest.mark.parametrize(
    ("section", "changes", "expected"),
    [
        ("train_supervised", {"snapshots": 5, "iterations": 4}, "snapshots is 5, but .* only 4"),
        ("mean_teacher", {"enabled": False}, "cutmix.sure_by is mean_teacher, but mean_teacher."),
        ("split", {"validation_fraction": 0.0}, "selection.by is validation, but split.valid"),
        ("cutmix", {"area_min": 0.7, "area_max": 0.71}, "3 hardly ever cover between cutmix.area"),
        ("cutmix", {"area_min": 0.7, "area_max": 0.9, "boxes": 8}, "widen that range or lower"),
        ("model", {"options": {"activation": "softmax"}}, "model.options: .*activation cannot be"),
        ("model", {"options": {"depth": None}}, "model.options: .*depth is None; expected"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    section: str, changes: dict[str, Any], expected: str
) -> None:
    params = copy.deepcopy(PARAMS)
    params["selection"]["by"] = "validation"
    params["cutmix"]["sure_by"] = "mean_teacher"
    check_all(params)
    params[section] |= changes
    with pytest.raises(InputError, match=expected):
        check_all(params)


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("seed", "x", "seed: got 'x'"),
        ("data", PARAMS["data"] | {"name": "folder"}, "data.classes is empty, and folder has no"),
        ("data", PARAMS["data"] | {"root": None}, "data.root: got None"),
    ],
)
def test_the_check_before_dvc_says_it_without_a_traceback(
    tmp_path: Path, section: str, value: object, expected: str
) -> None:
    params = PARAMS | {section: value}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ppl", "check"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
