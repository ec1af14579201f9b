"""Phase 7: the models, test and hidden labels -> metrics, plots, pictures.

A model that the chosen method does not train is not scored: its metrics say why.
"""

from pathlib import Path

from ppl.core import processes
from ppl.core.settings import section
from ppl.images.record import read_split_record
from ppl.images.sets import read_dataset_info, read_image_set
from ppl.inspection.model import load_model
from ppl.judge.absence import absent_metrics
from ppl.judge.evaluation import (
    FINAL,
    STUDENT_1,
    TEACHER,
    EvaluateSettings,
    pictures,
    write_overlays,
)
from ppl.judge.judgement import JudgeSettings, PseudoMasks, judge_models, write_judgement
from ppl.judge.table import score_table
from ppl.labeling.pseudo_masks import PseudoLabelSettings
from ppl.labeling.ranking import read_reliability
from ppl.network.absent import absent
from ppl.network.network import load_network, pick_device, read_made_with, read_origin
from ppl.network.runtime import InferenceSettings, predicting
from ppl.run.stage import run
from ppl.scores.bootstrap import IntervalSettings


def main(
    *,
    teacher: Path,
    student_1: Path,
    model: Path,
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
    """Score the models on test and the pseudo-masks against the hidden labels."""
    device = pick_device()
    finished = load_model(model, device)
    settings = JudgeSettings(
        finished.image,
        finished.test_time,
        section("evaluate", EvaluateSettings),
        section("pseudo_label", PseudoLabelSettings),
        section("intervals", IntervalSettings),
    )
    before = {TEACHER: teacher, STUDENT_1: student_1}
    missing = {name: why for name, folder in before.items() if (why := absent(folder)) is not None}
    trained = {name: folder for name, folder in before.items() if name not in missing}
    models = {name: load_network(folder, device) for name, folder in trained.items()}
    models |= {FINAL: finished.network}
    for network in models.values():
        predicting(network, section("inference", InferenceSettings))
    folders = trained | {FINAL: model}
    origins = {name: read_origin(folder) for name, folder in folders.items()}
    info, test_set = read_dataset_info(dataset), read_image_set(test)
    masks = PseudoMasks(read_image_set(unlabeled), reliable_masks, hard_masks, hidden / "masks")
    split = read_split_record(record)
    judged = judge_models(
        models, origins, test_set, masks, split, info, settings, finished.thresholds
    )
    if not processes.is_first():
        return
    for name, folder in folders.items():
        judged.metrics[name]["made_with"] = read_made_with(folder)
    write_judgement(
        judged,
        read_reliability(scores),
        info,
        missing,
        metrics=metrics,
        plots=plots,
        evaluation=evaluation,
    )
    shown = pictures(test_set, judged.results[FINAL], settings.evaluate)
    write_overlays(overlays, test_set, shown, models, settings.image, settings.test_time, info)
    without = {name: absent_metrics(why) for name, why in missing.items()}
    print(score_table({**judged.metrics, **without}))


if __name__ == "__main__":
    run(main)
