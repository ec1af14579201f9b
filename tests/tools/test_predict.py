"""`python -m ppl predict` with a real network finds what `Model.predict` finds."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ppl.__main__ import main
from ppl.images.sets import DatasetInfo
from ppl.inspection.model import load_model, save_model
from ppl.network.network import Origin, SegmentationNetwork, save_network
from ppl.network.predict import PLAIN
from ppl.network.resize import ImageSettings
from ppl.station.thresholds import ClassLimits, Thresholds
from tests.conftest import COLOURS, MakeSet, whole, windows

INFO = DatasetInfo("parts", ("background", "scratch", "dent"), tuple(COLOURS))  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [whole(32, 32), windows(64, 64, overlap=16)])
def test_the_tables_say_what_the_model_finds(
    network: SegmentationNetwork, make_set: MakeSet, tmp_path: Path, image: ImageSettings
) -> None:
    save_network(tmp_path / "trained", network, network.state_dict(), Origin("final", 1))
    thresholds = Thresholds((ClassLimits(0.3, 4), ClassLimits(0.35, 2)), 0.4, None)
    save_model(tmp_path / "model", tmp_path / "trained", image, PLAIN, INFO, thresholds)
    sizes = [(32, 32), (40, 70), (90, 33), (1, 1), (64, 64), (32, 32), (5, 90), (70, 70), (31, 33)]
    images = make_set([f"line/{n}" for n in range(len(sizes))], sizes=sizes)
    out = tmp_path / "out"
    words = ["predict", tmp_path / "model", images.folder / "images", "--out", out]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    model = load_model(tmp_path / "model")
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [entry.image for entry in images.entries]
    for row, entry in zip(rows, images.entries, strict=True):
        found = model.predict(images.image_file(entry))
        with Image.open(out / row["mask"]) as mask:
            differ = np.asarray(mask) != found.mask
        assert differ.mean() <= 0.01
        assert float(row["score"]) == pytest.approx(found.score, abs=2e-3)
        with Image.open(out / "overlays" / f"{entry.id}.jpg") as overlay:
            assert overlay.width * entry.height == overlay.height * entry.width
    assert {row["defects"] for row in rows} != {"0"}
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
