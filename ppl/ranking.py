"""Sort the unlabeled images by reliability and cut them into an easy and a hard half."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ppl import processes
from ppl.image_set import ImageSet
from ppl.inference import predict
from ppl.network import SegmentationNetwork
from ppl.resize import ImageSettings
from ppl.settings import Settings
from ppl.stability import reliability


class RankingSettings(Settings):
    """Section `ranking`."""

    reliable_fraction: Annotated[float, Field(gt=0, le=1)]
    use_confidence: bool


def score_images(
    snapshots: Sequence[SegmentationNetwork],
    unlabeled: ImageSet,
    image: ImageSettings,
    settings: RankingSettings,
) -> dict[str, float]:
    """The reliability of every unlabeled image by id, in [0, 1], rounded to 8 digits.

    Of several processes each scores its share, and all return the scores of all.

    Rounding keeps the order of nearly equal scores the same on machines that differ in the last
    bit of a float.
    """
    share = replace(unlabeled, entries=tuple(processes.every(unlabeled.entries)))
    scores = {
        entry.id: round(reliability(probabilities, use_confidence=settings.use_confidence), 8)
        for entry, probabilities in predict(snapshots, share, image, what="rank")
    }
    return {id: score for part in processes.gathered(scores) for id, score in part.items()}


def split_by_reliability(
    scores: dict[str, float], reliable_fraction: float
) -> tuple[list[str], list[str]]:
    """(reliable ids, hard ids), each sorted by id; of equal scores the smaller id is reliable.

    The reliable half has ceil(n * reliable_fraction) images, so that it is never empty.
    """
    ranked = sorted(scores, key=lambda image: (-scores[image], image))
    count = math.ceil(len(ranked) * reliable_fraction - 1e-9)
    return sorted(ranked[:count]), sorted(ranked[count:])


def write_ids(file: Path, ids: Sequence[str]) -> None:
    """One id a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{id}\n" for id in ids)
