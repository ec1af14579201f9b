"""What one model did on a set of images: all that scores are made of, and nothing but counts.

Axes: N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ppl.scores.calibration import CalibrationBins
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts


@dataclass(frozen=True)
class ModelResult:
    """Counts of one model; those of several sets of images can be pooled."""

    matrices: Tensor
    """(N, C, C) int64 confusion matrix of each image."""
    evidence: Tensor
    """(N,) float64 in 0-1, how defective each image looks; NaN without a counted pixel."""
    defective: Tensor
    """(N,) bool, whether the truth shows a defect."""
    called: DetectionCounts
    """Images called defective by their predicted mask."""
    defects: DefectCounts
    calibration: CalibrationBins
    score: Tensor
    """(N,) float64 in 0-1, what the verdict goes by; NaN where the model gives no verdict."""

    @property
    def matrix(self) -> Tensor:
        """(C, C) counts pooled over the images."""
        return self.matrices.sum(dim=0)


def pooled(results: Sequence[ModelResult]) -> ModelResult:
    """The result on the images of all `results` together, in their order; at least one."""
    first, *others = results
    called, defects, calibration = first.called, first.defects, first.calibration
    for other in others:
        called += other.called
        defects += other.defects
        calibration += other.calibration
    return ModelResult(
        torch.cat([result.matrices for result in results]),
        torch.cat([result.evidence for result in results]),
        torch.cat([result.defective for result in results]),
        called,
        defects,
        calibration,
        torch.cat([result.score for result in results]),
    )


def write_result(file: Path, result: ModelResult) -> None:
    """Write a .safetensors file, which holds no code."""
    called, defects, calibration = result.called, result.defects, result.calibration
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "matrices": result.matrices,
            "evidence": result.evidence,
            "score": result.score,
            "defective": result.defective,
            "called": torch.tensor(
                [
                    called.defective_called,
                    called.defective_missed,
                    called.sound_called,
                    called.sound_passed,
                ]
            ),
            "defects": defects.defects,
            "found": defects.found,
            "false_alarms": torch.tensor(defects.false_alarms),
            "images": torch.tensor(defects.images),
            "pixels": calibration.pixels,
            "right": calibration.right,
            "confidence": calibration.confidence,
        },
        file,
    )


def read_result(file: Path) -> ModelResult:
    """The result that `write_result` wrote."""
    found = load_file(file)
    return ModelResult(
        found["matrices"],
        found["evidence"],
        found["defective"],
        DetectionCounts(*found["called"].tolist()),
        DefectCounts(
            found["defects"], found["found"], int(found["false_alarms"]), int(found["images"])
        ),
        CalibrationBins(found["pixels"], found["right"], found["confidence"]),
        # what an earlier version wrote holds none
        found.get("score", torch.full_like(found["evidence"], torch.nan)),
    )
