"""A half of a batch: what its stream gives, labeled anew where asked, then defects pasted in."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ppl.core.seeds import Draws
from ppl.training.decoded import keep
from ppl.training.half import Half
from ppl.training.machine import GIB
from ppl.training.paste import PAPER as NOTHING_PASTED
from ppl.training.paste import Defect, Pasting
from ppl.training.stream import BatchStream
from ppl.training.weak_augment import WeakAugmentSettings
from tests.training.test_stream import STILL, numbered

CPU = torch.device("cpu")
WEAK = WeakAugmentSettings(
    scale_min=0.8, scale_max=1.25, flip_probability=0.5, vertical_flip_probability=0.5
)
WHITE = torch.tensor([255, 1], dtype=torch.uint8).expand(3, 3, 2)
BANK = {2: [Defect(2, WHITE, margin=0)]}


def half(draws: Draws, *, probability: float = 0.7, positions: list[int] | None = None) -> Half:
    settings = NOTHING_PASTED.model_copy(update={"probability": probability})
    pasting = Pasting(settings, BANK, draws("paste"))
    data = keep(numbered(5, 0, WEAK, classes=3))
    return Half(
        data, 4, pasting, draws, positions=range(4) if positions is None else positions, device=CPU
    )


def nothing(images: Tensor, masks: Tensor) -> Tensor:
    return torch.full_like(masks, 255)


def test_it_gives_what_its_stream_gives_with_defects_pasted() -> None:
    found, twin = half(Draws(0, "teacher")), Draws(0, "teacher")
    settings = NOTHING_PASTED.model_copy(update={"probability": 0.7})
    pasting = Pasting(settings, BANK, twin("paste"))
    data = keep(numbered(5, 0, WEAK, classes=3))
    stream = BatchStream(data, 4, order=twin("order"), augment=twin("weak"), device=CPU)
    for _ in range(3):
        expected = pasting(stream.next(), pasting.draw(4))
        for mine, other in zip(found.next(), expected, strict=True):
            assert torch.equal(mine, other)


def test_masks_are_made_anew_before_defects_are_pasted() -> None:
    _, masks = half(Draws(0, "teacher"), probability=1.0).next(nothing)
    assert set(masks.unique().tolist()) == {2, 255}
    _, masks = half(Draws(0, "teacher"), probability=0.0).next(nothing)
    assert set(masks.unique().tolist()) == {255}


@pytest.mark.parametrize("positions", [[0, 1], [2, 3], [3, 0], []])
def test_a_process_sees_its_own_images_and_draws_for_all(positions: list[int]) -> None:
    whole, part = half(Draws(0, "s")), half(Draws(0, "s"), positions=positions)
    for _ in range(3):
        for all_of, own in zip(whole.next(), part.next(), strict=True):
            assert torch.equal(all_of[positions], own)


def test_images_are_shown_as_often_and_kept_as_far_as_asked() -> None:
    def asked(memory: int = GIB, **options: Any) -> Half:
        draws = Draws(0, "s")
        pasting = Pasting(NOTHING_PASTED, {}, draws("paste"))
        data = keep(numbered(2, 0, STILL, classes=3), memory=memory)
        return Half(data, 8, pasting, draws, positions=range(8), device=CPU, **options)

    masks = asked(repeats=[3.0, 1.0]).next()[1]
    assert sorted(torch.unique(masks[:, 0, 0], return_counts=True)[1].tolist()) == [2, 6]
    assert asked()._stream.bytes_kept > asked(memory=1)._stream.bytes_kept == 0


def test_a_half_goes_on_where_another_stood_with_its_owners_draws() -> None:
    draws, others = Draws(0, "s"), Draws(1, "s")
    first, second = half(draws), half(others)
    for _ in range(3):
        first.next()
    second.load_state_dict(first.state_dict())
    others.load_state_dict(draws.state_dict())
    for mine, other in zip(first.next(), second.next(), strict=True):
        assert torch.equal(mine, other)
