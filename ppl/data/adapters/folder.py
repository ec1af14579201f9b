"""Anyone's own data, any image size: images in images/, masks of the same name in masks/.

A mask holds class indices as grey levels or palette indices, in the order of `data.classes`; 255
is ignored. `data.colours` or a labelmap.txt says which classes the colours of masks name instead,
and `data.mask_suffix` what masks are called beside their images. An image without a mask is
unlabeled, which is the normal case, unless labels.csv beside images/ calls it good. A mask that
began as a model's lies in corrected/ instead of masks/: it is trained on, never tested or validated
on. Files of LabelMe and COCO beside the images are masks as well, rastered when they are read. The
part is never published, so `split.test_fraction` or a list chooses the test images. A
groups.csv beside images/ says which photos show one part.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    DataSettings,
    Sample,
    distinct_colours,
    named_like_masks,
    paired_samples,
    sound_mask,
)
from ppl.data.class_colours import find_colours, labelmap_classes
from ppl.data.colour_masks import read_own_mask
from ppl.data.groups import by_table
from ppl.data.image_labels import with_labels
from ppl.data.tool_files import tool_files, tool_mask, with_tool_files
from ppl.images.files import StoredMask
from ppl.images.pictures import Colour, open_image

CLASSES: tuple[str, ...] = ()
COLOURS: tuple[Colour, ...] = ()
LAYOUT = (
    "images/**/NAME.jpg (or .png, .bmp, .tif, .webp) and, for the annotated images, "
    "masks/**/NAME.png with the same relative path, holding class indices, or a file of LabelMe "
    "beside the image, or one of COCO"
)

find_groups = by_table
find_classes = labelmap_classes


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below images/.

    Raises:
        InputError: as `paired_samples` and `with_tool_files`; a labelmap.txt or a labels.csv that
            does not fit; no mask but by the names of some images.
    """
    files = tool_files(root)
    paired = paired_samples(
        root,
        images="images",
        masks="masks",
        corrected="corrected",
        parts={},
        mask_suffix=settings.mask_suffix,
        drawn_elsewhere=bool(files),
    )
    found = with_tool_files(root, paired, files, settings)
    _stop_at_masks_among_images(found)
    colours = find_colours(root, settings.colours, settings.classes)
    labelled = with_labels(root, found, settings.classes)
    return [replace(sample, colours=colours) for sample in labelled]


def _stop_at_masks_among_images(samples: Sequence[Sample]) -> None:
    """Without any mask nothing could be learned, and some lie there under another name."""
    if any(sample.mask for sample in samples):
        return
    for suffix, like in named_like_masks([sample.id for sample in samples]).items():
        raise InputError(
            f"no image has a mask, but {len(like)} are named like another and {suffix}, e.g. "
            f"{like[0]}: if these are masks, set `mask_suffix: {suffix}` in section data"
        )


def read_mask(sample: Sample, settings: DataSettings) -> StoredMask:
    """The class indices of an annotated sample; all 0 where it is sound and has no mask.

    Raises:
        InputError: as `read_own_mask` or `tool_mask`; where there is no mask, or a tool's file, an
            unreadable image.
    """
    if sample.mask is None:
        return sound_mask(sample)
    if sample.paint is not None:
        return tool_mask(sample, open_image(sample.image).image.size[::-1])
    return read_own_mask(sample.mask, sample.colours, distinct_colours(len(settings.classes)))
