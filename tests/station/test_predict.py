"""`predict` of a folder: what it leaves, what it refuses, and how it goes on."""

import csv
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.pictures import read_pixels
from ppl.station import command, decode, results, stream, verdict
from ppl.station.appearance import NUMBERS, appearance_of
from ppl.station.defects import find_defects, score_of
from ppl.station.options import Request
from tests.station.bright import Bright

ROOT = Path(__file__).parent.parent.parent


def picture(number: int, height: int = 20, width: int = 30) -> Image.Image:
    """Grey, with a bright and a dark rectangle; every third is sound."""
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    pixels += np.random.default_rng(number).integers(0, 20, pixels.shape, dtype=np.uint8)
    if number % 3:
        pixels[height // 4 : height // 2, : width // 2] = 250
        pixels[height // 2 + 1 :, width // 3 : width // 2 + number % 7] = 5
    return Image.fromarray(pixels)


def save(file: Path, image: Image.Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def no_entry(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A folder that may not be read, whoever runs the tests."""
    scan = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """23 images of all kinds."""
    folder = tmp_path / "images"
    for number in range(17):
        save(folder / f"{number % 3}/{number:02}.png", picture(number, 10 + number, 40 - number))
    save(folder / "grey.png", picture(1).convert("L"))
    save(folder / "palette.png", picture(2).convert("P"))
    save(folder / "alpha.png", picture(4).convert("RGBA"))
    save(folder / "bits.png", picture(5).convert("1"))
    save(folder / "photo.JPG", picture(7, 200, 300))
    save(folder / "point.bmp", picture(0, 1, 1))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


BROKEN = {
    "empty.png": "none of",
    "text.png": "none of",
    "cut.png": "cut short",
    "cut.jpg": "cut short",
    "deep.png": "expected 8 bits a channel",
    "pages.tif": "holds 3 pictures",
}


def spoil(folder: Path) -> None:
    """Add images that cannot be read."""
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("a,b\nc\n" * 20, encoding="utf-8")
    for name in ("cut.png", "cut.jpg"):
        save(folder / name, picture(1, 100, 100))
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16)).save(folder / "deep.png")
    pages = [picture(number) for number in range(3)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])


def predict(images: Path, out: Path, model: str = "bright", **words: bool) -> int:
    words = {"no_overlays": True} | words
    return command.predict(Bright, Path(model), Request((images,), out, **words))


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def state(out: Path) -> dict[str, object]:
    """All that lies there; of the seconds only that there are some."""
    found: dict[str, object] = {}
    for file in sorted(out.rglob("*")):
        if file.is_file():
            found[file.relative_to(out).as_posix()] = file.read_bytes()
    table = rows(out / "results.csv")
    for row in table:
        assert float(row.pop("seconds")) >= 0
    return found | {"results.csv": table}


@pytest.mark.parametrize("model", ["bright", "strict"])
def test_tables_and_masks_are_what_a_slow_version_says(
    images: Path, tmp_path: Path, model: str
) -> None:
    out = tmp_path / "out"
    assert predict(images, out, model) == 0
    table = rows(out / "results.csv")
    files = [file for file in sorted(images.rglob("*")) if file.suffix not in ("", ".txt")]
    assert sorted(row["image"] for row in table) == sorted(
        file.relative_to(images).as_posix() for file in files
    )
    defects = rows(out / "defects.csv")
    predictor = Bright(Path(model))
    for number, row in enumerate(table):
        pixels = read_pixels(images / row["image"])
        together = min(4, len(table) - number // 4 * 4)
        prob = next(iter(predictor.probabilities([pixels] * together)))
        mask = prob.argmax(axis=0)
        with Image.open(out / row["mask"]) as written:
            assert written.mode == "P"
            assert written.getpalette()[3:6] == [230, 60, 60]
            np.testing.assert_array_equal(np.asarray(written), mask)
        found = find_defects(prob, mask.astype(np.uint8), predictor.thresholds)
        score = score_of(found)
        assert row["score"] == f"{score:.6f}"
        assert row["verdict"] == ("defective" if score > predictor.thresholds.score else "sound")
        for index, name in ((1, "bright"), (2, "dark")):
            assert row[f"area_{name}"] == str((mask == index).sum())
            assert row[f"share_{name}"] == f"{(mask == index).mean():.6f}"
        assert row["defects"] == str(len(found))
        assert row["largest"] == str(max([0, *(defect.area for defect in found)]))
        assert row["error"] == ""
        mine = [line for line in defects if line["image"] == row["image"]]
        assert [
            (line["class"], *(int(line[side]) for side in ("left", "top", "right", "bottom")))
            for line in mine
        ] == [(predictor.classes[d.index], *d.box) for d in found]
        assert [line["mean_probability"] for line in mine] == [f"{d.mean:.6f}" for d in found]
    assert len(defects) > 0
    assert {row["verdict"] for row in table} == {"defective", "sound"}


def test_tables_are_plain_text_of_one_line_a_row(images: Path, tmp_path: Path) -> None:
    save(images / "=1+1.png", picture(1))
    save(images / 'a, "b"\nc.png', picture(1))
    predict(images, tmp_path / "out")
    for name in ("results.csv", "defects.csv"):
        content = (tmp_path / "out" / name).read_bytes()
        assert b"\r" not in content
        assert not content.startswith(b"\xef\xbb\xbf")
        assert len(content.decode("utf-8").splitlines()) == 1 + len(rows(tmp_path / "out" / name))
    listed = {row["image"] for row in rows(tmp_path / "out/results.csv")}
    assert {"./=1+1.png", r'a, "b"\nc.png'} <= listed


def test_broken_images_are_rows_with_a_reason_and_the_others_are_predicted(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(images)
    out = tmp_path / "out"
    assert predict(images, out) == 3
    table = {row["image"]: row for row in rows(out / "results.csv")}
    assert len(table) == 23 + len(BROKEN)
    for name, reason in BROKEN.items():
        assert reason in table[name]["error"]
        assert str(images) not in table[name]["error"]
        assert table[name]["verdict"] == table[name]["score"] == table[name]["mask"] == ""
    assert {name for name, row in table.items() if row["error"]} == set(BROKEN)
    said = capsys.readouterr().out
    assert "29 images: " in said
    assert "6 not predicted" in said
    assert "1 other files left alone" in said
    before = state(out)
    assert predict(images, out) == 3
    assert state(out) == before
    save(images / "cut.png", picture(1))
    assert predict(images, out) == 3
    assert {row["image"]: row for row in rows(out / "results.csv")}["cut.png"]["error"] == ""


def test_images_that_differ_in_their_suffix_keep_masks_apart(tmp_path: Path) -> None:
    for number, name in enumerate(["a.jpg", "a.png", "A.bmp", "a.jpg.png", "b.tif"]):
        save(tmp_path / "images" / name, picture(number))
    predict(tmp_path / "images", tmp_path / "out", no_overlays=False)
    masks = {row["image"]: row["mask"] for row in rows(tmp_path / "out/results.csv")}
    assert masks == {
        "A.bmp": "masks/A.png",
        "a.jpg": "masks/a.jpg.png",
        "a.jpg.png": "masks/a.jpg.png.png",
        "a.png": "masks/a.png.png",
        "b.tif": "masks/b.png",
    }
    before = state(tmp_path / "out")
    assert len([name for name in before if name.startswith("overlays/")]) == 5
    predict(tmp_path / "images", tmp_path / "out", no_overlays=False)
    assert state(tmp_path / "out") == before


def test_no_image_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/notes.txt").touch()
    with pytest.raises(InputError, match=r"no image in .*images \(1 other files\)"):
        predict(tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_models_results_are_not_mixed_with(images: Path, tmp_path: Path) -> None:
    predict(images, tmp_path / "out")
    before = state(tmp_path / "out")
    with pytest.raises(InputError, match=r"another model or of other thresholds \(bright; this"):
        predict(images, tmp_path / "out", "strict")
    assert state(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["masks/a.png", "overlays/a.jpg", "results.csv", "defects.csv"])
def test_masks_and_tables_of_someone_else_are_not_written_over(
    images: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="these may be yours"):
        predict(images, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text(encoding="utf-8") == "mine"


def test_results_within_the_images_are_no_images(images: Path) -> None:
    assert predict(images, images / "out") == 0
    before = state(images / "out")
    assert predict(images, images / "out") == 0
    assert state(images / "out") == before
    with pytest.raises(InputError, match="where the results go"):
        predict(images, images)


def test_images_of_another_folder_are_not_mixed_with(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "day 2")
    predict(images, tmp_path / "out")
    before = state(tmp_path / "out")
    told = f"holds the results of {images}: name another --out"
    for others in [(tmp_path / "day 2",), (images, tmp_path / "day 2"), (images / "grey.png",)]:
        with pytest.raises(InputError, match=re.escape(told)):
            command.predict(Bright, Path("bright"), Request(others, tmp_path / "out"))
    (tmp_path / "latest").symlink_to(images)
    assert predict(tmp_path / "latest", tmp_path / "out") == 0
    assert state(tmp_path / "out") == before


def test_what_another_process_began_meanwhile_is_not_mixed_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = results._locked

    def after_another(file: int) -> bool:
        monkeypatch.setattr(results, "_locked", locked)
        predict(tmp_path / "out/../images", tmp_path / "other", "strict")
        shutil.copy(tmp_path / "other/predicted_by.json", tmp_path / "out")
        return locked(file)

    monkeypatch.setattr(results, "_locked", after_another)
    with pytest.raises(InputError, match="results of another model"):
        predict(images, tmp_path / "out")


def test_a_refused_folder_gets_no_lock(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out/masks").mkdir(parents=True)
    with pytest.raises(InputError, match="these may be yours"):
        predict(images, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["masks"]


def test_a_link_that_leads_nowhere_is_named_and_the_others_predicted(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "link.png").symlink_to(tmp_path / "nowhere.png")
    for _ in range(2):
        assert predict(images, tmp_path / "out") == 3
        assert "link.png: not predicted: is a link that leads nowhere\n" in capsys.readouterr().err
        assert len(rows(tmp_path / "out/results.csv")) == 23


def test_a_folder_that_may_not_be_read_ends_it_with_its_name(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_entry(monkeypatch, images / "1")
    with pytest.raises(InputError, match=r"folder .*images/1 may not be read: change its perm"):
        predict(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Image.open

    def refuse(file: Path, **words: object) -> Image.Image:
        if file.name == "grey.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return real(file, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", refuse)
    assert predict(images, tmp_path / "out") == 3
    errors = {row["image"]: row["error"] for row in rows(tmp_path / "out/results.csv")}
    assert errors["grey.png"] == "may not be read: change its permissions"


def test_odd_names_are_predicted_as_others(tmp_path: Path) -> None:
    images, long = tmp_path / "images", "k" * 250
    names = ["k.jpg", "k.png/a.png", f"{long}.jpg", f"{long}.bmp", r"b\n.png", "b\n.png"]
    names += [os.fsdecode(b"caf\xe9.png"), "caf\x85.png"]
    for number, name in enumerate(names):
        save(images / name, picture(number))
    assert predict(images, tmp_path / "out", no_overlays=False) == 0
    table = rows(tmp_path / "out/results.csv")
    assert len({row["image"] for row in table}) == len({row["mask"] for row in table}) == len(names)
    assert all((tmp_path / "out" / row["mask"]).is_file() for row in table)
    assert {r"b\\n.png", r"b\n.png", r"caf\xe9.png"} <= {row["image"] for row in table}
    before = state(tmp_path / "out")
    assert predict(images, tmp_path / "out", no_overlays=False) == 0
    assert state(tmp_path / "out") == before


def test_a_name_that_the_place_of_the_results_refuses_is_a_row(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def refuse(file: Path, content: bytes) -> int:
        if file.name == "grey.jpg":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(file))
        return real(file, content)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert predict(images, tmp_path / "out", no_overlays=False) == 3
    errors = {row["image"]: row["error"] for row in rows(tmp_path / "out/results.csv")}
    assert [name for name, error in errors.items() if error] == ["grey.png"]
    assert "rename it" in errors["grey.png"]
    assert not (tmp_path / "out/masks/grey.png").exists()


def test_two_runs_do_not_write_into_one_folder(images: Path, tmp_path: Path) -> None:
    with (
        results.opened(tmp_path / "out", "bright", Bright.classes, [images]),
        pytest.raises(InputError, match="another process writes"),
    ):
        predict(images, tmp_path / "out")
    assert predict(images, tmp_path / "out") == 0


def test_what_is_done_is_not_done_again_and_what_changed_is(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(images, out)
    predictor = Bright()
    asked = Request((images,), out, no_overlays=True)
    assert command.predict(lambda _: predictor, Path(), asked) == 0
    assert predictor.seen == []
    save(images / "grey.png", picture(5, 33, 44))
    save(images / "new.png", picture(8))
    (out / "masks/palette.png").unlink()
    (images / "alpha.png").unlink()
    whole = {row["image"]: row for row in rows(out / "results.csv")}
    assert predict(images, out) == 0
    table = rows(out / "results.csv")
    assert len({row["image"] for row in table}) == len(table) == 24
    changed = {row["image"] for row in table if row != whole.get(row["image"])}
    assert {"grey.png", "new.png"} <= changed <= {"grey.png", "new.png", "palette.png"}
    with Image.open(out / "masks/grey.png") as mask:
        assert mask.size == (44, 33)
    listed = {row["image"]: int(row["defects"]) for row in table}
    count = dict.fromkeys(listed, 0)
    for row in rows(out / "defects.csv"):
        count[row["image"]] += 1
    assert count == listed


def test_overlays_that_were_not_wanted_before_are_made(images: Path, tmp_path: Path) -> None:
    predict(images, tmp_path / "out")
    predict(images, tmp_path / "out", no_overlays=False)
    fresh = tmp_path / "fresh"
    predict(images, fresh, no_overlays=False)
    assert state(tmp_path / "out") == state(fresh)


def test_an_image_that_is_broken_now_loses_its_mask(images: Path, tmp_path: Path) -> None:
    predict(images, tmp_path / "out")
    assert (tmp_path / "out/masks/grey.png").exists()
    (images / "grey.png").write_bytes(b"")
    assert predict(images, tmp_path / "out") == 3
    assert not (tmp_path / "out/masks/grey.png").exists()


def test_a_table_that_a_program_changed_is_named(images: Path, tmp_path: Path) -> None:
    predict(images, tmp_path / "out")
    file = tmp_path / "out/results.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    with pytest.raises(InputError, match=r"results.csv has other columns"):
        predict(images, tmp_path / "out")


def test_any_torn_end_of_the_tables_is_mended(images: Path, tmp_path: Path) -> None:
    spoil(images)
    whole = tmp_path / "whole"
    predict(images, whole)
    wanted = state(whole)
    draw = random.Random(0)
    contents = {name: (whole / name).read_bytes() for name in ("results.csv", "defects.csv")}
    head = contents["results.csv"].index(b"\n") + 1
    for cut in [0, 5, head, *(draw.randrange(len(contents["results.csv"])) for _ in range(8))]:
        (whole / "results.csv").write_bytes(contents["results.csv"][:cut])
        torn = draw.randrange(len(contents["defects.csv"]))
        (whole / "defects.csv").write_bytes(contents["defects.csv"][: max(torn, cut)])
        predict(images, whole)
        assert state(whole).keys() == wanted.keys()
        found = state(whole)
        assert {row["image"]: row for row in found["results.csv"]} == {  # type: ignore[attr-defined]
            row["image"]: row
            for row in wanted["results.csv"]  # type: ignore[attr-defined]
        }
        assert sorted(found["defects.csv"].splitlines()) == sorted(  # type: ignore[attr-defined]
            wanted["defects.csv"].splitlines()  # type: ignore[attr-defined]
        )


class Unlucky(Bright):
    """Has memory for few pixels at a time, and no number for one image."""

    def probabilities(self, images):  # type: ignore[no-untyped-def]
        if len(images) > 1 and sum(image.shape[0] for image in images) > 100:
            raise RuntimeError("CUDA out of memory")
        for prob, image in zip(super().probabilities(images), images, strict=True):
            if image.shape[0] == 200:
                raise MemoryError
            yield prob * np.float32("nan") if image.shape[0] == 1 else prob


def test_an_image_too_large_for_the_memory_stops_no_other(images: Path, tmp_path: Path) -> None:
    asked = Request((images,), tmp_path / "out", no_overlays=True)
    assert command.predict(lambda _: Unlucky(), Path("bright"), asked) == 3
    errors = {row["image"]: row["error"] for row in rows(tmp_path / "out/results.csv")}
    assert {name: error for name, error in errors.items() if error}.keys() == {
        "photo.JPG",
        "point.bmp",
    }
    assert "memory did not suffice" in errors["photo.JPG"]
    assert "NaN" in errors["point.bmp"]
    assert predict(images, tmp_path / "out") == 0


class FailError(Exception):
    """As ONNX Runtime's errors, it derives from `Exception` alone."""


NO_ROOM = [
    FailError("[ONNXRuntimeError] : 1 : FAIL : bad allocation"),
    FailError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
]


@pytest.mark.parametrize("error", NO_ROOM)
def test_each_runtimes_error_of_memory_is_a_row(
    images: Path, tmp_path: Path, error: Exception
) -> None:
    class Full(Bright):
        def probabilities(self, images):  # type: ignore[no-untyped-def]
            if max(image.shape[0] for image in images) == 200:
                raise error
            yield from super().probabilities(images)

    asked = Request((images,), tmp_path / "out", no_overlays=True)
    assert command.predict(lambda _: Full(), Path("bright"), asked) == 3
    errors = {row["image"]: row["error"] for row in rows(tmp_path / "out/results.csv")}
    assert [name for name, error in errors.items() if error] == ["photo.JPG"]


def test_a_very_large_image_is_judged_band_by_band_as_a_smaller_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Whole(Bright):
        at_once = 1

        def bands(self, image):  # type: ignore[no-untyped-def]
            banded.append(image.shape)
            return super().bands(image)

    banded: list[tuple[int, ...]] = []
    for number, (height, width) in enumerate([(20, 30), (200, 300), (10, 40), (101, 100)]):
        save(tmp_path / f"images/{number}.png", picture(number + 1, height, width))
    asked = [Request((tmp_path / "images",), tmp_path / name) for name in ("at_once", "banded")]
    assert command.predict(lambda _: Whole(), Path("strict"), asked[0]) == 0
    assert not banded
    for module in (decode, stream):
        monkeypatch.setattr(module, "MOST_AHEAD", 10_000)
    assert command.predict(lambda _: Whole(), Path("strict"), asked[1]) == 0
    assert banded == [(200, 300, 3), (101, 100, 3)]
    assert state(tmp_path / "banded") == state(tmp_path / "at_once")


def test_a_very_large_image_without_numbers_or_memory_is_a_row(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Bright):
        def __init__(self, problem: Exception | None) -> None:
            super().__init__()
            self.problem = problem

        def bands(self, image):  # type: ignore[no-untyped-def]
            bands = super().bands(image)
            yield next(bands)
            if self.problem:
                raise self.problem
            yield next(bands) * np.float32(np.nan)

    for module in (decode, stream):
        monkeypatch.setattr(module, "MOST_AHEAD", 10_000)
    for problem, said in [
        (None, "gives no number"),
        (MemoryError(), "memory did not suffice"),
        (FailError("bad allocation"), "memory did not suffice"),
    ]:
        asked = Request((images,), tmp_path / f"out {said} {type(problem)}")
        assert command.predict(lambda _, p=problem: Broken(p), Path("bright"), asked) == 3
        errors = {row["image"]: row["error"] for row in rows(asked.out / "results.csv")}
        assert [name for name, error in errors.items() if error] == ["photo.JPG"]
        assert said in errors["photo.JPG"]


@pytest.mark.parametrize("step", ["likeliest", "write_indices", "draw_overlay"])
def test_memory_that_fails_behind_the_network_is_a_row(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    module = verdict if step == "likeliest" else stream
    real = getattr(module, step)

    def full(*given: object) -> object:
        if any(isinstance(one, np.ndarray) and 200 in one.shape for one in given):
            raise MemoryError
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, full)
        assert predict(images, tmp_path / "out", no_overlays=False) == 3
    table = {row["image"]: row for row in rows(tmp_path / "out/results.csv")}
    assert [name for name, row in table.items() if row["error"]] == ["photo.JPG"]
    assert "memory did not suffice" in table["photo.JPG"]["error"]
    assert table["photo.JPG"]["mask"] == ""
    assert not (tmp_path / "out/masks/photo.png").exists()
    assert predict(images, tmp_path / "out", no_overlays=False) == 0


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        FailError("INVALID_ARGUMENT"),
    ],
)
def test_another_error_of_the_model_is_no_row(
    images: Path, tmp_path: Path, error: Exception
) -> None:
    class Wrong(Bright):
        def probabilities(self, images):  # type: ignore[no-untyped-def]
            raise error

    with pytest.raises(type(error), match=re.escape(str(error))):
        command.predict(lambda _: Wrong(), Path(), Request((images,), tmp_path / "out"))


@pytest.mark.parametrize("where", ["masks", "results.csv"])
def test_a_full_disk_ends_with_a_sentence_and_the_same_command_goes_on(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    predict(images, tmp_path / "whole")
    real_write, real_open, left = Path.write_bytes, Path.open, [9]

    def full(file: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    def write_bytes(file: Path, content: bytes) -> int:
        if where in file.parts:
            full(file)
        return real_write(file, content)

    def opened(file: Path, mode: str = "r", **words):  # type: ignore[no-untyped-def]
        if mode == "ab" and file.name == where:
            full(file)
        return real_open(file, mode, **words)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        patch.setattr(Path, "open", opened)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            predict(images, tmp_path / "out")
    assert 0 < len(rows(tmp_path / "out/results.csv")) <= 9
    assert predict(images, tmp_path / "out") == 0
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def station(*words: object, **environment: str) -> subprocess.Popen[str]:
    """A station's command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.station.bright", "bright", *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def process() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.communicate()


def test_a_file_that_may_grow_no_more_leaves_a_torn_row_that_is_mended(
    images: Path, tmp_path: Path
) -> None:
    predict(images, tmp_path / "whole")
    done = station(images, "--out", tmp_path / "out", "--no-overlays", PPL_FILE_LIMIT="1600")
    said = done.communicate()[1]
    assert done.returncode == 1
    assert "Error: " in said
    assert "cannot be written (File too large)" in said
    assert "Traceback" not in said
    tables = [(tmp_path / "out" / name).read_bytes() for name in ("results.csv", "defects.csv")]
    assert not all(table.endswith(b"\n") for table in tables)
    assert predict(images, tmp_path / "out") == 0
    assert state(tmp_path / "out") == state(tmp_path / "whole")


@pytest.mark.parametrize("most", [6, pytest.param(40, marks=pytest.mark.long)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    images: Path, tmp_path: Path, process: list[subprocess.Popen[str]], most: int
) -> None:
    spoil(images)
    words = (images, "--out", tmp_path / "out")
    predict(images, tmp_path / "whole", no_overlays=False)
    wanted = state(tmp_path / "whole")
    draw, within = random.Random(most), 0
    for _ in range(most):
        process.append(station(*words, PPL_SLOW="0.03"))
        time.sleep(draw.uniform(0.2, 0.7))
        process[-1].send_signal(signal.SIGKILL)
        process[-1].wait()
        table = tmp_path / "out/results.csv"
        done = table.read_bytes().count(b"\n") - 1 if table.exists() else 0
        within += 0 < done < len(wanted["results.csv"])  # type: ignore[arg-type]
        if done == len(wanted["results.csv"]):  # type: ignore[arg-type]
            assert state(tmp_path / "out") == wanted
            shutil.rmtree(tmp_path / "out")
    assert within
    last = station(*words)
    last.communicate()
    assert last.returncode == 3
    assert state(tmp_path / "out") == wanted


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_writes_what_it_has_and_goes_on(
    images: Path, tmp_path: Path, process: list[subprocess.Popen[str]], name: signal.Signals
) -> None:
    process.append(station(images, "--out", tmp_path / "out", "--no-overlays", PPL_SLOW="0.1"))
    while not (tmp_path / "out/results.csv").exists():
        time.sleep(0.02)
    process[0].send_signal(name)
    _, said = process[0].communicate()
    assert process[0].returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    predict(images, tmp_path / "whole")
    predict(images, tmp_path / "out")
    assert state(tmp_path / "out") == state(tmp_path / "whole")


def test_how_an_image_looks_is_in_its_row(images: Path, tmp_path: Path) -> None:
    predict(images, tmp_path / "out")
    for row in rows(tmp_path / "out/results.csv"):
        pixels = read_pixels(images / row["image"])
        found = appearance_of(pixels)
        assert [float(row[name]) for name in NUMBERS] == pytest.approx(list(found), abs=1e-4)
        assert row["unusual"] == ""


def lit(folder: Path, count: int, level: int, prefix: str = "") -> None:
    """Images of one brightness, otherwise as the model `trained` knows them."""
    for number in range(count):
        grey = np.full((20, 30, 3), level, dtype=np.uint8)
        grey[::2] += 60
        save(folder / f"{prefix}{number:02}.png", Image.fromarray(grey))


def test_images_unlike_the_training_are_marked_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lit(tmp_path / "images", 2, 110)
    lit(tmp_path / "images", 1, 10, "dark")
    spoil(tmp_path / "images")
    predict(tmp_path / "images", tmp_path / "out", "trained")
    table = {row["image"]: row["unusual"] for row in rows(tmp_path / "out/results.csv")}
    assert "brightness low" in table["dark00.png"]
    assert "brightness" not in table["00.png"]
    assert table["cut.png"] == ""
    unusual = sum(map(bool, table.values()))
    assert f"{unusual} unlike all training images" in capsys.readouterr().out


def test_a_lasting_shift_is_said_at_the_end_and_again_by_a_run_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lit(tmp_path / "images", 12, 110, "a")
    lit(tmp_path / "images", 12, 10, "b")
    said = []
    for _ in range(2):
        assert predict(tmp_path / "images", tmp_path / "out", "trained") == 0
        said.append(
            [line for line in capsys.readouterr().err.splitlines() if line.startswith("drift: ")]
        )
    assert said[0] == said[1]
    assert any("images are darker than those the model was trained on" in x for x in said[0])
    assert "since b00.png" in next(x for x in said[0] if "darker" in x)


def test_a_model_that_knows_nothing_of_its_training_says_nothing_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lit(tmp_path / "images", 24, 10)
    predict(tmp_path / "images", tmp_path / "out")
    said = capsys.readouterr()
    assert "drift" not in said.err
    assert "unlike" not in said.out
