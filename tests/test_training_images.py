"""Training images: decoded once, each in every pass, none dropped, image and mask together."""

from pathlib import Path

import pytest
import torch

from ppl.errors import InputError
from ppl.image_files import write_mask
from ppl.image_set import mask_file, read_image_set, write_index
from ppl.resize import resize_image, resize_mask
from ppl.training_images import BatchStream, TrainingImages, concatenate, load_training_images
from ppl.weak_augment import WeakAugmentSettings
from tests.conftest import COLOURS, MakeSet

CPU = torch.device("cpu")
STILL = WeakAugmentSettings(scale_min=1.0, scale_max=1.0, flip_probability=0.0)
LIVELY = WeakAugmentSettings(scale_min=0.5, scale_max=2.0, flip_probability=0.5)
SIZE = (32, 40)


def numbered(count: int) -> TrainingImages:
    """Image k is k everywhere, and so is its mask."""
    masks = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1).repeat(1, *SIZE)
    return TrainingImages(masks[:, None].repeat(1, 3, 1, 1), masks)


def stream(
    data: TrainingImages, batch: int, weak: WeakAugmentSettings = STILL, *, seed: int = 0
) -> BatchStream:
    order, augment = (torch.Generator().manual_seed(seed + k) for k in (0, 1))
    return BatchStream(data, batch, SIZE, weak, order=order, augment=augment)


def numbers(batches: BatchStream, count: int) -> list[int]:
    return [int(mask[0, 0]) for _ in range(count) for mask in batches.next(CPU)[1]]


@pytest.mark.parametrize(("images", "batch"), [(5, 2), (7, 3), (4, 4), (3, 8), (1, 4), (1, 1)])
def test_each_image_comes_once_a_pass_and_none_is_dropped(images: int, batch: int) -> None:
    drawn = numbers(stream(numbered(images), batch), 3 * images)
    for start in range(0, len(drawn) - images + 1, images):
        assert sorted(drawn[start : start + images]) == list(range(images))


def test_all_batches_are_of_one_size() -> None:
    batches = stream(numbered(5), 3)
    assert {len(batches.next(CPU)[0]) for _ in range(7)} == {3}


def test_passes_are_shuffled_differently() -> None:
    drawn = numbers(stream(numbered(20), 20), 2)
    assert drawn[:20] != drawn[20:] != list(range(20))


def test_image_and_mask_belong_together_and_have_the_types_a_network_wants() -> None:
    images, masks = stream(numbered(6), 4, LIVELY).next(CPU)
    assert images.shape == (4, 3, *SIZE)
    assert images.dtype == torch.float32
    assert masks.shape == (4, *SIZE)
    assert masks.dtype == torch.int64
    seen = masks != 255
    assert torch.equal((images[:, 0] * 255).round().long()[seen], masks[seen])


def test_the_same_seeds_give_the_same_batches_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = stream(numbered(5), 3, LIVELY), stream(numbered(5), 3, LIVELY)
    for _ in range(4):
        for one, other in zip(first.next(CPU), second.next(CPU), strict=True):
            assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_does_not_depend_on_the_augmentation() -> None:
    order = [numbers(stream(numbered(5), 5, weak), 2) for weak in (STILL, STILL)]
    lively = stream(numbered(5), 5, LIVELY.model_copy(update={"scale_min": 1.0}))
    assert order[0] == order[1] == numbers(lively, 2)


def test_images_are_stored_in_the_order_of_the_set(make_set: MakeSet) -> None:
    image_set = make_set([f"{k:02}" for k in range(20)], sizes=[(20 + k, 45) for k in range(20)])
    data = load_training_images(image_set, image_set.mask, SIZE, STILL, classes=3, what="labeled")
    assert len(data) == 20
    for index, entry in enumerate(image_set.entries):
        assert torch.equal(data.images[index], resize_image(image_set.image(entry), SIZE))
        assert torch.equal(data.masks[index], resize_mask(image_set.mask(entry), SIZE))


@pytest.mark.parametrize(("scale", "stored"), [(2.0, (64, 80)), (0.5, SIZE)])
def test_images_are_kept_at_the_largest_size_training_needs(
    make_set: MakeSet, scale: float, stored: tuple[int, int]
) -> None:
    weak = WeakAugmentSettings(scale_min=0.5, scale_max=scale, flip_probability=0.5)
    image_set = make_set(["a"])
    data = load_training_images(image_set, image_set.mask, SIZE, weak, classes=3, what="labeled")
    assert data.images.shape == (1, 3, *stored)
    assert stream(data, 2, weak).next(CPU)[0].shape == (2, 3, *SIZE)


def test_a_mask_of_another_size_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b/c.1"])
    wrong = torch.zeros(30, 31, dtype=torch.uint8)
    write_mask(mask_file(image_set.folder / "masks", "b/c.1"), wrong, COLOURS)
    with pytest.raises(InputError, match=r"mask of b/c\.1 is 31 x 30 pixels, its image 32 x 32"):
        load_training_images(image_set, image_set.mask, SIZE, STILL, classes=3, what="labeled")


def test_a_mask_with_a_class_that_there_is_not_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b"])
    corrected = torch.zeros(32, 32, dtype=torch.uint8)
    corrected[0, 0], corrected[1, 1] = 255, 3
    write_mask(mask_file(image_set.folder / "masks", "b"), corrected, COLOURS)
    with pytest.raises(InputError, match=r"mask of b \(labeled\) holds class 3, but .* \(0-2\)"):
        load_training_images(image_set, image_set.mask, SIZE, STILL, classes=3, what="labeled")


def test_an_unreadable_image_is_named(make_set: MakeSet) -> None:
    image_set = make_set(["a", "b"])
    image_set.image_file(image_set.entries[1]).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        load_training_images(image_set, image_set.mask, SIZE, STILL, classes=3, what="labeled")


def test_an_empty_set_adds_nothing(tmp_path: Path) -> None:
    write_index(tmp_path, [])
    image_set = read_image_set(tmp_path)
    nothing = load_training_images(image_set, image_set.mask, SIZE, STILL, classes=3, what="hard")
    together = concatenate(numbered(3), nothing)
    assert torch.equal(together.masks, numbered(3).masks)
    assert len(nothing) == 0


def test_two_sets_follow_each_other() -> None:
    assert concatenate(numbered(2), numbered(3)).masks[:, 0, 0].tolist() == [0, 1, 0, 1, 2]
