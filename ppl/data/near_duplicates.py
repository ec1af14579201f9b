"""Images that show the same thing, also turned or mirrored: by content, whatever their names say.

An image is compared by its thumbnail: 48 x 48, grey, less its Gaussian blur (sigma 6), which takes
lighting and exposure out, standardised. The similarity of two is the correlation of the thumbnails,
the highest of the eight orientations of one. From 0.95, two photos of magnetic tiles almost always
show one tile; of those from 0.8 to 0.9, six in seven show different tiles under one lamp.

The search looks at codes first: a code holds the lowest 12 x 12 frequencies of the thumbnail
(discrete cosine transform) and the norm of all others. The product of two codes bounds their
correlation from above (Cauchy-Schwarz), so what is below the threshold there needs no second look,
and nothing is missed. Perceptual hashes would miss a lot: to keep 98 % of the pairs of magnetic
tiles, a 64-bit pHash has to let 43 % of all pairs through, a 256-bit dHash 13 %; codes keep all of
them and let 3.5 % through.

Codes are compared block by block: memory grows with the number of images, by 5 KB each, never with
its square, so 10^6 images take 5 GB; pairs are handed on block by block, for where all images look
alike there are as many as the square. The time does grow with the square, by
75 ns a pair on one slow core (20,000 images in 15 s), so 10^6 images take about 10 hours there, and
about 20 times as long where codes tell little: images that are noise, or that all look alike.

Axes: N images, D entries of a code.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ppl.core.progress import bar
from ppl.images.files import read_image
from ppl.images.room import in_room

SIDE = 48
"""Pixels of a thumbnail's side."""

ORIENTATIONS = 8
"""The square's rotations and mirrorings."""

_SIGMA = 6.0
_FREQUENCIES = 12
_BLOCK = 1024
_THREADS = 8

# the bound must not lose a pair to rounding: thumbnails in half precision, sums in single
_SLACK = 1e-3

# a product of two blocks costs less than looking at this share of their pairs one by one
_MANY = 0.02

# pairs looked at together: few enough for the processor's cache
_CHUNK = 256

_DIGITS = 6


@dataclass(frozen=True)
class Pair:
    """Two images that look alike: turned by `orientation`, `other` looks like `one`."""

    one: int
    other: int
    similarity: float
    orientation: int


@dataclass(frozen=True)
class Pairs:
    """Many of them: (P,) int64 numbers and orientations, (P,) float64 similarities."""

    one: Tensor
    other: Tensor
    similarity: Tensor
    orientation: Tensor

    def columns(self) -> tuple[list[int], list[int], list[float], list[int]]:
        """Lists of the four."""
        return (
            self.one.tolist(),
            self.other.tolist(),
            self.similarity.tolist(),
            self.orientation.tolist(),
        )


def oriented(image: Tensor, orientation: int) -> Tensor:
    """(..., H, W) mirrored from left to right if `orientation` is 4 or more, then turned.

    The turn is `orientation` % 4 quarters counterclockwise; 0 changes nothing.
    """
    assert 0 <= orientation < ORIENTATIONS, orientation
    mirrored = image.flip(-1) if orientation >= 4 else image
    return mirrored.rot90(orientation % 4, (-2, -1))


def thumbnail(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> (48, 48) float32 of mean 0 and norm 1; all 0 for a uniform image."""
    # scipy takes a quarter of a second to import, which a stage without thumbnails need not spend
    from scipy.ndimage import gaussian_filter

    grey = image.float().mean(dim=0, keepdim=True)[None]
    small = F.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True)[0, 0].numpy()
    flat = small - gaussian_filter(small, _SIGMA)
    flat = flat - flat.mean()
    norm = float(np.linalg.norm(flat))
    # what is left of a uniform image is rounding
    return torch.from_numpy(flat / norm if norm > 1e-2 else np.zeros_like(flat)).float()


def describe(files: Iterable[Path]) -> Tensor:
    """The thumbnails of image files, in order: (N, 48, 48) float16. Each is decoded once."""
    listed = list(files)
    found = torch.empty((len(listed), SIDE, SIDE), dtype=torch.float16)
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(_thumbnail_of, listed)
        described = bar(made, total=len(listed), desc="comparing images", unit="image")
        for index, one in enumerate(described):
            found[index] = one
    return found


def _thumbnail_of(file: Path) -> Tensor:
    return in_room(lambda: thumbnail(read_image(file)), file)


def near_duplicates(thumbnails: Tensor, *, threshold: float, block: int = _BLOCK) -> list[Pair]:
    """All pairs of a similarity of at least `threshold`, as `pairs_in_blocks`, by their numbers."""
    found = [
        Pair(one, other, similarity, orientation)
        for pairs in pairs_in_blocks(thumbnails, threshold=threshold, block=block)
        for one, other, similarity, orientation in zip(*pairs.columns(), strict=True)
    ]
    return sorted(found, key=lambda pair: (pair.one, pair.other))


def pairs_in_blocks(
    thumbnails: Tensor, *, threshold: float, block: int = _BLOCK
) -> Iterator[Pairs]:
    """All pairs of a similarity of at least `threshold` (0-1), each once, `one` before `other`.

    They come in portions, at most `block` squared at once: where all images look alike, all pairs
    are too many to keep.

    Args:
        thumbnails: (N, 48, 48), from `describe`.
        block: images compared at once; it bounds memory and changes no pair.

    Of equally similar orientations the smallest is given. Similarities have six digits, so that
    neither the block nor the device changes one.
    """
    device = _device()
    parts = torch.split(thumbnails, block)
    codes = [_codes(part.to(device).float()) for part in parts]
    norms = [_norms(part.to(device)) for part in parts]
    for first, left in enumerate(parts):
        # turning `one` back compares as turning `other` does, and is done once a row of blocks
        turned = torch.stack([oriented(left.to(device), _undone(k)) for k in range(ORIENTATIONS)])
        turned_codes = _codes(turned.float())
        for second in range(first, len(parts)):
            right = parts[second].to(device)
            close = turned_codes @ codes[second].T >= threshold - _SLACK
            if second == first:
                close = close.triu(diagonal=1)
            scale = norms[first][:, None] * norms[second]
            if int(close.sum()) > _MANY * close.numel():
                found = _all_pairs(turned, right, scale, close.any(dim=0), threshold)
            else:
                found = _some_pairs(turned, right, scale, close, threshold)
            if len(found.one):
                yield Pairs(
                    found.one.cpu() + first * block,
                    found.other.cpu() + second * block,
                    found.similarity.cpu(),
                    found.orientation.cpu(),
                )


def _all_pairs(
    turned: Tensor, right: Tensor, scale: Tensor, close: Tensor, threshold: float
) -> Pairs:
    """The pairs of two blocks by one product of all with all; only those in (B, B') `close`."""
    product = turned.flatten(2).double() @ right.flatten(1).double().T
    similarity = (product / scale).round(decimals=_DIGITS)
    best = similarity.amax(dim=0)
    ways = torch.arange(ORIENTATIONS, device=best.device)[:, None, None]
    orientation = ways.where(similarity == best, ORIENTATIONS).amin(dim=0)
    ones, others = (close & (best >= threshold)).nonzero().unbind(dim=1)
    return Pairs(ones, others, best[ones, others], orientation[ones, others])


def _some_pairs(
    turned: Tensor, right: Tensor, scale: Tensor, close: Tensor, threshold: float
) -> Pairs:
    """The pairs of two blocks, looking at those of (8, B, B') `close` one by one."""
    candidates = close.nonzero()
    similarity = torch.empty(len(candidates), dtype=torch.float64, device=right.device)
    for start in range(0, len(candidates), _CHUNK):
        orientations, ones, others = candidates[start : start + _CHUNK].unbind(dim=1)
        # products of half precision are exact in single, and so are their sums in double
        products = turned[orientations, ones].float() * right[others].float()
        exact = products.sum(dim=(1, 2), dtype=torch.float64) / scale[ones, others]
        similarity[start : start + _CHUNK] = exact.round(decimals=_DIGITS)
    enough = similarity >= threshold
    orientations, ones, others = candidates[enough].unbind(dim=1)
    similarity = similarity[enough]
    # of each pair the most similar orientation, the smallest of several
    keys = (orientations, -similarity, others, ones)
    order = np.lexsort([key.cpu().numpy() for key in keys])
    place = torch.from_numpy(order).to(right.device)
    ones, others = ones[place], others[place]
    new = torch.ones(len(place), dtype=torch.bool, device=right.device)
    new[1:] = (ones[1:] != ones[:-1]) | (others[1:] != others[:-1])
    return Pairs(ones[new], others[new], similarity[place][new], orientations[place][new])


def most_similar(
    queries: Tensor, candidates: Tensor, *, orientations: int = ORIENTATIONS, block: int = _BLOCK
) -> list[Pair]:
    """For each of the queries, the candidate of the highest similarity, however low.

    `one` is the number of the query, `other` that of the candidate; of equally similar ones the
    smallest, then the smallest orientation. At least one candidate. Only the first `orientations`
    are tried.
    """
    device = _device()
    found: list[Pair] = []
    for left in torch.split(queries.to(device), block):
        best = torch.full((len(left),), -2.0, dtype=torch.float64, device=device)
        place = torch.zeros(len(left), dtype=torch.int64, device=device)
        flat = left.flatten(1).double() / _norms(left)[:, None]
        for first in range(0, len(candidates), block):
            right = candidates[first : first + block].to(device)
            ways = torch.stack([oriented(right, k) for k in range(orientations)], dim=1)
            scaled = ways.flatten(2).double() / _norms(right)[:, None, None]
            similarity, index = (flat @ scaled.flatten(0, 1).T).round(decimals=_DIGITS).max(dim=1)
            place = (index + first * orientations).where(similarity > best, place)
            best = similarity.maximum(best)
        found += [
            Pair(one, index // orientations, similarity, index % orientations)
            for one, (index, similarity) in enumerate(
                zip(place.tolist(), best.tolist(), strict=True), start=len(found)
            )
        ]
    return found


def components(count: int, links: Iterable[tuple[Tensor, Tensor]]) -> list[int]:
    """For each of `count` images the smallest number among those that links connect it with.

    Args:
        links: portions of (P,) int64 numbers of two images each; no more than one is kept.
    """
    # as in `thumbnail`
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.arange(count)
    for ones, others in links:
        ends = (
            np.concatenate([first, ones.numpy()]),
            np.concatenate([np.arange(count), others.numpy()]),
        )
        graph = coo_array((np.ones(len(ends[0])), ends), shape=(count, count))
        labels = connected_components(graph, directed=False)[1]
        _, smallest = np.unique(labels, return_index=True)
        first = smallest[labels]
    return [int(number) for number in first]


def _undone(orientation: int) -> int:
    """The orientation that takes `orientation` back; mirrored ones are their own."""
    return -orientation % 4 if orientation < 4 else orientation


def _codes(thumbnails: Tensor) -> Tensor:
    """(..., 48, 48) -> (..., D): low frequencies, and the norm of what they leave out."""
    # as in `thumbnail`
    from scipy.fft import dct

    basis = torch.from_numpy(dct(np.eye(SIDE), norm="ortho", axis=0)[:_FREQUENCIES]).to(thumbnails)
    low = (basis @ thumbnails @ basis.T).flatten(-2)
    rest = thumbnails.flatten(-2).square().sum(-1) - low.square().sum(-1)
    return torch.cat([low, rest.clamp(min=0).sqrt()[..., None]], dim=-1)


def _norms(thumbnails: Tensor) -> Tensor:
    """(N, 48, 48) -> (N,) float64: near 1, as half precision allows; 1 for a uniform image."""
    norms = thumbnails.flatten(1).double().norm(dim=1)
    return torch.where(norms > 0, norms, 1)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
