"""Which unlabeled images a person should annotate first: doubtful ones that show different things.

Two signs speak against a prediction: the ranking found the image unreliable, and the final model
contradicts the pseudo-mask that it was trained with. A method without a ranking has the final
model's own confidence in place of the first, and one without pseudo-masks lacks the second. None
needs a label, so an image on which all models agree and all are wrong is not found.
"""

import csv
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core import processes
from ppl.core.cells import as_cell
from ppl.core.settings import Settings
from ppl.data.near_duplicates import describe, most_similar, near_duplicates
from ppl.images.confusion import confusion_matrix
from ppl.images.files import class_values, read_mask
from ppl.images.miou import BACKGROUND, miou
from ppl.images.pictures import IGNORE
from ppl.images.sets import DatasetInfo, Entry, ImageSet, mask_file, masked_ids
from ppl.judge.overlays import contact_sheet, write_picture
from ppl.labeling.part_agreement import Photos, VotingSettings, predict_by_part
from ppl.network.confidence import confidence, likeliest
from ppl.network.network import SegmentationNetwork
from ppl.network.resize import ImageSettings

SHOWN = 36
"""Images on the contact sheet, at most: more are no longer readable."""

RELIABILITY, CONFIDENCE, DISAGREEMENT = "reliability", "confidence", "disagreement"
"""Signs, as their columns are called: the ranking's, the final model's, and what it contradicts."""

_OF_DOUBT = frozenset({DISAGREEMENT})
"""Signs that are high for a doubtful image; others are low."""

_FIRST_BATCH = 32
_LARGEST_BATCH = 512


class AnnotateSettings(Settings):
    """Section `annotate_next`."""

    count: Annotated[int, Field(ge=0, le=10_000)]
    """Images on the list; fewer where there are not as many that differ."""
    similarity: Annotated[float, Field(ge=0.5, le=1)]
    """Correlation of thumbnails from which an image shows what one on the list shows."""


Signs = Mapping[str, Mapping[str, float]]
"""Name of a sign -> its value of each image by id, in 0-1."""


@dataclass(frozen=True)
class Doubt:
    """An unlabeled image and how much an annotation of it promises, all in 0-1."""

    image: Entry
    part: str
    signs: Mapping[str, float]
    """By the name of its column."""
    priority: float


def signs_of(
    final: SegmentationNetwork,
    photos: Photos,
    image: ImageSettings,
    settings: VotingSettings,
    reliability: Mapping[str, float],
    taught: Sequence[Path],
    classes: int,
) -> Signs:
    """What speaks for or against the prediction of each image, as far as the method knows it.

    Reliability or, without a ranking, the final model's confidence; then disagreement, where there
    are pseudo-masks. Only the numbers stay in memory. Of several processes each looks at its share,
    and all return the numbers of all.

    Args:
        photos: those to look at, each labeled by the final model as it was by those before it.
        image: the size of the network's input and how an image gets there.
        reliability: of the ranking, by id; {} without one.
        taught: folders of pseudo-masks; each image has one in one of them, or none has any.

    Raises:
        InputError: an image has no pseudo-mask though others have.
    """
    ids = photos.chosen
    folder_of = {id: folder for folder in reversed(taught) for id in masked_ids(folder)}
    looks: dict[str, Callable[[str, Tensor], float]] = {}
    if ids and not reliability:
        looks[CONFIDENCE] = lambda _, prob: confidence(prob[None]).item()
    # without images nothing tells whether there would be masks
    if folder_of or not ids:
        looks[DISAGREEMENT] = lambda image_id, prob: _disagreement(
            prob, mask_file(folder_of.get(image_id, taught[-1]), image_id), classes
        )
    wanted = replace(photos, chosen=ids if looks else [])
    own: dict[str, dict[str, float]] = {name: {} for name in looks}
    for entry, prob in predict_by_part(final, wanted, image, settings, what="annotate next"):
        for name, look in looks.items():
            # as the ranking rounds, so that machines agree on the order
            own[name][entry.id] = round(look(entry.id, prob), 8)
    shares = processes.gathered(own)
    found = {
        name: {id: value for share in shares for id, value in share[name].items()} for name in looks
    }
    return found if CONFIDENCE in looks else {RELIABILITY: reliability, **found}


def _disagreement(prob_CHW: Tensor, taught: Path, classes: int) -> float:
    """1 - mIoU of a prediction and a pseudo-mask, 0 where they are the same.

    1 where they share nothing or the pseudo-mask is all 255.
    """
    matrix = confusion_matrix(likeliest(prob_CHW).cpu(), read_mask(taught), classes)
    agreement = miou(matrix)
    return 1.0 if math.isnan(agreement) else 1 - agreement


def doubts(images: Sequence[Entry], parts: Sequence[str], signs: Signs) -> list[Doubt]:
    """All images, the highest priority first, of equal ones the smaller id.

    The priority is the mean of the ranks by each sign, so that no scale dominates: 0 for the last
    of all, 1 for the first. Ties share their mean rank.

    Args:
        images, parts: the images and, in the same order, the part that each shows.
        signs: in 0-1, at least one.
    """
    # it takes half a second to import, which a stage that only reads the settings need not spend
    from scipy.stats import rankdata

    if not images:
        return []
    totals = [-float(len(signs))] * len(images)
    for name, of in signs.items():
        ranks = rankdata([of[e.id] if name in _OF_DOUBT else -of[e.id] for e in images])
        # the sum of ranks is exact, and so are ties; the mean of quotients would not be
        totals = [total + rank for total, rank in zip(totals, ranks.tolist(), strict=True)]
    highest = len(signs) * (len(images) - 1)
    found = [
        Doubt(
            entry,
            part,
            {name: of[entry.id] for name, of in signs.items()},
            # a single image is tied with all there are
            total / highest if highest else 0.5,
        )
        for entry, part, total in zip(images, parts, totals, strict=True)
    ]
    return sorted(found, key=lambda doubt: (-doubt.priority, doubt.image.id))


def choose(
    ordered: Sequence[Doubt],
    images: ImageSet,
    settings: AnnotateSettings,
    *,
    batch: int = _FIRST_BATCH,
) -> list[Doubt]:
    """The first of `ordered` that differ: one a part, and none that looks like one before it.

    Looks are compared in any orientation. Files are read in growing batches until there are
    enough, so that a list of twenty does not decode a million images.

    Args:
        ordered: the highest priority first, from `doubts`.
        images: the set that they belong to.
        batch: images in the first batch; it changes no choice.
    """
    chosen: list[Doubt] = []
    parts: set[str] = set()
    known = describe([])
    start = 0
    while start < len(ordered) and len(chosen) < settings.count:
        some = [doubt for doubt in ordered[start : start + batch] if doubt.part not in parts]
        thumbnails = describe(images.image_file(doubt.image) for doubt in some)
        seen = set()
        if len(known):
            nearest = most_similar(thumbnails, known)
            seen = {pair.one for pair in nearest if pair.similarity >= settings.similarity}
        new = [number for number in range(len(some)) if number not in seen]
        alike: list[set[int]] = [set() for _ in new]
        for pair in near_duplicates(thumbnails[new], threshold=settings.similarity):
            alike[pair.other].add(pair.one)
        taken: list[int] = []
        for place, number in enumerate(new):
            doubt = some[number]
            if doubt.part in parts or not alike[place].isdisjoint(taken):
                continue
            if len(chosen) == settings.count:
                break
            chosen.append(doubt)
            parts.add(doubt.part)
            taken.append(place)
        known = torch.cat([known, thumbnails[new][taken]])
        start += batch
        batch = min(2 * batch, _LARGEST_BATCH)
    return chosen


def columns(signs: Collection[str]) -> list[str]:
    """The header of the table."""
    of_image = ("rank", "image", "part", "photos_of_part", "priority")
    return [*of_image, *signs, "predicted_classes", "mask"]


def write_table(
    file: Path,
    chosen: Sequence[Doubt],
    ordered: Sequence[Doubt],
    signs: Collection[str],
    masks: Path,
    info: DatasetInfo,
) -> None:
    """The chosen images as CSV, the first to annotate on top; the header alone where there is none.

    Args:
        ordered: all unlabeled images, to count the photos of a part.
        signs: the names of those by which they were ordered, a column each.
        masks: folder of the start masks; paths in the table are relative to it.
    """
    photos = Counter(doubt.part for doubt in ordered)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns(signs))
        for rank, doubt in enumerate(chosen, start=1):
            mask = mask_file(masks, doubt.image.id)
            present = sorted(class_values(read_mask(mask), len(info.classes), str(mask)))
            names = [info.classes[c] for c in present if c not in (BACKGROUND, IGNORE)]
            numbers = (doubt.priority, *(doubt.signs[name] for name in signs))
            writer.writerow(
                [
                    rank,
                    as_cell(doubt.image.id),
                    as_cell(doubt.part),
                    photos[doubt.part],
                    *(f"{number:.4f}" for number in numbers),
                    as_cell("; ".join(names)),
                    as_cell(mask.relative_to(masks).as_posix()),
                ]
            )


def write_sheet(
    file: Path, chosen: Sequence[Doubt], images: ImageSet, masks: Path, info: DatasetInfo
) -> None:
    """Write one PNG of the first `SHOWN` images with their start masks drawn over them."""
    shown = chosen[:SHOWN]
    first = f", the first {len(shown)} shown" if len(shown) < len(chosen) else ""
    picture = contact_sheet(
        (
            (
                f"{rank}  {doubt.image.id}",
                images.image(doubt.image),
                read_mask(mask_file(masks, doubt.image.id)),
            )
            for rank, doubt in enumerate(shown, start=1)
        ),
        class_names=info.classes,
        colours=info.colours,
        title=f"Annotate next: {len(chosen)} of {len(images)} unlabeled images{first}",
    )
    write_picture(file, picture)
