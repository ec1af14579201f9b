"""Phase 2: snapshots and unlabeled images -> a score per image, a reliable and a hard half."""

from pathlib import Path

from ppl.core import processes
from ppl.core.settings import section
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.labeling.ranking import (
    RankingSettings,
    score_images,
    split_by_reliability,
    summary,
    write_ids,
    write_reliability,
)
from ppl.network.network import load_network, pick_device
from ppl.network.resize import ImageSettings
from ppl.run.stage import run


def main(
    *,
    snapshots: Path,
    unlabeled: Path,
    dataset: Path,
    scores: Path,
    reliable_ids: Path,
    hard_ids: Path,
) -> None:
    """Rank the unlabeled images by how stable and confident the snapshots' predictions are."""
    settings = section("ranking", RankingSettings)
    device = pick_device()
    # snapshots are numbered 1, 2, ...: sorted as numbers, the last is the reference
    folders = sorted(snapshots.iterdir(), key=lambda folder: int(folder.name))
    ranked = score_images(
        [load_network(folder, device) for folder in folders],
        read_image_set(unlabeled),
        section("image", ImageSettings),
        settings,
    )
    reliable, hard = split_by_reliability(ranked, settings)
    if processes.is_first():
        write_reliability(scores, ranked)
        write_ids(reliable_ids, reliable)
        write_ids(hard_ids, hard)
        print(summary(ranked, reliable, read_dataset_info(dataset).classes))


if __name__ == "__main__":
    run(main)
