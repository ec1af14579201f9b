"""Check all of params.yaml before anything runs, so that a typo costs seconds and no training."""

from pathlib import Path

from ppl.all_settings import check_all, stop_without_data
from ppl.datasets.base import DataSettings
from ppl.network import NetworkSettings, stop_unless_it_runs
from ppl.resize import ImageSettings
from ppl.settings import read_params, section
from ppl.splits import SplitSettings
from ppl.stage import run


def main(*, out: Path) -> None:
    """Check every section. The output never changes: a good change reruns only what it concerns."""
    check_all(read_params())
    stop_without_data(section("data", DataSettings), section("split", SplitSettings))
    stop_unless_it_runs(section("model", NetworkSettings), section("image", ImageSettings).size)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("checked\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run(main)
