"""What is left of the labeled defects at the size at which the networks see them."""

from collections import Counter
from collections.abc import Collection, Sequence

from ppl.images.files import defect_classes
from ppl.network.resize import ImageSettings, resize_mask
from ppl.training.images import Opened


def seen_classes(opened: Opened) -> list[int]:
    """The defect classes of a labeled image that its mask holds at the networks' size, too."""
    image = opened.data.image
    if image.fit == "windows":
        # they leave every pixel
        return opened.defects
    return defect_classes(resize_mask(opened.mask, image.size))


def vanishing(
    drawn: Sequence[Collection[int]],
    seen: Sequence[Collection[int]],
    image: ImageSettings,
    classes: Sequence[str],
) -> list[str]:
    """A sentence for each class that some masks hold, and do not any more at the networks' size.

    A mask holds a class or does not: how much of it is left is not looked at.

    Args:
        drawn: the defect classes of each labeled image.
        seen: what `seen_classes` found of each.
        classes: their names.
    """
    before, left = (Counter(value for values in of for value in values) for of in (drawn, seen))
    return [
        f"of {before[value]} labeled masks with {classes[value]} {before[value] - left[value]} "
        f"hold none at {image.height} x {image.width} pixels, so no training sees it there: raise "
        "image.height and image.width, or set image.fit: windows"
        for value in sorted(before)
        if left[value] < before[value]
    ]
