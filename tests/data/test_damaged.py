"""Damaged files are refused by their name, or read as the pixels that they still hold."""

import io
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.colour_masks import read_own_mask
from ppl.images.files import read_grey, read_image, read_mask

SHAPE = (23, 31)
COLOURS = [(0, 0, 0), (200, 10, 10), (10, 200, 10)]
SUFFIXES = ("png", "bmp", "tif")


def drawn(dice: random.Random, *, mask: bool) -> np.ndarray:
    numbers = np.random.default_rng(dice.randrange(2**32))
    shape = SHAPE if mask else (*SHAPE, 3)
    return numbers.integers(0, 3 if mask else 256, shape, dtype=np.uint8)


def stored(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def as_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels)


def cut_short(dice: random.Random, pixels: np.ndarray) -> bytes:
    whole = stored(as_image(pixels), dice.choice(["PNG", "BMP", "TIFF"]))
    return whole[: dice.randrange(len(whole))]


def wrong_mode(dice: random.Random, pixels: np.ndarray) -> bytes:
    modes = ["I", "F", "I;16"] if pixels.ndim == 2 else ["YCbCr", "CMYK", "RGBA"]
    return stored(as_image(pixels).convert(dice.choice(modes)), "TIFF")


def other_format(dice: random.Random, pixels: np.ndarray) -> bytes:
    formats = ["JPEG", "GIF", "PPM", "WEBP", "TGA", "ICO", "JPEG2000", "PCX"]
    return stored(as_image(pixels), dice.choice(formats))


def lossy_tiff(dice: random.Random, pixels: np.ndarray) -> bytes:
    return stored(as_image(pixels), "TIFF", compression="jpeg", quality=dice.randrange(20, 90))


def wrong_suffix(dice: random.Random, pixels: np.ndarray) -> bytes:
    return stored(as_image(pixels), dice.choice(["PNG", "BMP", "TIFF"]))


def other_palette(dice: random.Random, pixels: np.ndarray) -> bytes:
    if pixels.ndim == 3:
        return wrong_suffix(dice, pixels)
    image = Image.fromarray(pixels, mode="P")
    image.putpalette([dice.randrange(256) for _ in range(768)])
    return stored(image, dice.choice(["PNG", "BMP", "TIFF"]))


def noise(dice: random.Random, pixels: np.ndarray) -> bytes:
    return dice.randbytes(dice.randrange(200))


DAMAGES: tuple[Callable[[random.Random, np.ndarray], bytes], ...] = (
    cut_short,
    wrong_mode,
    other_format,
    lossy_tiff,
    wrong_suffix,
    other_palette,
    noise,
)


def flipped(dice: random.Random, pixels: np.ndarray) -> bytes:
    """A PNG: its sums of check tell; other formats have none, and hold what they hold."""
    content = bytearray(stored(as_image(pixels), "PNG"))
    for _ in range(dice.randrange(1, 4)):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def viewed(content: bytes, pixels: np.ndarray) -> np.ndarray:
    """What the file holds by Pillow alone: of an image the colours, else what was drawn."""
    if pixels.ndim == 2:
        return pixels
    with Image.open(io.BytesIO(content)) as opened:
        return np.array(opened.convert("RGB"))


def outcome(folder: Path, seed: int) -> str:
    """How one damaged file is taken."""
    dice = random.Random(seed)
    mask = dice.random() < 0.7
    pixels = drawn(dice, mask=mask)
    damage = dice.choice([*DAMAGES, flipped])
    content = damage(dice, pixels)
    file = folder / f"{seed}.{dice.choice(SUFFIXES)}"
    file.write_bytes(content)
    readers = {
        "index": read_mask,
        "grey": lambda file: read_grey(file).values,
        "own": lambda file: read_own_mask(file, None, COLOURS).values,
    }
    read = readers[dice.choice(sorted(readers))] if mask else read_image
    try:
        found = read(file).numpy()
    except InputError as error:
        return "refused" if str(file) in str(error) else f"{damage.__name__}: not named: {error}"
    except Exception as error:
        return f"{damage.__name__}, seed {seed}: other exception {error!r}"
    expected = viewed(content, pixels)
    if not mask:
        found = found.transpose(1, 2, 0)
    if np.array_equal(found, expected):
        return "accepted with equal pixels"
    return f"{damage.__name__}, seed {seed}: accepted otherwise"


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_a_damaged_file_is_refused_by_name_or_read_with_equal_pixels(
    tmp_path: Path, count: int
) -> None:
    counts = Counter(outcome(tmp_path, seed) for seed in range(count))
    print(dict(counts))
    assert counts.keys() == {"refused", "accepted with equal pixels"}
