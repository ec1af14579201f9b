"""Training images: decoded once, each in every pass, none dropped, image and mask together."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.network.resize import ImageSettings, resize_image, resize_mask
from ppl.training.decoded import keep
from ppl.training.disk import Disk
from ppl.training.images import Masked, TrainingImages
from ppl.training.machine import GIB
from ppl.training.stream import BatchStream, join
from ppl.training.weak_augment import WeakAugmentSettings
from tests.conftest import COLOURS, MakeSet, whole, windows

CPU = torch.device("cpu")
STILL = WeakAugmentSettings(
    scale_min=1.0, scale_max=1.0, flip_probability=0.0, vertical_flip_probability=0.0
)
LIVELY = WeakAugmentSettings(
    scale_min=0.5, scale_max=2.0, flip_probability=0.5, vertical_flip_probability=0.5
)
SIZE = (32, 40)
WHOLE = whole(*SIZE)


@dataclass(frozen=True)
class Numbered(ImageSet):
    """Image k is k everywhere, and so is its mask, or the rest of a division by `classes`."""

    classes: int = 250

    def image(self, entry: Entry) -> Tensor:
        return torch.full((3, *SIZE), int(entry.id), dtype=torch.uint8)

    def mask(self, entry: Entry) -> Tensor:
        return torch.full(SIZE, int(entry.id) % self.classes, dtype=torch.uint8)


def numbered(
    count: int, first: int = 0, weak: WeakAugmentSettings = STILL, *, classes: int = 250
) -> TrainingImages:
    entries = (Entry(str(k), f"{k}.png", *SIZE) for k in range(first, first + count))
    images = Numbered(Path("nowhere"), tuple(entries), classes)
    return TrainingImages([Masked(images, images.mask, "numbers")], WHOLE, weak, classes)


def stream(
    data: TrainingImages,
    batch: int,
    *,
    seed: int = 0,
    positions: Sequence[int] | None = None,
    memory: int = GIB,
    disk: Disk | None = None,
) -> BatchStream:
    draws = Draws(seed, "test")
    return stream_of(draws, data, batch, positions=positions, memory=memory, disk=disk)


def stream_of(
    draws: Draws,
    data: TrainingImages,
    batch: int,
    *,
    positions: Sequence[int] | None = None,
    memory: int = GIB,
    disk: Disk | None = None,
) -> BatchStream:
    return BatchStream(
        keep(data, memory=memory, disk=disk),
        batch,
        order=draws("order"),
        augment=draws("augment"),
        positions=positions,
        device=CPU,
    )


def numbers(batches: BatchStream, count: int) -> list[int]:
    return [int(mask[0, 0]) for _ in range(count) for mask in batches.next()[1]]


def of(
    images: ImageSet, image: ImageSettings = WHOLE, weak: WeakAugmentSettings = STILL
) -> TrainingImages:
    return TrainingImages([Masked(images, images.mask, "labeled")], image, weak, 3)


@pytest.mark.parametrize(("images", "batch"), [(5, 2), (7, 3), (4, 4), (3, 8), (1, 4), (1, 1)])
def test_each_image_comes_once_a_pass_and_none_is_dropped(images: int, batch: int) -> None:
    drawn = numbers(stream(numbered(images), batch), 3 * images)
    for start in range(0, len(drawn) - images + 1, images):
        assert sorted(drawn[start : start + images]) == list(range(images))


def test_all_batches_are_of_one_size() -> None:
    batches = stream(numbered(5), 3)
    assert {len(batches.next()[0]) for _ in range(7)} == {3}


def test_passes_are_shuffled_differently() -> None:
    drawn = numbers(stream(numbered(20), 20), 2)
    assert drawn[:20] != drawn[20:] != list(range(20))


def test_image_and_mask_belong_together_and_have_the_types_a_network_wants() -> None:
    images, masks, _ = stream(numbered(6, 1, LIVELY), 4).next()
    assert images.shape == (4, 1, *SIZE)
    assert images.dtype == torch.float32
    assert masks.shape == (4, *SIZE)
    assert masks.dtype == torch.int64
    seen = masks != 255
    assert torch.equal((images[:, 0] * 255).round().long()[seen], masks[seen])


def test_the_same_seeds_give_the_same_batches_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = stream(numbered(5, 0, LIVELY), 3), stream(numbered(5, 0, LIVELY), 3)
    for _ in range(4):
        for one, other in zip(first.next()[:2], second.next()[:2], strict=True):
            assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_does_not_depend_on_the_augmentation() -> None:
    order = [numbers(stream(numbered(5), 5), 2) for _ in range(2)]
    lively = stream(numbered(5, 0, LIVELY.model_copy(update={"scale_min": 1.0})), 5)
    assert order[0] == order[1] == numbers(lively, 2)


def test_images_are_kept_in_the_order_of_the_set(make_set: MakeSet) -> None:
    image_set = make_set([f"{k:02}" for k in range(20)], sizes=[(20 + k, 45) for k in range(20)])
    kept = keep(of(image_set), memory=GIB).pairs
    assert kept is not None
    for (image, mask), entry in zip(kept, image_set.entries, strict=True):
        assert torch.equal(image, resize_image(image_set.image(entry), SIZE))
        assert torch.equal(mask, resize_mask(image_set.mask(entry), SIZE))


@pytest.mark.parametrize(("scale", "stored"), [(2.0, (64, 80)), (0.5, SIZE)])
def test_images_are_kept_at_the_largest_size_training_needs(
    make_set: MakeSet, scale: float, stored: tuple[int, int]
) -> None:
    weak = WeakAugmentSettings(
        scale_min=0.5, scale_max=scale, flip_probability=0.5, vertical_flip_probability=0.0
    )
    data = of(make_set(["a"]), weak=weak)
    [(image, _)] = keep(data, memory=GIB).pairs or []
    assert image.shape == (3, *stored)
    assert stream(data, 2).next()[0].shape == (2, 3, *SIZE)


def test_windows_show_images_at_their_own_resolution(make_set: MakeSet) -> None:
    sizes = [(200, 90), (64, 64), (70, 300)]
    image_set = make_set(["a", "b", "c"], sizes=sizes)
    batches = stream(of(image_set, windows(64, 64)), 3)
    originals = [image_set.image(entry) for entry in image_set.entries]
    for _ in range(5):
        for image in (batches.next()[0] * 255).round().byte():
            assert any(_lies_in(image, original) for original in originals)


def _lies_in(part: Tensor, image: Tensor) -> bool:
    height, width = part.shape[1:]
    places = image.unfold(1, height, 1).unfold(2, width, 1)
    return bool((places == part[:, None, None]).flatten(3).all(-1).all(0).any())


def test_an_image_smaller_than_its_window_is_filled_up_and_that_is_ignored(
    make_set: MakeSet,
) -> None:
    batches = stream(of(make_set(["a"], sizes=[(20, 50)]), windows(64, 64)), 1)
    images, masks, _ = batches.next()
    assert (masks[0, 20:] == 255).all()
    assert (masks[0, :, 50:] == 255).all()
    assert (masks[0, :20, :50] != 255).all()
    assert (images[0, :, 20:] == 0).all()


def test_grey_images_take_a_third_of_the_memory(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(2):
        picture = torch.randint(256, SIZE, dtype=torch.uint8)
        Image.fromarray(picture.numpy()).save(tmp_path / "images" / f"{number}.png")
        write_mask(mask_file(tmp_path / "masks", str(number)), torch.zeros(SIZE), COLOURS)
    write_index(tmp_path, [Entry(str(k), f"{k}.png", *SIZE) for k in range(2)])
    batches = stream(of(read_image_set(tmp_path)), 2)
    assert batches.bytes_kept == 2 * 2 * SIZE[0] * SIZE[1]
    assert batches.next()[0].shape == (2, 1, *SIZE)


def test_grey_batches_join_colour() -> None:
    grey, colour = torch.rand(2, 1, 4, 5), torch.rand(3, 3, 4, 5)
    joined = join(grey, colour)
    assert torch.equal(joined[:2], grey.expand(-1, 3, -1, -1))
    assert torch.equal(joined[2:], colour)


# streaming: too little memory, so processes read what comes next, from the disk or anew


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    found = Disk(tmp_path / "scratch" / "decoded")
    yield found
    found.release()


@pytest.fixture
def pictures(make_set: MakeSet) -> ImageSet:
    return make_set([f"{k:02}" for k in range(7)], sizes=[(40 + 3 * k, 50) for k in range(7)])


@pytest.mark.parametrize("image", [WHOLE, windows(*SIZE)], ids=["whole", "windows"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_does_not_fit_is_read_again_and_gives_the_same_batches(
    pictures: ImageSet,
    image: ImageSettings,
    workers: str,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PPL_WORKERS", workers)
    before = torch.get_rng_state()
    data = of(pictures, image, LIVELY)
    kept, streamed = stream(data, 3), stream(data, 3, memory=100)
    on_disk = stream(data, 3, memory=100, disk=disk)
    assert (kept.streams, streamed.streams, on_disk.streams) == (False, True, True)
    assert streamed.bytes_kept == on_disk.bytes_kept == 0
    for _ in range(6):
        batches = zip(kept.next()[:2], streamed.next()[:2], on_disk.next()[:2], strict=True)
        for one, *others in batches:
            assert all(torch.equal(one, other) for other in others)
    assert torch.equal(torch.get_rng_state(), before), "a dropout layer would draw other numbers"


def test_colour_that_does_not_fit_shows_while_reading(pictures: ImageSet) -> None:
    data = of(pictures)
    grey = 2 * 7 * SIZE[0] * SIZE[1]
    assert keep(data, memory=grey).pairs is None
    assert keep(data, memory=2 * grey).pairs is not None


@pytest.mark.parametrize("on_disk", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("memories", [(100, 100), (100, GIB), (GIB, 100)])
def test_a_resumed_stream_goes_on_where_it_stood_with_more_or_less_memory(
    pictures: ImageSet, memories: tuple[int, int], on_disk: tuple[bool, bool], disk: Disk
) -> None:
    disks = [disk if used else None for used in on_disk]
    data = of(pictures, weak=LIVELY)
    whole_run = stream(data, 3)
    expected = [whole_run.next() for _ in range(8)]
    draws, other = Draws(0, "test"), Draws(5, "test")
    first = stream_of(draws, data, 3, memory=memories[0], disk=disks[0])
    for _ in range(3):
        first.next()
    second = stream_of(other, data, 3, memory=memories[1], disk=disks[1])
    second.load_state_dict(_copied(first.state_dict()))
    other.load_state_dict(_copied(draws.state_dict()))
    for images, masks, _ in expected[3:]:
        found = second.next()
        assert torch.equal(found[0], images)
        assert torch.equal(found[1], masks)


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    import io

    content = io.BytesIO()
    torch.save(state, content)
    content.seek(0)
    loaded: dict[str, Any] = torch.load(content, weights_only=True)
    return loaded


def test_processes_that_share_a_batch_see_its_parts(pictures: ImageSet) -> None:
    data = of(pictures, weak=LIVELY)
    together = stream(data, 5)
    parts = [stream(data, 5, positions=positions) for positions in ([0, 1], [4, 2, 3], [])]
    for _ in range(4):
        images, masks, _ = together.next()
        for part, positions in zip(parts, ([0, 1], [4, 2, 3], []), strict=True):
            found = part.next()
            assert torch.equal(found[0], images[positions]) or not positions
            assert torch.equal(found[1], masks[positions])


def test_an_image_that_a_worker_cannot_read_is_named(pictures: ImageSet) -> None:
    pictures.image_file(pictures.entries[4]).write_bytes(b"broken")
    batches = stream(of(pictures), 7, memory=100)
    with pytest.raises(InputError, match=r"04\.png cannot be read"):
        batches.next()


def test_readers_go_with_their_stream(pictures: ImageSet) -> None:
    before = {*psutil.Process().children()}
    batches = stream(of(pictures), 3, memory=100)
    batches.next()
    assert {*psutil.Process().children()} - before
    del batches
    assert not {*psutil.Process().children()} - before


def kill(pid: int) -> None:
    """And wait for what its end raises."""
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_that_dies_stops_the_run_and_says_what_to_lower(
    pictures: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPL_WORKERS", "2")
    batches = stream(of(pictures), 3, memory=100)
    batches.next()
    before = psutil.Process().children()
    # PyTorch raises wherever the signal of a worker's end finds the program: in here, then
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* is killed by signal"):
        kill(before[-1].pid)
    with pytest.raises(InputError, match=r"has died .*PPL_WORKERS below 2"):
        numbers(batches, 50)


@pytest.mark.parametrize("error", [ConnectionResetError, ConnectionRefusedError, EOFError])
def test_so_does_one_that_dies_while_its_batch_is_fetched(
    pictures: ImageSet, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    batches = stream(of(pictures), 3, memory=100)

    def ended() -> None:
        raise error

    monkeypatch.setattr(batches, "_loading", iter(ended, object()))
    with pytest.raises(InputError, match=r"a process that reads images has died"):
        batches.next()


# what is wrong with the files


def test_a_mask_of_another_size_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b/c.1"])
    wrong = torch.zeros(30, 31, dtype=torch.uint8)
    write_mask(mask_file(image_set.folder / "masks", "b/c.1"), wrong, COLOURS)
    with pytest.raises(InputError, match=r"mask of b/c\.1 is 31 x 30 pixels, its image 32 x 32"):
        keep(of(image_set), memory=GIB)


def test_a_mask_with_a_class_that_there_is_not_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b"])
    corrected = torch.zeros(32, 32, dtype=torch.uint8)
    corrected[0, 0], corrected[1, 1] = 255, 3
    write_mask(mask_file(image_set.folder / "masks", "b"), corrected, COLOURS)
    with pytest.raises(InputError, match=r"mask of b \(labeled\) holds class 3, but .* \(0-2\)"):
        keep(of(image_set), memory=GIB)


def test_an_unreadable_image_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b"])
    image_set.image_file(image_set.entries[1]).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        keep(of(image_set), memory=GIB)


def test_parts_follow_each_other_and_an_empty_one_adds_nothing() -> None:
    first, second = numbered(2), numbered(3, 2)
    both = TrainingImages([*first.parts, *numbered(0).parts, *second.parts], WHOLE, STILL, 250)
    assert len(both) == 5
    assert [int(mask[0, 0]) for _, mask in keep(both, memory=GIB).pairs or []] == [0, 1, 2, 3, 4]
    assert both.find(3)[1].id == "3"
