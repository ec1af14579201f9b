"""Weak augmentation moves image and mask together; what it leaves uncovered is ignored."""

import pytest
import torch
from torch import Tensor

from ppl.errors import InputError
from ppl.image_files import IGNORE
from ppl.settings import check
from ppl.weak_augment import WeakAugmentSettings, weak_augment

SIZE = (40, 32)


def settings(low: float = 1.0, high: float = 1.0, flip: float = 0.5) -> WeakAugmentSettings:
    return WeakAugmentSettings(scale_min=low, scale_max=high, flip_probability=flip)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def position_batch(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images whose first channel holds the row, second the column; the mask holds the column."""
    row = torch.arange(height).view(-1, 1).expand(height, width)
    column = torch.arange(width).expand(height, width)
    image = torch.stack([row, column, torch.full_like(row, 200)]).to(torch.uint8)
    return image.repeat(batch, 1, 1, 1), column.to(torch.uint8).repeat(batch, 1, 1)


def test_without_scale_and_flip_nothing_changes() -> None:
    images, masks = position_batch(3, *SIZE)
    augmented = weak_augment(images, masks, SIZE, settings(flip=0.0), draws())
    assert torch.equal(augmented[0], images)
    assert torch.equal(augmented[1], masks)


def test_a_certain_flip_mirrors_image_and_mask() -> None:
    images, masks = position_batch(3, *SIZE)
    augmented = weak_augment(images, masks, SIZE, settings(flip=1.0), draws())
    assert torch.equal(augmented[0], images.flip(-1))
    assert torch.equal(augmented[1], masks.flip(-1))


def test_half_the_images_flip_each_by_its_own_draw() -> None:
    images, masks = position_batch(200, 8, 8)
    flipped = weak_augment(images, masks, (8, 8), settings(), draws())[1][:, 0, 0] != 0
    assert 70 < int(flipped.sum()) < 130


def test_crops_move_image_and_mask_together() -> None:
    images, masks = position_batch(20, 80, 64)
    images, masks = weak_augment(images, masks, SIZE, settings(2.0, 2.0), draws())
    assert images.shape == (20, 3, *SIZE)
    assert torch.equal(images[:, 1], masks)
    # each crop is one window: rows and columns follow each other by one
    assert (images[:, 0].int().diff(dim=1) == 1).all()
    assert (masks.int().diff(dim=2).abs() == 1).all()
    assert len({int(image[0, 0, 0]) for image in images}) > 10


def test_crops_reach_every_border() -> None:
    images, masks = position_batch(400, 10, 10)
    cropped = weak_augment(images, masks, (8, 8), settings(1.25, 1.25, flip=0.0), draws())[0]
    assert {int(image[0, 0, 0]) for image in cropped} == {0, 1, 2}
    assert {int(image[1, 0, 0]) for image in cropped} == {0, 1, 2}


def test_what_a_small_scale_leaves_uncovered_is_black_and_ignored() -> None:
    images, masks = position_batch(10, *SIZE)
    images, masks = weak_augment(images, masks, SIZE, settings(0.5, 0.5, flip=0.0), draws())
    covered = torch.zeros(SIZE, dtype=torch.bool)
    covered[:20, :16] = True
    assert ((masks == IGNORE) == ~covered).all()
    assert (images[:, :, ~covered] == 0).all()
    assert (images[:, 2, :20, :16] == 200).all()


def test_scaled_masks_keep_their_classes() -> None:
    masks = torch.tensor([0, 3, IGNORE], dtype=torch.uint8)[torch.randint(3, (20, 64, 64))]
    images = torch.randint(256, (20, 3, 64, 64), dtype=torch.uint8)
    images, masks = weak_augment(images, masks, SIZE, settings(0.5, 1.9), draws())
    assert set(masks.unique().tolist()) == {0, 3, IGNORE}
    assert images.dtype == masks.dtype == torch.uint8


def test_a_bright_object_stays_under_its_label_at_every_scale() -> None:
    masks = torch.zeros(30, 64, 64, dtype=torch.uint8)
    masks[:, 16:48, 20:40] = 1
    images = (masks * 255)[:, None].repeat(1, 3, 1, 1)
    images, masks = weak_augment(images, masks, (64, 64), settings(0.5, 2.0), draws())
    agree = (images[:, 0] > 127) == (masks == 1)
    # bilinear edges and nearest edges may differ by a pixel at the border of the object
    assert agree.float().mean() > 0.98


def test_the_number_of_draws_does_not_depend_on_the_settings() -> None:
    images, masks = position_batch(3, *SIZE)
    left = []
    for chosen in [settings(), settings(0.5, 2.0), settings(flip=0.0)]:
        generator = draws()
        weak_augment(images, masks, SIZE, chosen, generator)
        left.append(torch.rand(1, generator=generator).item())
    assert len(set(left)) == 1


def test_the_same_draws_give_the_same_result_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    images, masks = position_batch(5, *SIZE)
    first, second = (
        weak_augment(images, masks, SIZE, settings(0.5, 2.0), draws()) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_impossible_scale_is_refused() -> None:
    with pytest.raises(InputError, match=r"weak_augment\.scale_min: got 0.0"):
        check(
            "weak_augment",
            {"scale_min": 0.0, "scale_max": 1.0, "flip_probability": 0.5},
            WeakAugmentSettings,
        )
