"""Images read ahead: in order, and never more pixels than memory is meant for."""

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppl.images.pictures import claimed_pixels
from ppl.station import decode
from ppl.station.decode import Decoded, decoded_ahead
from ppl.station.folder import Found
from tests.station.test_predict import picture, save


def test_the_header_tells_the_pixels_and_a_broken_one_none(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", picture(1, 30, 50))
    (tmp_path / "b.png").write_bytes(b"no image")
    assert [claimed_pixels(tmp_path / name) for name in ("a.jpg", "b.png", "c.png")] == [1500, 0, 0]


@pytest.mark.parametrize("most", [1, 3, 8])
def test_images_that_are_begun_and_not_taken_have_few_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    sides = [10, 10, 50, 50, 50, 5, 5, 5, 5, 20, 20, 50, 1, 1]
    images = [Found(str(n), tmp_path / f"{n}.png") for n in range(len(sides))]
    for side, one in zip(sides, images, strict=True):
        save(one.file, picture(0, side, side))
    begun, peak, lock = dict[str, int](), list[int](), threading.Lock()
    real = decode.decode

    def watched(found: Found) -> Decoded:
        with lock:
            begun[found.name] = sides[int(found.name)] ** 2
            peak.append(sum(begun.values()) if len(begun) > 1 else 0)
        time.sleep(0.01)
        return real(found)

    monkeypatch.setattr(decode, "decode", watched)
    monkeypatch.setattr(decode, "MOST_AHEAD", 1000)
    order = []
    with ThreadPoolExecutor(4) as readers:
        for decoded in decoded_ahead(iter(images), readers, most, deque()):
            order.append(decoded.found.name)
            with lock:
                del begun[decoded.found.name]
    assert order == [one.name for one in images]
    assert 0 < max(peak) <= 1000
