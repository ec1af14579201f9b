"""Raw data in, image sets out: labeled, validation, unlabeled, hidden labels, test."""

from pathlib import Path

from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings
from ppl.data.prepare import SetPaths, plan_sets, report, write_sets
from ppl.data.split_settings import SplitSettings
from ppl.run.stage import run


def main(paths: SetPaths, *, raw: Path, lists: Path) -> None:
    """Check the data set, split it and lay it out for the later stages."""
    data, split = section("data", DataSettings), section("split", SplitSettings)
    plan = plan_sets(raw, lists, data, split, section("seed", int))
    write_sets(plan, paths)
    report(plan)


if __name__ == "__main__":
    run(main)
