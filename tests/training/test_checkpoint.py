"""Checkpoints: whole or absent, and bound to all that decides a training's result."""

import errno
import io
import random
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.training.checkpoint import Checkpoint, _first_line, checkpoint_of, fingerprint
from tests.pipeline.project import write_project

PIPELINE = """
stages:
  train:
    cmd: python -m stages.train
    deps:
      - labeled
      - ppl/train.py
      - ppl/training
    params:
      - optimizer
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return write_project(
        tmp_path,
        pipeline=PIPELINE,
        params="optimizer: {rate: 0.5}\nother: 1\n",
        files=["ppl/train.py", "ppl/other.py", "ppl/training/deep/loop.py", "labeled/a.png"],
    )


def interrupted_training() -> None:
    with checkpoint_of("train") as checkpoint:
        checkpoint.save({"iteration": 1})
        raise KeyboardInterrupt


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=0)
    assert checkpoint.load() is None
    state = {"weights": torch.rand(3, 4), "iteration": 7, "curve": [{"loss": 0.1, "miou": None}]}
    checkpoint.save(state)
    loaded = Checkpoint(tmp_path / "c.pt", seconds=0).load()
    assert loaded is not None
    assert torch.equal(loaded["weights"], state["weights"])  # type: ignore[arg-type]
    assert (loaded["iteration"], loaded["curve"]) == (7, state["curve"])


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=0)
    checkpoint.save({"iteration": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save({"weights": torch.rand(1000), "iteration": lambda: 2})
    assert Checkpoint(tmp_path / "c.pt", seconds=0).load() == {"iteration": 1}


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=0)
    checkpoint.save({"iteration": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"iteration": 2})
    assert Checkpoint(tmp_path / "c.pt", seconds=0).load() == {"iteration": 1}


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_no_code_runs_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = io.BytesIO()
    torch.save({"iteration": RunsCode()}, content)
    # even where the digest is right
    (tmp_path / "c.pt").write_bytes(_first_line(content.getvalue()) + content.getvalue())
    assert Checkpoint(tmp_path / "c.pt", seconds=0).load() is None
    said = capsys.readouterr().out
    assert "must not run" not in said
    assert "c.pt is damaged, the training starts anew: Weights only load failed" in said


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_damaged_checkpoint_is_said_and_left_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=0)
    checkpoint.save({"weights": torch.rand(100)})
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:length])
    assert checkpoint.load() is None
    assert "c.pt is damaged, the training starts anew" in capsys.readouterr().out
    checkpoint.save({"iteration": 1})
    assert checkpoint.load() == {"iteration": 1}


def test_no_flipped_bit_is_taken_for_a_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, draws = Checkpoint(tmp_path / "c.pt", seconds=0), random.Random(0)
    checkpoint.save({"weights": torch.rand(300), "curve": [{"loss": 0.5}], "iteration": 7})
    whole = (tmp_path / "c.pt").read_bytes()
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(whole))] ^= 1 << draws.randrange(8)
        (tmp_path / "c.pt").write_bytes(damaged)
        assert checkpoint.load() is None
        assert "c.pt is damaged, the training starts anew: " in capsys.readouterr().out
    (tmp_path / "c.pt").write_bytes(whole)
    assert checkpoint.load() is not None


def test_a_disk_that_fails_and_one_of_before_digests_are_left_aside_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "c.pt", seconds=0)
    torch.save({"iteration": 1}, tmp_path / "c.pt")
    assert checkpoint.load() is None
    checkpoint.save({"iteration": 1})

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "load", fails)
    assert checkpoint.load() is None
    assert "starts anew: [Errno 5] Input/output error" in capsys.readouterr().out


def test_it_is_due_after_its_seconds_alone(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "c.pt", seconds=0).due
    assert not Checkpoint(tmp_path / "c.pt", seconds=60).due


def test_success_deletes_it_and_anything_else_keeps_it(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_training()
    with checkpoint_of("train") as checkpoint:
        assert checkpoint.load() == {"iteration": 1}
    assert not list((project / ".scratch").glob("*.pt"))
    with checkpoint_of("train") as checkpoint:
        assert checkpoint.load() is None


def test_it_lies_in_the_project_that_started_the_run(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path_factory.mktemp("parent")
    monkeypatch.setenv("DVC_ROOT", str(parent))
    with pytest.raises(KeyboardInterrupt):
        interrupted_training()
    assert [file.name for file in (parent / ".scratch").glob("train-*.pt")]


@pytest.mark.parametrize(
    ("file", "content", "same"),
    [
        ("params.yaml", "optimizer: {rate: 0.4}\nother: 1\n", False),
        ("ppl/train.py", "# edited", False),
        ("labeled/a.png", "corrected", False),
        ("labeled/b.png", "added", False),
        ("params.yaml", "other: 2\noptimizer:\n  rate: 0.50\n", True),
        ("ppl/other.py", "# edited", True),
        ("ppl/training/deep/loop.py", "# edited", False),
        ("ppl/training/new.py", "# added", False),
        ("ppl/training/notes.md", "added", True),
        ("ppl/training/.hidden.py", "# added", True),
    ],
)
def test_the_fingerprint_follows_what_the_stage_depends_on(
    project: Path, file: str, content: str, same: bool
) -> None:
    before = fingerprint("train")
    (project / file).write_text(content, encoding="utf-8")
    assert (fingerprint("train") == before) == same


@pytest.mark.parametrize("seconds", ["abc", "nan", "-1"])
def test_a_wrong_time_between_checkpoints_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("PPL_CHECKPOINT_SECONDS", seconds)
    with pytest.raises(InputError, match="PPL_CHECKPOINT_SECONDS"), checkpoint_of("train"):
        pass


def test_the_processor_is_in_the_fingerprint(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint("train")
    monkeypatch.setattr("ppl.training.checkpoint.cpu_model", lambda: "another")
    assert (fingerprint("train") == before) == torch.cuda.is_available()


def test_the_number_of_threads_is_in_the_fingerprint(project: Path) -> None:
    threads, before = torch.get_num_threads(), fingerprint("train")
    try:
        torch.set_num_threads(threads + 1)
        assert fingerprint("train") != before
    finally:
        torch.set_num_threads(threads)
