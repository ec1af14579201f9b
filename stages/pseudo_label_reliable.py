"""Phase 3: teacher and reliable images -> their pseudo-masks."""

from pathlib import Path

from ppl.labeling.pseudo_masks import pseudo_label
from ppl.run.stage import run


def main(
    *, teacher: Path, unlabeled: Path, dataset: Path, record: Path, reliable_ids: Path, out: Path
) -> None:
    """Let the teacher label the reliable half."""
    pseudo_label(
        model=teacher,
        unlabeled=unlabeled,
        dataset=dataset,
        record=record,
        ids=reliable_ids,
        out=out,
    )


if __name__ == "__main__":
    run(main)
