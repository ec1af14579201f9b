"""CutMix: pixel values carry their provenance, so every pasted pixel can be traced."""

import pytest
import torch
from torch import Tensor

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.students.cutmix import (
    CutMixSettings,
    draw_boxes,
    draw_cutmix,
    label_efficient_cutmix,
    paste,
    union_area,
)
from ppl.students.cutmix import box_masks as masks_of

PAPER = CutMixSettings(
    enabled=True,
    order="after_strong",
    sure_of="image",
    sure_by="network",
    combine="union",
    boxes=3,
    area_min=0.25,
    area_max=0.5,
    aspect_max=2.0,
)
LABELED = 100
"""Masks of labeled images are 100 + their index, those of unlabeled ones their index."""


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def box_masks(
    count: int, height: int, width: int, settings: CutMixSettings, generator: torch.Generator
) -> Tensor:
    boxes = [draw_boxes(height, width, settings, generator) for _ in range(count)]
    return masks_of(boxes, (height, width), torch.device("cpu"))


def traced(batch: int, *, first: int, size: tuple[int, int] = (40, 33)) -> tuple[Tensor, Tensor]:
    """Masks that hold the image's number, images that hold it over 255."""
    masks = torch.arange(first, first + batch).view(-1, 1, 1).expand(batch, *size).clone()
    return masks[:, None].expand(-1, 3, -1, -1).float() / 255, masks


def mix(
    confidence: list[float], *, labeled: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    batch = len(confidence)
    images, masks = label_efficient_cutmix(
        traced(batch, first=0),
        traced(batch if labeled is None else labeled, first=LABELED),
        torch.tensor(confidence),
        draw_cutmix(batch, (40, 33), PAPER, draws(seed)),
    )
    # whatever was mixed, the label follows its image
    assert torch.equal((images * 255).round().long(), masks[:, None].expand(-1, 3, -1, -1))
    return images, masks


@pytest.mark.parametrize("size", [(96, 96), (200, 64), (33, 150), (32, 32)])
def test_boxes_cover_a_quarter_to_a_half_of_the_image(size: tuple[int, int]) -> None:
    generator = draws()
    shares = []
    for mask in box_masks(100, *size, PAPER, generator):
        assert mask.shape == size
        assert mask.dtype == torch.bool
        shares.append(mask.float().mean().item())
    assert min(shares) >= 0.25
    assert max(shares) <= 0.5
    assert max(shares) - min(shares) > 0.15


def test_the_area_of_a_union_is_its_number_of_pixels() -> None:
    generator = draws()
    for _ in range(300):
        edges = torch.randint(12, (5, 4), generator=generator).tolist()
        boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in edges]
        drawn = torch.zeros(12, 12, dtype=torch.bool)
        for top, left, bottom, right in boxes:
            drawn[top:bottom, left:right] = True
        assert union_area(boxes) == int(drawn.sum())


def test_masks_are_true_inside_the_boxes_alone() -> None:
    generators = draws(), draws()
    masks = box_masks(20, 33, 47, PAPER, generators[0])
    for mask in masks:
        expected = torch.zeros(33, 47, dtype=torch.bool)
        for top, left, bottom, right in draw_boxes(33, 47, PAPER, generators[1]):
            expected[top:bottom, left:right] = True
        assert torch.equal(mask, expected)


def test_boxes_differ_and_reach_every_part_of_the_image() -> None:
    generator = draws()
    masks = box_masks(300, 40, 40, PAPER, generator)
    assert len({mask.numpy().tobytes() for mask in masks}) == 300
    share = masks.float().mean(dim=0)
    assert share.min() > 0
    assert share.max() < 0.8


@pytest.mark.parametrize("aspect_max", [1.0, 4.0])
def test_a_single_box_is_a_rectangle_of_an_allowed_aspect(aspect_max: float) -> None:
    settings = PAPER.model_copy(update={"boxes": 1, "aspect_max": aspect_max})
    generator = draws()
    for mask in box_masks(50, 120, 120, settings, generator):
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        height, width = int(rows.sum()), int(columns.sum())
        assert int(mask.sum()) == height * width
        assert 1 / aspect_max * 0.95 <= height / width <= aspect_max * 1.05


def test_a_range_that_no_draw_reaches_says_what_to_change() -> None:
    settings = PAPER.model_copy(update={"boxes": 16, "area_min": 0.98, "area_max": 0.99})
    with pytest.raises(InputError, match=r"area_min 0.98 and area_max 0.99 of 32 x 40 pixels"):
        box_masks(1, 32, 40, settings, draws())


def test_a_range_without_width_is_refused() -> None:
    values = PAPER.model_dump() | {"area_min": 0.5}
    with pytest.raises(InputError, match=r"area_min 0.5 is not below area_max 0.5"):
        check("cutmix", values, CutMixSettings)


def test_pasting_takes_image_and_mask_from_the_same_place() -> None:
    where = torch.rand(2, 40, 33, generator=draws()) < 0.5
    images, masks = paste(traced(2, first=0), traced(2, first=LABELED), where)
    assert torch.equal(masks >= LABELED, where)
    assert torch.equal((images[:, 0] * 255).round().long(), masks)


def test_sure_images_get_no_labels_pasted_in() -> None:
    for seed in range(20):
        assert mix([1.0] * 4, seed=seed)[1].max() < LABELED


def test_unsure_images_always_get_labels_pasted_in() -> None:
    for seed in range(20):
        masks = mix([0.0] * 4, seed=seed)[1]
        # image i shows its neighbour's labeled pixels wherever M1 of i + 1 meets M2 of i
        assert (masks >= LABELED).any()


def test_each_image_shows_itself_and_its_right_neighbour_only() -> None:
    for seed in range(10):
        masks = mix([1.0] * 5, seed=seed)[1]
        for index, mask in enumerate(masks):
            share = {k: (mask == k).float().mean().item() for k in mask.unique().tolist()}
            assert set(share) == {index, (index + 1) % 5}
            assert 0.25 <= share[(index + 1) % 5] <= 0.5


def test_labels_come_from_the_neighbours_own_partner_and_never_from_ones_own() -> None:
    for seed in range(10):
        masks = mix([0.0] * 5, seed=seed)[1]
        for index, mask in enumerate(masks):
            neighbour = (index + 1) % 5
            assert set(mask.unique().tolist()) <= {index, neighbour, LABELED + neighbour}
            # outside M2 an image is as it came: its own paste is seen by its left neighbour
            assert 0.5 <= (mask == index).float().mean() <= 0.75


def test_each_image_is_pasted_by_its_own_confidence() -> None:
    # only image 2 is unsure, so only image 1, which shows it, may hold labeled pixels
    for seed in range(10):
        masks = mix([1.0, 1.0, 0.0, 1.0], seed=seed)[1]
        assert not (masks[[0, 2, 3]] >= LABELED).any()
        assert set(masks[1].unique().tolist()) <= {1, 2, LABELED + 2}


def test_the_chance_of_a_paste_is_one_minus_the_confidence() -> None:
    pasted = 0
    for seed in range(60):
        masks = mix([0.75] * 8, seed=seed)[1]
        pasted += sum(bool((mask >= LABELED).any()) for mask in masks)
    # M1 and M2 nearly always meet
    assert pasted / 480 == pytest.approx(0.25, abs=0.06)


def test_fewer_labeled_images_are_used_in_turn() -> None:
    masks = mix([0.0] * 6, labeled=2)[1]
    for index, mask in enumerate(masks):
        neighbour = (index + 1) % 6
        assert set(mask.unique().tolist()) <= {index, neighbour, LABELED + neighbour % 2}


def test_more_labeled_images_than_unlabeled_are_no_error() -> None:
    assert mix([0.0] * 2, labeled=5)[1].shape == (2, 40, 33)


def test_a_batch_of_one_mixes_with_itself() -> None:
    assert set(mix([0.0])[1].unique().tolist()) == {0, LABELED}
    assert mix([1.0])[1].unique().tolist() == [0]


def test_mixing_never_invents_a_class() -> None:
    classes = torch.tensor([0, 2, 5, 255])
    images = torch.rand(6, 3, 33, 40)
    unlabeled, labeled = classes[torch.randint(4, (2, 6, 33, 40))]
    masks = label_efficient_cutmix(
        (images, unlabeled),
        (images, labeled),
        torch.full((6,), 0.5),
        draw_cutmix(6, (33, 40), PAPER, draws()),
    )[1]
    assert set(masks.unique().tolist()) <= set(classes.tolist())
    assert masks.dtype == torch.int64


def test_the_same_draws_mix_the_same_and_inputs_stay_as_they_were() -> None:
    before = torch.get_rng_state()
    unlabeled, labeled = traced(4, first=0), traced(4, first=LABELED)
    sureness = torch.full((4,), 0.5)
    first, second = (
        label_efficient_cutmix(
            unlabeled, labeled, sureness, draw_cutmix(4, (40, 33), PAPER, draws())
        )
        for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.equal(unlabeled[1], traced(4, first=0)[1])
    assert torch.equal(labeled[0], traced(4, first=LABELED)[0])
    assert torch.equal(torch.get_rng_state(), before)
