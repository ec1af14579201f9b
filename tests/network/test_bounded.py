"""A description of huge layers is refused before their memory is taken."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ppl.core.errors import InputError
from ppl.network.bounded import DISCARDED, no_larger_than
from ppl.network.network import (
    CPU,
    NetworkSettings,
    Origin,
    load_network,
    new_network,
    save_network,
)

OPTIONS = {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    kind = {"architecture": "Unet", "encoder": "tu-test_resnet", "encoder_weights": None}
    settings = NetworkSettings(**kind, options=OPTIONS, mean=[0.5] * 3, std=[0.2] * 3)
    network = new_network(settings, 3, seed=1)
    save_network(tmp_path, network, network.state_dict(), Origin("final", 7))
    return tmp_path


def describe(folder: Path, **options: Any) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["network"]["options"] |= options
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ([10**9, 8, 8], r"decoder_channels is \[1000000000, 8, 8\]; expected numbers to 65,536"),
        ([10**30, 8, 8], "expected numbers to 65,536"),
        ([1e300, 8, 8], "expected numbers to 65,536"),
        ([60_000, 60_000, 8], "more than .* weights, but|can't allocate memory"),
        ([9_000, 9_000, 8], "more than .* weights, but model.safetensors has .* bytes"),
    ],
)
def test_layers_that_the_weights_cannot_fill_are_refused_before_they_take_memory(
    trained: Path, channels: list[float], said: str
) -> None:
    load_network(trained, CPU)
    describe(trained, decoder_channels=channels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=said) as caught:
        load_network(trained, CPU)
    assert len(str(caught.value).splitlines()) == 1
    # the layers would take 1.5 GB and more
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_network_that_throws_a_classifier_away_is_loaded(tmp_path: Path) -> None:
    """In a process of its own: vgg11 takes half a gigabyte for a moment."""
    code = (
        "from pathlib import Path\n"
        "from ppl.network.network import *\n"
        "s = NetworkSettings(architecture='Linknet', encoder='vgg11', options={},\n"
        "    encoder_weights=None, mean=[0.5] * 3, std=[0.2] * 3)\n"
        "n = new_network(s, 2, seed=0)\n"
        f"out = Path({str(tmp_path)!r})\n"
        "save_network(out, n, n.state_dict(), Origin('final', 1))\n"
        "load_network(out, CPU)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_made_outside_is_not_counted(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    weights.write_bytes(b"0" * 200)
    with no_larger_than(weights):
        nn.Linear(9, 9)
    with pytest.raises(InputError, match="not of one model"), no_larger_than(weights):
        nn.Linear(DISCARDED + 1000, 1)
    nn.Linear(100, 100)
