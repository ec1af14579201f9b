"""Defects that no training sees are counted by class, at the size at which it would see them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ppl.images.files import write_mask
from ppl.images.sets import Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.network.resize import ImageSettings, resize_mask
from ppl.training.decoded import keep
from ppl.training.images import Opened
from ppl.training.vanishing import seen_classes, vanishing
from tests.conftest import COLOURS, whole, windows
from tests.training.test_stream import of

CLASSES = ["background", "scratch", "dent"]


def line_scans(folder: Path) -> ImageSet:
    """Fifty masks of 256 x 4096 with a scratch of 12 x 14 pixels each, and a large dent in two."""
    draws = np.random.default_rng(0)
    entries = []
    for number in range(50):
        mask = torch.zeros(256, 4096, dtype=torch.uint8)
        if number < 2:
            mask[100:, 2000:] = 2
        row, column = int(draws.integers(0, 240)), int(draws.integers(0, 4080))
        mask[row : row + 12, column : column + 14] = 1
        entry = Entry(f"{number:02}", f"{number:02}.png", 256, 4096)
        write_mask(mask_file(folder / "masks", entry.id), mask, COLOURS)
        (folder / "images").mkdir(exist_ok=True)
        Image.new("L", (4096, 256)).save(folder / "images" / entry.image)
        entries.append(entry)
    write_index(folder, entries)
    return read_image_set(folder)


def told(labeled: ImageSet, image: ImageSettings) -> list[str]:
    """What a training says that looks at each image once."""
    drawn, seen = {}, {}

    def look(index: int, opened: Opened) -> None:
        drawn[index], seen[index] = opened.defects, seen_classes(opened)

    keep(of(labeled, image), memory=0, look=look)
    assert len(seen) == len(labeled)
    return vanishing(list(drawn.values()), list(seen.values()), image, CLASSES)


def test_defects_that_vanish_at_the_networks_size_are_counted(tmp_path: Path) -> None:
    labeled = line_scans(tmp_path)
    gone = 0
    for entry in labeled.entries:
        gone += not bool((resize_mask(labeled.mask(entry), (64, 64)) == 1).any())
    assert 35 < gone < 50
    assert told(labeled, whole(64, 64)) == [
        f"of 50 labeled masks with scratch {gone} hold none at 64 x 64 pixels, so no training sees "
        "it there: raise image.height and image.width, or set image.fit: windows"
    ]


def test_nothing_is_said_where_every_defect_is_seen(tmp_path: Path) -> None:
    labeled = line_scans(tmp_path)
    assert told(labeled, whole(256, 4096)) == []
    assert told(labeled, windows(64, 64)) == []
    assert told(labeled.subset([]), whole(64, 64)) == []
