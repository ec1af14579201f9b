"""Check all of params.yaml before anything runs, so that a typo costs seconds and no training."""

import sys
from pathlib import Path

from ppl.all_settings import check_all, data_note, stop_without_data
from ppl.core.settings import read_params, section
from ppl.data.adapters.base import DataSettings
from ppl.data.splits import SplitSettings
from ppl.network.network import NetworkSettings, stop_unless_it_runs
from ppl.network.resize import ImageSettings
from ppl.run.stage import run


def main(*, out: Path) -> None:
    """Check every section. The output never changes: a good change reruns only what it concerns."""
    check_all(read_params())
    data = section("data", DataSettings)
    stop_without_data(data, section("split", SplitSettings))
    stop_unless_it_runs(section("model", NetworkSettings), section("image", ImageSettings).size)
    if note := data_note(data):
        print(f"check_settings: {note}", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("checked\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run(main)
