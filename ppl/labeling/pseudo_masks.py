"""Pseudo-masks: what a model predicts for unlabeled images, as palette PNGs at their own size."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ppl.core import processes
from ppl.core.settings import section
from ppl.images.files import defect_classes, write_mask
from ppl.images.miou import BACKGROUND
from ppl.images.pictures import IGNORE
from ppl.images.record import read_split_record
from ppl.images.sets import DatasetInfo, Entry, mask_file, read_dataset_info, read_image_set
from ppl.labeling.part_agreement import NOBODY, Photos, VotingSettings, predict_by_part
from ppl.labeling.ranking import read_ids
from ppl.labeling.waiting import Waiting
from ppl.network.absent import absent, leave_absent
from ppl.network.confidence import likeliest
from ppl.network.network import SegmentationNetwork, load_network, pick_device
from ppl.network.resize import ImageSettings
from ppl.network.runtime import InferenceSettings, predicting

STEPS = 1200
"""Steps of sureness in which pixels are counted: 50 each time that the doubt halves."""

HALVINGS = 24
"""After so many the doubt 1 - p is less than single precision can say of p."""

NO_PARTS = (
    "pseudo_label.alike asks photos of a part to vote, but of no image is it known which part it "
    "shows: each is labeled for itself. data.groups says how to tell"
)
"""What to tell the user where a setting cannot do anything."""

WRITERS = 4
"""Threads that compress masks while the next images are predicted."""


class PseudoLabelSettings(VotingSettings):
    """Section `pseudo_label`: what is averaged, and which pixels are too doubtful."""

    ignore_fraction: Annotated[float, Field(ge=0, le=0.95)]
    background_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability from which a pixel teaches background; below, nothing."""

    @property
    def whole(self) -> "PseudoLabelSettings":
        """With a class for every pixel, for who corrects a mask."""
        return self.model_copy(update={"ignore_fraction": 0.0, "background_from": 0.0})


ONE_LOOK = PseudoLabelSettings(
    scales=[1.0], flip=False, alike=NOBODY, voters=2, ignore_fraction=0.0
)
"""Each image for itself, as it is, and every pixel of it."""


def write_pseudo_masks(
    network: SegmentationNetwork,
    photos: Photos,
    image: ImageSettings,
    settings: PseudoLabelSettings,
    info: DatasetInfo,
    out: Path,
) -> Counter[int]:
    """Write OUT/ID.png for every chosen image, see `pseudo_masks`.

    Of several processes each writes its share.

    Returns:
        how many images show each defect class.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown: Counter[int] = Counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        writing: deque[Future[None]] = deque()
        masks = pseudo_masks(network, photos, image, settings, what="pseudo-label")
        for entry, mask in masks:
            shown.update(defect_classes(mask))
            writing.append(pool.submit(write_mask, mask_file(out, entry.id), mask, info.colours))
            if len(writing) > 2 * WRITERS:
                writing.popleft().result()
        for left in writing:
            left.result()
    return sum(processes.gathered(shown), Counter())


def pseudo_masks(
    network: SegmentationNetwork,
    photos: Photos,
    image: ImageSettings,
    settings: PseudoLabelSettings,
    *,
    what: str,
    wanted: Collection[str] | None = None,
) -> Iterator[tuple[Entry, Tensor]]:
    """The chosen images, each with the likeliest class of every pixel: (H, W) uint8 on the CPU.

    Pixels that are too doubtful are 255. Each image is predicted once: with `ignore_fraction` it
    waits in a temporary file until all are known. Of several processes each yields its share.

    Args:
        what: names the work on the progress bar.
        wanted: ids of the chosen images to yield, where the others only count in which pixels are
            the least sure; None: all.
    """
    wanted = set(photos.chosen if wanted is None else wanted)
    if not wanted:
        return
    if not settings.ignore_fraction:
        photos = replace(photos, chosen=[id for id in photos.chosen if id in wanted])
        for entry, prob in predict_by_part(network, photos, image, settings, what=what):
            mask, _, untaught = _classes(prob, settings)
            yield entry, mask.masked_fill(untaught, IGNORE).to("cpu", torch.uint8)
        return
    counts = torch.zeros(
        network.classes, STEPS, dtype=torch.int64, device=next(network.parameters()).device
    )
    with Waiting() as waiting:
        for entry, prob in predict_by_part(network, photos, image, settings, what=what):
            mask, highest, untaught = _classes(prob, settings)
            step = sureness_step(highest)
            cell = mask * STEPS + step
            counts += torch.bincount(cell.flatten(), minlength=counts.numel()).view_as(counts)
            if entry.id in wanted:
                # below every bound
                step = step.masked_fill(untaught, -1).to("cpu", torch.int16)
                waiting.add(entry, mask.to("cpu", torch.uint8), step)
        bounds = doubt_bounds(processes.total(counts), settings.ignore_fraction).cpu()
        for entry, mask, step in waiting:
            yield entry, mask.masked_fill(step < bounds[mask.long()], IGNORE)


def _classes(prob_CHW: Tensor, settings: PseudoLabelSettings) -> tuple[Tensor, Tensor, Tensor]:
    """(H, W) the likeliest class of each pixel, its probability, and where it is not taught.

    That is background below `background_from`; how sure the others have to be is not known yet.
    """
    mask, highest = likeliest(prob_CHW), prob_CHW.amax(dim=0)
    return mask, highest, (mask == BACKGROUND) & (highest < settings.background_from)


def doubt_bounds(counts: Tensor, ignore_fraction: float) -> Tensor:
    """(C,) int64: below which `sureness_step` the least sure `ignore_fraction` of each class lies.

    Of each class by itself: one bound for all would take the rare defects, of which a model is less
    sure, and leave the background. Source: Zou et al., ECCV 2018 (class-balanced self-training).

    The share is never more than asked, and less where pixels of one step would have to be told
    apart.

    Args:
        counts: (C, STEPS) int64, the pixels of all images by class and step.
    """
    below = counts.cumsum(dim=1)
    allowed = ignore_fraction * below[:, -1:]
    # how many of the lowest steps may go: all pixels below the bound are in these
    return (below <= allowed).sum(dim=1) * (below[:, -1] > 0)


def sureness_step(probability: Tensor) -> Tensor:
    """The step, 0 to `STEPS` - 1, of probabilities in [0, 1]: evenly in log2(1 - p).

    A trained network is surer than 0.99 of most pixels; even steps of p would not tell them apart.
    """
    doubt = (1 - probability).clamp(min=0.5**HALVINGS)
    return (-doubt.log2() * (STEPS / HALVINGS)).long().clamp(max=STEPS - 1)


def summary(shown: Mapping[int, int], images: int, classes: Sequence[str]) -> str:
    """What the user should know of the pseudo-masks of so many images: which classes they teach.

    Args:
        shown: how many images show each defect class.
        classes: names by index.
    """
    defects = range(1, len(classes))
    held = ", ".join(f"{classes[c]} in {shown[c]}" for c in defects if shown.get(c))
    text = f"{images} pseudo-masks: {held or 'no defect in any'}"
    missing = [classes[c] for c in defects if not shown.get(c)]
    if images and missing:
        text += (
            f"\nNone of these holds {', '.join(missing)}. What no pseudo-mask of either half "
            "holds, students learn from labeled images alone, unless mean_teacher finds it; longer "
            "training, a higher loss.tversky_weight or more labeled images may change that"
        )
    return text


def pseudo_label(
    *, model: Path, unlabeled: Path, dataset: Path, record: Path, ids: Path, out: Path
) -> None:
    """What both pseudo-label stages do: `model` labels the images named in the file `ids`."""
    why, chosen = absent(model), read_ids(ids)
    if why is not None:
        assert not chosen, f"{len(chosen)} images have nobody to label them"
        leave_absent(out, why)
        print(f"nothing to do: {why}")
        return
    info = read_dataset_info(dataset)
    parts = read_split_record(record).parts
    settings = section("pseudo_label", PseudoLabelSettings)
    if settings.alike < NOBODY and not parts:
        print(NO_PARTS)
    shown = write_pseudo_masks(
        predicting(load_network(model, pick_device()), section("inference", InferenceSettings)),
        Photos(read_image_set(unlabeled), chosen, parts),
        section("image", ImageSettings),
        settings,
        info,
        out,
    )
    print(summary(shown, len(chosen), info.classes))
