"""Labeled and unlabeled images together -> a model, by a method that trains once."""

from pathlib import Path

from ppl.core.plan import NOT_ONCE, Once, read_plan
from ppl.methods.at_once import OnceFiles, train_at_once
from ppl.network.absent import leave_absent
from ppl.run.stage import run
from ppl.training.checkpoint import checkpoint_of


def main(files: OnceFiles, *, plan: Path) -> None:
    """Train the model of a method that has one training."""
    method: Once | None = read_plan(plan, Once | None)
    if method is None:
        leave_absent(files.model, NOT_ONCE)
        print(f"nothing to do: {NOT_ONCE}")
        return
    with checkpoint_of("train_at_once") as checkpoint:
        train_at_once(method.name, method.settings, files, checkpoint)


if __name__ == "__main__":
    run(main)
