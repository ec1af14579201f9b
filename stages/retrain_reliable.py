"""Phase 4: labeled images and the pseudo-masks of the reliable half -> student 1."""

from pathlib import Path

from ppl.core.plan import WITHOUT, Perturbed, read_plan
from ppl.core.settings import section
from ppl.network.absent import leave_absent
from ppl.run.stage import run
from ppl.students.def_up import RetrainSettings
from ppl.students.student import StudentFiles, train_student
from ppl.training.checkpoint import checkpoint_of
from ppl.training.curve import write_no_curve


def main(files: StudentFiles, *, plan: Path, teacher: Path, reliable_masks: Path) -> None:
    """Train student 1 on the labeled images and the reliable half."""
    perturbed: Perturbed | None = read_plan(plan, Perturbed | None)
    if perturbed is None:
        leave_absent(files.student, WITHOUT)
        write_no_curve(files.curve)
        print(f"nothing to do: {WITHOUT} a first student")
        return
    with checkpoint_of("retrain_reliable") as checkpoint:
        train_student(
            "student_1",
            files,
            section("retrain_reliable", RetrainSettings),
            before=[teacher],
            masks=[reliable_masks],
            def_up=perturbed == "def_up",
            checkpoint=checkpoint,
        )


if __name__ == "__main__":
    run(main)
