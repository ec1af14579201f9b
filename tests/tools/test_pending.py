"""What DVC says of stages, summed up: what runs surely, what may follow, and why."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.core.settings import read_params
from ppl.tools.pending import Pending, Pipeline, pending, read_pipeline
from tests.pipeline.project import ROOT, outputs


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The project's own."""
    monkeypatch.chdir(ROOT)
    return read_pipeline(read_params())


def said(pipeline: Pipeline, answer: dict[str, Any], *, never: tuple[str, ...] = ()) -> Pending:
    return pending(json.dumps(answer), pipeline, set(pipeline.takes) - set(never))


def deps(**changed: Any) -> list[Any]:
    return [{"changed deps": {path.replace("__", "/"): how for path, how in changed.items()}}]


def test_nothing_said_is_nothing_pending(pipeline: Pipeline) -> None:
    assert not said(pipeline, {})
    assert said(pipeline, {}) == Pending()


def test_the_pipeline_is_that_of_dvc_yaml(pipeline: Pipeline) -> None:
    described = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(pipeline.takes) == list(described)
    assert "data/raw/synthetic" in pipeline.takes["prepare"]
    for stage, entry in described.items():
        assert set(pipeline.leaves[stage]) == outputs(entry)
    assert "metrics/final.json" in pipeline.uncached
    assert "data/model" not in pipeline.uncached


def test_changed_data_run_prepare_and_perhaps_all_behind(pipeline: Pipeline) -> None:
    found = said(pipeline, {"prepare": deps(data__lists="modified")})
    assert found.stages == ("prepare",)
    assert found.inputs == ("data/lists",)
    assert set(found.following) == set(pipeline.takes) - {
        "check_settings",
        "synthesize",
        "import_encoder",
        "choose_method",
        "prepare",
    }
    assert found.why == {("prepare", "data")}
    assert [found.code, found.edited, found.missing] == [(), (), ()]


def test_the_default_data_set_is_nobodys_but_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = read_params()
    answer = {
        "synthesize": [
            {"changed deps": {"ppl/data/synthetic.py": "modified"}},
            {"changed outs": {"data/raw/synthetic": "deleted"}},
        ]
    }
    drawn = read_pipeline(params)
    assert said(drawn, answer).stages == ("synthesize",)
    for data in ({"name": "folder", "root": "data/raw/mine"}, {"name": "dagm", "root": "/mnt/d"}):
        own = read_pipeline(params | {"data": params["data"] | data})
        assert drawn.takes.keys() - own.takes.keys() == {"synthesize"}
        ran = set(drawn.takes)
        assert not pending(json.dumps(answer), own, ran)
        assert pending(json.dumps(answer), own, ran) == Pending()
        assert "synthesize" not in pending(json.dumps(answer), own, set()).all
    # taken for images of one's own, it is drawn all the same
    assert "synthesize" in read_pipeline(params | {"data": params["data"] | {"name": "dagm"}}).takes


def test_the_check_of_settings_is_followed_by_nothing(pipeline: Pipeline) -> None:
    changed = {"params.yaml": {"annotate_next": "modified"}}
    found = said(
        pipeline,
        {
            "check_settings": [{"changed deps": changed}],
            "annotate_next": [{"changed deps": changed}],
        },
    )
    assert found.stages == ("check_settings", "annotate_next")
    assert found.following == ()
    assert found.why == {("check_settings", "settings"), ("annotate_next", "settings")}


def test_code_is_named_by_package(pipeline: Pipeline) -> None:
    changed = {
        "ppl/core": "modified",
        "ppl/data/near_duplicates.py": "modified",
        "ppl/all_settings.py": "modified",
        "stages/audit.py": "modified",
    }
    found = said(pipeline, {"audit": [{"changed deps": changed}]})
    assert found.code == ("all_settings", "core", "data", "stages/audit.py")
    assert found.inputs == ()


def test_an_output_that_dvc_puts_back_runs_nothing(pipeline: Pipeline) -> None:
    answer = {
        "retrain_final": [{"changed outs": {"data/models/final": "deleted"}}],
        "calibrate": deps(data__models__final="deleted"),
        "annotate_next": [
            {"changed deps": {"data/models/final": "deleted"}},
            {"changed outs": {"data/annotate_next/masks": "modified"}},
        ],
    }
    found = said(pipeline, answer)
    assert found.all == ()
    assert found.missing == ("data/models/final",)
    assert found.edited == ("data/annotate_next/masks",)
    assert found


def test_an_output_without_a_copy_is_made_again(pipeline: Pipeline) -> None:
    lost = {"retrain_final": [{"changed outs": {"data/models/final": "not in cache"}}]}
    assert said(pipeline, lost).stages == ("retrain_final",)
    metrics = {"evaluate": [{"changed outs": {"metrics/final.json": "modified"}}]}
    found = said(pipeline, metrics)
    assert found.stages == ("evaluate",)
    assert found.following == ("export",)


def test_a_run_that_ended_early_goes_on_behind_what_it_made(pipeline: Pipeline) -> None:
    found = said(pipeline, {"rank_stability": deps(data__models__snapshots="modified")})
    assert found.stages == ("rank_stability",)
    assert found.inputs == ()


def test_a_stage_that_never_ran_says_nothing_of_code(pipeline: Pipeline) -> None:
    answer = {
        "export": [
            {"changed deps": {"ppl/core": "modified", "data/model": "modified"}},
            {"changed outs": {"data/export": "modified"}},
        ]
    }
    found = said(pipeline, answer, never=("export",))
    assert found == Pending(stages=("export",))


def test_a_changed_command_is_a_reason(pipeline: Pipeline) -> None:
    assert said(pipeline, {"export": ["changed command"]}).stages == ("export",)


def test_what_the_model_rests_on(pipeline: Pipeline) -> None:
    above = pipeline.before("calibrate")
    assert {"prepare", "train_supervised", "retrain_final", "calibrate"} <= above
    assert not {"evaluate", "audit", "annotate_next", "check_settings"} & above


@pytest.mark.parametrize("text", ["stages: [", "<<<<<<< HEAD\nstages:\n", "[]", "stages: 3", ""])
def test_a_broken_dvc_yaml_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dvc\.yaml is missing"):
        read_pipeline({})
    Path("dvc.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"dvc\.yaml cannot be read"):
        read_pipeline({})
