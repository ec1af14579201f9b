"""Raw data in, image sets out: labeled, validation, unlabeled, hidden labels, test."""

from pathlib import Path

from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings
from ppl.data.prepare import prepare
from ppl.data.splits import SplitSettings
from ppl.run.stage import run


def main(
    *,
    raw: Path,
    lists: Path,
    labeled: Path,
    validation: Path,
    unlabeled: Path,
    hidden: Path,
    test: Path,
    dataset: Path,
    record: Path,
) -> None:
    """Check the data set, split it and lay it out for the later stages."""
    prepare(
        raw=raw,
        lists=lists,
        data=section("data", DataSettings),
        split=section("split", SplitSettings),
        seed=section("seed", int),
        labeled=labeled,
        validation=validation,
        unlabeled=unlabeled,
        hidden=hidden,
        test=test,
        dataset=dataset,
        record=record,
    )


if __name__ == "__main__":
    run(main)
