"""Phase 6: labeled images and the pseudo-masks of both halves -> the final student, the product."""

from pathlib import Path

from ppl.core.settings import section
from ppl.run.stage import run
from ppl.students.def_up import RetrainSettings
from ppl.students.student import StudentFiles, train_student
from ppl.training.checkpoint import checkpoint_of


def main(
    files: StudentFiles, *, teacher: Path, student_1: Path, reliable_masks: Path, hard_masks: Path
) -> None:
    """Train the final student on the labeled images and both halves."""
    with checkpoint_of("retrain_final") as checkpoint:
        train_student(
            "final",
            files,
            section("retrain_final", RetrainSettings),
            before=[student_1, teacher],
            masks=[reliable_masks, hard_masks],
            checkpoint=checkpoint,
        )


if __name__ == "__main__":
    run(main)
