"""Does test show what was trained on? Twins across the sets, and a copycat that lives on them.

Twins look alike as a whole; others share a half or a quarter, as where pictures were joined from
strips of others.

A model is trained to inspect new parts. Where test photos show parts that training photos show too,
a score tells how well parts are recognised. The copycat makes that visible: it learns nothing,
returns the mask of the most similar labeled image, and is scored like a model.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from pydantic import Field
from torch import Tensor

from ppl.core.cells import as_cell
from ppl.core.settings import Settings
from ppl.data.near_duplicates import Pair, Pairs, most_similar, oriented, pairs_in_blocks
from ppl.data.shared_parts import CANVAS, NAMES, REGIONS, SharedParts, looks, shared_parts
from ppl.images.confusion import confusion_matrix
from ppl.images.record import SplitRecord
from ppl.images.sets import Entry, ImageSet
from ppl.judge.overlays import side_by_side, write_picture

LABELED, VALIDATION, UNLABELED, TEST = "labeled", "validation", "unlabeled", "test"
SETS = (LABELED, VALIDATION, UNLABELED, TEST)
TRAINING = (LABELED, VALIDATION, UNLABELED)
"""What a model sees before it is tested."""

COLUMNS = (
    "similarity",
    "set",
    "image",
    "other_set",
    "other_image",
    "orientation",
    "region",
    "other_region",
)

_MARK, _MARK_WIDTH = (230, 60, 60), 0.02
"""Colour of the frame around a shared part, and its share of the image's longer side."""

_LISTED_PAIRS = 100_000
"""Pairs that are kept, the most similar ones: all are too many where every image looks alike."""


class AuditSettings(Settings):
    """Section `audit`."""

    similarity: Annotated[float, Field(ge=0.5, le=1)]
    """Correlation of thumbnails from which two images, or a half or quarter of each, are twins."""
    pictures: Annotated[int, Field(ge=0, le=99)]
    """Pairs shown."""


@dataclass(frozen=True)
class Image:
    """One image and the set that it is in."""

    set: str
    entry: Entry
    group: str


@dataclass(frozen=True)
class Shared(Pair):
    """Two images of which a part is the same: turned, `other_region` looks like `region`.

    Regions are numbers in `NAMES` of ppl/data/shared_parts.py; 0 and 0 are two that look alike as
    a whole.
    """

    region: int = 0
    other_region: int = 0


@dataclass(frozen=True)
class Twins:
    """Images of different sets that look alike, as a whole or in part."""

    images: Sequence[Image]
    thumbnails: Tensor
    seen_in: Tensor
    """(N, 4) bool: whether an image looks like one of each of `SETS`, its own left out."""
    counts: Tensor
    """(4, 4) int64: pairs of an image of one set and one of another, in both orders."""
    pairs: Sequence[Shared]
    """The most similar first; of more than 100,000 alike as a whole no more, nor in part."""
    shares_with: Tensor
    """(N, 4) bool: whether an image shares a part with one of each of `SETS`, its own left out."""


def find_twins(sets: Mapping[str, ImageSet], record: SplitRecord, settings: AuditSettings) -> Twins:
    """All pairs across the sets of at least `settings.similarity`, in any orientation."""
    images = [
        Image(name, entry, group)
        for name, image_set in sets.items()
        for entry, group in zip(image_set.entries, record.group_of(image_set.ids), strict=True)
    ]
    seen = looks(sets[image.set].image_file(image.entry) for image in images)
    set_of = torch.tensor([SETS.index(image.set) for image in images], dtype=torch.int64)
    seen_in = torch.zeros((len(images), len(SETS)), dtype=torch.bool)
    counts = torch.zeros((len(SETS), len(SETS)), dtype=torch.int64)
    kept: list[Shared] = []
    for found in pairs_in_blocks(seen.thumbnails, threshold=settings.similarity):
        across = _across(found, set_of, seen_in)
        both = set_of[found.one[across]] * len(SETS) + set_of[found.other[across]]
        counts += torch.bincount(both, minlength=counts.numel()).view_as(counts)
        kept = _most_similar_pairs(kept, found, across)
    shares_with = torch.zeros_like(seen_in)
    parts = shared_parts(seen, threshold=settings.similarity)
    kept += _most_similar_pairs([], parts, _across(parts, set_of, shares_with))
    pairs = sorted(kept, key=_by_similarity)
    return Twins(images, seen.thumbnails, seen_in, counts + counts.T, pairs, shares_with)


def _across(found: Pairs, set_of: Tensor, seen_in: Tensor) -> Tensor:
    """(P,) bool: which pairs are of two sets; their images are marked in (N, 4) `seen_in`."""
    one_set, other_set = set_of[found.one], set_of[found.other]
    across = one_set != other_set
    seen_in[found.one[across], other_set[across]] = True
    seen_in[found.other[across], one_set[across]] = True
    return across


def _by_similarity(pair: Pair) -> tuple[float, int, int]:
    return -pair.similarity, pair.one, pair.other


def _most_similar_pairs(kept: list[Shared], found: Pairs, across: Tensor) -> list[Shared]:
    """The pairs kept so far and those of `found` where `across`, as many as are listed."""
    least = kept[-1].similarity if len(kept) == _LISTED_PAIRS else -1.0
    wanted = (across & (found.similarity >= least)).nonzero()[:, 0]
    if len(wanted) > _LISTED_PAIRS:
        wanted = wanted[found.similarity[wanted].argsort(descending=True, stable=True)]
        wanted = wanted[:_LISTED_PAIRS]
    columns = [found.one, found.other, found.similarity, found.orientation]
    if isinstance(found, SharedParts):
        columns += [found.region, found.other_region]
    more = [Shared(*row) for row in zip(*(each[wanted].tolist() for each in columns), strict=True)]
    return sorted([*kept, *more], key=_by_similarity)[:_LISTED_PAIRS]


def leakage_metrics(twins: Twins, record: SplitRecord) -> dict[str, object]:
    """Counts ready for JSON: of test images with a twin in training, and for each two sets.

    by_name counts images whose group, as the data set names it, has one in the other set, null
    where it names none; by_content those that look like one of the other set. `twin_pairs`
    counts pairs by content. by_part counts those that look like none of the other set, but share a
    half or a quarter with one.
    """
    images = twins.images
    place = {name: number for number, name in enumerate(SETS)}
    members = {
        name: torch.tensor([image.set == name for image in images], dtype=torch.bool)
        for name in SETS
    }
    sets_of: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        sets_of[image.group].add(image.set)
    by_name: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, image in enumerate(images):
        for another in sets_of[image.group] - {image.set}:
            by_name[image.set, another].add(number)

    known_parts = set[int]().union(*(by_name[TEST, name] for name in TRAINING))
    training = [place[name] for name in TRAINING]

    def by_content(one: str, others: list[int]) -> dict[str, int]:
        alike, sharing = (
            table[members[one]][:, others].any(dim=1)
            for table in (twins.seen_in, twins.shares_with)
        )
        return {"by_content": int(alike.sum()), "by_part": int((sharing & ~alike).sum())}

    known = bool(record.groups)
    two_sets = [(one, other) for index, one in enumerate(SETS) for other in reversed(SETS[:index])]
    return {
        "split_by": record.by,
        "test_images": sum(image.set == TEST for image in images),
        "test_images_seen_in_training": {
            "by_name": len(known_parts) if known else None,
            **by_content(TEST, training),
        },
        **{
            f"{one}_in_{other}": {
                "by_name": len(by_name[one, other]) if known else None,
                **by_content(one, [place[other]]),
                "twin_pairs": int(twins.counts[place[one], place[other]]),
            }
            for one, other in reversed(two_sets)
        },
    }


def copycat_matches(twins: Twins, settings: AuditSettings) -> list[Pair]:
    """For each test image the most similar image with a mask to learn from, by their numbers.

    Turned images count from `settings.similarity`: below, eight orientations would only be eight
    times as many chances of a wrong match.
    """
    test = _numbers(twins, (TEST,))
    known = _numbers(twins, (LABELED, VALIDATION))
    queries, candidates = twins.thumbnails[test], twins.thumbnails[known]
    turned = most_similar(queries, candidates)
    upright = most_similar(queries, candidates, orientations=1)
    chosen = [
        any_way if any_way.similarity >= settings.similarity else straight
        for any_way, straight in zip(turned, upright, strict=True)
    ]
    return [
        Pair(test[pair.one], known[pair.other], pair.similarity, pair.orientation)
        for pair in chosen
    ]


def copycat_matrices(
    twins: Twins, matches: Iterable[Pair], sets: Mapping[str, ImageSet], classes: int
) -> Tensor:
    """(N, C, C) int64 confusion matrix of each test image against the mask of its match.

    The mask is turned as the match is and resized to the test image, nearest pixel.
    """
    matrices = []
    for pair in matches:
        test, known = twins.images[pair.one], twins.images[pair.other]
        truth = sets[test.set].mask(test.entry)
        mask = oriented(sets[known.set].mask(known.entry), pair.orientation)
        resized = F.interpolate(mask[None, None].float(), truth.shape[-2:], mode="nearest-exact")
        # where nobody annotated the match, the copycat sees no defect
        copied = resized[0, 0].to(torch.uint8)
        matrices.append(confusion_matrix(copied.where(copied < classes, 0), truth, classes))
    return torch.stack(matrices)


def write_pairs(file: Path, twins: Twins) -> None:
    """The twins across two sets, a line each, the most similar first, and which part is the same.

    At most 100,000 lines of twins as a whole, and as many of parts.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for pair in twins.pairs:
            one, other = (twins.images[index] for index in _test_first(twins, pair))
            ids = [one.set, as_cell(one.entry.id), other.set, as_cell(other.entry.id)]
            regions = [NAMES[_region(pair, index)] for index in _test_first(twins, pair)]
            writer.writerow([f"{pair.similarity:.4f}", *ids, pair.orientation, *regions])


def write_pair_pictures(
    out: Path,
    twins: Twins,
    matches: Sequence[Pair],
    sets: Mapping[str, ImageSet],
    count: int,
) -> None:
    """Write OUT/pair_NN.png: the worst twins of test and training, each part once.

    Where there are fewer, what the copycat takes for the most similar fills up: the reader sees
    how alike the most similar images of a clean split are. Turned images are shown turned back.
    """
    leaks = [
        pair
        for pair in twins.pairs
        if TEST in (twins.images[pair.one].set, twins.images[pair.other].set)
    ]
    filling = sorted(matches, key=lambda pair: -pair.similarity)
    shown: list[Pair] = []
    seen: set[str] = set()
    for pair in (*leaks, *filling):
        groups = {twins.images[number].group for number in (pair.one, pair.other)}
        if len(shown) < count and seen.isdisjoint(groups):
            shown.append(pair)
            seen |= groups
    out.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(shown, start=1):
        write_picture(out / f"pair_{number:02d}.png", _pair_picture(twins, pair, sets))


def _pair_picture(twins: Twins, pair: Pair, sets: Mapping[str, ImageSet]) -> Picture:
    """The two images, the later set first, and a frame around the part that they share."""
    panels = {}
    for index in _test_first(twins, pair):
        image = twins.images[index]
        pixels = marked(sets[image.set].image(image.entry), _region(pair, index))
        if index == pair.other:
            pixels = oriented(pixels, pair.orientation)
        panels[f"{image.set}: {image.entry.id}"] = pixels
    part = ", of the framed parts" if _region(pair, pair.one) or _region(pair, pair.other) else ""
    turned = f", one turned (orientation {pair.orientation})" if pair.orientation else ""
    # cut, not rounded: what is just below the threshold must not read as if it were above
    similarity = math.floor(1000 * pair.similarity) / 1000
    return side_by_side(panels, title=f"similarity {similarity:.3f}{part}{turned}")


def marked(image: Tensor, region: int) -> Tensor:
    """(3, H, W) uint8 with a frame around a region of `NAMES`; as it was for the whole."""
    if not region:
        return image
    height, width = image.shape[1:]
    rows, columns = REGIONS[NAMES[region]]
    top, bottom = (edge * height // CANVAS for edge in (rows.start, rows.stop))
    left, right = (edge * width // CANVAS for edge in (columns.start, columns.stop))
    line = max(1, round(_MARK_WIDTH * max(height, width)))
    drawn = image.clone()
    inner = drawn[:, top:bottom, left:right]
    for side in (inner[:, :line], inner[:, -line:], inner[:, :, :line], inner[:, :, -line:]):
        side[:] = torch.tensor(_MARK, dtype=torch.uint8)[:, None, None]
    return drawn


def _region(pair: Pair, index: int) -> int:
    """The region of image `index` of a pair that the other one shows, too."""
    if not isinstance(pair, Shared):
        return 0
    return pair.region if index == pair.one else pair.other_region


def summary(metrics: Mapping[str, object], copycat: Mapping[str, object]) -> str:
    """Two lines for the terminal, three where images share a part."""
    seen = metrics["test_images_seen_in_training"]
    assert isinstance(seen, dict)
    tested, miou = metrics["test_images"], copycat["miou"]
    by_name = "" if seen["by_name"] is None else f"{seen['by_name']} by name, "
    part = f"{seen['by_part']} more share a half or a quarter\n" if seen["by_part"] else ""
    percent = "undefined" if miou is None else f"{100 * float(str(miou)):.1f} % mIoU"
    return (
        f"{tested} test images, seen in training: {by_name}{seen['by_content']} by content "
        f"(split by {metrics['split_by']})\n"
        f"{part}a copycat that returns the mask of the most similar labeled image: {percent}"
    )


def _numbers(twins: Twins, names: Sequence[str]) -> list[int]:
    return [number for number, image in enumerate(twins.images) if image.set in names]


def _test_first(twins: Twins, pair: Pair) -> tuple[int, int]:
    """The numbers of a pair's images, that of the later set of `SETS` before the other."""
    one, other = (SETS.index(twins.images[number].set) for number in (pair.one, pair.other))
    return (pair.other, pair.one) if other > one else (pair.one, pair.other)
