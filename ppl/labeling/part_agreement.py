"""Photos of one part that look alike vote on each other's pseudo-masks: their softmax is averaged.

A part that was photographed several times from one place, under several lamps or exposures, has one
true mask. Whether two photos were taken from one place is not asked of the user but seen: they must
correlate as they lie, without turning.

Axes: N photos, C classes, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core import processes
from ppl.data.near_duplicates import thumbnail
from ppl.images.sets import Entry, ImageSet
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import DECODERS, TestTimeSettings, at_own_size, predict
from ppl.network.resize import ImageSettings

NOBODY = 1.0
"""The similarity from which photos vote, if each is to be labeled for itself."""


class VotingSettings(TestTimeSettings):
    """The part of section `pseudo_label` that says what a prediction is averaged over."""

    alike: Annotated[float, Field(ge=0.5, le=1)]
    voters: Annotated[int, Field(ge=2, le=10_000)]


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
    settings: VotingSettings,
    *,
    what: str,
) -> Iterator[tuple[Entry, Tensor]]:
    """The chosen images, each with its (C, H, W) softmax averaged over the photos that vote on it.

    Of several processes each yields its share.

    Args:
        settings: `alike` is the similarity (0.5-1) from which a photo of the same part votes, at
            `NOBODY` none does; of a part, at most `voters` photos vote together, in the order of
            their ids.
        what: names the work on the progress bar.
    """
    chosen = photos.images.subset(photos.chosen)
    if settings.alike >= NOBODY or not photos.part_of:
        share = replace(chosen, entries=tuple(processes.every(chosen.entries)))
        for entry, [prob] in predict([network], share, image, settings, what=what):
            yield entry, prob
        return

    def part(entry: Entry) -> str:
        return photos.part_of.get(entry.id, entry.id)

    mine = set(processes.every(sorted({part(entry) for entry in chosen.entries})))
    voters = [entry for entry in photos.images.entries if part(entry) in mine]
    share = replace(photos.images, entries=tuple(sorted(voters, key=part)))
    wanted = set(photos.chosen)
    predicted = predict([network], share, image, settings, what=what)
    for _, of_part in groupby(predicted, key=lambda found: part(found[0])):
        while together := list(islice(of_part, settings.voters)):
            agree = look_alike(photos.images, [entry for entry, _ in together], settings.alike)
            for (entry, _), voting in zip(together, agree, strict=True):
                if entry.id in wanted:
                    yield entry, _mean(together, voting, (entry.height, entry.width))
            # softmaxes of large photos fill the memory: none is kept while the next are computed
            together.clear()


def look_alike(images: ImageSet, entries: Sequence[Entry], alike: float) -> list[list[bool]]:
    """N rows of N: which of the photos correlate by `alike` or more, or are the same one."""
    if len(entries) == 1:
        return [[True]]
    with ThreadPoolExecutor(DECODERS) as pool:
        made = pool.map(lambda entry: thumbnail(images.image(entry)).double(), entries)
        thumbnails = torch.stack(list(made)).flatten(1)
    # rounded, so that machines that differ in the last bit of a sum agree
    similar = (thumbnails @ thumbnails.mT).round(decimals=6) >= alike
    rows: list[list[bool]] = (similar | torch.eye(len(entries), dtype=torch.bool)).tolist()
    return rows


def _mean(
    found: Sequence[tuple[Entry, list[Tensor]]], counts: Sequence[bool], size: tuple[int, int]
) -> Tensor:
    """(C, *size), the mean of the softmaxes that count, one after the other to save memory."""
    votes = (at_own_size(p, size) for (_, [p]), one in zip(found, counts, strict=True) if one)
    whole = next(votes).clone()
    for vote in votes:
        whole += vote
    return whole / sum(counts)
