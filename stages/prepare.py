"""Raw data in, image sets out: labeled, validation, unlabeled, hidden labels, test."""

from pathlib import Path

from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings
from ppl.data.prepare import SetPaths, plan_sets, report, write_sets
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
    plan = plan_sets(
        raw,
        lists,
        section("data", DataSettings),
        section("split", SplitSettings),
        section("seed", int),
    )
    write_sets(
        plan,
        SetPaths(
            labeled=labeled,
            validation=validation,
            unlabeled=unlabeled,
            hidden=hidden,
            test=test,
            dataset=dataset,
            record=record,
        ),
    )
    report(plan)


if __name__ == "__main__":
    run(main)
