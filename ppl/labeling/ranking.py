"""Sort the unlabeled images by reliability and cut them into an easy and a hard half."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from ppl.core import processes
from ppl.core.settings import Settings
from ppl.images.sets import ImageSet, write_json
from ppl.labeling.stability import predicted_defects, reliability
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import predict
from ppl.network.resize import ImageSettings

REMEDY = (
    "What the teacher does not see, its pseudo-masks do not teach: raise "
    "train_supervised.iterations, loss.defect_weight or loss.tversky_weight, or annotate more"
)
"""Against a teacher that does not see a class."""

DEFECT_FREE = 0
"""The stratum of images that the teacher sees as defect-free; the others have their class."""


class RankingSettings(Settings):
    """Section `ranking`."""

    reliable_fraction: Annotated[float, Field(gt=0, le=1)]
    use_confidence: bool
    foreground: bool
    per_class: bool


PAPER = RankingSettings(
    reliable_fraction=0.5, use_confidence=True, foreground=False, per_class=False
)
"""Stability times confidence of the whole image, over all images."""


class Ranked(NamedTuple):
    """What is known of an unlabeled image."""

    reliability: float
    """In [0, 1], rounded to 8 digits: the order is that of the numbers that are written."""
    defects: tuple[int, ...]
    """The defect classes that the teacher sees, ascending."""


def score_images(
    snapshots: Sequence[SegmentationNetwork],
    unlabeled: ImageSet,
    image: ImageSettings,
    settings: RankingSettings,
) -> dict[str, Ranked]:
    """The reliability and the predicted classes of every unlabeled image by id.

    Of several processes each scores its share, and all return the scores of all.
    """
    share = replace(unlabeled, entries=tuple(processes.every(unlabeled.entries)))
    scores = {
        entry.id: Ranked(
            round(
                reliability(
                    probabilities,
                    use_confidence=settings.use_confidence,
                    foreground=settings.foreground,
                ),
                8,
            ),
            predicted_defects(probabilities[-1]),
        )
        for entry, probabilities in predict(snapshots, share, image, what="rank")
    }
    return {id: score for part in processes.gathered(scores) for id, score in part.items()}


def strata(ranked: Mapping[str, Ranked]) -> dict[str, int]:
    """To each image the rarest defect class that is predicted in it, or `DEFECT_FREE`.

    Rare is a class that is predicted in few images; of equally rare ones the smaller index.
    """
    images = Counter(c for _, defects in ranked.values() for c in defects)
    return {
        id: min(found.defects, key=lambda c: (images[c], c), default=DEFECT_FREE)
        for id, found in ranked.items()
    }


def split_by_reliability(
    ranked: Mapping[str, Ranked], settings: RankingSettings
) -> tuple[list[str], list[str]]:
    """(reliable ids, hard ids), each sorted by id; of equal scores the smaller id is reliable.

    The reliable half has ceil(n * reliable_fraction) images, and at least one. With `per_class`, n
    is each stratum's number of images instead of that of all: a class of which the teacher is
    less sure than of sound parts has its share in the reliable half, too. Of a class that is seen
    beside rarer ones alone, and so has no stratum, the most reliable image is reliable.
    """
    of_image = strata(ranked) if settings.per_class else dict.fromkeys(ranked, DEFECT_FREE)
    groups: dict[int, list[str]] = {}
    order = sorted(ranked, key=lambda image: (-ranked[image].reliability, image))
    for id in order:
        groups.setdefault(of_image[id], []).append(id)
    counts = {
        stratum: max(1, math.ceil(len(ids) * settings.reliable_fraction - 1e-9))
        for stratum, ids in groups.items()
    }
    reliable = {id for stratum, ids in groups.items() for id in ids[: counts[stratum]]}
    if settings.per_class:
        for of_class in _by_class(ranked, order).values():
            if reliable.isdisjoint(of_class):
                reliable.add(of_class[0])
    return sorted(reliable), sorted(ranked.keys() - reliable)


def _by_class(ranked: Mapping[str, Ranked], ids: Iterable[str]) -> dict[int, list[str]]:
    """Which of the images show each predicted defect class, classes ascending, in order."""
    found: dict[int, list[str]] = {}
    for id in ids:
        for value in ranked[id].defects:
            found.setdefault(value, []).append(id)
    return dict(sorted(found.items()))


def summary(ranked: Mapping[str, Ranked], reliable: Sequence[str], classes: Sequence[str]) -> str:
    """What the user should know of the ranking: which classes teach, and if none does.

    Args:
        reliable: ids of the reliable half.
        classes: names by index.
    """
    every, chosen = _by_class(ranked, ranked), _by_class(ranked, reliable)
    sound, taken = (sum(not ranked[id].defects for id in ids) for ids in (ranked, reliable))
    lines = [f"{len(reliable)} reliable and {len(ranked) - len(reliable)} hard images"]
    lines += [f"  defect-free: {taken} of {sound}"] if sound else []
    lines += [f"  {classes[c]}: {len(chosen.get(c, []))} of {len(every[c])}" for c in every]
    if not ranked:
        return lines[0]
    if not every:
        lines.append(f"The teacher sees a defect in none of {len(ranked)} images. {REMEDY}")
        return "\n".join(lines)
    lost = [classes[c] for c in every if c not in chosen]
    if lost:
        lines.append(
            f"No reliable image shows {', '.join(lost) if chosen else 'a defect'}: student 1 could "
            "unlearn it. Set ranking.per_class: true"
        )
    unseen = [classes[c] for c in range(1, len(classes)) if c not in every]
    if unseen:
        lines.append(f"The teacher labels nothing as {', '.join(unseen)}. {REMEDY}")
    return "\n".join(lines)


def write_reliability(file: Path, ranked: Mapping[str, Ranked]) -> None:
    """The reliability of each image by id, as JSON."""
    write_json(file, {id: found.reliability for id, found in ranked.items()})


def read_reliability(file: Path) -> dict[str, float]:
    """The reliability in 0-1 of each unlabeled image by id, as `write_reliability` left it."""
    scores: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return scores


def write_ids(file: Path, ids: Sequence[str]) -> None:
    """One id a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{id}\n" for id in ids)


def read_ids(file: Path) -> list[str]:
    """The ids that `write_ids` wrote."""
    # cut at the line ends that we wrote alone: text files and str.splitlines know others, too
    return [id for id in file.read_bytes().decode("utf-8").split("\n") if id]
