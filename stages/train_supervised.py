"""Phase 1: labeled images -> teacher and the snapshots that the ranking compares."""

from pathlib import Path

from ppl.core.plan import WITHOUT, read_plan
from ppl.network.absent import leave_absent
from ppl.run.stage import run
from ppl.training.checkpoint import checkpoint_of
from ppl.training.curve import write_no_curve
from ppl.training.teacher import TeacherFiles, train_teacher


def main(files: TeacherFiles, *, plan: Path) -> None:
    """Train the teacher on the labeled images alone."""
    if not read_plan(plan, bool):
        leave_absent(files.teacher, WITHOUT)
        leave_absent(files.snapshots, WITHOUT)
        write_no_curve(files.curve)
        print(f"nothing to do: {WITHOUT} a teacher")
        return
    with checkpoint_of("train_supervised") as checkpoint:
        train_teacher(files, checkpoint)


if __name__ == "__main__":
    run(main)
