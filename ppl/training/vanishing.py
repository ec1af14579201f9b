"""What is left of the labeled defects at the size at which the networks see them."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ppl.images.files import defect_classes
from ppl.images.sets import Entry, ImageSet
from ppl.network.resize import ImageSettings, resize_mask
from ppl.training.images import DECODERS


def vanishing(labeled: ImageSet, image: ImageSettings, classes: Sequence[str]) -> list[str]:
    """A sentence for each class that some masks hold, and do not any more at the networks' size.

    None in windows, which leave every pixel. A mask holds a class or does not: how much of it is
    left is not looked at.

    Raises:
        InputError: an unreadable mask.
    """
    if image.fit == "windows":
        return []

    def look(entry: Entry) -> tuple[list[int], list[int]]:
        mask = labeled.mask(entry)
        return defect_classes(mask), defect_classes(resize_mask(mask, image.size))

    with ThreadPoolExecutor(DECODERS) as pool:
        looks = list(pool.map(look, labeled.entries))
    drawn = Counter(value for own, _ in looks for value in own)
    left = Counter(value for _, seen in looks for value in seen)
    return [
        f"of {drawn[value]} labeled masks with {classes[value]} {drawn[value] - left[value]} hold "
        f"none at {image.height} x {image.width} pixels, so no training sees it there: raise "
        "image.height and image.width, or set image.fit: windows"
        for value in sorted(drawn)
        if left[value] < drawn[value]
    ]
