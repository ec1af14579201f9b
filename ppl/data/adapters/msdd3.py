"""MSDD-3: mobile screens with three kinds of defect; trained on 512 x 512 crops when published.

Wu et al.: "Perturbed Progressive Learning for Semisupervised Defect Segmentation", IEEE TNNLS
35(5), 2024, doi 10.1109/TNNLS.2023.3324188.

Its `validation` part is the one that the paper reports, so it is the test part here. The published
training list names some images twice.
"""

from pathlib import Path

from ppl.data.adapters.base import DataSettings, Sample, no_groups, paired_samples, read_indices
from ppl.images.pictures import Colour

CLASSES = ("background", "bubble", "scratch", "tin_ash")
COLOURS: tuple[Colour, ...] = ((0, 0, 0), (70, 130, 230), (255, 210, 30), (230, 60, 60))
LAYOUT = (
    "images/training/N.jpg with its mask annotations/training/N.png, likewise images/validation "
    "and annotations/validation"
)


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below images/; `part` is the published one.

    Raises:
        InputError: as `paired_samples`.
    """
    return paired_samples(
        root,
        images="images",
        masks="annotations",
        parts={"training": "train", "validation": "test"},
    )


find_groups = no_groups
read_mask = read_indices
