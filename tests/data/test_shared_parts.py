"""Shared parts: halves and quarters are found in every orientation, and strangers are not."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from ppl.data.near_duplicates import oriented
from ppl.data.shared_parts import (
    CANVAS,
    NAMES,
    REGIONS,
    Looks,
    SharedParts,
    canvas,
    looks,
    shared_parts,
)
from tests.data.test_near_duplicates import photo_again, texture, thumbnails

SIDE = 120


def tile(seed: int) -> Tensor:
    """(3, 120, 120) uint8: blobs and grain, as of a machined surface."""
    draws = torch.Generator().manual_seed(1_000 + seed)
    grain = 6 * torch.randn((1, SIDE, SIDE), generator=draws)
    return (texture(seed, SIDE, SIDE) * 0.8 + grain + 20).clamp(0, 255).byte()


def joined(left: Tensor, right: Tensor) -> Tensor:
    """The left half of one image and the right half of another."""
    half = left.shape[2] // 2
    return torch.cat([left[:, :, :half], right[:, :, half:]], dim=2)


def seen(*images: Tensor) -> Looks:
    return Looks(
        thumbnails(*images).half(),
        torch.stack([canvas(image) for image in images]),
        torch.tensor([image.shape[1] / image.shape[2] for image in images]),
    )


def rows(found: SharedParts) -> list[tuple[int, int, str, str, int]]:
    named = [[NAMES[number] for number in each.tolist()] for each in regions(found)]
    pairs = found.one.tolist(), found.other.tolist()
    return list(zip(*pairs, *named, found.orientation.tolist(), strict=True))


def regions(found: SharedParts) -> tuple[Tensor, Tensor]:
    return found.region, found.other_region


def as_jpeg(image: Tensor, file: Path) -> Path:
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, quality=75)
    return file


@pytest.mark.parametrize("orientation", range(8))
@pytest.mark.parametrize("across", [False, True])
def test_a_half_is_found_in_every_orientation(
    tmp_path: Path, orientation: int, across: bool
) -> None:
    """A picture joined of two others, side by side or one below the other, turned, saved again."""
    originals = [tile(seed) for seed in range(12)]
    picture = joined(originals[3].mT, originals[7].mT).mT if across else joined(*originals[3:8:4])
    images = [*originals, oriented(picture, orientation)]
    files = [as_jpeg(image, tmp_path / f"{n:02d}.jpg") for n, image in enumerate(images)]
    look = looks(files)
    found = shared_parts(look, threshold=0.9)
    assert found.one.tolist() == [3, 7]
    assert found.other.tolist() == [12, 12]
    halves = ("top half", "bottom half") if across else ("left half", "right half")
    assert [NAMES[number] for number in found.region.tolist()] == list(halves)
    # the part of the joined picture, turned as it is said to be, is that of the original
    for row, half in enumerate(halves):
        where = torch.zeros((CANVAS, CANVAS), dtype=torch.bool)
        where[REGIONS[half]] = True
        there = torch.zeros((CANVAS, CANVAS), dtype=torch.bool)
        there[REGIONS[NAMES[found.other_region[row]]]] = True
        assert torch.equal(oriented(where, orientation), there)
        assert torch.equal(oriented(there, int(found.orientation[row])), where)


def test_quarters_and_enlarged_quarters_are_found() -> None:
    one, other, large = tile(1), tile(2), tile(3)
    other = other.clone()
    other[:, 60:, :60] = oriented(one[:, :60, 60:], 5)
    enlarged = large[:, :60, :60].repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    found = rows(shared_parts(seen(one, other, large, enlarged), threshold=0.85))
    assert found == [
        (0, 1, "top right quarter", "bottom left quarter", 5),
        (2, 3, "top left quarter", "whole", 0),
    ]


def test_twins_as_a_whole_and_strangers_share_no_part() -> None:
    strangers = [tile(seed) for seed in range(40)]
    assert rows(shared_parts(seen(*strangers), threshold=0.9)) == []
    twin = oriented(photo_again(strangers[0], 1), 6)
    assert rows(shared_parts(seen(*strangers, twin), threshold=0.8)) == []


def test_where_all_images_look_alike_no_pair_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scene with noise: looking at every pair would take the square of their number."""
    looked_at = []

    def counted(thumbnails: Tensor, ones: Tensor, others: Tensor, threshold: float) -> Tensor:
        looked_at.append(len(ones))
        return torch.zeros(len(ones), dtype=torch.bool)

    monkeypatch.setattr("ppl.data.shared_parts._alike", counted)
    scene = tile(1)
    shared_parts(seen(*(photo_again(scene, seed) for seed in range(80))), threshold=0.9)
    assert looked_at == [0]


def test_a_part_without_contrast_tells_nothing() -> None:
    flat = [tile(seed) for seed in range(4)]
    for image in flat:
        image[:, :, 60:] = 90
    assert rows(shared_parts(seen(*flat), threshold=0.5)) == []
    assert (
        len(shared_parts(seen(torch.full((3, 9, 9), 7, dtype=torch.uint8)), threshold=0.5).one) == 0
    )
    nothing = Looks(torch.empty(0, 48, 48), torch.empty(0, 96, 96), torch.empty(0))
    assert len(shared_parts(nothing, threshold=0.5).one) == 0


def test_a_part_of_another_shape_is_another_part() -> None:
    """A half squeezed to a quarter's shape is none: nobody joins pictures like that."""
    one = tile(1)
    squeezed = torch.nn.functional.interpolate(
        one[None, :, :, :60].float(), (60, 60), mode="bilinear", antialias=True
    )[0]
    other = tile(2).clone()
    other[:, :60, :60] = squeezed.byte()
    assert rows(shared_parts(seen(one, other), threshold=0.8)) == []


def test_among_many_nearly_all_halves_are_found() -> None:
    """Several leaves: the forest finds what a search of all pairs would."""
    originals = [tile(seed) for seed in range(300)]
    pictures = [oriented(joined(originals[n], originals[-1 - n]), n % 8) for n in range(0, 100, 2)]
    found = shared_parts(seen(*originals, *pictures), threshold=0.9)
    pairs = set(zip(found.one.tolist(), found.other.tolist(), strict=True))
    made = {(m, 300 + n // 2) for n in range(0, 100, 2) for m in (n, 299 - n)}
    assert len(made & pairs) >= math.ceil(0.98 * len(made))
    assert len(pairs - made) == 0
    again = shared_parts(seen(*originals, *pictures), threshold=0.9)
    assert rows(again) == rows(found)
