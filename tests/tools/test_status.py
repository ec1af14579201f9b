"""The lines of a status, from a project without a run to one in which everything changed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.all_settings import check_all
from ppl.core.errors import InputError
from ppl.run.record import write_record
from ppl.tools import status as module
from ppl.tools.at_work import Work
from ppl.tools.status import status
from tests.pipeline.project import ROOT
from tests.tools.raw_project import RAW, SETS, draw_image, draw_mask, make_project, recorded_run

Tell = Callable[[dict[str, Any]], None]

STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Sets what DVC answers."""

    def answer(said: dict[str, Any]) -> None:
        monkeypatch.setattr(module, "ask_dvc", lambda *_: json.dumps(said))

    answer({})
    return answer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell) -> Path:
    make_project(tmp_path, monkeypatch.chdir)
    return tmp_path


@pytest.fixture
def ran(project: Path) -> Path:
    """All stages ran on it as it is."""
    record()
    Path("data/model").mkdir()
    Path("data/model/model.json").write_text("{}", encoding="utf-8")
    Path("data/annotate_next").mkdir()
    Path("data/annotate_next/list.csv").write_text("rank,image\n1,u2\n2,u1\n", encoding="utf-8")
    shutil.copytree(ROOT / "metrics", "metrics")
    return project


def record() -> None:
    """dvc.lock, and the times of three stages."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    described = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lock = {
        stage: {"params": {"params.yaml": {name: params[name] for name in entry["params"]}}}
        for stage, entry in described.items()
    }
    lock["prepare"] |= recorded_run()["prepare"]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": lock}), encoding="utf-8")
    for stage in ("retrain_final", "evaluate"):
        write_record(stage, set())
    for file in Path(".scratch/ran").glob("*/*.json"):
        file.write_text('{"seconds": 60.0, "ended": 1.8e9}', encoding="utf-8")


def lines(said: str) -> dict[str, str]:
    """Label -> the text of its lines."""
    found: dict[str, str] = {}
    label = ""
    for line in said.splitlines():
        assert re.match(r"[a-z ]{8}  \S", line), line
        label = line[:10].strip() or label
        found[label] = f"{found[label]}\n{line[10:]}" if label in found else line[10:]
    return found


DATA_CHANGED = {"prepare": [{"changed deps": {RAW.as_posix(): "modified"}}]}


def test_before_the_first_run(project: Path) -> None:
    found = lines(status(check_all))
    assert list(found) == ["data", "to run", "test", "next"]
    assert found["data"] == (
        "my_parts (folder): 9 images, 6 masks (6 drawn, 0 corrected), 3 without\n"
        "sound 2, scratch 2, dent 2"
    )
    assert found["to run"] == "all 16 stages: nothing was run here yet"
    assert found["next"] == "make repro"


def scores_of_final() -> str:
    """How the line of the scores begins."""
    final = json.loads(Path("metrics/final.json").read_bytes())
    miou, low, high = (100 * final[key] for key in ("miou", "miou_low", "miou_high"))
    return f"mIoU {miou:.1f} ({low:.1f}-{high:.1f}), recall {100 * final['image_recall']:.1f}, "


def test_where_all_is_computed(ran: Path) -> None:
    said = status(check_all)
    assert len(said.splitlines()) <= 10
    found = lines(said)
    assert found["changed"].startswith("nothing since the last run, 2027-01-1")
    assert found["to run"] == "nothing: all 16 stages are up to date"
    assert found["test"] == "2 images, as they were"
    assert found["annotate"] == "2 of 2 listed have no mask yet: u2, u1"
    assert found["model"] == "data/model is of the present data, settings and code"
    assert found["scores"].startswith(scores_of_final())
    assert "on 176 images of folder, 1 labeled" in found["scores"]
    assert found["next"] == "make annotate-next"


def test_the_second_week(ran: Path, tell: Tell) -> None:
    tell(
        DATA_CHANGED
        | {
            "rank_stability": [{"changed deps": {"params.yaml": {"ranking": "modified"}}}],
            "evaluate": [{"changed deps": {"ppl/judge": "modified"}}],
        }
    )
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert "reliable_fraction: 0.5" in text
    edited = text.replace("reliable_fraction: 0.5", "reliable_fraction: 0.3")
    Path("params.yaml").write_text(edited, encoding="utf-8")
    for number in range(2000):
        (RAW / f"images/new_{number:04}.png").write_bytes(b"as it comes; nobody opens it")
    draw_mask("u2", 1, folder="corrected")
    draw_mask("t2", 1)
    (RAW / "masks/t1.png").unlink()
    found = lines(status(check_all))
    assert found["data"].startswith("my_parts (folder): 2,009 images, 6 masks (5 drawn, 1 corr")
    assert found["changed"].splitlines() == [
        "images: 2,000 added (new_0000, new_0001, new_0002, 1,997 more)",
        "masks: 1 corrected and added (u2), 1 changed (t2), 1 gone (t1)",
        "settings: ranking.reliable_fraction 0.5 -> 0.3; code: judge",
    ]
    assert found["to run"] == (
        "prepare, rank_stability, evaluate, and up to 10 behind; up to 3 min as last time here, "
        "and 10 that were never timed"
    )
    assert found["annotate"] == "1 of 2 listed have no mask yet: u1"
    # the code is of the evaluation, on which the model does not rest
    assert found["model"] == "data/model is of earlier data, settings"
    assert found["next"] == "make repro"


def test_what_stops_a_run_is_said_before_it_is_started(ran: Path, tell: Tell) -> None:
    tell(DATA_CHANGED)
    draw_mask("nobody", 1)
    found = lines(status(check_all))
    assert "masks/nobody.png has no image" in found["data"]
    assert found["test"] == "2 images; what the next run would test is not known"
    assert found["next"] == "mend that, then `make status`"
    (RAW / "masks/nobody.png").unlink()
    (RAW / "groups.csv").write_text("image,group\na,1\n", encoding="utf-8")
    found = lines(status(check_all))
    assert "a run would stop: data/raw/my_parts/groups.csv misses 8 of 9 images" in found["data"]
    (RAW / "groups.csv").unlink()
    (RAW / "masks/a.png").write_bytes(b"")
    assert re.search(r"a run would stop: .*masks/a\.png", lines(status(check_all))["data"])


def test_an_unreadable_image_is_not_opened(ran: Path) -> None:
    (RAW / "images/a.png").write_bytes(b"no picture")
    assert lines(status(check_all))["data"].startswith("my_parts (folder): 9 images, 6 masks")


def test_a_folder_that_is_missing(ran: Path, tell: Tell) -> None:
    tell({"prepare": [{"changed deps": {RAW.as_posix(): "deleted"}}]})
    shutil.rmtree(RAW)
    found = lines(status(check_all))
    assert "the folder data/raw/my_parts (data.root) does not exist" in found["data"]
    assert found["data"].endswith("; 9 images in the last run")
    assert found["next"] == "mend that, then `make status`"
    RAW.with_name("my_parts.dvc").touch()
    found = lines(status(check_all))
    assert found["data"] == (
        "my_parts (folder): data/raw/my_parts is not here; 9 images in the last run"
    )
    assert found["next"] == "dvc pull data/raw/my_parts.dvc"


def test_a_clone_without_data_and_results(ran: Path, tell: Tell) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": "synthetic", "root": "data/raw/synthetic", "classes": []}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    record()
    for name in ("data", ".scratch"):
        shutil.rmtree(name)
    tell(
        {
            "prepare": [{"changed outs": {"data/prepared/test": "not in cache"}}],
            "calibrate": [{"changed outs": {"data/model": "not in cache"}}],
        }
    )
    found = lines(status(check_all))
    assert found["data"] == "synthetic: drawn by the first stages of a run"
    assert found["changed"] == "outputs not here: data/prepared/test, data/model"
    assert "no time is known, none was timed on this machine" in found["to run"]
    assert found["model"].startswith("data/model is not here: `dvc pull data/model`")
    assert found["scores"].startswith(scores_of_final())
    assert found["next"] == "make repro"


def test_hidden_labels_are_nobodys_masks(ran: Path) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": "synthetic", "classes": []}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for id in SETS["unlabeled"]:
        draw_mask(id, 1)
    found = lines(status(check_all))
    first, classes = found["data"].splitlines()
    assert first == "synthetic: 9 images, 4 labels to learn from, 2 to test on, 0 stay hidden"
    assert classes == "sound 2, pore 2, scratch 2, stain 0, edge_break 0"
    assert found["annotate"] == "2 of 2 listed have no mask yet: u2, u1"


def test_classes_of_many_masks_are_those_of_the_last_test(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppl.tools.raw_counts.READ_MASKS", 3)
    final = json.loads(Path("metrics/final.json").read_text(encoding="utf-8"))
    final["parts"] = {"background": 176, "scratch": 27, "dent": 1021}
    Path("metrics/final.json").write_text(json.dumps(final), encoding="utf-8")
    assert lines(status(check_all))["data"].splitlines()[1] == (
        "of the parts tested last: scratch 27, dent 1,021 (too many masks to read at once)"
    )
    # what a run left since, these scores are not of
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    lock["stages"]["evaluate"]["outs"] = [{"path": "metrics/final.json", "md5": "of others"}]
    Path("dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    found = lines(status(check_all))
    assert found["data"].splitlines()[1] == "too many masks to count their classes at once"
    assert "not of the present data and settings" in found["scores"]
    Path("metrics/final.json").write_text("<<<<<<<", encoding="utf-8")
    found = lines(status(check_all))
    assert found["data"].splitlines()[1] == "too many masks to count their classes at once"
    assert "scores" not in found


def test_a_run_that_goes_on_is_left_alone(
    ran: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("DVC was asked")

    monkeypatch.setattr(module, "ask_dvc", asked)
    monkeypatch.setattr(module.time, "time", lambda: 1030.0)
    work = Work("dvc repro", 12, "retrain_final", 1000.0)
    monkeypatch.setattr(module, "at_work", lambda: work)
    draw_image("new")
    found = lines(status(check_all))
    assert found["at work"] == (
        "`dvc repro` (process 12) goes on: retrain_final for 30 s, 60 s last time"
    )
    assert found["to run"] == "DVC is not asked while a run goes on"
    assert found["changed"] == "images: 1 added (new)"
    assert found["next"] == "let it end, then `make status`"
    work = Work("dvc repro", 12, None, None)
    monkeypatch.setattr(module, "at_work", lambda: work)
    assert (
        lines(status(check_all))["at work"]
        == "`dvc repro` (process 12) goes on, between two stages"
    )


def test_dvc_that_does_not_answer_is_said(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> str:
        raise InputError("Unable to acquire lock\nand more")

    monkeypatch.setattr(module, "ask_dvc", refuses)
    assert lines(status(check_all))["to run"] == "DVC does not say: Unable to acquire lock"
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/tmp/rwlock").touch()
    found = lines(status(check_all))
    assert found["to run"].endswith("a kill left DVC's list of locks empty: `make unlock`")
    assert found["next"] == "make repro"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("params.yaml", "data: [", r"params\.yaml is not valid YAML"),
        ("params.yaml", "seed: 0\n", r"section `data` is missing"),
        ("dvc.lock", "<<<<<<< HEAD\nstages:\n=======\n", r"dvc\.lock is not valid YAML, a merge"),
        ("dvc.yaml", "<<<<<<< HEAD\nstages:\n", r"dvc\.yaml cannot be read, a merge conflict"),
    ],
)
def test_broken_files_are_said_as_errors(ran: Path, file: str, content: str, said: str) -> None:
    Path(file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        status(check_all)


def test_a_wrong_setting_is_said_as_check_does(ran: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert "per_class: true" in text
    edited = text.replace("per_class: true", "per_class: maybe")
    Path("params.yaml").write_text(edited, encoding="utf-8")
    with pytest.raises(InputError, match=r"ranking\.per_class: got 'maybe' \(str\)"):
        status(check_all)


def test_a_setting_is_told_where_one_stage_alone_is_behind(ran: Path) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    lock["stages"]["train_supervised"]["params"]["params.yaml"]["seed"] = 5
    lock["stages"]["evaluate"]["params"]["params.yaml"]["image"]["fit"] = "x" * 500
    Path("dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    changed = lines(status(check_all))["changed"]
    assert "seed 5 -> 0" in changed
    assert re.search(r"image\.fit \.\.\.x{29} -> whole", changed)


def test_an_early_end_is_no_result(ran: Path, tell: Tell) -> None:
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    for stage in STAGES[STAGES.index("train_supervised") :]:
        del lock["stages"][stage]
    Path("dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
    found = lines(status(check_all))
    assert found["changed"].endswith("which ended early")
    assert found["to run"].startswith("train_supervised, rank_stability, pseudo_label_reliable, 8")
    assert "model" not in found
    assert found["next"] == "make repro"


def test_what_is_next_where_all_is_computed(ran: Path) -> None:
    assert lines(status(check_all))["next"] == "make annotate-next"
    draw_mask("u2", 1, folder="to_correct")
    assert lines(status(check_all))["next"].startswith(
        "correct the masks in data/raw/my_parts/to_correct"
    )
    (RAW / "to_correct/u2.png").unlink()
    for id in ("u1", "u2"):
        draw_mask(id, 1)
    assert lines(status(check_all))["next"].startswith("nothing is open: add images or masks")
    Path("data/lists/held.csv").write_text("image,set\nt1,test\n", encoding="utf-8")
    assert lines(status(check_all))["next"] == "make hold-split"


def test_nothing_is_written(ran: Path, tell: Tell) -> None:
    tell(DATA_CHANGED)
    draw_image("new")

    def files() -> dict[str, tuple[int, int]]:
        return {
            str(file): (file.stat().st_mtime_ns, file.stat().st_size)
            for file in Path().rglob("*")
            if file.is_file()
        }

    before = files()
    status(check_all)
    assert files() == before


def test_an_image_that_was_decided_twice_counts_once(ran: Path) -> None:
    from ppl.review.decisions import COLUMNS, Decisions, Row

    (RAW / "review").mkdir()
    digest = "0" * 32
    Decisions(RAW / "review/decisions.csv").append(
        Row(image, decision, "Anna", "2026-01-01T00:00:00+00:00", digest, "")
        for image, decision in (("u1", "wrong"), ("u1", "unsure"), ("u2", "wrong"), ("u3", "wrong"))
    )
    Decisions(RAW / "review/decisions.csv").append(
        [Row("u3", "undone", "Anna", "2026-01-01T00:00:00+00:00", digest, "")]
    )
    said = status(check_all)
    assert "images decided in review/decisions.csv: 2" in said
    (RAW / "review/decisions.csv").write_text("x" * len(",".join(COLUMNS)) + "xx\n", "utf-8")
    assert "decisions.csv" not in status(check_all)
