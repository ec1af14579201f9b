"""Masks that bring out what a format loses, and files of tools made of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ppl.formats.base import Found, Item, Mask, Painted, Read
from ppl.formats.names import ClassNames
from ppl.images.pictures import IGNORE, write_indices

NAMES = ClassNames(
    ("background", "dent", "fine crack", "Rost & Öl"),
    ((0, 0, 0), (230, 60, 60), (60, 60, 230), (10, 200, 10)),
)


def drawn(*rows: str) -> Mask:
    """A mask of digits and dots; 9 is ignore."""
    mask = np.array([[int(c) if c != "." else 0 for c in row] for row in rows], dtype=np.uint8)
    mask[mask == 9] = IGNORE
    return mask


SHAPES: Mapping[str, Mask] = {
    "empty": np.zeros((5, 7), dtype=np.uint8),
    "full": np.full((4, 6), 2, dtype=np.uint8),
    "one pixel image": drawn("1"),
    "a line": drawn("1.2.3"),
    "a column": drawn("1", ".", "3"),
    "single pixels": drawn("1....", "..2..", ".....", "3...1"),
    "a hole": drawn(".....", ".111.", ".1.1.", ".111.", "....."),
    "two holes, one of another class": drawn("1111111", "1.11331", "1111331", "1111111"),
    "an island in a hole": drawn("11111", "1...1", "1.1.1", "1...1", "11111"),
    "diagonal neighbours": drawn("1..1", ".11.", ".11.", "1..1"),
    "classes that cross diagonally": drawn("12", "21"),
    "a diagonal ring": drawn(".1.", "1.1", ".1."),
    "a thin diagonal": np.eye(9, 12, dtype=np.uint8),
    "a thin shallow line": drawn("111......", "...111...", "......111"),
    "a comb on the border": drawn("1.1.1.1", "1111111"),
    "several classes side by side": drawn("111222", "111222", "333333"),
    "a checkerboard": (np.indices((6, 7)).sum(axis=0) % 2).astype(np.uint8),
    "ignored border": drawn("99999", "9.1.9", "9..29", "99999"),
}


def random_masks(count: int, seed: int = 0) -> Iterator[Mask]:
    """Noise of any density, and blobs of several classes."""
    draws = np.random.default_rng(seed)
    for number in range(count):
        height, width = draws.integers(1, 28, 2)
        if number % 2:
            values = [0, 1, 2, 3, IGNORE]
            weights = draws.dirichlet(np.ones(5))
            yield draws.choice(values, (height, width), p=weights).astype(np.uint8)
        else:
            noise = draws.random((4, height, width))
            yield ndimage.gaussian_filter(noise, (0, 2, 2)).argmax(axis=0).astype(np.uint8)


def items(folder: Path, masks: Mapping[str, Mask | None], suffix: str = ".jpg") -> list[Item]:
    """Images with start masks below a folder."""
    found = []
    for name, mask in masks.items():
        image = folder / "images" / f"{name}{suffix}"
        image.parent.mkdir(parents=True, exist_ok=True)
        height, width = (8, 9) if mask is None else mask.shape
        Image.new("RGB", (width, height), (90, 90, 90)).save(image)
        start = None
        if mask is not None:
            start = folder / "starts" / f"{name}.png"
            write_indices(start, mask, NAMES.colours)
        found.append(Item(f"{name}{suffix}", image, start))
    return found


def painted(read: Read, path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Painted]:
    """What a format reads, by the name of the image without its suffix."""
    found: dict[str, Painted] = {}
    for each in read(path, NAMES):
        name = stem(each)
        assert name not in found, name
        assert each.size in (None, sizes[name])
        found[name] = each.paint(sizes[name])
    return found


def stem(found: Found) -> str:
    name = found.name.removeprefix("images/")
    return name.removesuffix(".jpg").removesuffix(".png")
