"""Take the pretrained encoder weights that all trainings start from into the pipeline."""

from pathlib import Path

from ppl.core.settings import section
from ppl.network.encoder_weights import import_encoder_weights
from ppl.network.network import NetworkSettings
from ppl.run.stage import run


def main(*, out: Path) -> None:
    """Fetch or read the weights that section `model` names, check that they fit, leave them."""
    print(import_encoder_weights(section("model", NetworkSettings), out))


if __name__ == "__main__":
    run(main)
