"""The GPU's benchmark at toy size on the CPU: parts are kept one by one, and none runs twice."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_parts
from ppl.training import graphs
from tests.training.graph import Kept

TOY = [
    *("--size", "32", "--steps", "1", "--batches", "2", "--images", "4"),
    *("--encoders", "tu-test_resnet", "--architecture", "Linknet", "--architectures", "Linknet"),
]


def measure(file: Path, monkeypatch: pytest.MonkeyPatch, *only: str) -> dict[str, Any]:
    """What `python -m benchmarks.gpu` leaves in `file`."""
    monkeypatch.setattr(sys, "argv", ["gpu", *TOY, "--out", str(file), "--only", *only])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    gpu.main()
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_parts_are_kept_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gpu.json"
    names = ("retrain, tu-test_resnet, 2, bfloat16, on", "bytes, student, on")
    first = measure(file, monkeypatch, *names)
    assert list(first) == ["facts", names[0], names[1], f"{names[1]}, another process"]
    assert first[names[0]]["images_per_second"] > 0
    assert set(first[names[0]]["ms_per_step"]) == {"stage", "bare", "confidence", "mean_teacher"}
    again = first[f"{names[1]}, another process"]
    assert first[names[1]]["equal"]
    assert again["md5"] == first[names[1]]["md5"][:1]

    second = measure(file, monkeypatch, *names, "graph")
    assert all(second[name] == first[name] for name in first)
    assert second.keys() - first.keys() == {
        f"graph, tu-test_resnet, 2, bfloat16, {way}" for way in ("on", "off")
    }
    assert not list(tmp_path.glob("*.half"))


def test_a_part_that_fails_is_kept_as_its_error(tmp_path: Path) -> None:
    given = gpu.Given(
        **{"out": tmp_path / "gpu.json", "size": 32, "steps": 1, "images": 4, "batches": [2]},
        **{"encoders": ["tu-test_resnet"], "architecture": "Linknet", "architectures": ["None"]},
        **{"only": ["operators"], "process": "c", "until": float("inf"), "folder": tmp_path},
    )
    gpu.work_in_process(given)
    assert "InputError" in gpu.read(given.out)["operators, None"]["error"]


def toy(folder: Path) -> gpu.Given:
    return gpu.Given(
        **{"out": folder / "gpu.json", "size": 32, "steps": 1, "images": 4, "batches": [2]},
        **{"encoders": ["tu-test_resnet"], "architecture": "Linknet", "architectures": []},
        **{"only": ["compute.graphs"], "process": "graphs", "until": float("inf")},
        **{"folder": folder},
    )


def test_rates_with_graphs_are_measured_first_and_say_what_became_of_them(tmp_path: Path) -> None:
    given = toy(tmp_path)
    first, second = list(gpu.parts(given))[:2]
    assert first.name == "compute.graphs, student, tu-test_resnet, 2, bfloat16, on"
    assert second.name == "compute.graphs, teacher, tu-test_resnet, 2, bfloat16, on"
    gpu.work_in_process(given)
    for name, model in ((first.name, "student"), (second.name, "teacher")):
        found = gpu.read(given.out)[name]
        assert found["said"] == [f"{model}: compute.graphs has no effect: graphs are for GPUs"]
        assert found["same_weights"]
        assert found["with"]["steps_per_second"] > 0
        assert found["without"].keys() == found["with"].keys()


@pytest.mark.parametrize("student", [False, True])
def test_where_there_are_graphs_they_are_measured_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: bool
) -> None:
    kept = Kept()
    monkeypatch.setitem(graphs.KINDS, "cpu", kept)
    given = toy(tmp_path)
    # bfloat16 as the part has it: what is captured is cast there
    settings = next(gpu.parts(given)).settings
    found = gpu_parts.with_graphs(gpu.settings_of(given, settings), tmp_path, student=student)
    assert found["said"] == []
    assert found["same_weights"]
    # of steps; of a student's also the confidence passes and the labels of the mean teacher
    assert len(kept.made) == (3 if student else 1)
    steps = gpu_parts.BLOCKS * (graphs.WARM_STEPS + 1)
    assert {graph.replayed for graph in kept.made} == {steps - graphs.WARM_STEPS - 1}
