"""A stage takes its paths from the command line and says what is wrong without a traceback."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ppl.core.errors import InputError
from ppl.run.stage import run

ROOT = Path(__file__).resolve().parent.parent.parent


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, folder: Path = ROOT) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["stage", *arguments])


def test_parameters_become_options_that_hold_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, Path] = {}

    def main(*, hard_ids: Path, out: Path) -> None:
        got.update(hard_ids=hard_ids, out=out)

    call(monkeypatch, "--hard-ids", "a/b c.txt", "--out", "out")
    run(main)
    assert got == {"hard_ids": Path("a/b c.txt"), "out": Path("out")}


@dataclass(frozen=True)
class Files:
    labeled: Path
    hard_ids: Path


def test_a_dataclass_of_paths_becomes_an_option_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    got: dict[str, Files | Path] = {}

    def main(files: Files, *, out: Path) -> None:
        got.update(files=files, out=out)

    call(monkeypatch, "--out", "out", "--hard-ids", "ids.txt", "--labeled", "l")
    run(main)
    assert got == {"files": Files(Path("l"), Path("ids.txt")), "out": Path("out")}


def test_every_path_must_be_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*, out: Path) -> None:
        raise AssertionError("must not run")

    call(monkeypatch)
    with pytest.raises(SystemExit):
        run(main)
    assert "--out" in capsys.readouterr().err


def test_an_input_error_is_printed_alone_and_ends_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*, out: Path) -> None:
        raise InputError(f"{out} is empty: fill it")

    call(monkeypatch, "--out", "o")
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    assert capsys.readouterr().err.strip() == "test_stage: o is empty: fill it"


def test_a_full_disk_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*, out: Path) -> None:
        with Path("/dev/full").open("w") as stream:
            stream.write("x")

    call(monkeypatch, "--out", "o")
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("test_stage: no space left on the disk")
    assert "\n" not in message


@pytest.mark.parametrize("where", ["cpu", "gpu"])
def test_too_little_memory_names_the_settings_to_lower(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*, out: Path) -> None:
        if where == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        torch.empty(1 << 60)

    call(monkeypatch, "--out", "o")
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "test_stage: out of memory. Lower the images of a step" in message
    for setting in ("train_supervised.batch", "labeled_batch", "image.height", "PPL_GPU_CACHE_GIB"):
        assert setting in message
    assert "llocate" in message


def test_other_errors_of_pytorch_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(*, out: Path) -> None:
        torch.zeros(2) @ torch.zeros(3)

    call(monkeypatch, "--out", "o")
    with pytest.raises(RuntimeError, match="size"):
        run(main)


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(*, out: Path) -> None:
        raise KeyError(str(out))

    call(monkeypatch, "--out", "o")
    with pytest.raises(KeyError):
        run(main)


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(*, out: Path) -> None:
        raise KeyboardInterrupt

    call(monkeypatch, "--out", "o")
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 130


def test_another_copy_of_the_code_is_never_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*, out: Path) -> None:
        raise AssertionError("must not run")

    call(monkeypatch, "--out", "o", folder=tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 1
    assert "the code was imported from" in capsys.readouterr().err
