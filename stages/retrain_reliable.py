"""Phase 4: labeled images and the pseudo-masks of the reliable half -> student 1."""

from pathlib import Path

from ppl.core.settings import section
from ppl.run.stage import run
from ppl.students.def_up import RetrainSettings
from ppl.students.student import StudentFiles, train_student
from ppl.training.checkpoint import checkpoint_of


def main(files: StudentFiles, *, teacher: Path, reliable_masks: Path) -> None:
    """Train student 1 on the labeled images and the reliable half."""
    with checkpoint_of("retrain_reliable") as checkpoint:
        train_student(
            "student_1",
            files,
            section("retrain_reliable", RetrainSettings),
            before=[teacher],
            masks=[reliable_masks],
            checkpoint=checkpoint,
        )


if __name__ == "__main__":
    run(main)
