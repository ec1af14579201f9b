"""Photos of one part that look alike vote on each other's pseudo-masks: their softmax is averaged.

A part that was photographed several times from one place, under several lamps or exposures, has one
true mask. Whether two photos were taken from one place is not asked of the user but seen: they must
correlate as they lie, without turning.

Axes: N photos, C classes, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from ppl import processes
from ppl.image_set import Entry, ImageSet
from ppl.inference import TestTimeSettings, at_own_size, predict
from ppl.near_duplicates import thumbnail
from ppl.network import SegmentationNetwork
from ppl.resize import ImageSettings

NOBODY = 1.0
"""The similarity from which photos vote, if each is to be labeled for itself."""

PHOTOS = 16
"""Of a part, at most so many vote together; it bounds the memory."""


@dataclass(frozen=True)
class Photos:
    """Which images are to be labeled, and which may vote on them."""

    images: ImageSet
    """All that may vote, the chosen ones among them."""
    chosen: Sequence[str]
    """Ids of those to label."""
    part_of: Mapping[str, str]
    """The part that an image shows, by id; {} if each is to be labeled for itself."""


def lone(images: ImageSet) -> Photos:
    """All of the images, each to be labeled for itself."""
    return Photos(images, images.ids, {})


def predict_by_part(
    network: SegmentationNetwork,
    photos: Photos,
    image: ImageSettings,
    test_time: TestTimeSettings,
    *,
    alike: float,
    what: str,
) -> Iterator[tuple[Entry, Tensor]]:
    """The chosen images, each with its (C, H, W) softmax averaged over the photos that vote on it.

    Of several processes each yields its share.

    Args:
        alike: similarity (0.5-1) from which a photo of the same part votes; `NOBODY`: none does.
        what: names the work on the progress bar.
    """
    if alike >= NOBODY or not photos.part_of:
        entries = photos.images.subset(photos.chosen).entries
        share = replace(photos.images, entries=tuple(processes.every(entries)))
        for entry, [prob] in predict([network], share, image, test_time, what=what):
            yield entry, prob
        return

    wanted, part_of = set(photos.chosen), photos.part_of
    parts = sorted({part_of[id] for id in wanted})
    mine = set(processes.every(parts))
    voters = [entry for entry in photos.images.entries if part_of[entry.id] in mine]
    share = replace(photos.images, entries=tuple(sorted(voters, key=lambda e: part_of[e.id])))
    predicted = predict([network], share, image, test_time, what=what)
    for _, of_part in groupby(predicted, key=lambda found: part_of[found[0].id]):
        for together in _in_portions(of_part):
            agree = look_alike([photos.images.image(entry) for entry, _ in together], alike)
            for (entry, _), voting in zip(together, agree, strict=True):
                if entry.id in wanted:
                    size = (entry.height, entry.width)
                    votes = [
                        at_own_size(prob, size)
                        for (_, [prob]), counts in zip(together, voting, strict=True)
                        if counts
                    ]
                    yield entry, torch.stack(votes).mean(dim=0)


def look_alike(images: Sequence[Tensor], alike: float) -> list[list[bool]]:
    """N rows of N: which photos, (3, H, W) uint8, correlate by `alike` or more, or are the same."""
    thumbnails = torch.stack([thumbnail(image) for image in images]).flatten(1)
    similar = thumbnails @ thumbnails.mT >= alike
    return (similar | torch.eye(len(images), dtype=torch.bool)).tolist()


def _in_portions(
    found: Iterator[tuple[Entry, list[Tensor]]],
) -> Iterator[list[tuple[Entry, list[Tensor]]]]:
    portion = []
    for one in found:
        portion.append(one)
        if len(portion) == PHOTOS:
            yield portion
            portion = []
    if portion:
        yield portion
