"""NEU-Seg: hot-rolled steel strip, 3,630 training and 840 test images of 200 x 200 pixels.

Dong, Song, He et al.: "PGA-Net: Pyramid Feature Fusion and Global Context Attention Network for
Automated Surface Defect Detection", IEEE TII 16(12), 2020; github.com/DHW-Master/NEU_Seg.

Base names recur in training and test, so ids keep the folder. Most test images are rotated
training images, so those that look alike in any rotation are one group.
"""

from pathlib import Path

from ppl.data.adapters.base import DataSettings, Sample, paired_samples, read_indices
from ppl.data.groups import by_content
from ppl.images.pictures import Colour

CLASSES = ("background", "inclusion", "patch", "scratch")
COLOURS: tuple[Colour, ...] = ((0, 0, 0), (230, 60, 60), (60, 180, 75), (255, 210, 30))
LAYOUT = (
    "images/training/NNNNNN.jpg with its mask annotations/training/NNNNNN.png, likewise "
    "images/test and annotations/test"
)


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below images/; `part` is the published one.

    Raises:
        InputError: as `paired_samples`.
    """
    return paired_samples(
        root, images="images", masks="annotations", parts={"training": "train", "test": "test"}
    )


find_groups = by_content
read_mask = read_indices
