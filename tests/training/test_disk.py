"""The folder of decoded images: one a training, gone when it ends, and when it was killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.training.disk import Disk, decoded_on_disk
from ppl.training.machine import GIB, disk_cache_bytes
from ppl.training.slots import Slots, bytes_in_colour
from tests.conftest import MakeSet
from tests.pipeline.project import ROOT

SIZES = [(32, 40), (64, 64)]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("PPL_DISK_CACHE_GIB", raising=False)
    return tmp_path


def folders(project: Path = Path()) -> list[Path]:
    return sorted((project / ".scratch").glob("decoded-*"))


def asked(disk: Disk, name: str = "labeled") -> Slots:
    found = disk.slots(name, SIZES)
    assert found is not None
    return found


def test_nothing_is_made_until_it_is_needed_and_nothing_stays(project: Path) -> None:
    with decoded_on_disk() as disk:
        assert list(project.iterdir()) == []
        first, second = asked(disk), asked(disk, "other")
        assert [first.file.parent] == [second.file.parent] == folders()
        assert first.file != second.file
    assert folders() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, MemoryError])
def test_a_training_that_fails_leaves_nothing_either(error: type[BaseException]) -> None:
    def fails() -> None:
        with decoded_on_disk() as disk:
            assert asked(disk).file.exists()
            raise error

    with pytest.raises(error):
        fails()
    assert folders() == []


def test_two_trainings_at_once_have_a_folder_each() -> None:
    with decoded_on_disk() as one:
        first = asked(one)
        with decoded_on_disk() as other:
            assert asked(other).file.parent != first.file.parent
            assert len(folders()) == 2
        assert folders() == [first.file.parent]
    assert folders() == []


@contextmanager
def another_run(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with decoded images on the disk."""
    program = """
import time
from ppl.training.disk import decoded_on_disk
with decoded_on_disk() as disk:
    disk.slots("labeled", [(32, 40)])
    print("made", flush=True)
    time.sleep(600)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "made\n"
        yield running
        running.kill()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_a_killed_run_left_goes_with_the_next_and_what_a_living_one_has_stays(
    project: Path,
) -> None:
    with another_run(project) as running:
        [living] = folders()
        with decoded_on_disk():
            assert folders() == [living]
        assert folders() == [living]
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert folders() == [living]
        with decoded_on_disk() as disk:
            assert folders() == []
            assert asked(disk).pair(0) is None
    assert folders() == []


def test_folders_of_other_machines_are_left_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("decoded-elsewhere-12", "other"):
        (project / ".scratch" / name).mkdir(parents=True)
    monkeypatch.setattr("platform.node", lambda: "here/../there")
    with decoded_on_disk() as disk:
        assert asked(disk).file.parent.parent == Path(".scratch")
    assert [folder.name for folder in folders()] == ["decoded-elsewhere-12"]
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    with decoded_on_disk():
        assert folders() == []
    assert (project / ".scratch" / "other").exists()


def test_queued_runs_leave_it_where_they_came_from(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path_factory.mktemp("parent")
    monkeypatch.setenv("DVC_ROOT", str(parent))
    with decoded_on_disk() as disk:
        asked(disk)
        assert (len(folders(parent)), folders()) == (1, [])
    assert folders(parent) == []


def test_processes_of_a_training_share_the_files_until_the_last_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "from_first", lambda _: "run")
    with decoded_on_disk() as second:
        monkeypatch.setattr(processes, "rank", lambda: 1)
        with decoded_on_disk() as first:
            one = asked(first)
            monkeypatch.setattr(processes, "rank", lambda: 0)
            assert asked(second).file == one.file
            [folder] = folders()
        assert folders() == [folder]
    assert folders() == []


@pytest.mark.long
def test_two_processes_decode_into_one_file(project: Path, make_set: MakeSet) -> None:
    make_set([f"{k}" for k in range(6)])
    program = """
import sys
from pathlib import Path
from ppl.core import processes
from ppl.images.sets import read_image_set
from ppl.training.decoded import keep
from ppl.training.disk import decoded_on_disk
from tests.training.test_stream import of
processes.start()
data = of(read_image_set(Path("set")))
with decoded_on_disk() as disk:
    kept = keep(data, memory=0, disk=disk)
    for index in range(processes.rank(), 6, 2):
        kept.read(index)
    processes.wait()
    assert all(kept.slots.pair(index) is not None for index in range(6))
    print("files:", len(list(Path(".scratch").glob("decoded-*/*.bytes"))))
    processes.wait()
processes.stop()
"""
    (project / "work.py").write_text(program, encoding="utf-8", newline="\n")
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "work.py"]
    done = subprocess.run(
        [sys.executable, *start],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("files: 1") == 2
    assert folders() == []


def test_files_share_what_is_given_and_what_one_leaves_the_next_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = bytes_in_colour(SIZES)
    monkeypatch.setenv("PPL_DISK_CACHE_GIB", str(1.5 * whole / GIB))
    with decoded_on_disk() as disk:
        first, second = asked(disk), asked(disk, "other")
        assert (first.room, second.room) == (whole, whole // 2)
        assert disk.slots("labeled", SIZES) is None
        first.room -= 100
        disk.take_back(first)
        assert (first.room, asked(disk, "third").room) == (0, whole - 100)


def test_half_of_what_is_free_is_given_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert disk_cache_bytes(tmp_path) == pytest.approx(free / 2, rel=0.2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert disk_cache_bytes(tmp_path) == pytest.approx(free / 6, rel=0.2)
    monkeypatch.setenv("PPL_DISK_CACHE_GIB", "0")
    with decoded_on_disk() as disk:
        assert disk.slots("labeled", SIZES) is None
    assert folders() == []


@pytest.mark.parametrize("wrong", ["", "-1", "much", "nan", "inf"])
def test_a_disk_cache_that_is_no_number_is_refused(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPL_DISK_CACHE_GIB", wrong)
    message = r"PPL_DISK_CACHE_GIB is .*; expected a number, 0 or more"
    with pytest.raises(InputError, match=message), decoded_on_disk() as disk:
        disk.slots("labeled", SIZES)
    assert folders() == []


def test_where_nothing_can_be_made_the_disk_says_so(project: Path) -> None:
    (project / ".scratch").write_text("no folder", encoding="utf-8")
    with decoded_on_disk() as disk, pytest.raises(OSError, match="scratch"):
        disk.slots("labeled", SIZES)
    assert (project / ".scratch").read_text(encoding="utf-8") == "no folder"


def test_a_folder_that_a_thread_asked_for_is_gone_when_the_training_ends() -> None:
    """Memory may turn out too small while threads decode."""
    with decoded_on_disk() as disk:
        with ThreadPoolExecutor(1) as pool:
            slots = pool.submit(asked, disk).result()
        assert slots.file.exists()
    assert folders() == []
