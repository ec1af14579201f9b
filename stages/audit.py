"""Image sets -> who of test was seen in training, and what a copycat scores by that."""

from pathlib import Path

from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set, write_json
from ppl.judge.leakage import (
    LABELED,
    TEST,
    UNLABELED,
    VALIDATION,
    AuditSettings,
    copycat_matches,
    copycat_matrices,
    find_twins,
    leakage_metrics,
    summary,
    write_pair_pictures,
    write_pairs,
)
from ppl.run.stage import run
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.metrics import pixel_metrics


def main(
    *,
    labeled: Path,
    validation: Path,
    unlabeled: Path,
    test: Path,
    dataset: Path,
    record: Path,
    leakage: Path,
    copycat: Path,
    pairs: Path,
    pictures: Path,
) -> None:
    """Look for twins across the sets and score a copycat; nothing of it reaches a training."""
    settings = section("audit", AuditSettings)
    info = read_dataset_info(dataset)
    split = read_split_record(record)
    folders = {LABELED: labeled, VALIDATION: validation, UNLABELED: unlabeled, TEST: test}
    sets = {name: read_image_set(folder) for name, folder in folders.items()}
    twins = find_twins(sets, split, settings)
    matches = copycat_matches(twins, settings)
    found = leakage_metrics(twins, split)
    scored = pixel_metrics(
        copycat_matrices(twins, matches, sets, len(info.classes)),
        split.part_of(sets[TEST].ids),
        info.classes,
        section("intervals", IntervalSettings),
    )
    write_json(leakage, found, sort=False)
    write_json(copycat, scored, sort=False)
    write_pairs(pairs, twins)
    write_pair_pictures(pictures, twins, matches, sets, settings.pictures)
    print(summary(found, scored))


if __name__ == "__main__":
    run(main)
