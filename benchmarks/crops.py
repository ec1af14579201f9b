"""What a crop of a large scan costs a training whose images do not fit into memory.

    python -m benchmarks.crops --out crops.json         # 2 cores: a minute

Grey PNGs of surfaces, seen through windows; batches as a training takes them, by the processes that
read them, one after the other:

anew   each crop's image is decoded, as where the disk takes none
cold   cut from decoded images on the disk, none of which the system holds in memory
warm   the same, once more

`fill` are the seconds to decode all scans and to write them. Nothing is trained.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.network_step import CLASSES, hardware, write_result
from benchmarks.stages import COLOURS, WEAK
from ppl.core.seeds import Draws
from ppl.images.files import write_mask
from ppl.images.sets import Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.network.resize import ImageSettings
from ppl.training.decoded import Kept, keep
from ppl.training.disk import Disk
from ppl.training.images import Opened, TrainingImages, labeled_images
from ppl.training.stream import BatchStream

CPU = torch.device("cpu")


def make_scans(folder: Path, count: int, side: int) -> ImageSet:
    """Grey surfaces of `side` x `side` pixels with a defect each."""
    draws = np.random.default_rng(0)
    entries = []
    for number in range(count):
        entry = Entry(f"{number}", f"{number}.png", side, side)
        noise = draws.integers(90, 160, (side, 1024), dtype=np.uint8)
        (folder / "images").mkdir(exist_ok=True)
        pixels = np.tile(noise, (1, -(-side // 1024)))[:, :side]
        Image.fromarray(pixels).save(folder / "images" / entry.image, compress_level=1)
        mask = torch.zeros(side, side, dtype=torch.uint8)
        mask[side // 3 : side // 2, side // 3 : side // 2] = 1
        write_mask(mask_file(folder / "masks", entry.id), mask, COLOURS)
        entries.append(entry)
    write_index(folder, entries)
    return read_image_set(folder)


def ms_of_a_crop(kept: Kept, batch: int, batches: int) -> float:
    """Mean of all crops but those of the first batch, in which the readers start."""
    draws = Draws(0, "crops")
    stream = BatchStream(kept, batch, order=draws("order"), augment=draws("weak"), device=CPU)
    stream.next()
    began = time.perf_counter()
    for _ in range(batches):
        stream.next()
    return round(1000 * (time.perf_counter() - began) / (batch * batches), 1)


def forget(file: Path) -> None:
    """Have the system hold nothing of `file` in memory."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def look(index: int, opened: Opened) -> None:
    """As a training looks at its labeled images, so that all are decoded at its start."""


def measure(data: TrainingImages, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a crop by each way."""
    found: dict[str, Any] = {}
    found["anew"] = ms_of_a_crop(keep(data, memory=0), given.batch, given.decoded_batches)
    disk = Disk(folder / "decoded")
    began = time.perf_counter()
    kept = keep(data, memory=0, disk=disk, look=look)
    found["fill, s"] = round(time.perf_counter() - began, 1)
    assert kept.slots is not None, "the disk took no images"
    forget(kept.slots.file)
    for way in ("cold", "warm"):
        found[way] = ms_of_a_crop(kept, given.batch, given.batches)
    disk.release()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", type=int, default=10_240, help="of a scan: 100 MiB in grey")
    parser.add_argument("--scans", type=int, default=2)
    parser.add_argument("--size", type=int, default=512, help="pixels of a window's side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--decoded-batches", type=int, default=1, help="of `anew`")
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    given = parser.parse_args()
    image = ImageSettings(height=given.size, width=given.size, fit="windows", overlap=0)
    with tempfile.TemporaryDirectory(dir=Path()) as name:
        images = make_scans(Path(name), given.scans, given.side)
        print(f"{given.scans} scans are made", file=sys.stderr)
        data = labeled_images(images, image, WEAK, CLASSES)
        what = {key: value for key, value in vars(given).items() if key != "out"}
        ms = measure(data, Path(name), given)
    write_result({"hardware": hardware(), "what": what, "ms_a_crop": ms}, given.out)


if __name__ == "__main__":
    main()
