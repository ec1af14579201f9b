"""The score by which a training chooses its model: mIoU on labeled images set aside for it."""

from collections.abc import Callable

import torch
from torch import Tensor

from ppl.core import processes
from ppl.images.confusion import confusion_matrix
from ppl.images.files import defect_classes
from ppl.images.miou import pooled_miou
from ppl.images.sets import ImageSet
from ppl.network.confidence import likeliest
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import PLAIN, at_once, batch_softmax, views_of
from ppl.network.resize import ImageSettings


def validation_counts(
    validation: ImageSet, image: ImageSettings, classes: int
) -> Callable[[SegmentationNetwork], Tensor] | None:
    """A function that counts what a network in eval mode finds in each image, at the image's size.

    It returns (N, C, C) int64 confusion matrices on the network's device, in the images' order.
    Images and masks are decoded once, since a training asks many times. None where nothing can be
    scored: no mask shows a defect. Of several processes each predicts its share, and all get all.

    Raises:
        InputError: an unreadable image or mask.
    """
    entries = processes.every(validation.entries)
    masks = [validation.mask(entry) for entry in entries]
    if not any(processes.gathered(any(defect_classes(mask) for mask in masks))):
        return None
    mine = processes.every(range(len(validation)))
    views = [views_of(validation.image(entry), image, PLAIN) for entry in entries]

    def count(network: SegmentationNetwork) -> Tensor:
        device = next(network.parameters()).device
        step = at_once(device)
        matrices = torch.zeros(
            (len(validation.entries), classes, classes), dtype=torch.int64, device=device
        )
        for start in range(0, len(views), step):
            batch = slice(start, start + step)
            sizes = [(mask.shape[0], mask.shape[1]) for mask in masks[batch]]
            found = batch_softmax(network, views[batch], sizes, image, PLAIN)
            for index, prob, mask in zip(mine[batch], found, masks[batch], strict=True):
                matrices[index] = confusion_matrix(likeliest(prob), mask.to(device), classes)
        return processes.total(matrices)

    return count


def validation_score(
    validation: ImageSet, image: ImageSettings, classes: int
) -> Callable[[SegmentationNetwork], float] | None:
    """A function that scores a network in eval mode by pooled mIoU (0-1) at the images' own size.

    The mean is over the classes that the masks show, as in the reports: else one stray pixel of a
    class that is too rare for these few images would cost a model that has learned it a whole
    class. None as `validation_counts`.
    """
    count = validation_counts(validation, image, classes)
    if count is None:
        return None
    return lambda network: pooled_miou(count(network))
