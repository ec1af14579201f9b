"""Masks of 0 and 255 where there is one class of defect: white is the defect, or is it ignored?

Most tools draw a single class black and white. 255 is ignored here, so such masks are taken for
what they are only where nothing in the data set says otherwise.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings, Sample
from ppl.data.background import names_background, with_background
from ppl.data.scans import IGNORED_FILE, Scan, meant_ignored
from ppl.images.pictures import IGNORE

_DEFECT = 1


def white_defects(
    raw: Path, samples: Mapping[str, Sample], scans: Mapping[str, Scan], settings: DataSettings
) -> frozenset[str]:
    """The images in whose masks 255 is the one class of defect.

    There are any only if the data have two classes, nothing says which colours name them, and no
    mask holds 1. Masks that ignored.txt names keep their 255; those in the palette of this project,
    which `annotate_next` hands out, mean what they hold.

    Raises:
        InputError: all of them are white in every pixel; an ignored.txt that does not fit; the two
            classes are two defects by their names.
    """
    if settings.name != "folder" or len(settings.classes) != _DEFECT + 1:
        return frozenset()
    if any(sample.colours for sample in samples.values()):
        return frozenset()
    doubtful = {id: scan.values for id, scan in scans.items() if not scan.own}
    white = {id for id, values in doubtful.items() if IGNORE in values}
    if not white or any(_DEFECT in values for values in doubtful.values()):
        return frozenset()
    white -= meant_ignored(raw / IGNORED_FILE, samples)
    if not any(0 in doubtful[id] for id in white):
        _stop_at_all_white(samples, white)
    if white:
        _stop_without_background(settings)
    return frozenset(white)


def _stop_without_background(settings: DataSettings) -> None:
    """White could be either of two defects, or both."""
    first, second = settings.classes
    if not names_background(first):
        raise InputError(
            f"masks hold 0 and 255 alone, so there is one class of defect, but data.classes names "
            f"no background: 0 would be {first}, and 255 {second}. Write the background first, as "
            f"`classes: [background, defect]`; for {first} and {second} apart, "
            f"`{with_background(settings.classes)}` and masks of 0, 1 and 2"
        )


def _stop_at_all_white(samples: Mapping[str, Sample], white: set[str]) -> None:
    if not white:
        return
    first = samples[min(white)].mask
    raise InputError(
        f"{len(white)} masks hold 255 in every pixel, e.g. {first}, so nothing would be background "
        f"there: draw the defect white and the rest black; where 255 does mean ignored, name the "
        f"images in {IGNORED_FILE}"
    )


def as_defect(scan: Scan) -> Scan:
    """What a scan shows with 255 counted as the defect."""
    pixels = dict(scan.pixels)
    pixels[_DEFECT] = pixels.pop(IGNORE)
    return replace(scan, pixels=dict(sorted(pixels.items())))
