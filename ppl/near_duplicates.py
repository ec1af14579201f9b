"""Images that show the same thing, also turned or mirrored: by content, whatever their names say.

An image is compared by its thumbnail: 48 x 48, grey, less its Gaussian blur (sigma 6), which takes
lighting and exposure out, standardised. The similarity of two is the correlation of the thumbnails,
the highest of the eight orientations of one: about 0.9 for two photos of one magnetic tile, 0.15
for two tiles.

The search looks at codes first: a code holds the lowest 12 x 12 frequencies of the thumbnail
(discrete cosine transform) and the norm of all others. The product of two codes bounds their
correlation from above (Cauchy-Schwarz), so what is below the threshold there needs no second look,
and nothing is missed. Codes are compared block by block: memory grows with the number of images, by
5 KB each, never with its square, so 10^6 images take 5 GB. The time does grow with the square:
8 * 10^12 / 2 products of 145 numbers for 10^6 images, hours on CPU cores, minutes on a GPU.

Axes: N images, D entries of a code.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm import tqdm

from ppl.image_files import read_image

SIDE = 48
"""Pixels of a thumbnail's side."""

ORIENTATIONS = 8
"""The square's rotations and mirrorings."""

_SIGMA = 6.0
_FREQUENCIES = 12
_BLOCK = 2048
_THREADS = 8

# thumbnails are kept in half precision; the bound must not lose a pair to rounding
_SLACK = 2e-3


@dataclass(frozen=True)
class Pair:
    """Two images that look alike: turned by `orientation`, `other` looks like `one`."""

    one: int
    other: int
    similarity: float
    orientation: int


def oriented(image: Tensor, orientation: int) -> Tensor:
    """(..., H, W) mirrored from left to right if `orientation` is 4 or more, then turned.

    The turn is `orientation` % 4 quarters counterclockwise; 0 changes nothing.
    """
    assert 0 <= orientation < ORIENTATIONS, orientation
    mirrored = image.flip(-1) if orientation >= 4 else image
    return mirrored.rot90(orientation % 4, (-2, -1))


def thumbnail(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> (48, 48) float32 of mean 0 and norm 1; all 0 for a uniform image."""
    grey = image.float().mean(dim=0, keepdim=True)[None]
    small = F.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True)[0, 0].numpy()
    flat = small - gaussian_filter(small, _SIGMA, mode="nearest")
    flat = flat - flat.mean()
    norm = float(np.linalg.norm(flat))
    # what is left of a uniform image is rounding
    return torch.from_numpy(flat / norm if norm > 1e-2 else np.zeros_like(flat)).float()


def describe(files: Iterable[Path]) -> Tensor:
    """The thumbnails of image files, in order: (N, 48, 48) float16. Each is decoded once."""
    listed = list(files)
    found = torch.empty((len(listed), SIDE, SIDE), dtype=torch.float16)
    with ThreadPoolExecutor(_THREADS) as pool:
        made = pool.map(lambda file: thumbnail(read_image(file)), listed)
        for index, one in enumerate(
            tqdm(made, total=len(listed), desc="comparing images", unit="", disable=None)
        ):
            found[index] = one
    return found


def near_duplicates(thumbnails: Tensor, *, threshold: float, block: int = _BLOCK) -> list[Pair]:
    """All pairs of a similarity of at least `threshold` (0-1), each once, `one` before `other`.

    Args:
        thumbnails: (N, 48, 48), from `describe`.
        block: images compared at once; it bounds memory and changes no pair.

    Returns:
        sorted by their numbers; of equally similar orientations the smallest.
    """
    device = _device()
    best: dict[tuple[int, int], tuple[float, int]] = {}
    starts = range(0, len(thumbnails), block)
    for first in starts:
        left = thumbnails[first : first + block].to(device).float()
        left_codes = _codes(left)
        for second in starts[first // block :]:
            right = thumbnails[second : second + block].to(device).float()
            for orientation in range(ORIENTATIONS):
                turned = oriented(right, orientation)
                close = left_codes @ _codes(turned).T >= threshold - _SLACK
                if second == first:
                    close = close.triu(diagonal=1)
                for rows in torch.split(close.nonzero(), block):
                    ones, others = rows.unbind(dim=1)
                    exact = (left[ones] * turned[others]).sum(dim=(1, 2))
                    for one, other, similarity in zip(
                        (ones + first).tolist(),
                        (others + second).tolist(),
                        exact.tolist(),
                        strict=True,
                    ):
                        if (
                            similarity >= threshold
                            and similarity > best.get((one, other), (0.0, 0))[0] + 1e-6
                        ):
                            best[one, other] = (similarity, orientation)
    return [Pair(*numbers, *found) for numbers, found in sorted(best.items())]


def most_similar(
    queries: Tensor, candidates: Tensor, *, orientations: int = ORIENTATIONS, block: int = _BLOCK
) -> list[Pair]:
    """For each of the queries, the candidate of the highest similarity, however low.

    `one` is the number of the query, `other` that of the candidate; of equally similar ones the
    smallest. At least one candidate. Only the first `orientations` are tried.
    """
    device = _device()
    found = []
    for start in range(0, len(queries), block):
        left = queries[start : start + block].to(device).float().flatten(1)
        best = torch.full((len(left),), -2.0, device=device)
        number = torch.zeros(len(left), dtype=torch.int64, device=device)
        orientation_of = torch.zeros_like(number)
        for orientation in range(orientations):
            for first in range(0, len(candidates), block):
                right = candidates[first : first + block].to(device).float()
                similarity, index = (left @ oriented(right, orientation).flatten(1).T).max(dim=1)
                better = similarity > best + 1e-6
                best = similarity.where(better, best)
                number = (index + first).where(better, number)
                orientation_of = orientation_of.masked_fill(better, orientation)
        found += [
            Pair(start + row, other, similarity, orientation)
            for row, (other, similarity, orientation) in enumerate(
                zip(number.tolist(), best.tolist(), orientation_of.tolist(), strict=True)
            )
        ]
    return found


def components(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """For each of `count` images the smallest number among those that pairs connect it with."""
    ones, others = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (ones, others)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    _, first = np.unique(labels, return_index=True)
    return [int(number) for number in first[labels]]


def _codes(thumbnails: Tensor) -> Tensor:
    """(N, 48, 48) -> (N, D): low frequencies, and the norm of what they leave out."""
    basis = torch.from_numpy(dct(np.eye(SIDE), norm="ortho", axis=0)[:_FREQUENCIES]).to(thumbnails)
    low = (basis @ thumbnails @ basis.T).flatten(1)
    rest = (thumbnails.flatten(1).square().sum(1) - low.square().sum(1)).clamp(min=0).sqrt()
    return torch.cat([low, rest[:, None]], dim=1)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
