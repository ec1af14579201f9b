"""Finished model, test images -> a folder for a station: the same verdicts, or nothing."""

import json
from pathlib import Path

from ppl.core.settings import section
from ppl.export.card import Known
from ppl.export.int8 import said
from ppl.export.licences import weights_note
from ppl.export.package import ExportSettings, export_model
from ppl.images.sets import read_image_set
from ppl.inspection.model import load_model
from ppl.run.stage import run


def main(
    *,
    model: Path,
    test: Path,
    labeled: Path,
    encoder: Path,
    scores: Path,
    leakage: Path,
    out: Path,
) -> None:
    """Export the finished model with its card, the code that it needs and samples."""
    settings = section("export", ExportSettings)
    known = Known(
        scores=json.loads(scores.read_text(encoding="utf-8")),
        audit=json.loads(leakage.read_text(encoding="utf-8")),
        weights=weights_note(encoder),
    )
    done = export_model(
        load_model(model), read_image_set(test), read_image_set(labeled), known, settings, out
    )
    for name, one in done.comparisons.items():
        print(
            f"{out}: {name} gives the verdicts of PyTorch on all {one.images} test images, "
            f"{one.differing} of {one.pixels:,} pixels differ"
        )
    if done.int8 is not None:
        print(f"{out}: {said(done.int8)}")


if __name__ == "__main__":
    run(main)
