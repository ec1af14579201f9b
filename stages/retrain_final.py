"""Phase 6: labeled images and the pseudo-masks of both halves -> the final student, the product."""

from pathlib import Path

from ppl.core.settings import section
from ppl.run.stage import run
from ppl.students.def_up import RetrainSettings
from ppl.students.student import train_student
from ppl.training.checkpoint import checkpoint_of


def main(
    *,
    labeled: Path,
    validation: Path,
    unlabeled: Path,
    dataset: Path,
    record: Path,
    encoder: Path,
    teacher: Path,
    student_1: Path,
    reliable_masks: Path,
    hard_masks: Path,
    student: Path,
    curve: Path,
) -> None:
    """Train the final student on the labeled images and both halves."""
    with checkpoint_of("retrain_final") as checkpoint:
        train_student(
            "final",
            budget=section("retrain_final", RetrainSettings),
            labeled=labeled,
            validation=validation,
            unlabeled=unlabeled,
            dataset=dataset,
            record=record,
            encoder=encoder,
            before=[student_1, teacher],
            masks=[reliable_masks, hard_masks],
            student=student,
            curve=curve,
            checkpoint=checkpoint,
        )


if __name__ == "__main__":
    run(main)
