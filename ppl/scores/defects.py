"""Single defects: how many are found, and how many alarms have no defect under them.

Pixels belong together when they touch by a side or a corner. Ignored pixels (target 255) are in no
defect and in no alarm: an alarm that lies in them altogether vanishes, one that reaches out of them
counts for what is outside, and what they cut in two counts twice.

Axes: H height, W width; C is the number of classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl.images.miou import BACKGROUND, rounded
from ppl.images.pictures import IGNORE
from ppl.scores.pixels import ClassScores

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.bool_)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DefectCounts:
    """Defects and alarms of one or more images. Additive over images.

    Attributes:
        defects: (C,) int64, true defects by class; 0 for the background.
        found: (C,) int64, those of them that are found.
        false_alarms: alarms that touch no true defect pixel.
        images: images with at least one counted pixel.
    """

    defects: Tensor
    found: Tensor
    false_alarms: int
    images: int

    def __add__(self, other: "DefectCounts") -> "DefectCounts":
        return DefectCounts(
            self.defects + other.defects,
            self.found + other.found,
            self.false_alarms + other.false_alarms,
            self.images + other.images,
        )

    @staticmethod
    def nothing(classes: int) -> "DefectCounts":
        """The counts of no image, to start a sum with."""
        none = torch.zeros(classes, dtype=torch.int64)
        return DefectCounts(none, none.clone(), 0, 0)


def defect_counts(
    prediction_HW: Tensor, target_HW: Tensor, classes: int, *, min_overlap: float
) -> DefectCounts:
    """Count the defects and the false alarms of one image.

    A defect is a connected part of one class's true pixels, so touching defects of two classes are
    two. It is found when at least `min_overlap` (above 0, at most 1) of its pixels are predicted as
    any defect, be it the wrong one. A false alarm is a connected part of the pixels predicted as
    any defect, none of which truly is one.

    Args:
        prediction_HW: (H, W) class indices on the CPU, any integer dtype; 0 is background.
        target_HW: (H, W) class indices below `classes` on the CPU, 255 is ignore.
    """
    assert prediction_HW.shape == target_HW.shape, f"{prediction_HW.shape}, {target_HW.shape}"
    assert 0 < min_overlap <= 1, f"{min_overlap}"
    target = target_HW.numpy()
    counted: Mask = target != IGNORE
    called: Mask = (prediction_HW.numpy() != BACKGROUND) & counted
    overlaps = [_overlaps(target == index, called) for index in range(BACKGROUND + 1, classes)]
    on_truth = _overlaps(called, target != BACKGROUND)
    return DefectCounts(
        torch.tensor([0, *(len(overlap) for overlap in overlaps)]),
        torch.tensor([0, *(int((overlap >= min_overlap).sum()) for overlap in overlaps)]),
        int((on_truth == 0).sum()),
        int(counted.any()),
    )


def defect_scores(
    counts: DefectCounts, class_names: Sequence[str]
) -> dict[str, float | ClassScores | None]:
    """Recall of defects and false alarms per image, ready for JSON; None where undefined.

    Keys: defect_recall (0-1, all defects alike), defect_recall_by_class (by name, without the
    background) and false_alarms_per_image (0 or more).
    """
    assert counts.defects.shape == (len(class_names),), f"{tuple(counts.defects.shape)}"
    recall = counts.found.double() / counts.defects
    by_class = dict(zip(class_names, map(rounded, recall.tolist()), strict=True))
    del by_class[class_names[BACKGROUND]]
    return {
        "defect_recall": rounded(float(counts.found.sum().double() / counts.defects.sum())),
        "defect_recall_by_class": by_class,
        "false_alarms_per_image": (
            rounded(counts.false_alarms / counts.images) if counts.images else None
        ),
    }


def _overlaps(inside: Mask, marked: Mask) -> npt.NDArray[np.float64]:
    """Of each connected part of `inside`, the share of its pixels that is `marked`: (parts,)."""
    # it takes a tenth of a second to import, which a stage that counts no defects need not spend
    from scipy import ndimage

    if not inside.any():
        return np.zeros(0)
    labels, parts = ndimage.label(inside, structure=_EIGHT_NEIGHBOURS)
    # label 0 is what lies outside
    pixels = np.bincount(labels[inside], minlength=parts + 1)[1:]
    hits = np.bincount(labels[inside & marked], minlength=parts + 1)[1:]
    return hits / pixels
