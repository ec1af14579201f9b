"""How stable the snapshots' predictions of an image are: the reliability score of PPL and ST++.

Axes: C classes, H height, W width.
"""

from collections.abc import Sequence

from torch import Tensor

from ppl.images.confusion import confusion_matrix
from ppl.images.files import defect_classes
from ppl.images.miou import iou_per_class, miou
from ppl.network.confidence import certainty, confidence, likeliest


def stability(predictions: Sequence[Tensor], classes: int, *, foreground: bool = False) -> float:
    """Mean agreement of the earlier snapshots with the last one: mean over k < K of mIoU(y_k, y_K).

    Classes absent from both predictions are left out. Source: Yang et al., CVPR 2022 (ST++), the
    image-level stability; Wu et al., TNNLS 2024.

    Args:
        predictions: (H, W) integer class indices of each snapshot, at least two, in the order
            of training.
        foreground: leave the background out, too; the last snapshot must then predict a defect.

    Returns:
        from 0 (no class agrees anywhere) to 1 (identical).
    """
    assert len(predictions) >= 2, "one snapshot has nothing to agree with"
    *earlier, last = predictions
    matrices = [confusion_matrix(y, last, classes) for y in earlier]
    if foreground:
        agreement = [float(iou_per_class(matrix)[1:].nanmean()) for matrix in matrices]
    else:
        agreement = [miou(matrix) for matrix in matrices]
    return float(sum(agreement) / len(agreement))


def reliability(
    prob_of_snapshots: Sequence[Tensor], *, use_confidence: bool, foreground: bool = False
) -> float:
    """stability(x) * confidence(x), or stability(x) alone, which is ST++'s score.

    Args:
        prob_of_snapshots: softmax (C, H, W) of each snapshot, in the order of training.
        use_confidence: multiply by the confidence of the last snapshot.
        foreground: of an image in which the last snapshot predicts a defect, both factors are
            those of the defects: stability over their classes, confidence over their pixels.
            Background, mostly stable and sure, hides how doubtful a small defect is.

    Returns:
        from 0 to 1.
    """
    hard = [likeliest(prob) for prob in prob_of_snapshots]
    last = prob_of_snapshots[-1]
    defect = hard[-1] > 0
    foreground = foreground and bool(defect.any())
    score = stability(hard, last.shape[0], foreground=foreground)
    if not use_confidence:
        return score
    if foreground:
        return score * certainty(last[None])[0][defect].mean().clamp(0, 1).item()
    return score * confidence(last[None]).item()


def predicted_defects(prob_CHW: Tensor) -> tuple[int, ...]:
    """The defect classes of which the prediction has a pixel, ascending."""
    return tuple(defect_classes(likeliest(prob_CHW)))
