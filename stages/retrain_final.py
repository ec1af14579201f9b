"""Phase 6: labeled images and the pseudo-masks of both halves -> the final student, the product."""

import shutil
from pathlib import Path

from ppl.core import processes
from ppl.core.errors import InputError
from ppl.core.plan import Perturbed, read_plan
from ppl.core.settings import section
from ppl.network.absent import absent
from ppl.run.stage import run
from ppl.students.def_up import RetrainSettings
from ppl.students.student import StudentFiles, train_student
from ppl.training.checkpoint import checkpoint_of
from ppl.training.curve import CURVE


def main(
    files: StudentFiles,
    *,
    plan: Path,
    teacher: Path,
    student_1: Path,
    at_once: Path,
    reliable_masks: Path,
    hard_masks: Path,
) -> None:
    """Train the final student on the labeled images and both halves."""
    perturbed: Perturbed | None = read_plan(plan, Perturbed | None)
    why = absent(at_once)
    if perturbed is None and why is not None:
        raise InputError(f"{at_once} holds no model ({why}), but there is no final student either")
    if perturbed is None:
        if processes.is_first():
            _take(at_once, files)
        return
    with checkpoint_of("retrain_final") as checkpoint:
        train_student(
            "final",
            files,
            section("retrain_final", RetrainSettings),
            before=[model for model in (student_1, teacher) if absent(model) is None],
            masks=[reliable_masks, hard_masks],
            def_up=perturbed == "def_up",
            checkpoint=checkpoint,
        )


def _take(at_once: Path, files: StudentFiles) -> None:
    """The model of a method that trains once is the product, as it is."""
    ignored = shutil.ignore_patterns(CURVE)
    shutil.copytree(at_once, files.student, dirs_exist_ok=True, ignore=ignored)
    files.curve.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(at_once / CURVE, files.curve)
    print(f"{files.student} is {at_once}: the method trains once")


if __name__ == "__main__":
    run(main)
