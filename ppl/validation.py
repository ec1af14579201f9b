"""The score by which a training chooses its model: mIoU on labeled images set aside for it."""

from collections.abc import Callable

import torch

from ppl import processes
from ppl.confidence import likeliest
from ppl.confusion import confusion_matrix
from ppl.image_files import defect_classes
from ppl.image_set import ImageSet
from ppl.inference import PLAIN, at_once, batch_softmax, views_of
from ppl.network import SegmentationNetwork
from ppl.resize import ImageSettings
from ppl.scores import mean_iou, shown_iou


def validation_score(
    validation: ImageSet, image: ImageSettings, classes: int
) -> Callable[[SegmentationNetwork], float] | None:
    """A function that scores a network in eval mode by pooled mIoU (0-1) at the images' own size.

    The mean is over the classes that the masks show, as in the reports: else one stray pixel of a
    class that is too rare for these few images would cost a model that has learned it a whole
    class. Images and masks are decoded once, since a training asks many times. None where nothing
    can be scored: no mask shows a defect. Of several processes each predicts its share.
    """
    masks = [validation.mask(entry) for entry in validation.entries]
    if not any(defect_classes(mask) for mask in masks):
        return None
    masks = list(processes.every(masks))
    views = [
        views_of(validation.image(entry), image, PLAIN)
        for entry in processes.every(validation.entries)
    ]

    def score(network: SegmentationNetwork) -> float:
        device = next(network.parameters()).device
        step = at_once(device)
        matrix = torch.zeros((classes, classes), dtype=torch.int64, device=device)
        for start in range(0, len(views), step):
            batch = slice(start, start + step)
            sizes = [(mask.shape[0], mask.shape[1]) for mask in masks[batch]]
            found = batch_softmax(network, views[batch], sizes, image, PLAIN)
            for prob, mask in zip(found, masks[batch], strict=True):
                matrix += confusion_matrix(likeliest(prob), mask.to(device), classes)
        return float(mean_iou(shown_iou(processes.total(matrix))))

    return score
