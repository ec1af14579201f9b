"""Draw the data set `synthetic`: pictures of metal parts and their masks, from a seed."""

from pathlib import Path

from ppl.core.settings import section
from ppl.data.synthetic import SyntheticSettings, write_parts
from ppl.run.stage import run


def main(*, out: Path) -> None:
    """Draw the pictures and masks of the data set `synthetic`."""
    write_parts(out, section("synthetic", SyntheticSettings), section("seed", int))


if __name__ == "__main__":
    run(main)
