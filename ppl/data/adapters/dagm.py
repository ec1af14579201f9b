"""DAGM 2007: ten synthetic textures with one kind of defect each, grey, 512 x 512 pixels.

Wieler, Hahn: "Weakly Supervised Learning for Industrial Optical Inspection", DAGM symposium 2007;
published as DAGM_KaggleUpload.

Only defective images come with a mask: no label file means no defect. Base names recur from class
to class. A mask outlines its defect by an ellipse.
"""

import re
from dataclasses import replace
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    DataSettings,
    Part,
    Sample,
    by_id,
    distinct_colours,
    no_groups,
    sound_mask,
    stop_at_link,
)
from ppl.images.files import StoredMask, read_grey
from ppl.images.pictures import Colour

CLASSES = ("background", *(f"class_{number}" for number in range(1, 11)))
COLOURS: tuple[Colour, ...] = distinct_colours(len(CLASSES))
LAYOUT = (
    "Class1/Train/NNNN.PNG with its mask Class1/Train/Label/NNNN_label.PNG where there is a "
    "defect, likewise Test and Class2 to Class10, in a folder DAGM_KaggleUpload or directly"
)

_PARTS: dict[str, Part] = {"Train": "train", "Test": "test"}

find_groups = no_groups


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every PNG in Class*/Train and Class*/Test; all are annotated.

    Raises:
        InputError: a class folder beyond Class10, a mask without an image, one id for two files,
            or a folder is a link.
    """
    upload = root / "DAGM_KaggleUpload"
    root = upload if upload.is_dir() else root
    samples = []
    for texture in sorted(folder for folder in root.glob("Class*") if folder.is_dir()):
        if not re.fullmatch(r"Class([1-9]|10)", texture.name):
            raise InputError(f"the folder {texture} is none of Class1 to Class10: remove it")
        for folder, part in _PARTS.items():
            prefix = f"{texture.name}/{folder}/"
            images = by_id(_pngs(texture / folder, prefix, ""), "image")
            masks = by_id(_pngs(texture / folder / "Label", prefix, "_label"), "mask")
            for id, mask in masks.items():
                if id not in images:
                    raise InputError(
                        f"mask {mask} has no image {id}.PNG: add the image or remove the mask"
                    )
            samples += [
                Sample(id, image, masks.get(id), annotated=True, part=part)
                for id, image in images.items()
            ]
    return samples


def read_mask(sample: Sample, settings: DataSettings) -> StoredMask:
    """The number of the texture where the grey mask reaches the threshold, or all 0.

    Raises:
        InputError: an unreadable mask or, where there is none, an unreadable image.
    """
    if sample.mask is None:
        return sound_mask(sample)
    number = int(sample.id.split("/")[0].removeprefix("Class"))
    grey = read_grey(sample.mask)
    defect = grey.values >= settings.mask_threshold
    return replace(grey, values=defect.to(torch.uint8) * number)


def _pngs(folder: Path, prefix: str, ending: str) -> list[tuple[str, Path]]:
    """The PNG files directly in `folder` whose stem ends with `ending`, by id."""
    if not folder.is_dir():
        return []
    stop_at_link(folder)
    return [
        (prefix + file.stem.removesuffix(ending), file)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".png"
        and file.stem.endswith(ending)
        and not file.name.startswith(".")
    ]
