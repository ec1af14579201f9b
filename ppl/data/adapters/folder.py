"""Anyone's own data, any image size: images in images/, masks of the same name in masks/.

A mask holds class indices as grey levels or palette indices, in the order of `data.classes`; 255
is ignored. An image without a mask is unlabeled, which is the normal case. A mask that began as a
model's lies in corrected/ instead of masks/: it is trained on, never tested or validated on. The
part is never published, so `split.test_fraction` or a list chooses the test images. A groups.csv
beside images/ says which photos show one part.
"""

from pathlib import Path

from ppl.data.adapters.base import DataSettings, Sample, paired_samples, read_indices
from ppl.data.groups import by_table
from ppl.images.pictures import Colour

CLASSES: tuple[str, ...] = ()
COLOURS: tuple[Colour, ...] = ()
LAYOUT = (
    "images/**/NAME.jpg (or .png, .bmp, .tif, .webp) and, for the annotated images, "
    "masks/**/NAME.png with the same relative path, holding class indices"
)


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below images/.

    Raises:
        InputError: as `paired_samples`.
    """
    return paired_samples(root, images="images", masks="masks", corrected="corrected", parts={})


find_groups = by_table
read_mask = read_indices
