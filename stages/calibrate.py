"""The final student, validation images -> the finished model: sizes, classes, thresholds.

Beside them how the training images look, for new ones to be compared with.
"""

from pathlib import Path

from ppl.core import processes
from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.inspection.calibrate import (
    Calibrating,
    ThresholdSettings,
    calibrate,
    said,
    sound_files,
)
from ppl.inspection.look import look_of
from ppl.inspection.model import Model, save_model
from ppl.network.network import load_network, pick_device
from ppl.network.predict import TestTimeSettings
from ppl.network.resize import ImageSettings
from ppl.run.stage import run


def main(
    *,
    final: Path,
    labeled: Path,
    unlabeled: Path,
    validation: Path,
    sound: Path,
    dataset: Path,
    record: Path,
    model: Path,
) -> None:
    """Choose the thresholds of the verdict, and leave a model that knows all that it needs."""
    if not processes.is_first():
        return
    settings = section("thresholds", ThresholdSettings)
    image, test_time = section("image", ImageSettings), section("predict", TestTimeSettings)
    info = read_dataset_info(dataset)
    images, known = read_image_set(validation), read_split_record(record)
    parts = dict(zip(images.ids, known.part_of(images.ids), strict=True))
    given = Calibrating(images, parts, sound_files(sound))
    finished = Model(load_network(final, pick_device()), image, test_time, info)
    taught = read_image_set(labeled)
    thresholds = calibrate(finished, given, taught, settings)
    reference = look_of([taught, read_image_set(unlabeled)])
    save_model(model, final, image, test_time, info, thresholds, reference)
    print(said(thresholds, settings))


if __name__ == "__main__":
    run(main)
