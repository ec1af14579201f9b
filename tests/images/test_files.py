"""Images and masks are read as they are, or refused in words that name the file."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.files import (
    read_grey,
    read_image,
    read_mask,
    read_picture,
    read_stored_mask,
    write_mask,
)
from ppl.images.pictures import IGNORE, palette_of

COLOURS = [(0, 0, 0), (200, 10, 10), (10, 200, 10)]


def png(header: bytes, rows: bytes) -> bytes:
    """A PNG file of the content of its IHDR and of rows, a filter byte before each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


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


@pytest.mark.parametrize("step", ["load", "convert"])
def test_memory_that_does_not_suffice_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    Image.fromarray(pixels(4, 6)).save(tmp_path / "x.png")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, step, fail)
    with pytest.raises(InputError, match=r"x\.png cannot be read: memory did not .*into tiles"):
        read_image(tmp_path / "x.png")


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


TURNS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: np.rot90(stored),
    9: lambda stored: stored,
}
"""What a viewer makes of the stored pixels, by EXIF orientation; 9 means nothing."""


def tagged(file: Path, stored: Image.Image, orientation: int) -> Path:
    """The picture with an EXIF orientation, in the format that the suffix names."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if file.suffix == ".tif":
        stored.save(file, tiffinfo={0x0112: orientation})
    else:
        stored.save(file, exif=exif, **({"lossless": True} if file.suffix == ".webp" else {}))
    return file


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_an_image_is_turned_once_as_viewers_show_it(
    tmp_path: Path, suffix: str, orientation: int, grey: bool
) -> None:
    stored = pixels(4, 6) if grey else pixels(4, 6, 3)
    file = tagged(tmp_path / f"x.{suffix}", Image.fromarray(stored), orientation)
    shown = torch.from_numpy(np.atleast_3d(TURNS[orientation](stored)).copy())
    shown = shown.permute(2, 0, 1).expand(3, -1, -1)
    picture = read_picture(file)
    assert torch.equal(picture.pixels, shown)
    assert picture.pixels.is_contiguous()
    assert picture.orientation == (orientation if orientation in range(2, 9) else 1)
    assert torch.equal(read_image(file), shown)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_a_clear_pixel_keeps_its_colour_and_is_told(tmp_path: Path, mode: str) -> None:
    drawn = Image.new(mode, (3, 2), {"RGBA": (9, 9, 9, 1), "LA": (9, 1), "P": 1, "L": 9}[mode])
    options: dict[str, Any] = {}
    if mode == "P":
        drawn.putpalette([7, 7, 7, 9, 9, 9])
    if mode in ("P", "L"):
        options["transparency"] = 0 if mode == "P" else 7
    drawn.save(tmp_path / "x.png", **options)
    assert not read_picture(tmp_path / "x.png").clear
    drawn.putpixel((0, 0), {"RGBA": (7, 7, 7, 0), "LA": (7, 0), "P": 0, "L": 7}[mode])
    drawn.save(tmp_path / "x.png", **options)
    picture = read_picture(tmp_path / "x.png")
    assert picture.clear
    assert picture.pixels.tolist() == [[[7, 9, 9], [9, 9, 9]]] * 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_is_turned_by_its_own_tag(tmp_path: Path, mode: str, suffix: str) -> None:
    stored = Image.fromarray(pixels(4, 6), mode=mode)
    if mode == "P":
        stored.putpalette(bytes(768))
    file = tagged(tmp_path / f"x.{suffix}", stored, 6)
    mask = read_stored_mask(file)
    assert torch.equal(mask.values, torch.from_numpy(np.rot90(pixels(4, 6), -1).copy()))
    assert mask.orientation == 6
    assert mask.palette == (((0, 0, 0),) * 256 if mode == "P" else None)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*", b"Exif\0\0no directory", b"Exif\0\0MM\0*\0\0\0\xff"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_image_with_damaged_exif_is_upright(tmp_path: Path, suffix: str, exif: bytes) -> None:
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels(16, 24)).save(file)
    upright = read_image(file)
    Image.fromarray(pixels(16, 24)).save(file, exif=exif)
    picture = read_picture(file)
    assert torch.equal(picture.pixels, upright)
    assert picture.orientation == 1


def test_an_orientation_behind_the_pixels_turns_a_png_too(tmp_path: Path) -> None:
    file = tagged(tmp_path / "x.png", Image.fromarray(pixels(4, 6)), 6)
    content = file.read_bytes()
    at = content.index(b"eXIf") - 4
    end = at + 12 + struct.unpack(">I", content[at : at + 4])[0]
    file.write_bytes(content[:at] + content[end:-12] + content[at:end] + content[-12:])
    assert read_picture(file).orientation == read_stored_mask(file).orientation == 6


def test_a_photo_of_a_phone_is_read_as_it_is_shown(tmp_path: Path) -> None:
    photo = Image.fromarray(np.full((8, 12, 3), 90, dtype=np.uint8))
    photo.paste((250, 250, 250), (0, 0, 6, 8))
    assert read_image(tagged(tmp_path / "x.jpg", photo, 6)).shape == (3, 12, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[photo], exif=exif)
    with Image.open(tmp_path / "two.jpg") as opened:
        assert opened.format == "MPO"
        assert opened.n_frames == 2
    shown = read_image(tmp_path / "two.jpg")
    assert shown.shape == (3, 12, 8)
    assert shown[:, :5].min() > 200 > shown[:, 7:].max()


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG of 16 bits a channel: kind 2 is RGB, 4 grey with alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", 3, 2, 16, kind, 0, 0, 0)
    row = b"\0" + struct.pack(f">{3 * channels}H", *[4095] * 3 * channels)
    return png(header, row * 2)


@pytest.mark.parametrize(
    ("kind", "channels", "mode"), [(2, 3, "RGB"), (4, 2, "LA"), (6, 4, "RGBA")]
)
def test_deep_colour_is_refused_rather_than_darkened(
    tmp_path: Path, kind: int, channels: int, mode: str
) -> None:
    (tmp_path / "x.png").write_bytes(deep_png(kind, channels))
    assert np.array(Image.open(tmp_path / "x.png")).max() == 15, "Pillow keeps the upper 8 bits"
    with pytest.raises(InputError, match=rf"x\.png has pixel format {mode};16B; expected 8 bits"):
        read_image(tmp_path / "x.png")


def test_deep_colour_in_a_tiff_is_refused(tmp_path: Path) -> None:
    """Baseline TIFF by hand: Pillow writes none of 16 bits a channel."""
    tags = [(256, 1, 2), (257, 1, 1), (258, 3, 134), (259, 1, 1), (262, 1, 2), (273, 1, 140)]
    tags += [(277, 1, 3), (278, 1, 1), (279, 1, 12), (284, 1, 1)]
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags
    )
    content = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)
    content += struct.pack("<3H", 16, 16, 16) + struct.pack("<6H", *[4095] * 6)
    (tmp_path / "x.tif").write_bytes(content)
    assert np.array(Image.open(tmp_path / "x.tif")).shape == (1, 2, 3)
    with pytest.raises(InputError, match=r"x\.tif has pixel format RGB;16L; expected 8 bits"):
        read_image(tmp_path / "x.tif")


def test_a_bitmap_of_five_bits_a_channel_is_no_deep_one(tmp_path: Path) -> None:
    header = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    (tmp_path / "x.bmp").write_bytes(header + struct.pack("<2H", 0x7FFF, 0))
    assert read_image(tmp_path / "x.bmp").tolist() == [[[255, 0]]] * 3


@pytest.mark.parametrize(
    ("suffix", "format", "options", "named"),
    [
        ("png", "JPEG", {}, "JPEG"),
        ("bmp", "WEBP", {"lossless": True}, "WEBP"),
        ("tif", "TIFF", {"compression": "jpeg"}, r"TIFF \(jpeg\)"),
    ],
)
@pytest.mark.parametrize("read", [read_mask, read_grey])
def test_the_content_of_a_mask_decides_not_its_name(
    tmp_path: Path,
    suffix: str,
    format: str,
    options: dict[str, object],
    named: str,
    read: Callable[[Path], object],
) -> None:
    Image.new("L", (16, 16), 1).save(tmp_path / f"x.{suffix}", format, **options)
    with pytest.raises(InputError, match=rf"x\.{suffix} holds {named}, .*save masks as PNG"):
        read(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").shape == (3, 16, 16)


@pytest.mark.parametrize("format", ["GIF", "PPM", "TGA", "ICNS"])
def test_other_formats_are_not_decoded_whatever_their_name(tmp_path: Path, format: str) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png", format)
    with pytest.raises(InputError, match=r"x\.png cannot be read: .*none of PNG, JPEG"):
        read_image(tmp_path / "x.png")


def test_pillow_does_not_stop_at_a_large_scan_and_we_do_at_what_no_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (40, 30), 7).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (3, 30, 40)
    claims = png(struct.pack(">IIBBBBB", 16_385, 16_384, 8, 0, 0, 0, 0), b"")
    (tmp_path / "claims.png").write_bytes(claims)
    with pytest.raises(InputError, match=r"has 16385 x 16384 pixels, more than 268,435,456: cut"):
        read_image(tmp_path / "claims.png")


def test_a_palette_is_what_the_file_says(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tif"):
        mask = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
        mask.putpalette([9, 8, 7, 200, 100, 50])
        mask.save(tmp_path / f"x.{suffix}")
        found = read_stored_mask(tmp_path / f"x.{suffix}").palette
        assert found is not None
        assert found[:2] == ((9, 8, 7), (200, 100, 50))
    Image.new("L", (3, 2)).save(tmp_path / "grey.png")
    assert read_stored_mask(tmp_path / "grey.png").palette is None
    write_mask(tmp_path / "ours.png", torch.zeros(2, 3), COLOURS)
    assert read_stored_mask(tmp_path / "ours.png").palette == palette_of(COLOURS)


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(pixels(4, 6, seed=seed)) for seed in (0, 1)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"x\.tif holds 2 pictures"):
        read_image(tmp_path / "x.tif")


def grey_png(values: list[int], bits: int) -> bytes:
    """One row of grey values in so few bits that Pillow cannot write it."""

    row = int("".join(f"{value:0{bits}b}" for value in values).ljust(8, "0"), 2)
    return png(struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0), bytes([0, row]))


@pytest.mark.parametrize(("values", "bits"), [([0, 1, 2, 3], 2), ([1, 5], 4)])
def test_a_mask_of_few_bits_is_refused_rather_than_stretched(
    tmp_path: Path, values: list[int], bits: int
) -> None:
    (tmp_path / "x.png").write_bytes(grey_png(values, bits))
    assert np.array(Image.open(tmp_path / "x.png")).max() > 16, "Pillow stretches it"
    with pytest.raises(InputError, match=rf"pixel format L;{bits}; expected one 8-bit value"):
        read_mask(tmp_path / "x.png")


def packed(rows: list[list[int]], bits: int) -> list[bytes]:
    """Rows of values, each in so few bits, filled up to whole bytes."""
    lines = ["".join(f"{value:0{bits}b}" for value in row) for row in rows]
    return [
        int(line.ljust(-(-len(line) // 8) * 8, "0"), 2).to_bytes(-(-len(line) // 8), "big")
        for line in lines
    ]


def tiff(rows: list[list[int]], bits: int, photometric: int, *, reversed_bits: bool) -> bytes:
    """A baseline TIFF of grey values: 0 is white for photometric 0, black for 1."""
    pixels = b"".join(packed(rows, bits))
    if reversed_bits:
        pixels = bytes(int(f"{byte:08b}"[::-1], 2) for byte in pixels)
    tags = [(256, len(rows[0])), (257, len(rows)), (258, bits), (259, 1), (262, photometric)]
    tags += [(266, 1 + reversed_bits), (273, 134), (277, 1), (278, len(rows)), (279, len(pixels))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + pixels


ROWS = [[0, 1, 1, 0, 1], [1, 0, 1, 1, 1]]


@pytest.mark.parametrize("reversed_bits", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_tiff_mask_holds_its_stored_values_or_is_refused(
    tmp_path: Path, photometric: int, bits: int, reversed_bits: bool
) -> None:
    file = tmp_path / "x.tif"
    file.write_bytes(tiff(ROWS, bits, photometric, reversed_bits=reversed_bits))
    if photometric == 1 and bits in (1, 8):
        assert read_mask(file).tolist() == ROWS
        return
    said = r"has pixel format [1L];\d?" + (r"IR? \(0 is white\)" if photometric == 0 else "R?; exp")
    # of inverted bytes in reversed order Pillow decodes nothing
    with pytest.raises(InputError, match=rf"x\.tif ({said}|cannot be read \(unknown raw mode)"):
        read_mask(file)


def bitmap(rows: list[list[int]], bits: int, greys: list[int]) -> bytes:
    """A BMP whose palette holds these greys and no others."""
    pixels = b"".join(
        row.ljust(-(-len(row) // 4) * 4, b"\0") for row in reversed(packed(rows, bits))
    )
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in greys)
    start = 54 + len(palette)
    header = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    sizes = (40, len(rows[0]), len(rows), 1, bits, 0, len(pixels), 0, 0, len(greys), 0)
    return header + struct.pack("<IiiHHIIiiII", *sizes) + palette + pixels


@pytest.mark.parametrize(
    ("bits", "greys"),
    [
        *((1, [0, 255]), (1, [255, 0]), (1, [0, 1])),
        *((4, [255, 0]), (4, [17 * grey for grey in range(16)])),
        *((8, [255, 0]), (8, [0, 1, 2]), (8, list(range(256)))),
    ],
)
def test_a_bitmap_mask_holds_its_stored_indices(
    tmp_path: Path, bits: int, greys: list[int]
) -> None:
    (tmp_path / "x.bmp").write_bytes(bitmap(ROWS, bits, greys))
    assert read_mask(tmp_path / "x.bmp").tolist() == ROWS
    shown = [[greys[value] for value in row] for row in ROWS]
    assert read_image(tmp_path / "x.bmp").tolist() == [shown] * 3


@pytest.mark.parametrize("read", [read_image, read_mask, read_grey])
@pytest.mark.parametrize(("bits", "greys"), [(8, [0, 255]), (4, [0, 255]), (4, [0, 1, 2])])
def test_a_bitmap_that_would_be_scrambled_is_refused(
    tmp_path: Path, bits: int, greys: list[int], read: Callable[[Path], object]
) -> None:
    """Pillow decodes bits or bytes where the palette is black and white, or a ramp from black."""
    (tmp_path / "x.bmp").write_bytes(bitmap(ROWS, bits, greys))
    with pytest.raises(
        InputError, match=rf"x\.bmp is a BMP of {bits} bits a pixel .*save it as PNG"
    ):
        read(tmp_path / "x.bmp")


def test_grey_levels_of_any_depth_and_no_colour(tmp_path: Path) -> None:
    levels = pixels(4, 6)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    assert torch.equal(read_grey(tmp_path / "grey.png").values, torch.from_numpy(levels))
    Image.fromarray(levels > 127).save(tmp_path / "bits.png")
    assert torch.equal(
        read_grey(tmp_path / "bits.png").values, torch.from_numpy((levels > 127) * np.uint8(255))
    )
    Image.fromarray(levels).convert("P").save(tmp_path / "palette.png")
    with pytest.raises(InputError, match=r"palette\.png has pixel format P; expected a grey"):
        read_grey(tmp_path / "palette.png")
