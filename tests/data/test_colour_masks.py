"""Masks in colours, and grey ones stored as colours: the classes that were drawn, or a refusal."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters.base import distinct_colours
from ppl.data.class_colours import ClassColours, colours_of_settings
from ppl.data.colour_masks import OwnMask, read_own_mask
from ppl.images.files import StoredMask, read_mask, write_mask
from ppl.images.pictures import IGNORE
from tests.data.test_scans import MASKED, Parts, as_palette, parts, warnings
from tests.images.test_files import deep_png

__all__ = ["parts"]

OWN = distinct_colours(3)
RED, GREEN, VOID = (255, 0, 0), (0, 255, 0), (224, 224, 192)
COLOURS: dict[str, Any] = {"scratch": list(RED), "dent": list(GREEN)}
NAMED = colours_of_settings(COLOURS, ["background", "scratch", "dent"])
INDICES = np.random.default_rng(0).integers(0, 3, (7, 5), dtype=np.uint8)


def coloured(indices: np.ndarray, *colours: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array(colours, dtype=np.uint8)[indices])


def save(folder: Path, picture: Image.Image, name: str = "m.png", **options: Any) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def origin(mask: StoredMask) -> str:
    assert isinstance(mask, OwnMask)
    return mask.origin


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_each_colour_becomes_the_index_of_its_class(
    tmp_path: Path, name: str, *, alpha: bool
) -> None:
    picture = coloured(INDICES, (0, 0, 0), RED, GREEN)
    if alpha:
        picture.putalpha(255)
    mask = read_own_mask(save(tmp_path, picture, name), NAMED, OWN)
    assert mask.values.dtype == torch.uint8
    assert mask.values.tolist() == INDICES.tolist()
    assert origin(mask) == "colours"


def test_a_background_of_another_colour_and_ignored_pixels(tmp_path: Path) -> None:
    named = colours_of_settings(
        {"background": [9, 9, 9], "ignored": list(VOID), **COLOURS},
        ["background", "scratch", "dent"],
    )
    drawn = np.array([[0, 1, 2, 3]])
    file = save(tmp_path, coloured(drawn, (9, 9, 9), RED, GREEN, VOID))
    assert read_own_mask(file, named, OWN).values.tolist() == [[0, 1, 2, IGNORE]]
    file = save(tmp_path, coloured(drawn, (0, 0, 0), RED, GREEN, VOID))
    with pytest.raises(InputError, match=r"\(0, 0, 0\) in 1 pixels; data\.colours names"):
        read_own_mask(file, named, OWN)


def test_a_turned_mask_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(tmp_path, coloured(INDICES, (0, 0, 0), RED, GREEN), exif=exif)
    mask = read_own_mask(file, NAMED, OWN)
    assert mask.values.tolist() == np.rot90(INDICES, -1).tolist()
    assert mask.orientation == 6


def test_a_colour_that_is_no_class_is_named_with_its_pixels(tmp_path: Path) -> None:
    picture = coloured(INDICES, (0, 0, 0), RED, GREEN)
    for x in range(3):
        picture.putpixel((x, 0), (250, 0, 0))
    picture.putpixel((0, 1), (1, 2, 3))
    file = save(tmp_path, picture)
    with pytest.raises(InputError) as caught:
        read_own_mask(file, NAMED, OWN)
    said = str(caught.value)
    assert str(file) in said
    assert "(250, 0, 0) in 3 pixels, (1, 2, 3) in 1 pixels; data.colours names background (" in said
    assert "blurred" not in said


def test_blurred_edges_are_told_from_a_wrong_colour(tmp_path: Path) -> None:
    picture = coloured(INDICES, (0, 0, 0), RED, GREEN).resize((70, 50), Image.Resampling.BICUBIC)
    with pytest.raises(InputError, match=r"more colours \(blurred edges\? save it without"):
        read_own_mask(save(tmp_path, picture), NAMED, OWN)


def test_a_palette_counts_by_its_colours(tmp_path: Path) -> None:
    picture = as_palette(INDICES, [GREEN, (0, 0, 0), RED])
    mask = read_own_mask(save(tmp_path, picture), NAMED, OWN)
    assert mask.values.tolist() == np.array([2, 0, 1])[INDICES].tolist()
    assert read_own_mask(save(tmp_path, picture), None, OWN).values.tolist() == INDICES.tolist()
    picture = as_palette(INDICES, [GREEN, (0, 0, 0), (7, 7, 7)])
    with pytest.raises(InputError, match=rf"\(7, 7, 7\) in {(INDICES == 2).sum()} pixels"):
        read_own_mask(save(tmp_path, picture), NAMED, OWN)


def test_an_index_beyond_the_palette_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path, as_palette(INDICES, [(0, 0, 0), RED, GREEN] + [(1, 1, 1)] * 253))
    content = file.read_bytes()
    at = content.index(b"PLTE") - 4
    end = at + 12 + struct.unpack(">I", content[at : at + 4])[0]
    palette = b"PLTE" + bytes((0, 0, 0, *RED))
    short = struct.pack(">I", 6) + palette + struct.pack(">I", zlib.crc32(palette))
    file.write_bytes(content[:at] + short + content[end:])
    with pytest.raises(InputError, match=rf"{(INDICES == 2).sum()} pixels whose index has no"):
        read_own_mask(file, NAMED, OWN)


def test_masks_of_this_project_keep_their_indices(tmp_path: Path) -> None:
    drawn = torch.from_numpy(np.where(INDICES == 2, IGNORE, INDICES))
    write_mask(tmp_path / "m.png", drawn, OWN)
    assert torch.equal(read_own_mask(tmp_path / "m.png", NAMED, OWN).values, drawn)


@pytest.mark.parametrize("values", [[0, 1, 2, 255], [0], [0, 255], [2, 1]])
def test_a_grey_mask_keeps_its_indices_beside_masks_in_colours(
    tmp_path: Path, values: list[int]
) -> None:
    file = save(tmp_path, Image.fromarray(np.array([values], dtype=np.uint8)))
    assert read_own_mask(file, NAMED, OWN).values.tolist() == [values]


def test_a_grey_level_that_is_the_colour_of_a_class_is_that_class(tmp_path: Path) -> None:
    named = colours_of_settings([[0, 0, 0], [255] * 3, [128] * 3], ["sound", "scratch", "dent"])
    for mode in ("L", "RGB"):
        picture = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)).convert(mode)
        assert read_own_mask(save(tmp_path, picture), named, OWN).values.tolist() == [[0, 2, 1]]
        picture = Image.fromarray(np.array([[0, 128, 77]], dtype=np.uint8)).convert(mode)
        with pytest.raises(InputError, match=r"\(77, 77, 77\) in 1 pixels"):
            read_own_mask(save(tmp_path, picture), named, OWN)


def test_white_of_one_bit_is_the_class_that_is_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    file = save(tmp_path, picture)
    white = [255, 255, 255]
    classes = ["background", "scratch", "dent"]
    named = colours_of_settings({"scratch": list(RED), "dent": white}, classes)
    assert read_own_mask(file, named, OWN).values.tolist() == [[0, 2]]
    assert read_own_mask(file, NAMED, OWN).values.tolist() == [[0, 1]], "no class is white"
    assert read_own_mask(file, None, OWN).values.tolist() == [[0, 1]]
    # a grey 1 is no white
    file = save(tmp_path, Image.fromarray(np.array([[0, 1]], dtype=np.uint8)))
    assert read_own_mask(file, named, OWN).values.tolist() == [[0, 1]]


def test_a_palette_of_all_greys_is_grey(tmp_path: Path) -> None:
    greys = [(level, level, level) for level in range(256)]
    file = save(tmp_path, as_palette(INDICES, greys))
    assert read_own_mask(file, NAMED, OWN).values.tolist() == INDICES.tolist()


def test_masks_of_this_project_are_known_by_a_palette_that_was_cut(tmp_path: Path) -> None:
    file = save(tmp_path, as_palette(np.minimum(INDICES, 1), list(OWN[:2])))
    assert read_own_mask(file, NAMED, OWN).values.tolist() == np.minimum(INDICES, 1).tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_stored_as_colours_is_read_as_indices(tmp_path: Path, mode: str) -> None:
    for values in ([0, 1, 2, 255], [0, 255], [0, 0]):
        picture = Image.fromarray(np.array([values], dtype=np.uint8)).convert(mode)
        mask = read_own_mask(save(tmp_path, picture), None, OWN)
        assert mask.values.tolist() == [values]
        assert origin(mask) == "grey_in_colour"


def test_white_that_names_no_class_is_refused_where_colours_count(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("RGB")
    with pytest.raises(InputError, match=r"\(255, 255, 255\) in 1 pixels"):
        read_own_mask(save(tmp_path, picture), NAMED, OWN)


@pytest.mark.parametrize("named", [None, NAMED])
def test_transparent_pixels_are_refused(tmp_path: Path, named: ClassColours | None) -> None:
    picture = coloured(INDICES, (0, 0, 0, 254), (*RED, 255), (*GREEN, 0))
    clear = int((INDICES != 1).sum())
    with pytest.raises(InputError, match=rf"m\.png has {clear} transparent pixels.*alpha channel"):
        read_own_mask(save(tmp_path, picture), named, OWN)


@pytest.mark.parametrize("named", [None, NAMED])
def test_formats_that_alter_colours_are_refused(tmp_path: Path, named: ClassColours | None) -> None:
    picture = coloured(INDICES, (0, 0, 0), RED, GREEN)
    for name, options in (
        ("m.jpg", {}),
        ("m.png", {"format": "JPEG"}),
        ("m.webp", {"lossless": True}),
        ("m.tif", {"compression": "jpeg"}),
    ):
        with pytest.raises(InputError, match=r"that alters class indices or stores none"):
            read_own_mask(save(tmp_path, picture, name, **options), named, OWN)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_a_channel_are_refused(tmp_path: Path, kind: int, channels: int) -> None:
    (tmp_path / "m.png").write_bytes(deep_png(kind, channels))
    with pytest.raises(InputError, match=r"m\.png has 16 bits a channel.*with 8"):
        read_own_mask(tmp_path / "m.png", NAMED, OWN)


def test_colours_without_a_key_are_shown_with_what_to_write(tmp_path: Path) -> None:
    file = save(tmp_path, coloured(INDICES, (0, 0, 0), RED, GREEN))
    with pytest.raises(InputError) as caught:
        read_own_mask(file, None, OWN)
    said = str(caught.value)
    assert "m.png has pixel format RGB" in said
    assert f"(255, 0, 0) in {(INDICES == 1).sum()} pixels" in said
    assert "data.colours, e.g. `colours: {scratch: [255, 0, 0]}`" in said


def test_a_damaged_mask_is_called_damaged(tmp_path: Path) -> None:
    file = save(tmp_path, coloured(np.tile(INDICES, (20, 20)), (0, 0, 0), RED, GREEN))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"m\.png cannot be read"):
        read_own_mask(file, NAMED, OWN)


def test_masks_in_colours_train_what_was_drawn(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    by_index = {id: scan.pixels for id, scan in parts.run().scans.items()}
    shares = capsys.readouterr().out.splitlines()[-1]
    parts.draw_masks(lambda _, mask: coloured(mask, (0, 0, 0), RED, GREEN))
    said = parts.refused(r"im01\.png has pixel format RGB")
    assert said.startswith("6 masks are in colours"), "sound ones are black, which is grey"
    assert len(said.splitlines()) == said.count("data.colours") == 1
    parts.changes["colours"] = COLOURS
    plan = parts.run()
    assert {id: scan.pixels for id, scan in plan.scans.items()} == by_index
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == shares
    assert f"prepare: note: {MASKED} masks are read by their colours\n" in told.err
    assert "warning" not in told.err


def test_cvat_and_masks_that_were_corrected(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.draw_masks(lambda _, mask: coloured(mask, (0, 0, 0), RED, GREEN))
    (parts.root / "masks/labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nscratch:255,0,0::\ndent:0,255,0::\n",
        encoding="utf-8",
    )
    (parts.root / "corrected").mkdir()
    mask = torch.zeros(24, 32, dtype=torch.uint8)
    mask[4:9, 3:8] = 2
    write_mask(parts.root / "corrected/im12.png", mask, OWN)
    plan = parts.run()
    assert plan.scans["im12"].pixels == {0: 24 * 32 - 25, 2: 25}
    assert warnings(capsys) == [], "labelmap.txt is read"


def test_ignored_pixels_are_taken_at_their_word_where_they_have_a_colour(parts: Parts) -> None:
    def with_border(_: int, mask: np.ndarray) -> Image.Image:
        mask[0] = 3
        return coloured(mask, (0, 0, 0), RED, GREEN, VOID)

    parts.draw_masks(with_border)
    parts.changes["colours"] = {**COLOURS, "ignored": list(VOID)}
    assert parts.run().scans["im00"].pixels == {0: 23 * 32, IGNORE: 32}


def test_grey_stored_as_colours_is_said_once(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.draw_masks(
        lambda number, mask: Image.fromarray(mask).convert("RGB" if number < 4 else "L")
    )
    parts.run()
    said = capsys.readouterr().err
    assert said.count("equal channels") == 1
    assert "note: 4 masks store grey as colours with equal channels" in said


def test_a_mask_of_many_pixels_is_read_whole(tmp_path: Path) -> None:
    indices = np.random.default_rng(1).integers(0, 3, (700, 900), dtype=np.uint8)
    file = save(tmp_path, coloured(indices, (0, 0, 0), RED, GREEN))
    assert read_own_mask(file, NAMED, OWN).values.numpy().tobytes() == indices.tobytes()
    assert read_mask(save(tmp_path, Image.fromarray(indices))).numpy().tobytes() == (
        indices.tobytes()
    )
