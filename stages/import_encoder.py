"""Take the pretrained encoder weights that all trainings start from into the pipeline."""

from pathlib import Path

from ppl.encoder_weights import import_encoder_weights
from ppl.network import NetworkSettings
from ppl.settings import section
from ppl.stage import run


def main(*, out: Path) -> None:
    """Fetch or read the weights that section `model` names, check that they fit, leave them."""
    print(import_encoder_weights(section("model", NetworkSettings), out))


if __name__ == "__main__":
    run(main)
