"""Images and masks are read as they are, or refused in words that name the file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.files import IGNORE, read_grey, read_image, read_mask, write_mask

COLOURS = [(0, 0, 0), (200, 10, 10), (10, 200, 10)]


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_colour_pixels_come_through_unchanged(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels(5, 7, 3)).save(file)
    image = read_image(file)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert torch.equal(image, torch.from_numpy(pixels(5, 7, 3)).permute(2, 0, 1))


def test_a_grey_image_has_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(pixels(5, 7)).save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png")
    assert torch.equal(image, torch.from_numpy(pixels(5, 7)).expand(3, 5, 7))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_eight_bit_format_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "x.tif"
    Image.fromarray(pixels(5, 7, 3)).convert(mode).save(file)
    assert read_image(file).shape == (3, 5, 7)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.full((4, 4), 999, dtype=np.uint16)),
        Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)),
    ],
)
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_more_than_eight_bits_are_refused(tmp_path: Path, read, image: Image.Image) -> None:
    image.save(tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"deep\.tif has pixel format (I;16|F)"):
        read(tmp_path / "deep.tif")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_missing_file_is_named(tmp_path: Path, read) -> None:
    with pytest.raises(InputError, match=r"no such\.png does not exist"):
        read(tmp_path / "no such.png")


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, read, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.png cannot be read"):
        read(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_an_image_cut_short_is_refused_rather_than_filled_up(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels(40, 40, 3)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_image(file)


def test_damage_of_any_kind_is_an_input_error(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for suffix, name in [("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP")]:
        whole = io.BytesIO()
        Image.fromarray(pixels(20, 20)).save(whole, name)
        for _ in range(60):
            damaged = bytearray(whole.getvalue())
            for place in draws.integers(0, min(200, len(damaged)), 6):
                damaged[place] = draws.integers(256)
            file = tmp_path / f"x.{suffix}"
            file.write_bytes(damaged)
            try:
                read_image(file)
            except InputError as error:
                assert file.name in str(error)  # noqa: PT017 - most damage is fatal, some is not


def test_a_folder_in_place_of_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path)


def test_a_written_mask_reads_back_the_same(tmp_path: Path) -> None:
    mask = torch.from_numpy(pixels(9, 11))
    write_mask(tmp_path / "deep" / "down" / "x.png", mask.long(), COLOURS)
    assert torch.equal(read_mask(tmp_path / "deep" / "down" / "x.png"), mask)


def test_a_written_mask_shows_its_colours_and_ignore_as_white(tmp_path: Path) -> None:
    write_mask(tmp_path / "x.png", torch.tensor([[0, 1, 2, IGNORE]]), COLOURS)
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "P"
        shown = np.array(image.convert("RGB"))[0].tolist()
    assert shown == [*(list(colour) for colour in COLOURS), [255, 255, 255]]


def test_the_bytes_of_a_mask_depend_on_its_content_alone(tmp_path: Path) -> None:
    mask = torch.from_numpy(pixels(9, 11))
    write_mask(tmp_path / "a.png", mask, COLOURS)
    write_mask(tmp_path / "b.png", mask.long(), COLOURS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_grey_mask_reads_its_levels_and_a_palette_mask_its_indices(tmp_path: Path) -> None:
    values = pixels(6, 5)
    Image.fromarray(values).save(tmp_path / "grey.png")
    palette = Image.fromarray(values, mode="P")
    palette.putpalette([7] * 768)
    palette.save(tmp_path / "palette.png")
    for name in ["grey.png", "palette.png"]:
        assert torch.equal(read_mask(tmp_path / name), torch.from_numpy(values))


def test_a_one_bit_mask_reads_as_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(pixels(6, 5) > 127).save(tmp_path / "x.png")
    assert torch.equal(read_mask(tmp_path / "x.png"), torch.from_numpy(pixels(6, 5) > 127).byte())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_colour_mask_is_refused(tmp_path: Path, mode: str) -> None:
    Image.fromarray(pixels(6, 5, 3)).convert(mode).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=rf"x\.png has pixel format {mode}; .*class index"):
        read_mask(tmp_path / "x.png")


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_image_that_viewers_turn_is_refused(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(4, 6, 3)).save(tmp_path / "x.jpg", exif=exif)
    with pytest.raises(InputError, match=rf"x\.jpg is stored turned .*orientation {orientation}"):
        read_image(tmp_path / "x.jpg")
    exif[0x0112] = 1
    Image.fromarray(pixels(4, 6, 3)).save(tmp_path / "upright.jpg", exif=exif)
    assert read_image(tmp_path / "upright.jpg").shape == (3, 4, 6)


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(pixels(4, 6, seed=seed)) for seed in (0, 1)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"x\.tif holds 2 pictures"):
        read_image(tmp_path / "x.tif")


def grey_png(values: list[int], bits: int) -> bytes:
    """One row of grey values in so few bits that Pillow cannot write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    row = int("".join(f"{value:0{bits}b}" for value in values).ljust(8, "0"), 2)
    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    data = zlib.compress(bytes([0, row]))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("values", "bits"), [([0, 1, 2, 3], 2), ([1, 5], 4)])
def test_a_mask_of_few_bits_is_refused_rather_than_stretched(
    tmp_path: Path, values: list[int], bits: int
) -> None:
    (tmp_path / "x.png").write_bytes(grey_png(values, bits))
    assert np.array(Image.open(tmp_path / "x.png")).max() > 16, "Pillow stretches it"
    with pytest.raises(InputError, match=rf"pixel format L;{bits}; expected one 8-bit value"):
        read_mask(tmp_path / "x.png")


def test_grey_levels_of_any_depth_and_no_colour(tmp_path: Path) -> None:
    levels = pixels(4, 6)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    assert torch.equal(read_grey(tmp_path / "grey.png"), torch.from_numpy(levels))
    Image.fromarray(levels > 127).save(tmp_path / "bits.png")
    assert torch.equal(
        read_grey(tmp_path / "bits.png"), torch.from_numpy((levels > 127) * np.uint8(255))
    )
    Image.fromarray(levels).convert("P").save(tmp_path / "palette.png")
    with pytest.raises(InputError, match=r"palette\.png has pixel format P; expected a grey"):
        read_grey(tmp_path / "palette.png")
