"""The score by which a training chooses its model: mIoU on labeled images set aside for it."""

from collections.abc import Callable

import torch

from ppl.confusion import confusion_matrix, miou
from ppl.image_files import IGNORE
from ppl.image_set import ImageSet
from ppl.inference import BATCH, PLAIN, at_own_size, average_softmax
from ppl.network import SegmentationNetwork


def validation_score(
    validation: ImageSet, size: tuple[int, int], classes: int
) -> Callable[[SegmentationNetwork], float] | None:
    """A function that scores a network in eval mode by pooled mIoU at the images' own size.

    Images and masks are decoded once, since a training asks many times. None where nothing can
    be scored: the set is empty, or every pixel of its masks is 255 (ignore).
    """
    masks = [validation.mask(entry) for entry in validation.entries]
    if all(bool((mask == IGNORE).all()) for mask in masks):
        return None
    images = [validation.image(entry) for entry in validation.entries]

    def score(network: SegmentationNetwork) -> float:
        device = next(network.parameters()).device
        matrix = torch.zeros((classes, classes), dtype=torch.int64)
        for start in range(0, len(images), BATCH):
            batch = slice(start, start + BATCH)
            probabilities = average_softmax(network, images[batch], size, PLAIN, device)
            for prob, mask in zip(probabilities, masks[batch], strict=True):
                predicted = at_own_size(prob, (mask.shape[0], mask.shape[1])).argmax(dim=0)
                matrix += confusion_matrix(predicted.cpu(), mask, classes)
        return float(miou(matrix))

    return score
