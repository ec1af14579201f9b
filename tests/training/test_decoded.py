"""Decoded images: each is decoded once, whether memory, the disk or nothing holds it."""

import errno
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ppl.core.errors import InputError
from ppl.images.sets import ImageSet
from ppl.training.decoded import Kept, keep, name_of
from ppl.training.disk import Disk
from ppl.training.images import Opened, Pair, TrainingImages
from ppl.training.machine import GIB
from ppl.training.slots import Slots, bytes_in_colour
from tests.conftest import MakeSet, whole, windows
from tests.training.test_stream import LIVELY, SIZE, WHOLE, of

NAMES = [f"{k}" for k in range(7)]
ALL = Counter(range(7))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.delenv("PPL_DISK_CACHE_GIB", raising=False)
    found = Disk(tmp_path / "scratch" / "decoded")
    yield found
    found.release()


@pytest.fixture
def data(make_set: MakeSet) -> TrainingImages:
    """Images in colour, of several sizes, some smaller than a window."""
    sizes = [(20 + 9 * k, 90 - 10 * k) for k in range(7)]
    return of(make_set(NAMES, sizes=sizes), windows(*SIZE), LIVELY)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each image was decoded here."""
    counts: Counter[int] = Counter()
    real = TrainingImages.open

    def counted(data: TrainingImages, index: int) -> Opened:
        counts[index] += 1
        return real(data, index)

    monkeypatch.setattr(TrainingImages, "open", counted)
    return counts


def grey_bytes(data: TrainingImages) -> int:
    return sum(2 * height * width for (height, width), _ in data.sizes())


def same(kept: Kept, data: TrainingImages) -> bool:
    """Whether all images are as their files have them."""
    return all(
        all(map(torch.equal, kept.read(index), data.read(index))) for index in range(len(data))
    )


class Looked:
    """A `Look` that remembers whom it has seen."""

    def __init__(self) -> None:
        self.at: Counter[int] = Counter()

    def __call__(self, index: int, opened: Opened) -> None:
        self.at[index] += 1


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, 2.0])
def test_each_image_is_decoded_once_to_look_at_it_and_to_keep_it(
    data: TrainingImages, disk: Disk, decoded: Counter[int], share: float, on_disk: bool
) -> None:
    """Also where colour shows in the middle that memory does not hold it."""
    look = Looked()
    memory = int(share * grey_bytes(data))
    kept = keep(data, memory=memory, disk=disk if on_disk else None, look=look)
    assert look.at == decoded == ALL
    assert (kept.pairs is not None) == (share == 2.0)
    assert (kept.slots is not None) == (share < 2.0 and on_disk)
    for index in range(7):
        kept.read(index)
    anew = ALL if share < 2.0 and not on_disk else Counter()
    assert decoded == ALL + anew
    assert same(kept, data)


def test_what_nobody_looks_at_is_decoded_when_it_is_asked_for_and_then_no_more(
    data: TrainingImages, disk: Disk, decoded: Counter[int]
) -> None:
    kept = keep(data, memory=0, disk=disk)
    assert not decoded
    for index in (3, 3, 0, 3, 6, 0):
        kept.read(index)
    assert decoded == Counter([3, 0, 6])
    assert same(kept, data)


def test_colour_that_shows_while_reading_ends_it_and_nothing_is_decoded_twice(
    data: TrainingImages, disk: Disk, decoded: Counter[int]
) -> None:
    kept = keep(data, memory=int(1.2 * grey_bytes(data)), disk=disk)
    assert kept.pairs is None
    for index in range(7):
        kept.read(index)
    assert decoded == ALL


@pytest.mark.parametrize("image", [WHOLE, windows(*SIZE)], ids=["whole", "windows"])
def test_memory_disk_and_files_hold_the_same_bytes(
    make_set: MakeSet, disk: Disk, image: Any
) -> None:
    images = make_set(NAMES, sizes=[(10 + 30 * k, 100) for k in range(7)])
    data = of(images, image, LIVELY)
    ways = keep(data, memory=GIB), keep(data, memory=0, disk=disk), keep(data, memory=0)
    for _ in range(2):
        for index in range(7):
            one, *others = [way.read(index) for way in ways]
            assert all(map(torch.equal, one, other) for other in others)
            assert all(all(map(torch.equal, one, other)) for other in others)


def test_a_disk_too_small_for_all_keeps_some(
    data: TrainingImages, disk: Disk, decoded: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPL_DISK_CACHE_GIB", str(grey_bytes(data) / GIB))
    look = Looked()
    kept = keep(data, memory=0, disk=disk, look=look)
    assert look.at == ALL
    for _ in range(3):
        for index in range(7):
            kept.read(index)
    assert set(decoded.values()) == {1, 4}, "what has no room is decoded anew"
    assert same(kept, data)
    written = sum(sum(t.nbytes for t in data.read(k)) for k in range(7) if decoded[k] == 1)
    assert written <= grey_bytes(data)


def test_readers_share_the_room_and_each_may_take_all_of_it(
    data: TrainingImages, disk: Disk
) -> None:
    kept = keep(data, memory=0, disk=disk)
    assert kept.slots is not None
    room = kept.slots.room
    context = multiprocessing.get_context("spawn")
    for index in (0, 1):
        reader = context.Process(target=read_one, args=(kept, index))
        reader.start()
        reader.join()
        assert reader.exitcode == 0
        room -= sum(tensor.nbytes for tensor in data.read(index))
        assert kept.slots.room == room
        assert kept.slots.filled(index)


def read_one(kept: Kept, index: int) -> None:
    kept.read(index)


def test_what_the_disk_holds_is_read_on_when_it_takes_no_more(
    data: TrainingImages,
    disk: Disk,
    decoded: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = keep(data, memory=0, disk=disk)
    for index in (0, 1):
        kept.read(index)
    monkeypatch.setattr(Slots, "_write", full)
    capsys.readouterr()
    for _ in range(3):
        assert same(kept, data)
    assert capsys.readouterr().out.count("the disk takes no more of them (No space left") == 1
    assert kept.slots is not None
    decoded.clear()
    kept.read(0)
    kept.read(1)
    assert not decoded


def test_files_are_named_by_what_they_hold(make_set: MakeSet) -> None:
    """A process whose memory holds one half asks for the other alone."""
    images = make_set(NAMES, sizes=[(10 + 30 * k, 100) for k in range(7)])
    some = images.subset(NAMES[:3])
    sizes = whole(32, 32), whole(64, 64)
    names = {name_of(of(each, size)) for each in (images, some) for size in sizes}
    assert len(names) == 4
    assert name_of(of(images, whole(32, 32))) in names


def test_a_disk_that_cannot_be_written_is_told_and_images_are_decoded_anew(
    data: TrainingImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept = keep(data, memory=0, disk=Disk(tmp_path / "file" / "decoded"))
    assert same(kept, data)
    said = capsys.readouterr().out
    assert "images (labeled) take more memory, decoded, than PPL_CACHE_GIB gives: " in said
    assert f"{tmp_path / 'file'} cannot keep them (" in said
    assert "images are decoded anew for every crop" in said
    assert said.count("\n") == 1


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("look", [None, Looked()], ids=["later", "at once"])
def test_a_disk_that_is_full_is_told_once(
    data: TrainingImages,
    disk: Disk,
    look: Looked | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Slots, "put", full)
    kept = keep(data, memory=0, disk=disk, look=look)
    assert same(kept, data)
    told = [line for line in capsys.readouterr().out.splitlines() if "No space left" in line]
    assert len(told) == 1
    assert "the disk takes no more of them (No space left on device): those that are" in told[0]


def test_a_full_disk_is_no_matter_where_memory_suffices(
    data: TrainingImages,
    disk: Disk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Disk, "slots", full)
    assert same(keep(data, memory=GIB, disk=disk), data)
    assert capsys.readouterr().out == ""


def test_a_file_that_is_deleted_meanwhile_stops_nothing(
    data: TrainingImages, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = keep(data, memory=0, disk=disk)
    kept.read(2)
    assert kept.slots is not None
    kept.slots.file.unlink()
    capsys.readouterr()
    assert same(kept, data)
    assert capsys.readouterr().out == ""


def test_where_images_are_kept_on_the_disk_is_told(
    data: TrainingImages, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(data, memory=0, disk=disk)
    room = f"{bytes_in_colour([kept for kept, _ in data.sizes()]) / GIB:.3g}"
    said = capsys.readouterr().out
    assert f"they are kept on the disk, up to {room} GiB in {disk.folder}\n" in said


def test_who_asks_for_no_disk_is_told_nothing(
    data: TrainingImages,
    disk: Disk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PPL_DISK_CACHE_GIB", "0")
    kept = keep(data, memory=0, disk=disk)
    assert kept.slots is None
    assert same(kept, data)
    assert capsys.readouterr().out == ""
    assert not disk.folder.exists()


@pytest.mark.parametrize("memory", [0, GIB])
def test_an_image_that_cannot_be_read_is_named(make_set: MakeSet, disk: Disk, memory: int) -> None:
    images: ImageSet = make_set(NAMES)
    images.image_file(images.entries[4]).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"4\.png cannot be read"):
        keep(of(images), memory=memory, disk=disk, look=Looked())


def test_no_images_take_nothing(make_set: MakeSet, disk: Disk) -> None:
    kept = keep(of(make_set(["a"]).subset([])), memory=0, disk=disk, look=Looked())
    assert (kept.pairs, kept.slots, kept.bytes) == ([], None, 0)


def test_a_pair_is_that_of_its_scale_and_computed_once(data: TrainingImages) -> None:
    opened = data.open(3)
    pair: Pair = opened.kept()
    assert opened.at_scale(1.0) is pair
    assert opened.at_scale(0.5)[1].shape == (round(0.5 * 47), round(0.5 * 60))
