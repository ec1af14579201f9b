"""Generated surfaces with four kinds of defect, to try the pipeline without data of one's own.

No publication: the project draws them, with a mask for every image, in the layout of `folder` and
at the size that the generator is asked for.
"""

from pathlib import Path

from ppl.data.adapters.base import DataSettings, Sample, no_groups, paired_samples, read_indices
from ppl.images.pictures import Colour

CLASSES = ("background", "pore", "scratch", "stain", "edge_break")
COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),
    (230, 60, 60),
    (255, 210, 30),
    (70, 130, 230),
    (60, 180, 75),
)
LAYOUT = "images/NAME.png with its mask masks/NAME.png"


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below images/.

    Raises:
        InputError: as `paired_samples`.
    """
    return paired_samples(root, images="images", masks="masks", parts={})


find_groups = no_groups
read_mask = read_indices
