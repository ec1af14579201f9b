"""Pasted defects: image and mask move together, surroundings fade, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ppl.images.pictures import IGNORE
from ppl.network.resize import ImageSettings, resize_image, resize_mask
from ppl.training.decoded import keep
from ppl.training.images import TrainingImages
from ppl.training.paste import (
    DRAWS,
    PAPER,
    Bank,
    Cutting,
    Defect,
    PasteSettings,
    cut_defects,
    paste_defects,
)
from tests.conftest import MakeSet, windows
from tests.training.test_stream import LIVELY, SIZE, WHOLE, of, stream

CPU = torch.device("cpu")
LIMIT = (64, 64)
ALWAYS = PAPER.model_copy(update={"probability": 1.0, "margin": 2})


def labeled(size: int = 20) -> tuple[Tensor, Tensor]:
    """A grey part with a dark scratch of class 2 on rows 5 and 6."""
    image = torch.full((1, size, size), 100, dtype=torch.uint8)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    image[:, 5:7, 8:14] = 30
    mask[5:7, 8:14] = 2
    return image, mask


def bank(margin: int = 2) -> Bank:
    return {2: cut_defects(*labeled(), margin=margin, limit=LIMIT)}


def batch(count: int, level: float = 0.8, size: int = 20) -> tuple[Tensor, Tensor]:
    return torch.full((count, 1, size, size), level), torch.zeros(
        count, size, size, dtype=torch.int64
    )


def draws(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed))


def scaled(data: TrainingImages, smallest: float, largest: float) -> TrainingImages:
    scales = {"scale_min": smallest, "scale_max": largest}
    return replace(data, weak=data.weak.model_copy(update=scales))


def collected(data: TrainingImages, settings: PasteSettings, *, seed: int = 0) -> Bank:
    """The defects of all images, as a training collects them."""
    cutting = Cutting(data, settings, torch.Generator().manual_seed(seed))
    keep(data, memory=0, look=cutting)
    return cutting.pasting(CPU).bank


def test_a_defect_is_cut_with_its_margin() -> None:
    [defect] = cut_defects(*labeled(), margin=2, limit=LIMIT)
    assert defect.value == 2
    assert defect.pixels.shape == (6, 10, 2)
    assert torch.equal(defect.pixels[..., 0], labeled()[0][0, 3:9, 6:16])
    assert defect.mask.sum() == 12
    assert defect.opacity[defect.mask].unique().tolist() == [1.0]
    # a corner is two pixels away: 1 - 2 / 3
    assert defect.opacity[0, 0] == pytest.approx(1 / 3)
    assert defect.opacity[1, 1] == pytest.approx(2 / 3)


def test_a_defect_at_the_border_has_no_margin_there() -> None:
    image, mask = labeled()
    mask[:] = 0
    mask[0, 0] = 1
    [defect] = cut_defects(image, mask, margin=3, limit=LIMIT)
    assert defect.mask.shape == (4, 4)
    assert defect.mask[0, 0]


def test_classes_are_cut_apart_and_nothing_of_another_comes_along() -> None:
    image, mask = labeled()
    mask[4, 8:14] = 1
    mask[7, 8:14] = IGNORE
    first, second = cut_defects(image, mask, margin=2, limit=LIMIT)
    assert (first.value, second.value) == (1, 2)
    # of the second's six rows, the one above it shows the other class, the one below is ignored
    assert second.opacity[1, 2:8].tolist() == [0] * 6
    assert second.opacity[4, 2:8].tolist() == [0] * 6
    assert second.opacity[2:4, 2:8].min() == 1


@pytest.mark.parametrize("limit", [(8, 8), (30, 5), (5, 30), (1, 1)])
def test_of_a_defect_that_reaches_far_a_part_is_cut(limit: tuple[int, int]) -> None:
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    mask[range(30), range(5, 35)] = 1
    mask[29, 5] = 1
    image = torch.arange(30 * 40).view(1, 30, 40).to(torch.uint8)
    [defect] = cut_defects(image, mask, margin=2, limit=limit)
    assert defect.mask.shape == limit
    assert defect.pixels.shape == (*limit, 2)
    assert defect.mask.any()
    assert torch.equal(defect.opacity == 1, defect.mask)


def test_sound_and_ignored_images_have_no_defect() -> None:
    image, mask = labeled()
    assert cut_defects(image, torch.zeros_like(mask), margin=2, limit=LIMIT) == []
    assert cut_defects(image, torch.full_like(mask, IGNORE), margin=2, limit=LIMIT) == []


def test_a_pasted_defect_brings_its_mask_and_its_contrast() -> None:
    images, masks = paste_defects(*batch(50), bank(), ALWAYS, draws(50))
    assert (masks == 2).sum(dim=(1, 2)).tolist() == [12] * 50
    on_defect = images[:, 0][masks == 2]
    # 70 grey levels below its surroundings there, and so here
    torch.testing.assert_close(on_defect, torch.full_like(on_defect, 0.8 - 70 / 255))
    # its surroundings are of one grey: they leave no edge
    outside = images[:, 0][masks == 0]
    torch.testing.assert_close(outside, torch.full_like(outside, 0.8))


def test_places_and_flips_vary_and_stay_inside() -> None:
    image, mask = labeled()
    image[:, 5, 8] = 0  # one corner of the defect is darker
    cut = {2: cut_defects(image, mask, margin=2, limit=LIMIT)}
    images, masks = paste_defects(*batch(200), cut, ALWAYS, draws(200))
    tops = {int(one.nonzero()[0, 0]) for one in masks}
    assert tops == set(range(2, 17)), "the margin needs two rows, too"
    corner = set()
    for image, mask in zip(images[:, 0], masks, strict=True):
        rows, columns = (mask == 2).nonzero().unbind(1)
        dark = (image == image.min()).nonzero()[0]
        corner.add((bool(dark[0] == rows.min()), bool(dark[1] == columns.min())))
    assert len(corner) == 4


def test_the_given_images_stay_as_they_are() -> None:
    images, masks = batch(4)
    before = images.clone(), masks.clone()
    paste_defects(images, masks, bank(), ALWAYS, draws(4))
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_as_many_images_get_one_as_asked(probability: float) -> None:
    settings = ALWAYS.model_copy(update={"probability": probability})
    images, masks = batch(1000)
    found = paste_defects(images, masks, bank(), settings, draws(1000))
    pasted = (found[1] == 2).any(dim=2).any(dim=1)
    assert pasted.float().mean() == pytest.approx(probability, abs=0.05)
    assert torch.equal(found[0][~pasted], images[~pasted])


def test_classes_are_equally_likely_whatever_their_number_of_defects() -> None:
    [one] = bank()[2]
    many = [replace(one, value=1)] * 30
    _, masks = paste_defects(*batch(1000), {1: many, 2: [one]}, ALWAYS, draws(1000))
    assert (masks == 2).any(dim=2).any(dim=1).float().mean() == pytest.approx(0.5, abs=0.05)


def test_without_a_labeled_defect_nothing_is_pasted() -> None:
    images, masks = batch(3)
    found = paste_defects(images, masks, {}, ALWAYS, draws(3))
    assert torch.equal(found[0], images)
    assert torch.equal(found[1], masks)


def test_of_a_defect_larger_than_the_image_a_part_is_pasted() -> None:
    image = torch.full((1, 40, 40), 90, dtype=torch.uint8)
    mask = torch.ones(40, 40, dtype=torch.uint8)
    huge = {1: cut_defects(image, mask, margin=2, limit=LIMIT)}
    images, masks = paste_defects(*batch(3), huge, ALWAYS, draws(3))
    assert (masks == 1).all()
    torch.testing.assert_close(images, torch.full_like(images, 90 / 255))


@pytest.mark.parametrize("channels", [(1, 3), (3, 1)])
def test_grey_and_colour_meet(channels: tuple[int, int]) -> None:
    image, mask = labeled()
    cut = {2: cut_defects(image.expand(channels[0], -1, -1), mask, margin=2, limit=LIMIT)}
    images, masks = batch(2)
    images = images.expand(-1, channels[1], -1, -1)
    found, _ = paste_defects(images, masks, cut, ALWAYS, draws(2))
    assert found.shape == images.shape
    assert not torch.equal(found, images)


def test_a_colour_defect_is_grey_on_a_grey_image_whatever_the_batch_holds() -> None:
    image, mask = labeled()
    coloured = torch.cat([image, image // 2, image // 3])
    cut = {2: cut_defects(coloured, mask, margin=2, limit=LIMIT)}
    images, masks = batch(3)
    images += torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) / 10
    alone, _ = paste_defects(images, masks, cut, ALWAYS, draws(3))
    among_colour, _ = paste_defects(images.expand(-1, 3, -1, -1), masks, cut, ALWAYS, draws(3))
    assert torch.equal(alone.expand(-1, 3, -1, -1), among_colour)
    of_colour = torch.cat([images, images / 2, images / 3], dim=1)
    found, shown = paste_defects(of_colour, masks, cut, ALWAYS, draws(3))
    red, green, _ = (found - of_colour).movedim(1, 0)
    assert (red[shown == 2] < green[shown == 2]).all()


@pytest.mark.parametrize("image", [windows(*SIZE), WHOLE], ids=["windows", "whole"])
def test_nothing_is_pasted_beyond_an_image(make_set: MakeSet, image: ImageSettings) -> None:
    data = of(make_set(["a", "b", "c"], sizes=[(20, 24)] * 3), image, LIVELY)
    images, masks, shown = stream(scaled(data, 0.5, 1), 64).next()
    beyond = torch.ones_like(masks, dtype=torch.bool)
    for one, region in zip(beyond, shown, strict=True):
        one[region] = False
    assert torch.equal(beyond, masks == IGNORE)
    assert len({region[0].start for region in shown}) > 1, "images are flipped"
    found, after = paste_defects(images, masks, bank(), ALWAYS, draws(64), shown=shown)
    assert (after[beyond] == IGNORE).all()
    assert (found[:, 0][beyond] == 0).all()
    assert ((after == 2) & (masks != 2)).flatten(1).any(dim=1).float().mean() > 0.9


def test_defects_come_from_the_masks_of_the_images(make_set: MakeSet) -> None:
    data = of(make_set(["a", "b", "c"]))
    shown = {value for k in range(3) for value in data.read(k)[1].unique().tolist()}
    found = collected(data, ALWAYS)
    assert list(found) == sorted(shown - {0, IGNORE})
    never = ALWAYS.model_copy(update={"probability": 0.0})
    assert collected(data, never) == {}


@pytest.mark.parametrize(("mirrored", "turned"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_a_defect_is_turned_as_often_as_asked(mirrored: float, turned: float) -> None:
    mask = torch.zeros(6, 6, dtype=torch.uint8)
    mask[1:5, 2] = 1
    mask[4, 3] = 1
    cut = {1: cut_defects(mask[None] * 50 + 20, mask, margin=0, limit=LIMIT)}
    settings = ALWAYS.model_copy(
        update={"flip_probability": mirrored, "vertical_flip_probability": turned}
    )
    _, masks = paste_defects(*batch(40), cut, settings, draws(40))
    axes = [axis for axis, flip in ((-1, mirrored), (-2, turned)) if flip]
    shape = cut[1][0].mask.flip(axes)
    for found in masks.bool():
        rows, columns = torch.nonzero(found, as_tuple=True)
        box = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert torch.equal(box, shape)


def test_a_defect_that_a_margin_hides_is_no_longer_known() -> None:
    images, masks = batch(200)
    masks[:, ::4] = 1
    found, shown = paste_defects(images, masks.clone(), bank(), ALWAYS, draws(200))
    # a level of 0.8 is far from the scratch's 30 and near its surroundings, shifted to it
    pasted = shown == 2
    hidden = (shown == IGNORE) & ~pasted
    assert hidden.any()
    assert (masks[hidden] == 1).all(), "background is background whatever lies on it"
    near = torch.nn.functional.max_pool2d(pasted[:, None].float(), 3, 1, 1)[:, 0].bool() & ~pasted
    assert torch.equal(hidden, near & (masks == 1))
    assert found.shape == images.shape


def test_of_a_class_no_more_are_kept_than_asked(make_set: MakeSet) -> None:
    data = of(make_set([f"{k}" for k in range(6)]))
    few = ALWAYS.model_copy(update={"per_class": 2})
    assert {len(defects) for defects in collected(data, few).values()} == {2}


@pytest.mark.parametrize("per_class", [1, 3, 100])
@pytest.mark.parametrize("scales", [(1, 1), (0.5, 2), (1.5, 2)])
@pytest.mark.parametrize("image", [WHOLE, windows(*SIZE)], ids=["whole", "windows"])
def test_images_in_any_order_give_the_defects_of_those_drawn_first(
    make_set: MakeSet, image: ImageSettings, scales: tuple[float, float], per_class: int
) -> None:
    """As one that decodes them in the order that is drawn, one by one, until it has enough."""
    data = scaled(of(make_set([f"{k}" for k in range(9)], sizes=[(70, 90)] * 9), image), *scales)
    settings = ALWAYS.model_copy(update={"per_class": per_class})
    twin = torch.Generator().manual_seed(3)
    expected: dict[int, list[Defect]] = {}
    for index in torch.randperm(len(data), generator=twin).tolist():
        entry = data.find(index)[1]
        size = image.at_scale((entry.height, entry.width), max(1.0, scales[0]))
        pixels = resize_image(data.parts[0].images.image(entry), size)
        mask = resize_mask(data.parts[0].read_mask(entry), size)
        for defect in cut_defects(pixels, mask, margin=2, limit=image.size):
            if len(expected.setdefault(defect.value, [])) < per_class:
                expected[defect.value].append(defect)
    found = collected(data, settings, seed=3)
    assert list(found) == sorted(expected)
    for value, defects in found.items():
        for one, other in zip(defects, expected[value], strict=True):
            assert torch.equal(one.pixels, other.pixels)


def test_what_is_pasted_is_drawn_after_the_order_of_images(make_set: MakeSet) -> None:
    data, twin = of(make_set(["a", "b", "c"])), torch.Generator().manual_seed(3)
    cutting = Cutting(data, ALWAYS, torch.Generator().manual_seed(3))
    torch.randperm(3, generator=twin)
    assert torch.equal(cutting.pasting(CPU).draw(4), torch.rand(4, DRAWS, generator=twin))


@pytest.mark.parametrize(
    ("views", "size"),
    [((1, 1), (12, 32)), ((0.5, 2), (12, 32)), ((2, 3), (20, 40)), ((0.2, 0.5), (8, 17))],
)
@pytest.mark.parametrize("image", [WHOLE, windows(*SIZE)], ids=["whole", "windows"])
def test_defects_are_as_large_as_in_the_views_nearest_to_scale_1(
    make_set: MakeSet, views: tuple[float, float], size: tuple[int, int], image: ImageSettings
) -> None:
    """Of 8 x 30 pixels, with a margin of 2 but at the right border, and no larger than a view."""
    data = scaled(of(make_set(["a", "b", "c"], sizes=[SIZE] * 3), image), *views)
    found = collected(data, ALWAYS)
    assert {defect.mask.shape for defects in found.values() for defect in defects} == {size}
