"""Slots of decoded images: what was put there comes back to the bit, or nothing does."""

import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppl.training.images import Pair
from ppl.training.machine import GIB
from ppl.training.slots import COLOUR, PAGE, WHOLE, Slots, bytes_in_colour

SIZES = [(1, 1), (40, 50), (3, 4099), (64, 64), (257, 129)]


def drawn(number: int, *, grey: bool = False) -> Pair:
    """An image of `SIZES[number]` and its mask."""
    dice = torch.Generator().manual_seed(number)

    def bytes_of(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=dice, dtype=torch.uint8)

    return bytes_of(1 if grey else COLOUR, *SIZES[number]), bytes_of(*SIZES[number])


def same(one: Pair | None, other: Pair) -> bool:
    return one is not None and all(map(torch.equal, one, other))


def test_what_is_put_comes_back_in_this_process_and_in_others(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    assert all(slots.pair(number) is None for number in range(5))
    for number in (3, 0, 4, 2):
        assert slots.put(number, drawn(number, grey=number % 2 == 0))
    twin = Slots(tmp_path / "0.bytes", SIZES, GIB)
    for one in (slots, twin, pickle.loads(pickle.dumps(slots))):
        assert one.pair(1) is None
        assert not one.filled(1)
        for number in (3, 0, 4, 2):
            assert same(one.pair(number), drawn(number, grey=number % 2 == 0))
    # what one puts there later, those see who have mapped the file before
    assert twin.put(1, drawn(1))
    assert same(slots.pair(1), drawn(1))


def test_a_part_of_an_image_is_a_part_of_the_file(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    slots.put(4, drawn(4))
    found = slots.pair(4)
    assert found is not None
    assert not found[0][:, 3:9, 5:8].is_contiguous()
    assert found[0].untyped_storage().nbytes() == (tmp_path / "0.bytes").stat().st_size
    assert torch.equal(found[0][:, 3:9, 5:8], drawn(4)[0][:, 3:9, 5:8])


def test_another_process_sees_what_was_put_and_the_other_way_round(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    slots.put(1, drawn(1))
    program = f"""
import torch
from pathlib import Path
from tests.training.test_slots import SIZES, Slots, drawn, same
slots = Slots(Path({str(tmp_path / "0.bytes")!r}), SIZES, 10**9)
assert same(slots.pair(1), drawn(1))
assert slots.put(4, drawn(4))
"""
    assert slots.pair(4) is None
    subprocess.run([sys.executable, "-c", program], check=True)
    assert same(slots.pair(4), drawn(4))


def test_many_threads_that_put_and_take_never_see_half_an_image(tmp_path: Path) -> None:
    sizes = [(97, 131)] * 40
    slots = Slots(tmp_path / "0.bytes", sizes, GIB)
    twins = [Slots(tmp_path / "0.bytes", sizes, GIB) for _ in range(4)]
    pairs = [
        (torch.full((3, 97, 131), k, dtype=torch.uint8), torch.full((97, 131), 255 - k).byte())
        for k in range(40)
    ]

    def work(number: int) -> int:
        one, index = twins[number % 4], number * 7 % 40
        one.put(index, pairs[index])
        return sum(
            not same(found, pairs[k]) for k in range(40) if (found := slots.pair(k)) is not None
        )

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(160))) == 0
    assert all(same(slots.pair(k), pairs[k]) for k in range(40))


def test_slots_lie_apart_and_cost_nothing_until_they_are_filled(tmp_path: Path) -> None:
    sizes = [(1000, 1000)] * 1000
    slots = Slots(tmp_path / "0.bytes", sizes, GIB)
    file = (tmp_path / "0.bytes").stat()
    assert file.st_size >= bytes_in_colour(sizes) == 4 * 10**9
    if sys.platform == "linux":
        assert file.st_blocks * 512 < 10 * PAGE
    assert all(start % PAGE == 0 for start in slots._starts)
    ends = slots._starts + 4 * 10**6
    assert (slots._starts[1:] >= ends[:-1]).all()
    assert slots._starts[0] > len(sizes), "the channels of all images, and one byte more"


def test_no_more_is_written_than_there_is_room_for(tmp_path: Path) -> None:
    image, mask = drawn(1)
    slots = Slots(tmp_path / "0.bytes", SIZES, image.nbytes + mask.nbytes)
    assert not slots.put(4, drawn(4))
    assert slots.pair(4) is None
    assert slots.put(1, (image, mask))
    assert not slots.put(0, drawn(0))
    assert slots.put(1, (image, mask)), "it is there"
    assert slots.room == 0
    slots.room = GIB
    assert slots.put(0, drawn(0))


def test_a_full_disk_is_said_and_what_it_cut_short_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    write, left = slots._write, [2]

    def full(start: int, content: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(start, content)

    monkeypatch.setattr(slots, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        slots.put(1, drawn(1))
    assert slots.pair(1) is None
    assert Slots(tmp_path / "0.bytes", SIZES, GIB).pair(1) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_device_that_is_full_is_an_error_and_no_signal(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    assert not slots.filled(1)
    (tmp_path / "0.bytes").unlink()
    (tmp_path / "0.bytes").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        slots.put(1, drawn(1))


def test_a_file_that_maps_to_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = torch.zeros(10**6, dtype=torch.uint8)
    monkeypatch.setattr(Slots, "_mapped", lambda _: stale)
    with pytest.raises(OSError, match="does not show"):
        Slots(tmp_path / "0.bytes", SIZES, GIB)
    stale[len(SIZES)] = WHOLE
    assert Slots(tmp_path / "0.bytes", SIZES, GIB).pair(0) is None


def test_a_file_that_has_gone_is_an_error_and_is_not_made_anew(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "0.bytes", SIZES, GIB)
    slots.put(1, drawn(1))
    (tmp_path / "0.bytes").unlink()
    other = pickle.loads(pickle.dumps(slots))
    with pytest.raises(FileNotFoundError):
        other.pair(1)
    with pytest.raises(FileNotFoundError):
        slots.put(4, drawn(4))
    assert same(slots.pair(1), drawn(1)), "who has mapped it keeps it"
    assert not (tmp_path / "0.bytes").exists()


def test_a_disk_that_takes_no_file_so_large_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "0.bytes"
    with monkeypatch.context() as patched:
        patched.setattr("ppl.training.slots.PAGE", 2**56)
        with pytest.raises(OSError, match=r"too large|Invalid argument"):
            Slots(file, SIZES, GIB)
    assert not file.exists()
    file.write_bytes(b"")
    with pytest.raises(OSError, match="not the size of these images"):
        Slots(file, SIZES, GIB)
