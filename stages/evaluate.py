"""Phase 7: three models, test and hidden labels -> metrics, plots, pictures."""

from pathlib import Path

from ppl.core import processes
from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import masked_ids, read_dataset_info, read_image_set, write_json
from ppl.judge.evaluation import (
    FINAL,
    STUDENT_1,
    TEACHER,
    EvaluateSettings,
    evaluate_models,
    examples,
    extremes,
    pseudo_mask_metrics,
    pseudo_mask_quality,
    read_reliability,
    teacher_on_hard_half,
    write_overlays,
)
from ppl.judge.overlays import overlay_name
from ppl.judge.plots import iou_bars, pixel_confusion, reliability_points, reliability_rows
from ppl.judge.table import score_table
from ppl.labeling.part_agreement import Photos
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.network.network import load_network, pick_device, read_origin
from ppl.network.resize import ImageSettings
from ppl.run.stage import run
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.counts import write_result
from ppl.scores.metrics import metrics_of_models


def main(
    *,
    teacher: Path,
    student_1: Path,
    final: Path,
    test: Path,
    unlabeled: Path,
    hidden: Path,
    dataset: Path,
    record: Path,
    scores: Path,
    reliable_masks: Path,
    hard_masks: Path,
    metrics: Path,
    plots: Path,
    overlays: Path,
    evaluation: Path,
) -> None:
    """Score the three models on test and the pseudo-masks against the hidden labels."""
    settings = section("evaluate", EvaluateSettings)
    image = section("image", ImageSettings)
    info = read_dataset_info(dataset)
    device = pick_device()
    folders = {TEACHER: teacher, STUDENT_1: student_1, FINAL: final}
    models = {name: load_network(folder, device) for name, folder in folders.items()}
    test_set = read_image_set(test)
    split = read_split_record(record)
    results = evaluate_models(models, test_set, len(info.classes), image, settings)
    hidden_masks = hidden / "masks"
    easy = pseudo_mask_quality(reliable_masks, hidden_masks, len(info.classes))
    hard_by_student = pseudo_mask_quality(hard_masks, hidden_masks, len(info.classes))
    hard_by_teacher = teacher_on_hard_half(
        models[TEACHER],
        Photos(read_image_set(unlabeled), masked_ids(hard_masks), split.parts),
        hidden_masks,
        len(info.classes),
        image,
        section("pseudo_label", PseudoLabelSettings),
    )
    quality = {
        "reliable_by_teacher": easy,
        "hard_by_teacher": hard_by_teacher,
        "hard_by_student_1": hard_by_student,
    }
    if not processes.is_first():
        return

    parts = split.part_of(test_set.ids)
    metrics_of = metrics_of_models(
        results,
        parts,
        info.classes,
        section("intervals", IntervalSettings),
        false_alarm_rate=settings.false_alarm_rate,
        teacher=TEACHER,
    )

    for name, content in metrics_of.items():
        origin = read_origin(folders[name])
        if origin.training != name:
            content["fallen_back_to"] = origin.training
        write_json(metrics / f"{name}.json", content, sort=False)
    write_json(metrics / "pseudo_masks.json", pseudo_mask_metrics(quality, info), sort=False)
    write_json(
        plots / "iou_per_class.json",
        iou_bars({name: result.matrix for name, result in results.items()}, info.classes),
    )
    write_json(plots / "confusion.json", pixel_confusion(results[FINAL].matrix, info.classes))
    write_json(
        plots / "reliability.json",
        reliability_points(
            read_reliability(scores), {**easy.miou_of, **hard_by_teacher.miou_of}, set(easy.miou_of)
        ),
    )
    write_json(
        plots / "calibration.json",
        [row for name, r in results.items() for row in reliability_rows(name, r.calibration)],
    )
    pictures = {
        overlay_name(number): id
        for number, id in enumerate(examples(test_set, settings.overlays), start=1)
    } | {
        f"{kind}_{number}.png": id
        for kind, ids in extremes(results[FINAL], test_set.ids, settings.extremes).items()
        for number, id in enumerate(ids, start=1)
    }
    write_overlays(overlays, test_set, pictures, models, image, settings, info)
    for name, result in results.items():
        write_result(evaluation / f"{name}.safetensors", result)
    write_json(evaluation / "images.json", {"ids": test_set.ids, "parts": parts})
    print(score_table(metrics_of))


if __name__ == "__main__":
    run(main)
