"""The whole pipeline on a tiny configuration: what runs, what it leaves, what a change reruns."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ppl.core.declared import declared
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, load_samples
from ppl.images.files import read_mask
from ppl.images.sets import masked_ids, read_image_set
from ppl.network.network import read_origin
from ppl.tools.raw_changes import RawChanges, raw_changes
from ppl.tools.raw_counts import last_sets
from ppl.tools.used_settings import locked_stages
from tests.pipeline.architecture import listed_code
from tests.pipeline.project import (
    ROOT,
    copy_project,
    draw_own_data,
    dvc,
    edit_params,
    git,
    module,
    outputs,
    repro,
)

RUNNING = (ROOT / "docs/running.md").read_text(encoding="utf-8")

ALL = [
    "check_settings",
    "synthesize",
    "import_encoder",
    "prepare",
    "audit",
    "choose_method",
    "train_supervised",
    "rank_stability",
    "pseudo_label_reliable",
    "retrain_reliable",
    "pseudo_label_hard",
    "train_at_once",
    "retrain_final",
    "calibrate",
    "evaluate",
    "annotate_next",
    "export",
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what each stage opened, imported and read, a JSON file a stage."""
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, recorded: Path) -> Path:
    """A clean copy of the project, reproduced once on the tiny configuration under watch."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    with watched(recorded):
        assert repro(folder) == ALL
    record_training_at_once(folder, recorded)
    return folder


def record_training_at_once(folder: Path, recorded: Path) -> None:
    """By a method that trains once: under PPL the stage has nothing to do but to say so."""
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    edit_params(folder, {"method": {"name": "prevmatch"}})
    with watched(recorded):
        assert dvc(folder, "repro", "train_at_once").returncode == 0
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    # what ran before is restored
    assert repro(folder) == []


@contextmanager
def watched(record: Path) -> Iterator[None]:
    """Inside, every stage that DVC runs leaves a record in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "tests" / "pipeline" / "recorder"))
        patch.setenv("PPL_RECORD", str(record))
        yield


def undeclared(workspace: Path, record: Path, stage: str) -> list[str]:
    """What the record of `stage` shows and dvc.yaml does not, and code listed in vain."""
    found = json.loads((record / f"{stage}.json").read_text(encoding="utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        parts = declared(stage)
    described = yaml.safe_load((workspace / "dvc.yaml").read_text(encoding="utf-8"))
    outs = outputs(described["stages"][stage])
    known = [*map(str, parts.inputs), *outs, ".scratch"]
    files = [
        file
        for file in found["files"]
        if file not in {"params.yaml", "dvc.yaml"}
        and not any(file == path or file.startswith(f"{path}/") for path in known)
    ]
    code = {str(path) for path in parts.code_files}
    modules = {file for file in found["modules"] if not file.startswith("ppl/run/")}
    idle = [
        f"in vain: {dep}"
        for dep in listed_code(described["stages"][stage])
        if not any(file == dep or file.startswith(f"{dep}/") for file in modules)
    ]
    unread = [
        f"in vain: {path}"
        for path in parts.inputs
        if path.name not in {"settings_checked", "lists", "sound"}
        and not any(file == str(path) or file.startswith(f"{path}/") for file in found["files"])
    ]
    return [
        *files,
        *sorted(modules - code),
        *sorted(idle),
        *sorted(set(found["sections"]) - parts.params.keys()),
        *unread,
    ]


@pytest.mark.parametrize("stage", ALL)
def test_what_a_stage_declares_is_what_it_uses(workspace: Path, recorded: Path, stage: str) -> None:
    assert undeclared(workspace, recorded, stage) == []


SABOTAGE = [
    ("from ppl.students.cutmix import CutMixSettings\n", "ppl/students/cutmix.py"),
    ("from pathlib import Path\nPath('data/prepared/split.json').read_text()\n", "split.json"),
    ("from ppl.core.settings import section\nsection('seed', int)\n", "seed"),
]


@pytest.mark.parametrize(("stowaway", "named"), SABOTAGE)
def test_a_stowaway_is_found(workspace: Path, tmp_path: Path, stowaway: str, named: str) -> None:
    """An import, a file or a setting that dvc.yaml does not list for the ranking."""
    source = workspace / "stages" / "rank_stability.py"
    before = source.read_text(encoding="utf-8")
    # the stage ends with `run(main)`, which does not return: the stowaway has to come first
    docstring, rest = before.split("\n", 1)
    source.write_text(f"{docstring}\n{stowaway}{rest}", encoding="utf-8")
    try:
        with watched(tmp_path):
            done = dvc(workspace, "repro", "--single-item", "rank_stability")
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(named in found for found in undeclared(workspace, tmp_path, "rank_stability"))
    finally:
        source.write_text(before, encoding="utf-8")
    assert repro(workspace) == []


def test_a_second_repro_runs_nothing(workspace: Path) -> None:
    assert repro(workspace) == []


def test_every_model_is_scored(workspace: Path) -> None:
    for model in ("teacher", "student_1", "final"):
        found = json.loads((workspace / "metrics" / f"{model}.json").read_text(encoding="utf-8"))
        assert 0 <= found["miou"] <= 1
        assert set(found["iou"]) == {"background", "pore", "scratch", "stain", "edge_break"}
        weights_of = read_origin(workspace / "data" / "models" / model).training
        assert found.get("fallen_back_to", model) == weights_of
    pseudo = json.loads((workspace / "metrics" / "pseudo_masks.json").read_text(encoding="utf-8"))
    assert set(pseudo) == {"reliable_by_teacher", "hard_by_teacher", "hard_by_student_1"}
    assert pseudo["hard_by_teacher"]["images"] == pseudo["hard_by_student_1"]["images"] > 0


def test_halves_are_the_unlabeled_images_and_each_has_a_mask_of_its_own_size(
    workspace: Path,
) -> None:
    unlabeled = read_image_set(workspace / "data" / "prepared" / "unlabeled")
    reliable = masked_ids(workspace / "data" / "pseudo" / "reliable")
    hard = masked_ids(workspace / "data" / "pseudo" / "hard")
    assert sorted(reliable + hard) == sorted(unlabeled.ids)
    for entry in unlabeled.entries:
        half = "reliable" if entry.id in reliable else "hard"
        mask = read_mask(workspace / "data" / "pseudo" / half / f"{entry.id}.png")
        assert mask.shape == (entry.height, entry.width)
        assert int(mask.max()) < 5


def test_plots_and_pictures_are_there(workspace: Path) -> None:
    shown = dvc(workspace, "plots", "show")
    assert shown.returncode == 0, shown.stderr
    assert "failed" not in (shown.stdout + shown.stderr).lower()
    page = (workspace / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for title in ("Training loss and validation mIoU", "IoU per class", "Final model"):
        assert title in page
    pictures = sorted(file.name for file in (workspace / "data" / "overlays").glob("overlay*"))
    assert pictures == ["overlay_01.png", "overlay_02.png", "overlay_03.png"]
    assert (workspace / "data" / "audit" / "pictures" / "pair_01.png").is_file()


def test_metrics_show_lists_the_models(workspace: Path) -> None:
    shown = dvc(workspace, "metrics", "show", "--json")
    files = json.loads(shown.stdout)[""]["data"]
    assert {Path(file).name for file in files} == {
        "teacher.json",
        "student_1.json",
        "final.json",
        "pseudo_masks.json",
        "copycat.json",
        "leakage.json",
    }


EDITS: dict[str, object] = {
    "seed": 1,
    "synthetic": {"noise": 9.0},
    "data": {"mask_threshold": 100},
    "split": {"test_fraction": 0.3},
    "audit": {"similarity": 0.8},
    "model": {"mean": [0.5, 0.5, 0.5]},
    "image": {"height": 64},
    "weak_augment": {"flip_probability": 0.4},
    "sampling": {"repeat_below": 0.5},
    "paste": {"margin": 1},
    "loss": {"defect_weight": 1.0},
    "optimizer": {"momentum": 0.8},
    "selection": {"every": 3},
    "fall_back": {"confidence": 0.5},
    "compute": {"precision": "bfloat16"},
    "inference": {"runtime": "onnxruntime"},
    "method": {"name": "st++"},
    "train_supervised": {"snapshots": 2},
    "ranking": {"reliable_fraction": 0.4},
    "pseudo_label": {"scales": [1.0, 1.5]},
    "strong_augment": {"hue": 0.2},
    "cutmix": {"boxes": 2},
    "mean_teacher": {"momentum": 0.9},
    "retrain_reliable": {"iterations": 3},
    "retrain_final": {"iterations": 3},
    "supervised": {"iterations": 9},
    "cps": {"weight": 2.0},
    "cps_cutmix": {"boxes": 2},
    "fixmatch": {"threshold": 0.9},
    "unimatch": {"threshold": 0.9},
    "unimatch_v2": {"momentum": 0.9},
    "prevmatch": {"snapshots": 2},
    "predict": {"flip": True},
    "thresholds": {"false_alarms": 0.1},
    "evaluate": {"overlays": 2},
    "intervals": {"resamples": 200},
    "annotate_next": {"count": 3},
    "export": {"samples": 2},
}


def documented_reruns() -> dict[str, str]:
    """Section -> the first stage that a change in it reruns, as docs/running.md says it."""
    rows = re.findall(r"^\| (`.*?`) \| `(\w+)`[^|]* \| [^|]+ \|$", RUNNING, flags=re.MULTILINE)
    return {name: stage for sections, stage in rows for name in re.findall(r"`(\w+)`", sections)}


def changed_stages(workspace: Path) -> list[str]:
    """What differs from dvc.lock by itself, in the pipeline's order, without the check."""
    status = json.loads(dvc(workspace, "status", "--json").stdout)
    return [stage for stage in ALL[1:] if stage in status]


def test_the_documented_reruns_cover_every_section(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text(encoding="utf-8"))
    assert set(documented_reruns()) == set(params) == set(EDITS)


@pytest.mark.parametrize("section", EDITS)
def test_a_setting_reruns_what_the_docs_say(workspace: Path, section: str) -> None:
    file = workspace / "params.yaml"
    before = file.read_text(encoding="utf-8")
    params = yaml.safe_load(before)
    edit = EDITS[section]
    params[section] = params[section] | edit if isinstance(edit, dict) else edit
    file.write_text(yaml.safe_dump(params), encoding="utf-8")
    try:
        assert changed_stages(workspace)[0] == documented_reruns()[section]
    finally:
        file.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("ppl/labeling/ranking.py", "rank_stability"),
        ("ppl/labeling/stability.py", "rank_stability"),
        ("ppl/students/cutmix.py", "retrain_reliable"),
        ("ppl/students/def_up.py", "retrain_reliable"),
        ("ppl/students/fall_back.py", "retrain_reliable"),
        ("ppl/students/mean_teacher.py", "retrain_reliable"),
        ("ppl/judge/evaluation.py", "audit"),
        ("ppl/annotate/next.py", "annotate_next"),
    ],
)
def test_editing_later_code_reruns_no_teacher(workspace: Path, file: str, first: str) -> None:
    source = workspace / file
    before = source.read_text(encoding="utf-8")
    source.write_text(before + "\n# a thought\n", encoding="utf-8")
    try:
        assert changed_stages(workspace)[0] == first
    finally:
        source.write_text(before, encoding="utf-8")


def test_a_comment_in_params_yaml_reruns_nothing(workspace: Path) -> None:
    file = workspace / "params.yaml"
    before = file.read_text(encoding="utf-8")
    file.write_text(f"# a thought\n\n{before}", encoding="utf-8")
    assert changed_stages(workspace) == []
    file.write_text(before, encoding="utf-8")


def test_an_evaluation_threshold_trains_nothing(workspace: Path) -> None:
    edit_params(workspace, {"evaluate": {"min_defect_fraction": 0.01}})
    # the export's card has the scores
    assert repro(workspace) == ["check_settings", "evaluate", "export"]


def test_a_reliable_fraction_retrains_no_teacher(workspace: Path) -> None:
    edit_params(workspace, {"ranking": {"reliable_fraction": 0.3}})
    ran = repro(workspace)
    assert ran[:2] == ["check_settings", "rank_stability"]
    assert "train_supervised" not in ran
    assert "retrain_reliable" in ran


def test_status_names_what_runs_next(workspace: Path) -> None:
    said = module(workspace, "ppl", "status").stdout
    assert "nothing since the last run, 20" in said
    assert f"to run    nothing: all {len(ALL)} stages are up to date" in said
    assert "data/model is of the present data, settings and code" in said
    edit_params(workspace, {"annotate_next": {"count": 2}})
    said = module(workspace, "ppl", "status").stdout
    assert re.search(r"settings: annotate_next\.count \d+ -> 2$", said, flags=re.MULTILINE)
    assert re.search(r"^to run +annotate_next; about \d+ s as last time", said, flags=re.MULTILINE)
    assert "data/model is of the present data, settings and code" in said
    assert repro(workspace) == ["check_settings", "annotate_next"]


def test_the_record_of_what_prepare_read_is_that_of_dvc_lock(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    stages = locked_stages((workspace / "dvc.lock").read_text(encoding="utf-8"))
    data = section("data", DataSettings)
    root = Path(data.root)
    changes = raw_changes(root, load_samples(root, data), last_sets(), stages)
    assert changes == RawChanges(by_content=True)


def test_a_wrong_setting_stops_before_anything_runs(workspace: Path) -> None:
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    edit_params(workspace, {"ranking": {"reliable_fracton": 0.5}, "split": {"test_fraction": 7}})
    done = dvc(workspace, "repro")
    assert done.returncode != 0
    assert re.findall(r"Running stage '(\w+)'", done.stdout) == ["check_settings"]
    assert "ranking.reliable_fracton: unknown key (did you mean reliable_fraction?)" in done.stderr
    assert "split.test_fraction: got 7" in done.stderr
    (workspace / "params.yaml").write_text(before, encoding="utf-8")


def test_a_missing_data_folder_says_where_to_put_it(workspace: Path) -> None:
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    edit_params(workspace, {"data": {"name": "neu_seg", "root": "data/raw/neu_seg"}})
    done = dvc(workspace, "repro")
    assert done.returncode != 0
    assert "data/raw/neu_seg" in done.stderr
    assert "images/training" in done.stderr
    assert "data.name: synthetic" in done.stderr
    (workspace / "params.yaml").write_text(before, encoding="utf-8")


def test_a_fresh_clone_with_a_remote_computes_nothing_but_what_changed(
    workspace: Path, tmp_path: Path
) -> None:
    assert repro(workspace) is not None
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "results")
    assert dvc(workspace, "remote", "add", "-d", "shared", str(tmp_path / "remote")).returncode == 0
    git(workspace, "commit", "-q", "-am", "remote")
    pushed = dvc(workspace, "push")
    assert pushed.returncode == 0, pushed.stderr
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(workspace), str(clone))
    pulled = dvc(clone, "repro", "--pull")
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    assert "Running stage" not in pulled.stdout
    assert not git(clone, "status", "--porcelain")
    assert masked_ids(clone / "data" / "pseudo" / "hard")
    edit_params(clone, {"evaluate": {"overlays": 1}})
    assert repro(clone) == ["check_settings", "evaluate"]


def test_a_path_that_a_shell_would_run_is_a_path(tmp_path: Path) -> None:
    """Also by `-s`, which skips the check of settings."""
    hostile = """lot $5 19" `touch made` $(touch made); touch made; '"""
    own = {"name": "folder", "root": hostile, "classes": ["background", "dent", "rust"]}
    changes: dict[str, dict[str, object]] = {
        "data": {**own, "groups": "none"},
        "split": {"by": "lists", "lists": f"lists {hostile}", "labeled_fraction": "1/2"},
    }
    folder = copy_project(tmp_path / "project", changes=changes)
    draw_own_data(folder / hostile, annotated=15, bare=9)
    lists = {"labeled": range(10), "val": range(10, 15), "unlabeled": range(15, 24)}
    for name, numbers in lists.items():
        file = folder / f"lists {hostile}" / f"{name}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"line {n % 2}/part {n}.jpg\n" for n in numbers))
    for arguments in (["prepare"], ["-s", "-f", "prepare"]):
        done = dvc(folder, "repro", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not list(folder.rglob("made"))
    assert len(read_image_set(folder / "data/prepared/unlabeled").entries) == 9
