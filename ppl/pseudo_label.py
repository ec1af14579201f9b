"""Pseudo-masks: what a model predicts for unlabeled images, as palette PNGs at their own size."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from ppl import processes
from ppl.confidence import likeliest
from ppl.image_files import write_mask
from ppl.image_set import DatasetInfo, ImageSet, mask_file, read_dataset_info, read_image_set
from ppl.inference import TestTimeSettings, predict
from ppl.network import SegmentationNetwork, load_network, pick_device
from ppl.resize import ImageSettings
from ppl.settings import section

WRITERS = 4
"""Threads that compress masks while the next images are predicted."""


class PseudoLabelSettings(TestTimeSettings):
    """Section `pseudo_label`: the test-time augmentation under pseudo-masks."""


def write_pseudo_masks(
    network: SegmentationNetwork,
    images: ImageSet,
    image: ImageSettings,
    settings: PseudoLabelSettings,
    info: DatasetInfo,
    out: Path,
) -> None:
    """Write OUT/ID.png for every image: the likeliest class of every pixel, as class indices.

    Of several processes each writes its share.
    """
    out.mkdir(parents=True, exist_ok=True)
    share = replace(images, entries=tuple(processes.every(images.entries)))
    with ThreadPoolExecutor(WRITERS) as pool:
        writing: deque[Future[None]] = deque()
        for entry, [prob] in predict([network], share, image, settings, what="pseudo-label"):
            mask = likeliest(prob).to("cpu", torch.uint8)
            writing.append(pool.submit(write_mask, mask_file(out, entry.id), mask, info.colours))
            if len(writing) > 2 * WRITERS:
                writing.popleft().result()
        for left in writing:
            left.result()


def pseudo_label(*, model: Path, unlabeled: Path, dataset: Path, ids: Path, out: Path) -> None:
    """What both pseudo-label stages do: `model` labels the images named in the file `ids`."""
    # str.splitlines would also cut ids at rarer separators than the line ends that we wrote
    chosen = [id for id in ids.read_text(encoding="utf-8").split("\n") if id]
    write_pseudo_masks(
        load_network(model, pick_device()),
        read_image_set(unlabeled).subset(chosen),
        section("image", ImageSettings),
        section("pseudo_label", PseudoLabelSettings),
        read_dataset_info(dataset),
        out,
    )
