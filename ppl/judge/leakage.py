"""Does test show what was trained on? Twins across the sets, and a copycat that lives on them.

A model is trained to inspect new parts. Where test photos show parts that training photos show too,
a score tells how well parts are recognised. The copycat makes that visible: it learns nothing,
returns the mask of the most similar labeled image, and is scored like a model.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ppl.core.settings import Settings
from ppl.data.near_duplicates import Pair, Pairs, describe, most_similar, oriented, pairs_in_blocks
from ppl.images.confusion import confusion_matrix
from ppl.images.record import SplitRecord
from ppl.images.sets import Entry, ImageSet
from ppl.judge.overlays import side_by_side, write_picture

LABELED, VALIDATION, UNLABELED, TEST = "labeled", "validation", "unlabeled", "test"
SETS = (LABELED, VALIDATION, UNLABELED, TEST)
TRAINING = (LABELED, VALIDATION, UNLABELED)
"""What a model sees before it is tested."""

_LISTED_PAIRS = 100_000
"""Pairs that are kept, the most similar ones: all are too many where every image looks alike."""


class AuditSettings(Settings):
    """Section `audit`."""

    similarity: Annotated[float, Field(ge=0.5, le=1)]
    """Correlation of thumbnails from which two images count as twins."""
    pictures: Annotated[int, Field(ge=0, le=99)]
    """Pairs shown."""


@dataclass(frozen=True)
class Image:
    """One image and the set that it is in."""

    set: str
    entry: Entry
    group: str


@dataclass(frozen=True)
class Twins:
    """Images of different sets that look alike."""

    images: Sequence[Image]
    thumbnails: Tensor
    seen_in: Tensor
    """(N, 4) bool: whether an image looks like one of each of `SETS`, its own left out."""
    counts: Tensor
    """(4, 4) int64: pairs of an image of one set and one of another, in both orders."""
    pairs: Sequence[Pair]
    """The most similar first; of more than 100,000 no more."""


def find_twins(sets: Mapping[str, ImageSet], record: SplitRecord, settings: AuditSettings) -> Twins:
    """All pairs across the sets of at least `settings.similarity`, in any orientation."""
    images = [
        Image(name, entry, group)
        for name, image_set in sets.items()
        for entry, group in zip(image_set.entries, record.group_of(image_set.ids), strict=True)
    ]
    thumbnails = describe(sets[image.set].image_file(image.entry) for image in images)
    set_of = torch.tensor([SETS.index(image.set) for image in images], dtype=torch.int64)
    seen_in = torch.zeros((len(images), len(SETS)), dtype=torch.bool)
    counts = torch.zeros((len(SETS), len(SETS)), dtype=torch.int64)
    kept: list[Pair] = []
    for found in pairs_in_blocks(thumbnails, threshold=settings.similarity):
        one_set, other_set = set_of[found.one], set_of[found.other]
        across = one_set != other_set
        seen_in[found.one[across], other_set[across]] = True
        seen_in[found.other[across], one_set[across]] = True
        both = one_set[across] * len(SETS) + other_set[across]
        counts += torch.bincount(both, minlength=counts.numel()).view_as(counts)
        kept = _most_similar_pairs(kept, found, across)
    return Twins(images, thumbnails, seen_in, counts + counts.T, kept)


def _most_similar_pairs(kept: list[Pair], found: Pairs, across: Tensor) -> list[Pair]:
    """The pairs kept so far and those of `found` where `across`, as many as are listed."""
    least = kept[-1].similarity if len(kept) == _LISTED_PAIRS else -1.0
    wanted = (across & (found.similarity >= least)).nonzero()[:, 0]
    if len(wanted) > _LISTED_PAIRS:
        wanted = wanted[found.similarity[wanted].argsort(descending=True, stable=True)]
        wanted = wanted[:_LISTED_PAIRS]
    columns = Pairs(
        found.one[wanted], found.other[wanted], found.similarity[wanted], found.orientation[wanted]
    ).columns()
    more = [Pair(*values) for values in zip(*columns, strict=True)]
    kept = sorted([*kept, *more], key=lambda pair: (-pair.similarity, pair.one, pair.other))
    return kept[:_LISTED_PAIRS]


def leakage_metrics(twins: Twins, record: SplitRecord) -> dict[str, object]:
    """Counts ready for JSON: of test images with a twin in training, and for each two sets.

    by_name counts images whose group, as the data set names it, has one in the other set, null
    where it names none; by_content those that look like one of the other set. `twin_pairs`
    counts pairs by content.
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
    alike = twins.seen_in[members[TEST]][:, [place[name] for name in TRAINING]].any(dim=1)
    known = bool(record.groups)
    two_sets = [(one, other) for index, one in enumerate(SETS) for other in reversed(SETS[:index])]
    return {
        "split_by": record.by,
        "test_images": sum(image.set == TEST for image in images),
        "test_images_seen_in_training": {
            "by_name": len(known_parts) if known else None,
            "by_content": int(alike.sum()),
        },
        **{
            f"{one}_in_{other}": {
                "by_name": len(by_name[one, other]) if known else None,
                "by_content": int(twins.seen_in[members[one], place[other]].sum()),
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
    """The twins across two sets, a line each, the most similar first; at most 100,000 lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["similarity", "set", "image", "other_set", "other_image", "orientation"])
        for pair in twins.pairs:
            one, other = (twins.images[index] for index in _test_first(twins, pair))
            ids = [one.set, one.entry.id, other.set, other.entry.id]
            writer.writerow([f"{pair.similarity:.4f}", *ids, pair.orientation])


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
        panels = {}
        for index in _test_first(twins, pair):
            image = twins.images[index]
            pixels = sets[image.set].image(image.entry)
            if index == pair.other:
                pixels = oriented(pixels, pair.orientation)
            panels[f"{image.set}: {image.entry.id}"] = pixels
        turned = f", one turned (orientation {pair.orientation})" if pair.orientation else ""
        picture = side_by_side(panels, title=f"similarity {pair.similarity:.2f}{turned}")
        write_picture(out / f"pair_{number:02d}.png", picture)


def summary(metrics: Mapping[str, object], copycat: Mapping[str, object]) -> str:
    """Two lines for the terminal."""
    seen = metrics["test_images_seen_in_training"]
    assert isinstance(seen, dict)
    tested, miou = metrics["test_images"], copycat["miou"]
    by_name = "" if seen["by_name"] is None else f"{seen['by_name']} by name, "
    percent = "undefined" if miou is None else f"{100 * float(str(miou)):.1f} % mIoU"
    return (
        f"{tested} test images, seen in training: {by_name}{seen['by_content']} by content "
        f"(split by {metrics['split_by']})\n"
        f"a copycat that returns the mask of the most similar labeled image: {percent}"
    )


def _numbers(twins: Twins, names: Sequence[str]) -> list[int]:
    return [number for number, image in enumerate(twins.images) if image.set in names]


def _test_first(twins: Twins, pair: Pair) -> tuple[int, int]:
    """The numbers of a pair's images, that of the later set of `SETS` before the other."""
    one, other = (SETS.index(twins.images[number].set) for number in (pair.one, pair.other))
    return (pair.other, pair.one) if other > one else (pair.one, pair.other)
