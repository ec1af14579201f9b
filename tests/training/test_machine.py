"""What a run may take of the machine: from the environment, within limits, or said to be wrong."""

from pathlib import Path

import pytest
import torch

import ppl.training.machine
from ppl.core.errors import InputError
from ppl.training.machine import GIB, cache_bytes, free_memory, gpu_cache_bytes, read_workers


def test_the_cache_takes_half_of_what_is_free_or_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 0 < cache_bytes() <= free_memory()
    monkeypatch.setenv("PPL_CACHE_GIB", "1.5")
    assert cache_bytes() == 1.5 * GIB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cache_bytes() == 0.5 * GIB
    monkeypatch.setenv("PPL_CACHE_GIB", "0")
    assert cache_bytes() == 0


@pytest.mark.parametrize("wrong", ["", "-1", "much", "nan", "inf"])
def test_a_cache_that_is_no_number_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPL_CACHE_GIB", wrong)
    with pytest.raises(InputError, match=r"PPL_CACHE_GIB is .*; expected a number, 0 or more"):
        cache_bytes()


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppl.training.machine, "CGROUP", tmp_path)
    before = free_memory()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory() == pytest.approx(before, rel=0.2)
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory() == 4000
    # files that nobody reads make room for who needs it
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 600\nactive_file 7\n")
    assert free_memory() == 4600


def test_the_cpu_has_no_cache_of_its_own_and_there_is_always_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gpu_cache_bytes(torch.device("cpu")) == 0
    assert read_workers() >= 1
    monkeypatch.setenv("PPL_WORKERS", "0")
    assert read_workers() == 1


def test_no_more_readers_decode_large_images_than_the_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PPL_WORKERS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    monkeypatch.setattr(ppl.training.machine, "free_memory", lambda: 16 * GIB)
    assert [read_workers(pixels) for pixels in (0, 1000, 2**26, 2**27, 2**28, 2**40)] == [
        *(8, 8),
        *(6, 3, 1, 1),
    ]
    monkeypatch.setenv("PPL_WORKERS", "5")
    assert read_workers(2**28) == 5, "who says so is taken at their word"
