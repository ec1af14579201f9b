"""What takes fewer operators than an older, plainer version gives what that one gives."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from ppl.images.pictures import IGNORE
from ppl.network.network import SegmentationNetwork
from ppl.training import strong_augment as module
from ppl.training.optimizer import OptimizerSettings, new_sgd
from ppl.training.paste import DRAWS, PAPER, Bank, Defect, cut_defects, paste_defects
from ppl.training.strong_augment import StrongDraws, draw_strong, gaussian_blur, strong_augment
from tests.training.operators import calls


def slow_changed(image: Tensor, chosen: list[int], change: Any, factors: list[float]) -> Tensor:
    if not chosen:
        return image
    by, which = torch.tensor(factors).view(-1, 1, 1, 1), torch.tensor(chosen)
    return image.index_copy(0, which, change(image[which], by))


def slow_strong(image: Tensor, draws: Sequence[StrongDraws]) -> Tensor:
    """With indices and factors for every change, and put back by the indices."""
    colour = image.shape[1] == 3
    for turn in range(4):
        for number, (name, change) in enumerate(module._JITTER.items()):
            if colour or name in ("brightness", "contrast"):
                chosen = [k for k, d in enumerate(draws) if d.jitter and d.order[turn] == number]
                factors = [getattr(draws[k], name) for k in chosen]
                image = slow_changed(image, chosen, change, factors)
    if colour:
        gray = [k for k, d in enumerate(draws) if d.gray]
        turned = module._gray
        image = slow_changed(image, gray, lambda x, _: turned(x).expand_as(x), [0.0] * len(gray))
    blurred = [k for k, d in enumerate(draws) if d.sigma > 0]
    sigmas = torch.tensor([draws[k].sigma for k in blurred])
    blur = slow_changed(image, blurred, lambda x, _: gaussian_blur(x, sigmas), [0.0] * len(blurred))
    return blur.clamp(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("size", [(2, 2), (5, 64), (33, 17)])
def test_a_strong_view_is_to_the_bit_the_one_by_indices(
    channels: int, count: int, size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, channels, *size, generator=generator)
    for settings in (module.PAPER, module.PAPER.model_copy(update={"jitter_probability": 1.0})):
        for _ in range(8):
            draws = draw_strong(count, settings, generator)
            before = images.clone()
            assert torch.equal(strong_augment(images, draws), slow_strong(images, draws))
            assert torch.equal(images, before), "the given images are changed"
            # one grey level for all channels, as grey images are joined with coloured ones
            wide = images[:, :1].expand(-1, 3, -1, -1)
            assert torch.equal(strong_augment(wide, draws), slow_strong(wide, draws))


def test_a_strong_view_moves_its_factors_once_and_puts_nothing_back_by_indices() -> None:
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    always = module.PAPER.model_copy(update={"jitter_probability": 1.0, "blur_probability": 0.0})
    draws = draw_strong(8, always, torch.Generator().manual_seed(0))
    slow = calls(lambda: slow_strong(images, draws))
    assert slow.count("index_copy") >= 12
    with patch("torch.tensor", wraps=torch.tensor) as made:
        found = calls(lambda: strong_augment(images, draws))
    assert not {"index", "index_copy", "index_put_", "_index_put_impl_"} & {*found}
    # of the factors, and of the blurs, which stay on the CPU
    assert [len(call.args[0]) for call in made.call_args_list] == [8 * 4, 0]
    assert not any(call.kwargs for call in made.call_args_list)


def slow_paste(
    image: Tensor,
    mask: Tensor,
    defect: Defect,
    place: tuple[float, float],
    flips: tuple[bool, bool],
) -> None:
    """A defect into an image, each of its parts by itself."""
    axes = [axis for axis, flip in zip((-1, -2), flips, strict=True) if flip]
    ranges = []
    for own, whole, draw in zip(defect.mask.shape, mask.shape, place, strict=True):
        length = min(own, whole)
        ranges.append((int(draw * (own - length + 1)), int(draw * (whole - length + 1)), length))
    (from_y, y, height), (from_x, x, width) = ranges
    cut = (slice(from_y, from_y + height), slice(from_x, from_x + width))
    target = (slice(y, y + height), slice(x, x + width))
    pasted, shape, opacity = (
        tensor[(..., *cut)].flip(axes)
        for tensor in (defect.pixels[..., :-1].permute(2, 0, 1), defect.mask, defect.opacity)
    )
    pasted = pasted.float() / 255
    if len(pasted) > 1:
        grey = (image == image[:1]).all()
        mean = pasted.mean(dim=0, keepdim=True)
        pasted = torch.where(grey, mean, pasted) if len(image) > 1 else mean
    there = image[(slice(None), *target)]
    around = ((opacity > 0) & ~shape).float()
    shift = ((there - pasted) * around).sum(dim=(1, 2)) / around.sum().clamp(min=1)
    pasted = (pasted + shift[:, None, None]).clamp(0, 1)
    there.lerp_(pasted, opacity.expand_as(there))
    mask[target].masked_fill_((opacity >= 0.5) & (mask[target] != 0), IGNORE)
    mask[target].masked_fill_(shape, defect.value)


ALWAYS = PAPER.model_copy(update={"probability": 1.0})


def slow_pasted(images: Tensor, masks: Tensor, bank: Bank, draws: Tensor) -> tuple[Tensor, Tensor]:
    images, masks = images.clone(), masks.clone()
    classes = list(bank)
    for position, (_, of_class, which, top, left, mirror, turn) in enumerate(draws.tolist()):
        defects = bank[classes[int(of_class * len(classes))]]
        flips = mirror < ALWAYS.flip_probability, turn < ALWAYS.vertical_flip_probability
        defect = defects[int(which * len(defects))]
        slow_paste(images[position], masks[position], defect, (top, left), flips)
    return images, masks


def bank(margin: int, channels: int) -> Bank:
    """Defects of two classes beside each other and beside what nobody labeled; one is long."""
    draws = torch.Generator().manual_seed(margin)
    found: dict[int, list[Defect]] = {1: [], 2: []}
    for number in range(4):
        shape = (channels, 40, 60)
        image = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
        mask = torch.zeros(shape[1:], dtype=torch.uint8)
        mask[5 + number : 12, 3:30] = 1
        mask[10:14, 20 : 25 + 10 * number] = 2
        mask[3, 4:9] = IGNORE
        for defect in cut_defects(image, mask, margin=margin, limit=(30, 64)):
            found[defect.value].append(defect)
    return found


@pytest.mark.parametrize("margin", [0, 1, 3, 9])
@pytest.mark.parametrize(("channels", "of_defect"), [(1, 1), (3, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize("size", [(40, 50), (9, 11)])
def test_defects_are_pasted_together_as_one_by_one(
    margin: int, channels: int, of_defect: int, size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, channels, *size, generator=generator)
    # some are grey, in three channels
    images[::3] = images[::3, :1]
    masks = torch.randint(0, 3, (24, *size), generator=generator)
    masks[:, :2] = IGNORE
    draws, defects = torch.rand(24, DRAWS, generator=generator), bank(margin, of_defect)
    stored = [x.pixels.clone() for d in defects.values() for x in d]
    found = paste_defects(images, masks, defects, ALWAYS, draws)
    expected = slow_pasted(images, masks, defects, draws)
    # a sum over an image takes its pixels in another order than one over a part of it
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=2e-6)
    assert torch.equal(found[1], expected[1])
    assert not torch.equal(found[1], masks)
    kept = [x.pixels for d in defects.values() for x in d]
    assert all(map(torch.equal, stored, kept)), "what is pasted is changed"


@pytest.mark.parametrize(("channels", "of_defect", "most"), [(1, 1, 34), (3, 1, 34), (3, 3, 38)])
def test_pasting_takes_as_many_operators_whatever_the_batch(
    channels: int, of_defect: int, most: int
) -> None:
    defects = bank(3, of_defect)

    def count(batch: int) -> int:
        images = torch.rand(batch, channels, 40, 50)
        masks = torch.zeros(batch, 40, 50, dtype=torch.int64)
        draws = torch.rand(batch, DRAWS, generator=torch.Generator().manual_seed(0))
        return len(calls(lambda: paste_defects(images, masks, defects, ALWAYS, draws)))

    assert count(1) == count(4) == count(16) <= most


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_coloured_defects_are_pasted_as_if_each_were_alone(channels: int) -> None:
    both = {1: bank(2, 3)[1], 2: bank(2, 1)[2]}
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(24, channels, 40, 50, generator=generator)
    images[::3] = images[::3, :1]
    masks = torch.zeros(24, 40, 50, dtype=torch.int64)
    draws = torch.rand(24, DRAWS, generator=generator)
    found = paste_defects(images, masks, both, ALWAYS, draws)
    expected = slow_pasted(images, masks, both, draws)
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=2e-6)
    assert torch.equal(found[1], expected[1])
    assert set(found[1].unique().tolist()) == {0, 1, 2}
    for k in range(24):
        one = slice(k, k + 1)
        alone = paste_defects(images[one], masks[one], both, ALWAYS, draws[one])
        assert torch.equal(alone[0], found[0][one])
        assert torch.equal(alone[1], found[1][one])


def test_only_a_gpu_steps_all_parameters_at_once(
    network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OptimizerSettings(
        encoder_lr=0.01, decoder_lr_multiple=2.0, momentum=0.9, weight_decay=1e-4, poly_power=0.9
    )
    assert [group["fused"] for group in new_sgd([network], settings).param_groups] == [None, None]

    class OnGpu(nn.Parameter):
        """A parameter that says it is there, as fused steps ask it."""

        device = torch.device("cuda", 0)

    real = network.parameters
    of_gpu = [OnGpu(of.detach()) for of in real()]
    monkeypatch.setattr(network, "parameters", lambda: iter(of_gpu))
    asked = {}
    monkeypatch.setattr(torch.optim, "SGD", lambda groups, **given: asked.update(given))
    new_sgd([network], settings)
    assert asked["fused"] is True
