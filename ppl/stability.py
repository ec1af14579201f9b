"""How stable the snapshots' predictions of an image are: the reliability score of PPL and ST++.

Axes: C classes, H height, W width.
"""

from collections.abc import Sequence

from torch import Tensor

from ppl.confidence import confidence, likeliest
from ppl.confusion import confusion_matrix, miou


def stability(predictions: Sequence[Tensor], classes: int) -> float:
    """Mean agreement of the earlier snapshots with the last one: mean over k < K of mIoU(y_k, y_K).

    Classes absent from both predictions are left out. Source: Yang et al., CVPR 2022 (ST++), the
    image-level stability; Wu et al., TNNLS 2024.

    Args:
        predictions: (H, W) integer class indices of each snapshot, at least two, in the order
            of training.

    Returns:
        from 0 (no class agrees anywhere) to 1 (identical).
    """
    assert len(predictions) >= 2, "one snapshot has nothing to agree with"
    *earlier, last = predictions
    agreement = [miou(confusion_matrix(y, last, classes)) for y in earlier]
    return float(sum(agreement) / len(agreement))


def reliability(prob_of_snapshots: Sequence[Tensor], *, use_confidence: bool) -> float:
    """stability(x) * confidence(x), or stability(x) alone, which is ST++'s score.

    Args:
        prob_of_snapshots: softmax (C, H, W) of each snapshot, in the order of training.
        use_confidence: multiply by the confidence of the last snapshot.

    Returns:
        from 0 to 1.
    """
    last = prob_of_snapshots[-1]
    score = stability([likeliest(prob) for prob in prob_of_snapshots], last.shape[0])
    return score * confidence(last[None]).item() if use_confidence else score
