"""The page in a real browser: what a reviewer types and paints is what lies on the disk."""

import csv
import io
import math
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ppl.core.cells import as_text
from ppl.images.pictures import write_indices
from ppl.review.pictures import read_indices
from tests.review.project import COLOURS, bars, write_project
from tests.review.shift import write_predictions
from tests.tools.test_review import address, running

playwright = pytest.importorskip(
    "playwright.sync_api",
    reason="playwright is not installed: pip install --group browser",
    exc_type=ImportError,
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

ODD = ["a b/ü 'x' \"y\" #1 100%", "<b>&amp;", "日本/部品", "=1+1, c", "?digest=1&x", "%2e%2e/%00"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as known:
        # no sandbox: tests may run as root, and open this page alone
        browser = known.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A tab in which nothing goes wrong unseen."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda said: wrong.append(said.text) if "Content Security" in said.text else None,
    )
    outside: list[str] = []
    page.on("request", lambda asked: outside.append(asked.url))
    yield page
    context.close()
    assert wrong == []
    assert [url for url in outside if not url.startswith("http://127.0.0.1:")] == []


def shows(page: Any, index: int | str, decision: str | None = None) -> None:
    """Wait until an image is there to be judged."""
    which = f"body[data-shown='{index}']"
    if decision is not None:
        which += f"[data-decision='{decision}']"
    page.wait_for_selector(f"{which} #stage:not(.loading)", timeout=10_000)


def said(page: Any) -> str:
    """What the page says, once it says it."""
    page.wait_for_selector("#bar:not([hidden])", timeout=10_000)
    return str(page.inner_text("#bar-words"))


def decisions(project: Path) -> list[tuple[str, str]]:
    with (project / "parts/review/decisions.csv").open(encoding="utf-8", newline="") as stream:
        return [(as_text(row["image"]), row["decision"]) for row in csv.DictReader(stream)]


def saved(project: Path, name: str) -> NDArray[np.uint8]:
    return read_indices(project / "parts" / "corrected" / f"{name}.png")


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the image, in its pixels, lies on the page."""
    box = page.locator("#stage").bounding_box()
    moved = page.evaluate("document.getElementById('image').style.transform")
    right, down, scale = map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", moved))
    return box["x"] + right + x * scale, box["y"] + down + y * scale


def paint(page: Any, *points: tuple[float, float]) -> None:
    """A stroke from point to point."""
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point))
    page.mouse.up()


def slowly_painted(
    mask: NDArray[np.uint8], points: list[tuple[float, float]], size: int, value: int
) -> None:
    """Disks close to each other, pixel by pixel."""
    path = list(zip([points[0], *points[:-1]], points, strict=True))
    for (x0, y0), (x1, y1) in path:
        steps = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / max(1, size / 4)))
        for step in range(steps + 1):
            x, y = (a + step / steps * (b - a) for a, b in ((x0, x1), (y0, y1)))
            middle = (lambda at: math.floor(at) + 0.5) if size % 2 else round
            for row, column in np.ndindex(mask.shape):
                far = math.hypot(column + 0.5 - middle(x), row + 0.5 - middle(y))
                if far <= size / 2:
                    mask[row, column] = value


def test_two_hundred_decisions_by_keyboard_and_a_reload_in_the_middle(
    tab: Any, tmp_path: Path
) -> None:
    names = [f"p{number:03d}" for number in range(200)]
    project = write_project(tmp_path, names)
    keys = {"r": "right", "w": "wrong", "s": "sound", "u": "unsure"}
    with running(project) as process:
        tab.goto(address(process))
        for index, name in enumerate(names):
            shows(tab, index, "")
            assert tab.inner_text("#name") == name
            tab.keyboard.press("rwsu"[index % 4])
            if index == 99:
                shows(tab, 100)
                tab.reload()
        shows(tab, "done")
        assert "Right: 50" in tab.inner_text("#done-words")
    expected = [(name, list(keys.values())[index % 4]) for index, name in enumerate(names)]
    assert decisions(project) == expected
    masks = {file.stem for file in (project / "parts" / "corrected").iterdir()}
    assert masks == {name for name, decision in expected if decision in ("right", "sound")}
    assert np.array_equal(saved(project, "p004"), bars(4, (24, 32))[1])
    assert not saved(project, "p006").any()


def test_odd_names_are_shown_and_saved_as_they_are(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, ODD)
    with running(project, "--reviewer", 'Berg, "A."') as process:
        tab.goto(address(process))
        for index, name in enumerate(ODD):
            shows(tab, index)
            assert tab.inner_text("#name") == name
            tab.keyboard.press("r")
        shows(tab, "done")
    assert decisions(project) == [(name, "right") for name in ODD]
    for number, name in enumerate(ODD):
        assert np.array_equal(saved(project, name), bars(number, (24, 32))[1])


STROKES: list[tuple[str, int, list[tuple[float, float]]]] = [
    ("1", 1, [(3.5, 2.5), (11.5, 8.5)]),
    ("2", 4, [(20.3, 4.3), (20.3, 18.6), (27.3, 18.6)]),
    ("e", 3, [(8.5, 1.5), (30.5, 6.5)]),
    ("2", 5, [(30.5, 22.5), (31.5, 23.5)]),
    ("0", 2, [(21.3, 10.6)]),
]


def test_brush_and_eraser_save_exactly_the_pixels_that_were_painted(
    tab: Any, tmp_path: Path
) -> None:
    project = write_project(tmp_path, ["a", "b"])
    mask = bars(0, (24, 32))[1].copy()
    sizes = [1, 2, 3, 4, 5]
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        for key, size, points in STROKES:
            for _ in sizes:
                tab.keyboard.press("[")
            for _ in range(sizes.index(size)):
                tab.keyboard.press("]")
            assert tab.inner_text("#size-words") == f"{size} px"
            tab.keyboard.press(key)
            paint(tab, *points)
            slowly_painted(mask, points, size, 0 if key == "e" else int(key))
        assert tab.inner_text("#right-words") == "Save corrected"
        tab.mouse.move(2, 2)
        _shows_these_pixels(tab, mask)
        tab.keyboard.press("r")
        shows(tab, 1)
    assert decisions(project) == [("a", "corrected")]
    assert np.array_equal(saved(project, "a"), mask)


def _shows_these_pixels(page: Any, mask: NDArray[np.uint8]) -> None:
    """At their edges marked pixels have their colour, and background has none."""
    for _ in range(9):
        page.keyboard.press(".")
    page.wait_for_timeout(100)
    picture = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    padded = np.pad(mask, 1, mode="edge")
    near = [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]
    edge = np.any([other != mask for other in near], axis=0)
    for row, column in np.ndindex(mask.shape):
        # close to two corners, so that a picture that is off by a part of a pixel shows
        for inside in (0.2, 0.8):
            x, y = place(page, column + inside, row + inside)
            red, green, blue = picture[int(y), int(x)]
            if mask[row, column] == 0:
                assert red == green == blue, (row, column)
            elif edge[row, column]:
                assert (red, green, blue) == COLOURS[mask[row, column]], (row, column)


def test_undo_takes_back_strokes_first_and_then_decisions(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, ["a", "b", "c"])
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        tab.keyboard.press("r")
        shows(tab, 1)
        tab.keyboard.press("2")
        paint(tab, (4.5, 20.5), (9.5, 20.5))
        tab.keyboard.press("w")
        assert "Your strokes would be dropped" in said(tab)
        assert decisions(project) == [("a", "right")]
        tab.keyboard.press("Control+z")
        tab.wait_for_selector("body[data-edited='false']")
        tab.keyboard.press("z")
        shows(tab, 0, "")
        assert decisions(project) == [("a", "right"), ("a", "undone")]
        assert not (project / "parts/corrected/a.png").exists()
        # after a reload the decisions of before are known
        tab.keyboard.press("w")
        shows(tab, 1)
        tab.reload()
        shows(tab, 1)
        tab.keyboard.press("z")
        shows(tab, 0, "")
        tab.keyboard.press("z")
        tab.wait_for_selector("#bar-words:has-text('no decision of yours')")
    assert [decision for _, decision in decisions(project)] == [
        *("right", "undone", "wrong", "undone")
    ]


def test_strokes_wait_while_one_looks_at_other_images(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, [f"p{number}" for number in range(9)])
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        tab.keyboard.press("2")
        paint(tab, (4.5, 20.5), (9.5, 20.5))
        for index in range(1, 9):
            tab.keyboard.press("n")
            shows(tab, index)
        for index in reversed(range(8)):
            tab.keyboard.press("ArrowLeft")
            shows(tab, index)
        tab.wait_for_selector("body[data-edited='true']")
        tab.keyboard.press("r")
        shows(tab, 1)
    assert decisions(project) == [("p0", "corrected")]
    assert saved(project, "p0")[20, 4:10].tolist() == [2] * 6


def test_a_second_tab_is_told_and_nothing_is_overwritten(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, ["a", "b", "c"])
    with (
        running(project, "--reviewer", "Anna") as process,
        running(project, "--reviewer", "Chen") as second,
    ):
        tab.goto(address(process))
        shows(tab, 0)
        other = tab.context.new_page()
        other.goto(address(second))
        shows(other, 0)
        other.keyboard.press("2")
        paint(other, (4.5, 20.5), (9.5, 20.5))
        tab.keyboard.press("r")
        shows(tab, 1)
        other.keyboard.press("r")
        words = said(other)
        assert "a: Anna said `right` at" in words
        assert "your strokes are kept in" in words
        assert decisions(project) == [("a", "right")]
        kept = Path(words.rpartition(" kept in ")[2])
        assert read_indices(kept)[20, 4:10].tolist() == [2] * 6
        assert np.array_equal(saved(project, "a"), bars(0, (24, 32))[1])
        other.keyboard.press("Enter")
        shows(other, 0, "right")
        other.keyboard.press("w")
        shows(other, 1)
    assert decisions(project) == [("a", "right"), ("a", "wrong")]


def test_a_killed_server_loses_nothing_and_the_next_goes_on(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, [f"p{number}" for number in range(5)])
    with running(project) as process:
        tab.goto(address(process))
        for index in range(2):
            shows(tab, index)
            tab.keyboard.press("r")
        shows(tab, 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        tab.keyboard.press("s")
        assert "The server does not answer" in said(tab)
    assert decisions(project) == [("p0", "right"), ("p1", "right")]
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 2, "")
        assert tab.inner_text("#left") == "3 not decided"


def test_an_image_or_a_mask_that_is_not_as_it_should_be_is_said(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, ["a", "b", "c"])
    (project / "data/prepared/unlabeled/images/a.png").unlink()
    small = project / "data/annotate_next/masks/b.png"
    write_indices(small, np.zeros((7, 5), dtype=np.uint8), COLOURS)
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        assert "not there any more" in said(tab)
        tab.keyboard.press("r")
        tab.wait_for_selector("body[data-busy='false']")
        tab.keyboard.press("n")
        shows(tab, 1)
        assert "5 x 7 pixels, the image 32 x 24" in said(tab)
        tab.keyboard.press("r")
        tab.wait_for_selector("#bar-words:has-text('cannot be right')")
        tab.keyboard.press("s")
        shows(tab, 2)
    assert decisions(project) == [("b", "sound")]
    assert saved(project, "b").shape == (24, 32)


def test_a_held_key_decides_once(tab: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path, ["a", "b", "c"])
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        for _ in range(20):
            tab.keyboard.down("r")
        tab.keyboard.up("r")
        shows(tab, 1)
        tab.wait_for_timeout(300)
        assert decisions(project) == [("a", "right")]


def test_a_large_image_shows_a_crack_thinner_than_a_pixel_of_the_screen(
    tab: Any, tmp_path: Path
) -> None:
    def crack(number: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image, mask = np.full(size, 90, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
        mask[1501, 1000:3000] = 2
        return image, mask

    project = write_project(tmp_path, ["a", "b"], size=(3000, 4000), draw=crack)
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        for _ in range(3):
            tab.keyboard.press(".")
        tab.wait_for_timeout(200)
        picture = np.array(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        x, y = map(round, place(tab, 2000, 1501.5))
        column = picture[y - 4 : y + 5, x].tolist()
        assert list(COLOURS[2]) in column
        # painted while it is shown small, saved at the image's own pixels
        tab.keyboard.press("1")
        for _ in range(9):
            tab.keyboard.press("[")
        paint(tab, (600.2, 700.2))
        tab.keyboard.press("r")
        shows(tab, 1)
    mask = saved(project, "a")
    assert mask.shape == (3000, 4000)
    assert (mask == 2).sum() == 2000
    [(row, column_)] = np.argwhere(mask == 1)
    assert abs(row - 700) <= 3
    assert abs(column_ - 600) <= 3


def test_the_parts_other_photos_are_shown_in_place_and_left_again(tab: Any, tmp_path: Path) -> None:
    project = write_project(
        tmp_path, ["a", "b"], parts={"a": "P", "l": "P", "b": "Q"}, labeled=["l"]
    )
    with running(project) as process:
        tab.goto(address(process))
        shows(tab, 0)
        assert tab.locator("#photos img").count() == 1
        tab.keyboard.press("p")
        tab.wait_for_selector("#peek:not([hidden])")
        assert "Other photo: l" in tab.inner_text("#peek")
        assert tab.locator("#overlay").is_hidden()
        tab.keyboard.press("Escape")
        tab.wait_for_selector("#overlay:not([hidden])")
        tab.keyboard.press("n")
        shows(tab, 1)
        assert tab.locator("#photos-section").is_hidden()


def test_predictions_are_judged_the_same_way(tab: Any, tmp_path: Path) -> None:
    out = write_predictions(tmp_path, ["a.jpg", "a.png", "c d.png"])
    with running(tmp_path, "--predictions", str(out)) as process:
        tab.goto(address(process))
        for index in range(3):
            shows(tab, index)
            assert "verdict: " in tab.inner_text("#words")
            tab.keyboard.press("r")
        shows(tab, "done")
    review = tmp_path / "predicted_review"
    masks = {file.relative_to(review / "corrected") for file in review.glob("corrected/*.png")}
    made = {file.relative_to(out / "masks") for file in (out / "masks").iterdir()}
    assert masks == made
    for mask in masks:
        one, other = read_indices(review / "corrected" / mask), read_indices(out / "masks" / mask)
        assert np.array_equal(one, other)
