"""A small project as a finished run leaves it: what a review of masks begins with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from ppl.annotate.next import Doubt, write_table
from ppl.images.files import write_mask
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import DatasetInfo, Entry, mask_file, write_dataset_info, write_index
from tests.pipeline.project import ROOT

CLASSES = ("background", "scratch", "dent")
COLOURS = ((0, 0, 0), (255, 210, 30), (230, 60, 60))

Size = tuple[int, int]
Pixels = NDArray[np.uint8]
Draw = Callable[[int, Size], tuple[Pixels, Pixels]]


def bars(number: int, size: Size) -> tuple[Pixels, Pixels]:
    """A grey image with a bright bar, (H, W), and its mask; another one by number."""
    height, width = size
    image = np.full(size, 90, dtype=np.uint8)
    image += (np.arange(width, dtype=np.uint8) % 16)[None]
    mask = np.zeros(size, dtype=np.uint8)
    top = 1 + number % max(1, height // 2)
    mask[top : top + max(1, height // 6), width // 4 : width // 2] = 1 + number % 2
    image[mask > 0] += 80
    return image, mask


def write_project(
    folder: Path,
    names: Sequence[str],
    *,
    size: Size = (24, 32),
    data: str = "folder",
    parts: dict[str, str] | None = None,
    labeled: Sequence[str] = (),
    draw: Draw = bars,
) -> Path:
    """Write params.yaml, raw and prepared images, and what `annotate_next` leaves of `names`.

    Args:
        names: ids of the unlabeled images, in the order of the list.
        data: `data.name`; the raw images of `folder` lie in FOLDER/parts.
        parts: by id, where parts are known.
        labeled: ids of images that are no unlabeled ones.
        draw: makes an image and its mask of a number and (height, width).

    Returns:
        The folder.
    """
    info = DatasetInfo(data, CLASSES, COLOURS)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": data, "root": str(folder / "parts")}
    params["data"]["classes"] = list(CLASSES) if data == "folder" else []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    prepared = folder / "data" / "prepared"
    masks = folder / "data" / "annotate_next" / "masks"
    entries: dict[str, list[Entry]] = {"unlabeled": [], "labeled": [], "validation": [], "test": []}
    for number, id in enumerate([*names, *labeled]):
        image, mask = draw(number, size)
        of = "unlabeled" if id in names else "labeled"
        for images in (prepared / of / "images", folder / "parts" / "images"):
            (images / f"{id}.png").parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(images / f"{id}.png", compress_level=1)
        entries[of].append(Entry(id, f"{id}.png", *size))
        if of == "unlabeled":
            write_mask(mask_file(masks, id), torch.from_numpy(mask), info.colours)
    for of, held in entries.items():
        write_index(prepared / of, held)
    write_dataset_info(prepared / "dataset.json", info)
    write_split_record(prepared / "split.json", SplitRecord("group", {}, parts or {}))
    by_id = {entry.id: entry for entry in entries["unlabeled"]}
    signs = {"reliability": 0.5, "disagreement": 0.25}
    doubts = [Doubt(by_id[id], (parts or {}).get(id, id), signs, 0.75) for id in names]
    write_table(masks.parent / "list.csv", doubts, doubts, signs, masks, info)
    return folder
