"""The page's server answers its own page on its own machine, and nobody else."""

import errno
import io
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client, TestResponse

from ppl.images.pictures import read_pixels, write_indices
from ppl.review.items import Item, to_annotate
from ppl.review.pictures import for_browser, read_indices, shown_size, thumbnail
from ppl.review.review import Home, Review
from ppl.review.server import HOST, STATIC, Site, open_server
from tests.review.project import COLOURS, write_project
from tests.review.test_review import SIZE, strokes

PORT = 40_123
ORIGIN = f"http://{HOST}:{PORT}"


class Browser:
    """Asks as the page does."""

    def __init__(self, site: Site) -> None:
        self._client, self._token = Client(site), site.token

    def ask(self, path: str, method: str = "GET", **options: Any) -> TestResponse:
        headers = {"Host": f"{HOST}:{PORT}"} | options.pop("headers", {})
        if method == "POST":
            headers = {"Origin": ORIGIN} | headers
        wanted = {name: value for name, value in headers.items() if value is not None}
        place = options.pop("token", self._token)
        options.setdefault("environ_base", {"REMOTE_ADDR": HOST})
        return self._client.open(f"/{place}/{path}", method=method, headers=wanted, **options)

    def item(self, index: int) -> dict[str, Any]:
        return self.told(self.ask(f"items/{index}"))

    def decide(self, index: int, decision: str, **options: Any) -> TestResponse:
        query = {"decision": decision, "seen": options.pop("seen", None) or self.seen(index)}
        return self.ask(f"items/{index}/decision", "POST", query_string=query, **options)

    def seen(self, index: int) -> str:
        return str(self.item(index)["seen"])

    def told(self, answer: TestResponse) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(answer.get_data())
        return content


@pytest.fixture
def browser(review: Review) -> Browser:
    site = Site(review)
    site.port = PORT
    return Browser(site)


def test_the_queue_tells_what_there_is_and_where_to_begin(browser: Browser, home: Home) -> None:
    told = browser.told(browser.ask("queue"))
    assert told["names"] == ["a", "line 1/b", "c"]
    assert told["decided"] == ["", "", ""]
    assert (told["first"], told["last"]) == (0, None)
    assert told["classes"] == ["background", "scratch", "dent"]
    assert told["decisions_file"] == str(home.decisions)
    browser.decide(0, "wrong")
    told = browser.told(browser.ask("queue"))
    assert (told["first"], told["last"], told["decided"]) == (1, 0, ["wrong", "", ""])


def test_a_decision_is_on_disk_before_it_is_answered(browser: Browser, home: Home) -> None:
    answer = browser.decide(1, "right")
    assert answer.status_code == 200
    assert "line 1/b,right," in home.decisions.read_text(encoding="utf-8")
    told = browser.told(answer)
    assert told["decided"] == ["", "right", ""]
    assert told["item"]["decision"] == "right"
    undone = browser.ask("items/1/undo", "POST", query_string={"seen": told["item"]["seen"]})
    assert browser.told(undone)["decided"] == ["", "", ""]


def test_mask_and_strokes_travel_as_class_indices(
    browser: Browser, review: Review, home: Home
) -> None:
    judged = browser.item(0)["judged"]
    mask = browser.ask("items/0/mask", query_string={"digest": judged})
    assert mask.get_data() == read_indices(review.work.items[0].source).tobytes()
    assert browser.decide(0, "corrected", data=strokes()).status_code == 200
    assert read_indices(home.masks / "a.png").tobytes() == strokes()
    assert browser.ask("items/0/mask", query_string={"digest": judged}).status_code == 409


def test_a_conflict_is_409_and_says_who(browser: Browser) -> None:
    seen = browser.seen(0)
    browser.decide(0, "wrong")
    answer = browser.decide(0, "right", seen=seen)
    assert answer.status_code == 409
    assert "Berg, Anna said `wrong`" in browser.told(answer)["problem"]


STRANGERS: dict[str, dict[str, Any]] = {
    "without the token": {"token": ""},
    "with another token": {"token": "x" * 32},
    "with a longer token": {"token": "queue"},
    "from another machine": {"environ_base": {"REMOTE_ADDR": "192.168.0.7"}},
    "by another name": {"headers": {"Host": "evil.example"}},
    "by another name and this port": {"headers": {"Host": f"evil.example:{PORT}"}},
    "at another port": {"headers": {"Host": f"{HOST}:80"}},
    "by no name": {"headers": {"Host": ""}},
}


@pytest.mark.parametrize("path", ["", "queue", "items/0", "items/0/image", "static/page.js"])
@pytest.mark.parametrize("how", STRANGERS.values(), ids=STRANGERS)
def test_strangers_read_nothing(browser: Browser, path: str, how: dict[str, Any]) -> None:
    answer = browser.ask(path, **how)
    assert answer.status_code == 403
    assert "Berg" not in answer.get_data(as_text=True)


SENT_BY_OTHERS: dict[str, dict[str, Any]] = {
    **STRANGERS,
    "from another site": {"headers": {"Origin": "https://evil.example"}},
    "from another port": {"headers": {"Origin": f"http://{HOST}:80"}},
    "from a file": {"headers": {"Origin": "null"}},
    "from nowhere": {"headers": {"Origin": None}},
    "by https": {"headers": {"Origin": f"https://{HOST}:{PORT}"}},
    "by the other name": {"headers": {"Origin": f"http://localhost:{PORT}"}},
}


@pytest.mark.parametrize("how", SENT_BY_OTHERS.values(), ids=SENT_BY_OTHERS)
def test_strangers_decide_nothing(browser: Browser, home: Home, how: dict[str, Any]) -> None:
    seen = browser.seen(0)
    answer = browser.decide(0, "wrong", seen=seen, **how)
    assert answer.status_code == 403
    assert not home.decisions.exists()


def test_the_page_may_be_opened_by_its_other_name(browser: Browser) -> None:
    other = {"Host": f"localhost:{PORT}", "Origin": f"http://localhost:{PORT}"}
    assert browser.ask("queue", headers={"Host": other["Host"]}).status_code == 200
    assert browser.decide(0, "wrong", headers=other).status_code == 200


@pytest.mark.parametrize("path", ["", "queue", "items/9", "static/page.js", "items/0/image"])
def test_every_answer_keeps_others_out(browser: Browser, path: str) -> None:
    headers = browser.ask(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "items/../../params.yaml",
        "items/a/image",
        "items/-1",
        "items/3",
        "items/99999999999999999999",
        "static/../server.py",
        "static/%2e%2e/server.py",
        "static//etc/passwd",
        "static/nope.js",
        "items/0/photos/0",
        "params.yaml",
    ],
)
def test_what_is_no_number_of_an_image_is_not_found(browser: Browser, path: str) -> None:
    assert browser.ask(path).status_code in (404, 308)


def test_a_get_decides_nothing(browser: Browser, home: Home) -> None:
    answer = browser.ask("items/0/decision", query_string={"decision": "wrong", "seen": "x"})
    assert answer.status_code == 405
    assert not home.decisions.exists()


@pytest.mark.parametrize("length", [1, 24 * 32 - 1, 24 * 32 + 1, 1_000_000])
def test_a_body_of_another_length_is_refused_unread(
    browser: Browser, home: Home, length: int
) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("read")

    given = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(length)}
    answer = browser.decide(0, "corrected", environ_overrides=given)
    assert answer.status_code == 400
    assert "expected 768 bytes" in browser.told(answer)["problem"]
    assert not home.decisions.exists()


@pytest.mark.parametrize("decision", ["", "undone", "Right", "maybe"])
def test_a_decision_that_is_none_is_refused(browser: Browser, home: Home, decision: str) -> None:
    assert browser.decide(0, decision).status_code == 400
    assert not home.decisions.exists()


def test_what_does_not_fit_is_422(browser: Browser) -> None:
    assert browser.decide(0, "corrected").status_code == 422


def test_what_cannot_be_written_is_507_and_named(
    browser: Browser, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(home.decisions))

    seen = browser.seen(0)
    monkeypatch.setattr(os, "fsync", full)
    answer = browser.decide(0, "wrong", seen=seen)
    assert answer.status_code == 507
    said = browser.told(answer)["problem"]
    assert said.startswith(f"{home.decisions}: No space left on device; nothing was decided")
    monkeypatch.undo()
    assert browser.decide(0, "wrong", seen=seen).status_code == 200


def test_an_image_that_went_is_said_and_the_next_is_shown(browser: Browser, review: Review) -> None:
    review.work.items[0].image.unlink()
    assert "is not there any more" in browser.item(0)["image_problem"]
    answer = browser.ask("items/0/image")
    assert answer.status_code == 422
    assert browser.decide(0, "right").status_code == 422
    assert browser.ask("items/1/image").status_code == 200


def test_a_mask_of_another_size_is_said(browser: Browser, item: Item) -> None:
    write_indices(item.source, np.zeros((7, 5), dtype=np.uint8), COLOURS)
    assert "the mask has 5 x 7 pixels, the image 32 x 24" in browser.item(0)["mask_problem"]


def test_the_parts_other_photos_are_pictures_of_any_size(tmp_path: Path) -> None:
    project = write_project(tmp_path, ["a", "b"], size=(900, 1200), parts={"a": "P", "b": "P"})
    review = Review(to_annotate("next", folder=project), Home(tmp_path / "r", tmp_path / "c"), "x")
    site = Site(review)
    site.port = PORT
    browser = Browser(site)
    assert (browser.item(0)["part"], browser.item(0)["photos"]) == ("P", ["b"])
    small = Image.open(io.BytesIO(browser.ask("items/0/photos/0?small").get_data()))
    assert small.size == (320, 240)
    whole = Image.open(io.BytesIO(browser.ask("items/0/photos/0").get_data()))
    assert whole.size == (1200, 900)
    assert browser.ask("items/0/photos/1").status_code == 404


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _picture() -> Image.Image:
    draws = np.random.default_rng(0)
    return Image.fromarray(draws.integers(0, 255, (6, 9, 3), dtype=np.uint8))


PICTURES: dict[str, tuple[str, Callable[[Path], object], bool]] = {
    "a PNG": ("x.png", lambda file: _picture().save(file), True),
    "a grey PNG": ("x.png", lambda file: _picture().convert("L").save(file), True),
    "a PNG that is turned": ("x.png", lambda f: _picture().save(f, exif=_exif(6)), False),
    "a PNG with a clear pixel": ("x.png", lambda f: _picture().convert("RGBA").save(f), False),
    "a palette PNG": ("x.png", lambda f: _picture().quantize(8).save(f), False),
    "a BMP": ("x.bmp", lambda file: _picture().save(file), False),
    "a TIFF that is turned": ("x.tif", lambda f: _picture().save(f, exif=_exif(6)), False),
    "a WebP": ("x.webp", lambda file: _picture().save(file, lossless=True), False),
    "a CMYK JPEG": ("x.jpg", lambda file: _picture().convert("CMYK").save(file), False),
}


@pytest.mark.parametrize(("name", "save", "as_it_is"), PICTURES.values(), ids=PICTURES)
def test_a_browser_gets_the_pixels_that_the_network_gets(
    tmp_path: Path, name: str, save: Callable[[Path], object], as_it_is: bool
) -> None:
    file = tmp_path / name
    save(file)
    sent = for_browser(file)
    assert sent.type == "image/png"
    assert (sent.content == file.read_bytes()) == as_it_is
    got = np.array(Image.open(io.BytesIO(sent.content)).convert("RGB"))
    assert np.array_equal(got, read_pixels(file))
    small = Image.open(io.BytesIO(thumbnail(file).content))
    assert small.size == got.shape[1::-1]


def test_a_jpeg_is_sent_as_it_is_and_its_turned_sides_are_known(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    _picture().save(file, exif=_exif(6))
    sent = for_browser(file)
    assert (sent.type, sent.content) == ("image/jpeg", file.read_bytes())
    assert shown_size(file) == (9, 6) == read_pixels(file).shape[:2]


@pytest.fixture
def served(review: Review) -> Iterator[Site]:
    """The same over a socket."""
    server, site = open_server(review)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_it_listens_on_this_machine_alone_at_a_random_address(
    served: Site, review: Review, capfd: pytest.CaptureFixture[str]
) -> None:
    assert re.fullmatch(rf"http://127\.0\.0\.1:{served.port}/[\w-]{{32}}/", served.url)
    with urllib.request.urlopen(f"{served.url}queue") as answer:
        assert json.load(answer)["names"] == ["a", "line 1/b", "c"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"http://127.0.0.1:{served.port}/")
    other, site = open_server(review)
    other.server_close()
    assert (site.token, site.port) != (served.token, served.port)
    said = capfd.readouterr()
    assert served.token not in said.out + said.err


def test_the_address_without_its_last_slash_leads_to_the_page(served: Site) -> None:
    with urllib.request.urlopen(served.url.rstrip("/")) as answer:
        assert answer.url == served.url
        assert b"Review masks" in answer.read()


def test_the_page_names_its_own_files_alone() -> None:
    folder = Path("ppl/review/static")
    root = Path(__file__).parent.parent.parent / folder
    assert {file.name for file in root.iterdir()} == set(STATIC)
    for file in root.iterdir():
        text = file.read_text(encoding="utf-8")
        others = [found for found in re.findall(r"https?://[\w.]+", text) if "w3.org" not in found]
        assert others == []
        for found in re.findall(r"""(?:from|src=|href=) ?["']([^"']+)["']""", text):
            assert Path(found).name in STATIC, found
    page = (root / "page.html").read_text(encoding="utf-8")
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert SIZE == (24, 32)
