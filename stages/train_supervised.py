"""Phase 1: labeled images -> teacher and the snapshots that the ranking compares."""

from ppl.run.stage import run
from ppl.training.checkpoint import checkpoint_of
from ppl.training.supervised import TeacherFiles, train_teacher


def main(files: TeacherFiles) -> None:
    """Train the teacher on the labeled images alone."""
    with checkpoint_of("train_supervised") as checkpoint:
        train_teacher(files, checkpoint)


if __name__ == "__main__":
    run(main)
