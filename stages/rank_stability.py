"""Phase 2: snapshots and unlabeled images -> a score per image, a reliable and a hard half."""

from pathlib import Path

from ppl.core import processes
from ppl.core.plan import WITHOUT, Ranking, read_plan
from ppl.core.settings import section
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.labeling.ranking import (
    Ranked,
    RankingSettings,
    score_images,
    split_by_reliability,
    summary,
    write_ids,
    write_reliability,
)
from ppl.network.network import SegmentationNetwork, load_network, pick_device
from ppl.network.resize import ImageSettings
from ppl.network.runtime import InferenceSettings, predicting
from ppl.run.stage import run


def main(
    *,
    plan: Path,
    snapshots: Path,
    unlabeled: Path,
    dataset: Path,
    scores: Path,
    reliable_ids: Path,
    hard_ids: Path,
) -> None:
    """Rank the unlabeled images by how stable and confident the snapshots' predictions are."""
    by: Ranking | None = read_plan(plan, Ranking | None)
    images = read_image_set(unlabeled)
    ranked: dict[str, Ranked] = {}
    said = f"nothing to do: {WITHOUT} a ranking"
    reliable = sorted(images.ids) if by == "all" else []
    hard: list[str] = []
    if by in ("reliability", "stability"):
        settings = section("ranking", RankingSettings)
        if by == "stability":
            settings = settings.model_copy(update={"use_confidence": False})
        ranked = score_images(
            _networks(snapshots), images, section("image", ImageSettings), settings
        )
        reliable, hard = split_by_reliability(ranked, settings)
        said = summary(ranked, reliable, read_dataset_info(dataset).classes)
    if processes.is_first():
        write_reliability(scores, ranked)
        write_ids(reliable_ids, reliable)
        write_ids(hard_ids, hard)
        print(said)


def _networks(snapshots: Path) -> list[SegmentationNetwork]:
    """The snapshots in their order, the last is the reference: they are numbered 1, 2, ..."""
    device, by = pick_device(), section("inference", InferenceSettings)
    folders = sorted(snapshots.iterdir(), key=lambda folder: int(folder.name))
    return [predicting(load_network(folder, device), by) for folder in folders]


if __name__ == "__main__":
    run(main)
