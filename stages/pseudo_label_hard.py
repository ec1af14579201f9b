"""Phase 5: student 1 and hard images -> their pseudo-masks; the reliable half keeps its own."""

from pathlib import Path

from ppl.labeling.pseudo_masks import pseudo_label
from ppl.run.stage import run


def main(
    *, student: Path, unlabeled: Path, dataset: Path, record: Path, hard_ids: Path, out: Path
) -> None:
    """Let student 1 label the hard half."""
    pseudo_label(
        model=student,
        unlabeled=unlabeled,
        dataset=dataset,
        record=record,
        ids=hard_ids,
        out=out,
    )


if __name__ == "__main__":
    run(main)
