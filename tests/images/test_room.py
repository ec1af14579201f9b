"""Threads that decode together never hold more pixels than there is room for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.data import near_duplicates, prepare, shared_parts
from ppl.data.adapters.base import DataSettings, dataset_info, load_samples
from ppl.images import pictures, room
from ppl.images.room import Room
from ppl.training.decoded import keep
from ppl.training.images import labeled_images
from ppl.training.weak_augment import WeakAugmentSettings
from tests.conftest import MakeSet, whole


class Held:
    """How many pixels are held at a time, and the most so far."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def add(self, pixels: int) -> None:
        with self._lock:
            self.now += pixels
            self.most = max(self.most, self.now)

    def hold(self, space: Room, pixels: int) -> None:
        with space.taken(pixels):
            self.add(pixels)
            time.sleep(0.01)
            self.add(-pixels)


def test_no_more_is_held_than_there_is_room_and_what_fits_is_held_together() -> None:
    held, space = Held(), Room(10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(held.hold, space), [1, 9, 5, 5, 4, 3, 2, 0, 10, 6, 1, 1] * 3))
    assert 5 < held.most <= 10


def test_what_is_larger_than_the_room_has_it_alone() -> None:
    held, space = Held(), Room(10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(held.hold, space), [50, 1, 50, 2] * 3))
    assert held.most == 50


def test_room_is_given_back_after_an_error() -> None:
    space = Room(1)
    for _ in range(3):
        with pytest.raises(KeyError), space.taken(1):
            raise KeyError


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    """Eight images of 40 x 50, two of which have masks."""
    for number in range(8):
        for folder in ("images", "masks")[: 1 + (number < 2)]:
            file = tmp_path / folder / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            pixels = np.zeros((40, 50), dtype=np.uint8)
            pixels[3, number] = 1
            Image.fromarray(pixels).save(file)
    return DataSettings(
        name="folder",
        root=str(tmp_path),
        mask_threshold=128,
        classes=["background", "dent"],
        groups="own",
        group_pattern="",
        same_part=0.9,
    )


@pytest.mark.parametrize("most", [1, 2])
def test_whoever_reads_all_images_keeps_to_it(
    data: DataSettings, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    opened = pictures.open_picture

    def slowly(file: Path, *args: object, **more: object) -> pictures.Opened:
        held.add(1)
        time.sleep(0.005)
        held.add(-1)
        return opened(file, *args, **more)

    monkeypatch.setattr(room, "_room", Room(most * 40 * 50))
    monkeypatch.setattr(pictures, "open_picture", slowly)
    samples = load_samples(Path(data.root), data)
    files = [sample.image for sample in samples]
    for work in (
        lambda: prepare.scan(samples, data, dataset_info(data)),
        lambda: shared_parts.looks(files),
        lambda: near_duplicates.describe(files),
    ):
        held.most = 0
        work()
        assert held.most == most


def test_a_training_that_keeps_its_images_decodes_large_ones_one_by_one(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    opened = pictures.open_picture

    def slowly(file: Path, *args: object, **more: object) -> pictures.Opened:
        held.add(1)
        time.sleep(0.005)
        held.add(-1)
        return opened(file, *args, **more)

    still = WeakAugmentSettings(
        scale_min=1.0, scale_max=1.0, flip_probability=0.0, vertical_flip_probability=0.0
    )
    images = make_set([str(number) for number in range(8)], sizes=[(32, 32)] * 8)
    data = labeled_images(images, whole(32, 32), still, 3)
    monkeypatch.setattr(pictures, "open_picture", slowly)
    for most in (1, 2):
        monkeypatch.setattr(room, "_room", Room(most * 32 * 32))
        held.most = 0
        kept = keep(data, memory=2**30).pairs
        assert kept is not None
        assert len(kept) == 8
        assert held.most == most
