"""Memory and time of ranking and pseudo-labels at 10^6 images, with everything but the pixels.

    python -m benchmarks.million --images 1000000 --out million.json

The ids, index and results are real; the images are made up (32 x 32, no file behind them), the
network is one layer, and the masks are compressed and thrown away: what is left grows with their
number.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ppl.labeling.pseudo_masks
from benchmarks.network_step import CLASSES, hardware, peak_memory, write_result
from benchmarks.stages import COLOURS, OneLayer
from ppl.images.files import write_mask
from ppl.images.sets import DatasetInfo, Entry, ImageSet, read_image_set, write_index
from ppl.labeling import ranking
from ppl.labeling.part_agreement import lone
from ppl.labeling.pseudo_masks import ONE_LOOK, write_pseudo_masks
from ppl.labeling.ranking import score_images, split_by_reliability, write_ids, write_reliability
from ppl.network.network import CPU
from ppl.network.resize import ImageSettings

SIDE = 32

PER_CLASS = ranking.PAPER.model_copy(update={"foreground": True, "per_class": True})


@dataclass(frozen=True)
class MadeUp(ImageSet):
    """Images drawn from their ids."""

    def image(self, entry: Entry) -> Tensor:
        return torch.full((3, SIDE, SIDE), hash(entry.id) % 256, dtype=torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="JSON; printed without it")
    given = parser.parse_args()
    result: dict[str, Any] = {"hardware": hardware(), "images": given.images, "steps": {}}
    began = time.perf_counter()

    def note(what: str) -> None:
        nonlocal began
        result["steps"][what] = {
            "seconds": round(time.perf_counter() - began, 1),
            "peak_memory_mib": round(peak_memory(CPU) / 2**20),
        }
        print(what, result["steps"][what], file=sys.stderr, flush=True)
        began = time.perf_counter()

    note("import")
    image = ImageSettings(height=SIDE, width=SIDE, fit="whole", overlap=0)
    networks: list[Any] = [OneLayer().eval() for _ in range(3)]
    info = DatasetInfo("x", tuple(map(str, range(CLASSES))), tuple(COLOURS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_index(
            folder,
            [
                Entry(f"line{k % 8}/2026-05-{k % 28 + 1:02}/{k:07}", f"{k:07}.png", SIDE, SIDE)
                for k in range(given.images)
            ],
        )
        note("write index")
        images = MadeUp(folder, read_image_set(folder).entries)
        note("read index")
        scores = score_images(networks, images, image, PER_CLASS)
        note("rank")
        reliable, hard = split_by_reliability(scores, PER_CLASS)
        write_reliability(folder / "scores.json", scores)
        write_ids(folder / "reliable.txt", reliable)
        write_ids(folder / "hard.txt", hard)
        note("split and write")

        one_file = folder / "mask.png"
        ppl.labeling.pseudo_masks.write_mask = lambda file, mask, colours: write_mask(  # type: ignore[attr-defined]
            one_file.with_name(f"{file.stem[-1]}.png"), mask, colours
        )
        half = images.subset(reliable)
        write_pseudo_masks(networks[0], lone(half), image, ONE_LOOK, info, folder / "out")
        note("pseudo-label half of them")
    write_result(result, given.out)


if __name__ == "__main__":
    main()
