"""Magnetic tile defects (MTD): 1,344 grey images, 103 to 632 pixels wide and 222 to 403 high.

Huang, Qiu, Yuan: "Surface defect saliency of magnetic tile", The Visual Computer 36, 2020,
doi 10.1007/s00371-018-1588-5; github.com/abin24/Magnetic-tile-defect-datasets.

The masks are anti-aliased grey, and the folder names the class. Four masks of MT_Uneven are
empty. Every tile was photographed several times, so a random split shows test tiles in training;
`find_groups` tells the tiles apart by the numbers of the frames.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings, Sample, by_id, stop_at_link
from ppl.images.files import StoredMask, read_grey
from ppl.images.pictures import Colour

CLASSES = ("background", "blowhole", "break", "crack", "fray", "uneven")
COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),
    (230, 60, 60),
    (60, 180, 75),
    (255, 210, 30),
    (70, 130, 230),
    (190, 80, 220),
)
LAYOUT = "MT_Blowhole/Imgs/NAME.jpg with its mask NAME.png, likewise " + (
    "MT_Break, MT_Crack, MT_Fray, MT_Free and MT_Uneven"
)

_FRAME = re.compile(r"exp(?P<exposure>\d+)_num_(?P<frame>\d+)")
_TILE_STEP = 400

_CLASS_OF_FOLDER = {
    "MT_Free": 0,
    "MT_Blowhole": 1,
    "MT_Break": 2,
    "MT_Crack": 3,
    "MT_Fray": 4,
    "MT_Uneven": 5,
}


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every JPEG in MT_*/Imgs; other files are left alone, an image without a mask is unlabeled.

    Raises:
        InputError: an MT_ folder that names no class or is a link, or one id for two images.
    """
    samples = []
    for folder in sorted(root.glob("MT_*/Imgs")):
        tiles = folder.parent.name
        if tiles not in _CLASS_OF_FOLDER:
            raise InputError(
                f"the folder {folder.parent} names no class of magnetic_tile: expected "
                f"{', '.join(_CLASS_OF_FOLDER)}; rename or remove it"
            )
        for each in (folder.parent, folder):
            stop_at_link(each)
        files = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".")]
        jpegs = [file for file in files if file.suffix.lower() in {".jpg", ".jpeg"}]
        masks = {file.stem: file for file in files if file.suffix.lower() == ".png"}
        for id, image in by_id(((f"{tiles}/{file.stem}", file) for file in jpegs), "image").items():
            mask = masks.get(image.stem)
            samples.append(Sample(id, image, mask, mask is not None, part=None))
    return samples


def find_groups(root: Path, samples: Sequence[Sample], settings: DataSettings) -> dict[str, str]:
    """The tile of each image by its name, expE_num_N; {} where no name is like that.

    N, the number of the frame, counts through all photos: those of a tile follow each other with
    rising exposure E and steps of at most 400. Some tiles were photographed again later; these
    are two groups here, and `merge_alike` makes one part of them.

    Raises:
        InputError: some names are like that and others are not.
    """
    named = {sample.id: _FRAME.fullmatch(sample.image.stem) for sample in samples}
    frames = sorted(
        (int(match["frame"]), int(match["exposure"]), id) for id, match in named.items() if match
    )
    if frames and len(frames) < len(samples):
        other = next(id for id, match in named.items() if not match)
        raise InputError(
            f"the name of {other} is not like exp1_num_1234, so its tile is unknown "
            f"({len(samples) - len(frames)} such images): rename or remove them, or set "
            "data.groups: none"
        )
    groups: dict[str, str] = {}
    tile, last_frame, last_exposure = "", 0, 0
    for frame, exposure, id in frames:
        if not tile or frame - last_frame > _TILE_STEP or exposure <= last_exposure:
            tile = f"tile_{frame}"
        groups[id] = tile
        last_frame, last_exposure = frame, exposure
    return groups


def read_mask(sample: Sample, settings: DataSettings) -> StoredMask:
    """The class of the sample's folder where the grey mask reaches the threshold.

    Raises:
        InputError: an unreadable mask, or one in MT_Free that marks a defect.
    """
    assert sample.mask is not None, sample.id
    folder = sample.id.split("/")[0]
    grey = read_grey(sample.mask)
    defect = grey.values >= settings.mask_threshold
    if folder == "MT_Free" and bool(defect.any()):
        raise InputError(
            f"mask {sample.mask} marks a defect, but MT_Free holds defect-free tiles: move the "
            "image to the folder of its class or clear the mask"
        )
    return replace(grey, values=defect.to(torch.uint8) * _CLASS_OF_FOLDER[folder])
