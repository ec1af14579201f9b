"""Check all of params.yaml before anything runs, so that a typo costs seconds and no training."""

from pathlib import Path

from ppl.all_settings import check_all
from ppl.settings import read_params
from ppl.stage import run


def main(*, out: Path) -> None:
    """Check every section. The output never changes: a good change reruns only what it concerns."""
    check_all(read_params())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("checked\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run(main)
