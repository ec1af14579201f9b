"""A shift's images, predicted as a station predicts them: by a model that needs no training."""

from collections.abc import Sequence
from pathlib import Path

from ppl.station import command
from ppl.station.options import Request
from tests.station.bright import Bright
from tests.station.test_predict import picture, save


def write_predictions(folder: Path, names: Sequence[str], broken: Sequence[str] = ()) -> Path:
    """Predict FOLDER/photos with these images; the folder of the results.

    Args:
        broken: images that cannot be read.
    """
    for number, name in enumerate(names, start=1):
        save(folder / "photos" / name, picture(number))
    for name in broken:
        (folder / "photos" / name).write_bytes(b"no image")
    out = folder / "predicted"
    request = Request(images=(folder / "photos",), out=out, no_overlays=True)
    command.predict(Bright, Path("bright"), request)
    return out
