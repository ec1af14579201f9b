"""Images that share a part: a half or a quarter of one is in another, also turned or mirrored.

Some sets hold pictures that were joined from strips: the left half of one photo and the right half
of another. As a whole two of these look like nothing else, and half of each is known all the same.

Nine regions of an image are compared with those of all others: the whole, four halves, four
quarters; the whole of one with the whole of another is not, `near_duplicates` does that. A region
is a thumbnail of 48 x 48 as there, but less a Gaussian blur of sigma 2 instead of 6: what is left
is fine texture, which two photos have in common where pixels were copied, and hardly ever else. The
similarity is the correlation of two, in the orientation in which their coarse forms agree best.

Comparing all with all would take 81 products a pair of images. A forest finds candidates instead:
each tree splits all regions at the median of a random projection, again and again, until a leaf
holds 64, and only those in one leaf are compared. What is projected are the magnitudes of the
lowest 16 x 16 frequencies (discrete cosine transform), which no turn and no mirroring changes, so
that a region falls into the same leaf in all orientations. The time grows with N log N, the memory
by 15 KB an image. A pair may be missed: docs/scores.md says how many are.

Not found: parts at other places than halves and quarters, say the middle; parts scaled otherwise
along one side; parts with less contrast than `_CONTRAST`, since noise would decide there.

Axes: N images, R regions of all, L leaves, S regions in a leaf.
"""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ppl.core.progress import bar
from ppl.core.seeds import generator
from ppl.data.near_duplicates import ORIENTATIONS, SIDE, Pairs, oriented, thumbnail
from ppl.images.files import read_image
from ppl.images.room import in_room

CANVAS = 2 * SIDE
"""Pixels of a side of the picture that regions are cut from."""

_FIRST, _LAST, _ALL = slice(0, SIDE), slice(SIDE, CANVAS), slice(0, CANVAS)

REGIONS = {
    "whole": (_ALL, _ALL),
    "left half": (_ALL, _FIRST),
    "right half": (_ALL, _LAST),
    "top half": (_FIRST, _ALL),
    "bottom half": (_LAST, _ALL),
    "top left quarter": (_FIRST, _FIRST),
    "top right quarter": (_FIRST, _LAST),
    "bottom left quarter": (_LAST, _FIRST),
    "bottom right quarter": (_LAST, _LAST),
}
"""Rows and columns of the canvas, the largest regions first."""

NAMES = tuple(REGIONS)

_COARSE_SIGMA, _FINE_SIGMA = 6.0, 2.0
_CONTRAST = 1.0
"""Grey levels: root mean square of the finest thumbnail from which a region shows something."""

_FREQUENCIES = 16
_TREES = 16
_LEAF = 64
_KEPT = 8
"""Candidates of a region in a leaf, the most similar by their coarse form."""
_COARSE_SLACK = 0.1
_ASPECT = 1.25
"""Heights over widths of two regions may differ by this factor."""
_SAMPLE = 20_000
_CHUNK = 2048
_THREADS = 8
_DIGITS = 6


@dataclass(frozen=True)
class Looks:
    """How images look, for `near_duplicates` and for `shared_parts`."""

    thumbnails: Tensor
    """(N, 48, 48) float16, as `near_duplicates.describe` makes them."""
    canvases: Tensor
    """(N, 96, 96) uint8: grey."""
    aspects: Tensor
    """(N,) float32: height over width."""


@dataclass(frozen=True)
class SharedParts(Pairs):
    """Pairs of images: `other_region` of `other`, turned by `orientation`, is `region` of `one`.

    Each pair of images once, `one` before `other`. Regions are (P,) int64 numbers in `NAMES`.
    """

    region: Tensor
    other_region: Tensor


@dataclass(frozen=True)
class _Regions:
    """All regions that show something; (R,) each but for the codes."""

    codes: Tensor
    """(R, 16, 16) float16 of norm 1: the coarse forms."""
    wholes: Tensor
    """(N, 16, 16) likewise of the whole images; 0 where these show nothing."""
    image: Tensor
    number: Tensor
    stretch: Tensor
    """Logarithm of height over width."""


def looks(files: Iterable[Path]) -> Looks:
    """How image files look, in order. Each is decoded once."""
    listed = list(files)
    thumbnails = torch.empty((len(listed), SIDE, SIDE), dtype=torch.float16)
    canvases = torch.empty((len(listed), CANVAS, CANVAS), dtype=torch.uint8)
    aspects = torch.empty(len(listed))
    with ThreadPoolExecutor(_THREADS) as pool:
        images = pool.map(lambda file: in_room(partial(_look, file), file), listed)
        described = bar(images, total=len(listed), desc="comparing images", unit="image")
        for index, (small, large, aspect) in enumerate(described):
            thumbnails[index], canvases[index], aspects[index] = small, large, aspect
    return Looks(thumbnails, canvases, aspects)


def _look(file: Path) -> tuple[Tensor, Tensor, float]:
    image = read_image(file)
    return thumbnail(image), canvas(image), image.shape[1] / image.shape[2]


def canvas(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> (96, 96) uint8: grey."""
    grey = image.float().mean(dim=0, keepdim=True)[None]
    small = F.interpolate(grey, (CANVAS, CANVAS), mode="bilinear", antialias=True)
    return small[0, 0].round().clamp(0, 255).to(torch.uint8)


def shared_parts(seen: Looks, *, threshold: float) -> SharedParts:
    """Pairs of images that share a part of a similarity of at least `threshold` (0-1).

    Of two that share several the largest is given, then the most similar. Left out are images
    whose thumbnails are as similar as that: these look alike as a whole.
    """
    regions = _regions(seen)
    # as one number each: what is found in several trees is kept once
    found: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    base = max(1, len(regions.image))
    for tree in range(_TREES if base > 1 else 0):
        # sorted once a tree: at every chunk it would cost the square of what is found
        keys = [found]
        for leaves in torch.split(_leaves(regions, tree), _CHUNK // _LEAF):
            ones, others, ways = _candidates(regions, leaves, threshold)
            keys.append(((ones * base + others) * ORIENTATIONS + ways).numpy())
        found = np.unique(np.concatenate(keys))
    pairs = torch.from_numpy(found)
    ones, others = pairs // ORIENTATIONS // base, pairs // ORIENTATIONS % base
    ways = pairs % ORIENTATIONS
    return _verified(seen, regions, torch.stack([ones, others, ways], dim=1), threshold)


def _cut(canvases: Tensor, number: int) -> Tensor:
    """Region `number` of (B, 96, 96) canvases, squeezed to (B, 48, 48) float32."""
    rows, columns = REGIONS[NAMES[number]]
    cut = canvases[:, rows, columns]
    height, width = cut.shape[1] // SIDE, cut.shape[2] // SIDE
    starts = [(row, column) for row in range(height) for column in range(width)]
    pixels = [cut[:, row::height, column::width].float() for row, column in starts]
    return torch.stack(pixels).mean(dim=0)


def _cosines(side: int, count: int) -> Tensor:
    """(count, side): the lowest frequencies of the orthonormal discrete cosine transform."""
    at = (torch.arange(side) + 0.5) * math.pi / side
    basis = torch.cos(torch.arange(count)[:, None] * at) * math.sqrt(2 / side)
    basis[0] /= math.sqrt(2)
    return basis


def _passed(sigma: float, count: int) -> Tensor:
    """(count, count): what is left of each frequency of a thumbnail less its Gaussian blur."""
    squares = (torch.arange(count) * math.pi / SIDE) ** 2
    return 1 - torch.exp(-(sigma**2) / 2 * (squares[:, None] + squares))


def _without_blur(thumbnails: Tensor, sigma: float, count: int) -> Tensor:
    """(..., 48, 48) -> (..., count, count): less its blur, of the lowest frequencies alone."""
    analysis, synthesis = _cosines(SIDE, count), _cosines(count, count)
    frequencies = analysis @ thumbnails @ analysis.T * _passed(sigma, count)
    return synthesis.T @ frequencies @ synthesis


def _fine(thumbnails: Tensor) -> Tensor:
    return _without_blur(thumbnails, _FINE_SIGMA, SIDE)


def _regions(seen: Looks) -> _Regions:
    """The regions of all images that have some contrast."""
    codes, images, numbers = [], [], []
    wholes = torch.zeros((len(seen.canvases), _FREQUENCIES, _FREQUENCIES), dtype=torch.float16)
    for start in range(0, len(seen.canvases), _CHUNK):
        chunk = seen.canvases[start : start + _CHUNK]
        for number in range(len(REGIONS)):
            cut = _cut(chunk, number)
            contrast = _fine(cut).square().mean(dim=(1, 2)).sqrt()
            [shows] = torch.nonzero(contrast >= _CONTRAST, as_tuple=True)
            coarse = _without_blur(cut[shows], _COARSE_SIGMA, _FREQUENCIES)
            codes.append(F.normalize(coarse.flatten(1)).view_as(coarse).half())
            images.append(shows + start)
            numbers.append(torch.full_like(shows, number))
    if not codes:
        nothing = torch.empty(0, dtype=torch.int64)
        return _Regions(wholes, wholes, nothing, nothing, nothing)
    code, image, region = torch.cat(codes), torch.cat(images), torch.cat(numbers)
    wholes[image[region == 0]] = code[region == 0]
    # height over width, of those of the whole
    own = torch.tensor([1, 2, 2, 0.5, 0.5, 1, 1, 1, 1])
    return _Regions(code, wholes, image, region, (seen.aspects[image] * own[region]).log())


def _magnitudes(codes: Tensor) -> Tensor:
    """(R, 16, 16) -> (R, 256): what no orientation changes of the frequencies."""
    analysis = _cosines(_FREQUENCIES, _FREQUENCIES)
    size = (analysis @ codes.float() @ analysis.T).abs()
    turned = size.transpose(1, 2)
    # turning by a quarter swaps rows and columns: the mean and the difference of both stay
    both = torch.triu(size + turned) + torch.tril((size - turned).abs(), diagonal=-1)
    return both.flatten(1)


def _leaves(regions: _Regions, tree: int) -> Tensor:
    """(L, S) numbers of regions: each in one leaf, those that fill up the last in two."""
    count = len(regions.image)
    depth = max(0, math.ceil(math.log2(count / _LEAF)))
    draws = generator(0, "shared_parts", str(tree))
    directions = torch.randn((_FREQUENCIES**2, depth), generator=draws)
    sample = _magnitudes(regions.codes[:: 1 + count // _SAMPLE])
    # all frequencies count alike, or the lowest would decide alone
    directions /= sample.std(dim=0).clamp(min=1e-3)[:, None]
    projected = torch.cat(
        [_magnitudes(some) @ directions for some in torch.split(regions.codes, _CHUNK)]
    )
    # so that hardly any rounding of sums changes an order
    projected = projected.double().round(decimals=_DIGITS - 2)
    size = -(-count // 2**depth)
    order = torch.arange(size * 2**depth) % count
    for level in range(depth):
        nodes = order.view(2**level, -1)
        inner = projected[:, level][nodes].argsort(dim=1, stable=True)
        order = nodes.gather(1, inner).flatten()
    return order.view(2**depth, -1)


def _candidates(
    regions: _Regions, leaves: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(P,) each: two regions of a leaf, the first image first, and the second's orientation.

    Their coarse forms correlate in it, nearly by `threshold`, and their shapes allow it. Where
    images are surely alike as a whole none is looked at: of a set in which all are, all pairs
    would be.
    """
    image, number, stretch = (
        each[leaves] for each in (regions.image, regions.number, regions.stretch)
    )
    codes, wholes = regions.codes[leaves].float(), regions.wholes[image].float()
    other = image[:, :, None] < image[:, None]
    other &= (number[:, :, None] > 0) | (number[:, None] > 0)
    best = torch.full(other.shape, -1.0)
    orientation = torch.zeros(other.shape, dtype=torch.int64)
    for way in range(ORIENTATIONS):
        turned = stretch if way % 2 == 0 else -stretch
        fits = (stretch[:, :, None] - turned[:, None]).abs() <= math.log(_ASPECT)
        product = _products(codes, way)
        better = fits & (product > best)
        best = product.where(better, best)
        orientation.masked_fill_(better, way)
        other &= _products(wholes, way) < 1 - (1 - threshold) / 4
    values, places = best.where(other, -1).topk(min(_KEPT, best.shape[2]), dim=2)
    leaf, first, kept = (values >= threshold - _COARSE_SLACK).nonzero().unbind(dim=1)
    second = places[leaf, first, kept]
    return leaves[leaf, first], leaves[leaf, second], orientation[leaf, first, second]


def _products(codes: Tensor, way: int) -> Tensor:
    """(L, S, 16, 16) -> (L, S, S): of each with each in orientation `way`."""
    return codes.flatten(2) @ oriented(codes, way).flatten(2).transpose(1, 2)


def _verified(seen: Looks, regions: _Regions, pairs: Tensor, threshold: float) -> SharedParts:
    """The pairs of (P, 3) `pairs` that are as similar as that in fine texture, one of two images.

    Images that are as similar as that as a whole are left out.
    """
    images = max(1, len(seen.canvases))
    two, place = _distinct(regions.image[pairs[:, 0]] * images + regions.image[pairs[:, 1]])
    pairs = pairs[~_alike(seen.thumbnails, two // images, two % images, threshold)[place]]
    similarity = torch.cat(
        [_similarity(seen, regions, *some.unbind(dim=1)) for some in torch.split(pairs, _CHUNK)]
    )
    enough = similarity >= threshold
    pairs, similarity = pairs[enough], similarity[enough]
    one, other = regions.image[pairs[:, :2]].unbind(dim=1)
    region, other_region = regions.number[pairs[:, :2]].unbind(dim=1)
    quarter = region.maximum(other_region) >= NAMES.index("top left quarter")
    keys = (pairs[:, 2], other_region, region, -similarity, quarter, other, one)
    order = torch.from_numpy(np.lexsort([key.numpy() for key in keys]))
    one, other = one[order], other[order]
    new = torch.ones(len(order), dtype=torch.bool)
    new[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    kept = order[new]
    return SharedParts(
        one[new], other[new], similarity[kept], pairs[kept, 2], region[kept], other_region[kept]
    )


def _similarity(
    seen: Looks, regions: _Regions, ones: Tensor, others: Tensor, orientations: Tensor
) -> Tensor:
    """(P,) float64: how similar pairs of regions are in fine texture, in one orientation each."""
    which, place = _distinct(torch.cat([ones, others]))
    textures = _textures(seen, regions, which)
    left, right = textures[place[: len(ones)]], textures[place[len(ones) :]]
    for way in range(1, ORIENTATIONS):
        chosen = orientations == way
        right[chosen] = oriented(right[chosen], way)
    product = (left * right).sum(dim=(1, 2), dtype=torch.float64)
    return product.round(decimals=_DIGITS)


def _textures(seen: Looks, regions: _Regions, which: Tensor) -> Tensor:
    """(P, 48, 48) float32 of norm 1: the fine thumbnails of regions."""
    made = torch.empty((len(which), SIDE, SIDE))
    numbers = regions.number[which]
    for number in range(len(REGIONS)):
        chosen = numbers == number
        fine = _fine(_cut(seen.canvases[regions.image[which[chosen]]], number))
        made[chosen] = F.normalize(fine.flatten(1)).view_as(fine)
    return made


def _distinct(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) int64 -> the (Q,) distinct ones, and for each of the P its place among them."""
    distinct, place = np.unique(numbers.numpy(), return_inverse=True)
    return torch.from_numpy(distinct), torch.from_numpy(place)


def _alike(thumbnails: Tensor, ones: Tensor, others: Tensor, threshold: float) -> Tensor:
    """(P,) bool: whether two images are as similar as that as a whole, in any orientation."""
    alike = torch.zeros(len(ones), dtype=torch.bool)
    for start in range(0, len(ones), _CHUNK):
        part = slice(start, start + _CHUNK)
        left, right = thumbnails[ones[part]].float().flatten(1), thumbnails[others[part]].float()
        scale = (left.norm(dim=1) * right.flatten(1).norm(dim=1)).clamp(min=1e-6)
        for way in range(ORIENTATIONS):
            product = (left * oriented(right, way).flatten(1)).sum(
                dim=1, dtype=torch.float64
            ) / scale
            alike[part] |= product.round(decimals=_DIGITS) >= threshold
    return alike
