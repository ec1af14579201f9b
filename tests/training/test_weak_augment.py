"""Weak augmentation moves image and mask together; what it leaves uncovered is ignored."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.images.pictures import IGNORE
from ppl.network.resize import resize_image
from ppl.training.weak_augment import DRAWS, View, WeakAugmentSettings, cut, draw_view, show, stack

SIZE = (40, 32)


def settings(
    low: float = 1.0, high: float = 1.0, flip: float = 0.5, vertical: float = 0.0
) -> WeakAugmentSettings:
    return WeakAugmentSettings(
        scale_min=low,
        scale_max=high,
        flip_probability=flip,
        vertical_flip_probability=vertical,
    )


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(
    images: Tensor, size: tuple[int, int], weak: WeakAugmentSettings, generator: torch.Generator
) -> list[View]:
    stored = (images.shape[2], images.shape[3])
    return [
        draw_view(stored, size, size, weak, torch.rand(DRAWS, generator=generator).tolist())
        for _ in images
    ]


def shown(
    images: Tensor, masks: Tensor, chosen: list[View], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    parts = [cut(*pair, view, size) for *pair, view in zip(images, masks, chosen, strict=True)]
    return show(*stack(parts, size), chosen, size)


def weak_augment(
    images: Tensor,
    masks: Tensor,
    size: tuple[int, int],
    weak: WeakAugmentSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """All of it, the images in grey levels of 0-255 again."""
    shown_images, shown_masks = shown(images, masks, views(images, size, weak, generator), size)
    return shown_images * 255, shown_masks


def position_batch(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images whose first channel holds the row, second the column; the mask holds the column."""
    row = torch.arange(height).view(-1, 1).expand(height, width)
    column = torch.arange(width).expand(height, width)
    image = torch.stack([row, column, torch.full_like(row, 200)]).to(torch.uint8)
    return image.repeat(batch, 1, 1, 1), column.to(torch.uint8).repeat(batch, 1, 1)


def slowly(image: Tensor, mask: Tensor, view: View, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The obvious version: resize the whole image, fill up, crop, flip."""
    height, width = view.scaled
    image = resize_image(image.float() / 255, view.scaled)
    rows, columns = (
        torch.tensor([(2 * i + 1) * own // (2 * new) for i in range(new)])
        for own, new in zip(mask.shape, view.scaled, strict=True)
    )
    mask = mask[rows][:, columns].long()
    missing = (0, max(0, size[1] - width), 0, max(0, size[0] - height))
    image, mask = F.pad(image, missing), F.pad(mask, missing, value=IGNORE)
    bottom, right = view.top + size[0], view.left + size[1]
    image, mask = image[:, view.top : bottom, view.left : right], mask[view.top : bottom]
    mask = mask[:, view.left : right]
    if view.flipped:
        image, mask = image.flip(-1), mask.flip(-1)
    return (image.flip(-2), mask.flip(-2)) if view.flipped_vertically else (image, mask)


@pytest.mark.parametrize("stored", [(80, 64), (40, 32), (57, 91), (8, 200)])
@pytest.mark.parametrize("scales", [(0.5, 2.0), (1.0, 1.0), (0.3, 0.7)])
def test_a_batch_shows_what_resizing_and_cropping_one_by_one_does(
    stored: tuple[int, int], scales: tuple[float, float]
) -> None:
    images = torch.randint(256, (12, 3, *stored), dtype=torch.uint8, generator=draws())
    masks = torch.randint(4, (12, *stored), dtype=torch.uint8, generator=draws())
    chosen = views(images, SIZE, settings(*scales, vertical=0.5), draws(1))
    found_images, found_masks = shown(images, masks, chosen, SIZE)
    for number, view in enumerate(chosen):
        image, mask = slowly(images[number], masks[number], view, SIZE)
        torch.testing.assert_close(found_images[number], image, atol=1e-5, rtol=0)
        # a pixel centre may lie on the border of two
        assert (found_masks[number] == mask).float().mean() > 0.97


def test_images_of_other_sizes_in_the_batch_change_nothing() -> None:
    generator = draws()
    pairs, chosen = [], []
    for height, width in [(50, 40), (200, 31), (64, 300)]:
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        mask = torch.randint(3, (height, width), dtype=torch.uint8, generator=generator)
        numbers = torch.rand(DRAWS, generator=generator).tolist()
        view = draw_view((height, width), (height, width), SIZE, settings(0.5, 1.5), numbers)
        pairs.append((image, mask))
        chosen.append(view)
    parts = [cut(*pair, view, SIZE) for pair, view in zip(pairs, chosen, strict=True)]
    images, masks = show(*stack(parts, SIZE), chosen, SIZE)
    for number, (pair, view) in enumerate(zip(pairs, chosen, strict=True)):
        alone = shown(pair[0][None], pair[1][None], [view], SIZE)
        torch.testing.assert_close(images[number], alone[0][0], atol=1e-6, rtol=0)
        assert torch.equal(masks[number], alone[1][0])


def test_cutting_first_reads_no_more_than_the_view_needs() -> None:
    image, mask = position_batch(1, 4000, 3000)
    view = View(
        (4000, 3000), (2000, 1500), top=700, left=300, flipped=False, flipped_vertically=False
    )
    part, _ = cut(image[0], mask[0], view, SIZE)
    assert part.shape[1] <= 2 * SIZE[0] + 6
    assert part.shape[2] <= 2 * SIZE[1] + 6


def test_grey_and_colour_meet_in_three_channels() -> None:
    grey = torch.full((1, *SIZE), 9, dtype=torch.uint8), torch.zeros(SIZE, dtype=torch.uint8)
    colour = torch.arange(3, dtype=torch.uint8).view(3, 1, 1).expand(3, *SIZE), grey[1]
    assert stack([grey, grey], SIZE)[0].shape == (2, 1, *SIZE)
    images = stack([grey, colour], SIZE)[0]
    assert images[0].unique().tolist() == [9]
    assert images[1, :, 0, 0].tolist() == [0, 1, 2]


def test_no_part_makes_an_empty_batch() -> None:
    images, masks = show(*stack([], SIZE), [], SIZE)
    assert images.shape == (0, 1, *SIZE)
    assert masks.shape == (0, *SIZE)


def test_without_scale_and_flip_nothing_changes() -> None:
    images, masks = position_batch(3, *SIZE)
    augmented = weak_augment(images, masks, SIZE, settings(flip=0.0), draws())
    assert torch.equal(augmented[0].round(), images.float())
    assert torch.equal(augmented[1], masks.long())


def test_a_certain_flip_mirrors_image_and_mask() -> None:
    images, masks = position_batch(3, *SIZE)
    augmented = weak_augment(images, masks, SIZE, settings(flip=1.0), draws())
    assert torch.equal(augmented[0].round(), images.flip(-1).float())
    assert torch.equal(augmented[1], masks.flip(-1).long())


def test_a_certain_vertical_flip_turns_image_and_mask_upside_down() -> None:
    images, masks = position_batch(3, *SIZE)
    masks = images[:, 0]
    augmented = weak_augment(images, masks, SIZE, settings(flip=0.0, vertical=1.0), draws())
    assert torch.equal(augmented[0].round(), images.flip(-2).float())
    assert torch.equal(augmented[1], masks.flip(-2).long())


def test_half_the_images_flip_each_by_its_own_draw() -> None:
    images, masks = position_batch(200, 8, 8)
    flipped = weak_augment(images, masks, (8, 8), settings(), draws())[1][:, 0, 0] != 0
    assert 70 < int(flipped.sum()) < 130


def test_crops_move_image_and_mask_together() -> None:
    images, masks = position_batch(20, 80, 64)
    images, masks = weak_augment(images, masks, SIZE, settings(2.0, 2.0), draws())
    assert images.shape == (20, 3, *SIZE)
    assert torch.equal(images[:, 1].round().long(), masks)
    # each crop is one window: rows and columns follow each other by one
    assert (images[:, 0].round().diff(dim=1) == 1).all()
    assert (masks.int().diff(dim=2).abs() == 1).all()
    assert len({round(float(image[0, 0, 0])) for image in images}) > 10


def test_crops_reach_every_border() -> None:
    images, masks = position_batch(400, 10, 10)
    cropped = weak_augment(images, masks, (8, 8), settings(1.25, 1.25, flip=0.0), draws())[0]
    assert {round(float(image[0, 0, 0])) for image in cropped} == {0, 1, 2}
    assert {round(float(image[1, 0, 0])) for image in cropped} == {0, 1, 2}


def test_what_a_small_scale_leaves_uncovered_is_black_and_ignored() -> None:
    images, masks = position_batch(10, *SIZE)
    images, masks = weak_augment(images, masks, SIZE, settings(0.5, 0.5, flip=0.0), draws())
    covered = torch.zeros(SIZE, dtype=torch.bool)
    covered[:20, :16] = True
    assert ((masks == IGNORE) == ~covered).all()
    assert (images[:, :, ~covered] == 0).all()
    assert (images[:, 2, :20, :16].round() == 200).all()


def test_scaled_masks_keep_their_classes() -> None:
    masks = torch.tensor([0, 3, IGNORE], dtype=torch.uint8)[torch.randint(3, (20, 64, 64))]
    images = torch.randint(256, (20, 3, 64, 64), dtype=torch.uint8)
    images, masks = weak_augment(images, masks, SIZE, settings(0.5, 1.9), draws())
    assert set(masks.unique().tolist()) == {0, 3, IGNORE}
    assert images.dtype == torch.float32
    assert masks.dtype == torch.int64


def test_a_bright_object_stays_under_its_label_at_every_scale() -> None:
    masks = torch.zeros(30, 64, 64, dtype=torch.uint8)
    masks[:, 16:48, 20:40] = 1
    images = (masks * 255)[:, None].repeat(1, 3, 1, 1)
    images, masks = weak_augment(images, masks, (64, 64), settings(0.5, 2.0), draws())
    agree = (images[:, 0] > 127) == (masks == 1)
    # bilinear edges and nearest edges may differ by a pixel at the border of the object
    assert agree.float().mean() > 0.98


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
