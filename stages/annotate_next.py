"""Final model, unlabeled images -> which of them to annotate first, each with a mask to start from.

No label is read: neither test's nor a hidden one.
"""

from dataclasses import replace
from pathlib import Path

from ppl.annotate.next import (
    AnnotateSettings,
    choose,
    doubts,
    signs_of,
    write_sheet,
    write_table,
)
from ppl.core import processes
from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.labeling.part_agreement import Photos
from ppl.labeling.pseudo_masks import PseudoLabelSettings, write_pseudo_masks
from ppl.labeling.ranking import read_reliability
from ppl.network.network import load_network, pick_device
from ppl.network.resize import ImageSettings
from ppl.network.runtime import InferenceSettings, predicting
from ppl.run.stage import run


def main(
    *,
    final: Path,
    unlabeled: Path,
    dataset: Path,
    record: Path,
    scores: Path,
    reliable_masks: Path,
    hard_masks: Path,
    table: Path,
    sheet: Path,
    masks: Path,
) -> None:
    """List the unlabeled images that are worth a person's time, the most doubtful first."""
    settings = section("annotate_next", AnnotateSettings)
    labeling = section("pseudo_label", PseudoLabelSettings)
    image = section("image", ImageSettings)
    info = read_dataset_info(dataset)
    images = read_image_set(unlabeled)
    known = read_split_record(record)
    network = predicting(
        load_network(final, pick_device()), section("inference", InferenceSettings)
    )
    every_image = Photos(images, images.ids, known.parts)
    signs = signs_of(
        network,
        every_image,
        image,
        labeling,
        read_reliability(scores),
        [reliable_masks, hard_masks],
        len(info.classes),
    )
    ordered = doubts(images.entries, known.part_of(images.ids), signs)
    # the first process alone reads the files that it compares
    chosen = processes.from_first(choose(ordered, images, settings) if processes.is_first() else [])
    photos = replace(every_image, chosen=[doubt.image.id for doubt in chosen])
    write_pseudo_masks(network, photos, image, labeling.whole, info, masks)
    processes.wait()
    if processes.is_first():
        write_table(table, chosen, ordered, signs, masks, info)
        write_sheet(sheet, chosen, images, masks, info)
    print(f"{len(chosen)} of {len(images)} unlabeled images to annotate next: {table}")


if __name__ == "__main__":
    run(main)
