"""Check all of params.yaml before anything runs, so that a typo costs seconds and no training."""

from pathlib import Path

from ppl.all_settings import check_project
from ppl.core.settings import section
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.network.network import NetworkSettings
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.network.trial import scales_seen, stop_unless_it_runs
from ppl.run.stage import run


def main(*, out: Path) -> None:
    """Check every section. The output never changes: a good change reruns only what it concerns."""
    # what a person should know all the same, `python -m ppl check` has said
    check_project()
    image = section("image", ImageSettings)
    asked = (section("predict", TestTimeSettings), section("pseudo_label", PseudoLabelSettings))
    scales = scales_seen(image, *(one.scales for one in asked))
    stop_unless_it_runs(section("model", NetworkSettings), image.size, scales)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("checked\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run(main)
