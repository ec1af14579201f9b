"""What the raw data hold now: images, masks by who made them, classes, parts. No image is opened.

Masks of a published data set are not yours: only those in use count, the others stay hidden.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ppl.data.adapters.base import DataSettings, Sample, dataset_info, load_adapter
from ppl.data.groups import find_groups, parts_of, told_by_names
from ppl.data.scans import Scan, means_what_it_holds
from ppl.data.white_defects import as_defect, white_defects
from ppl.images.files import class_values
from ppl.images.miou import BACKGROUND
from ppl.images.pictures import IGNORE
from ppl.images.record import SplitRecord, read_split_record
from ppl.images.sets import Entry, read_image_set
from ppl.tools.hold_split import PREPARED

READ_PIXELS = 200_000_000
"""Of masks that are read for their classes, together: about a second on two cores."""

READ_MASKS = 4000
"""How many masks are read for their classes: as long."""

_THREADS = 8

Values = Mapping[str, frozenset[int]]
"""Id -> the values that its mask holds, 255 among them."""


@dataclass(frozen=True)
class LastSets:
    """The image sets that `prepare` left."""

    ids: Mapping[str, frozenset[str]]
    """Of labeled, validation, unlabeled, hidden and test."""
    record: SplitRecord

    @property
    def images(self) -> frozenset[str]:
        return frozenset[str]().union(*self.ids.values())

    @property
    def in_use(self) -> frozenset[str]:
        """The images whose masks train or judge."""
        return self.ids["labeled"] | self.ids["validation"] | self.ids["test"]

    @property
    def masked(self) -> frozenset[str]:
        """The images of a set that had a mask, hidden ones among them."""
        return self.in_use | self.ids["hidden"]


_NAMES = ("labeled", "validation", "unlabeled", "hidden", "test")

NO_SETS = LastSets({name: frozenset() for name in _NAMES}, SplitRecord("image", {}, {}))


def last_sets() -> LastSets | None:
    """What lies in data/prepared; None where it is not whole, as before the first run."""
    try:
        return LastSets(
            {name: frozenset(read_image_set(PREPARED / name).ids) for name in _NAMES},
            read_split_record(PREPARED / "split.json"),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def yours(data: DataSettings) -> bool:
    """Whether all masks are the user's own, and none a published label."""
    return data.name == "folder"


def counted_masks(
    samples: Sequence[Sample], data: DataSettings, sets: LastSets | None
) -> list[Sample]:
    """The annotated samples whose masks may be counted."""
    used = sets.in_use if sets else frozenset[str]()
    return [sample for sample in samples if sample.annotated and (yours(data) or sample.id in used)]


def mask_values(samples: Collection[Sample], data: DataSettings) -> Values | None:
    """The values of each mask; None where reading them takes longer than a person waits.

    Raises:
        InputError: a mask cannot be read, or holds a value that is no class; an ignored.txt that
            does not fit.
    """
    if len(samples) > READ_MASKS:
        return None
    adapter, info = load_adapter(data.name), dataset_info(data)

    def look(sample: Sample) -> Scan:
        entry = Entry(sample.id, sample.id, 0, 0)
        if sample.mask is None:
            return Scan(entry, {BACKGROUND: 1})
        mask = adapter.read_mask(sample, data)
        values = class_values(mask.values, len(info.classes), str(sample.mask))
        own = means_what_it_holds(mask, info)
        return Scan(entry, dict.fromkeys(values, 1), own=own)

    by_id = {one.id: one for one in samples}
    with ThreadPoolExecutor(_THREADS) as pool:
        if sum(pool.map(_pixels, samples)) > READ_PIXELS:
            return None
        scans = dict(zip(by_id, pool.map(look, samples), strict=True))
    white = white_defects(Path(data.root), by_id, scans, data)
    scans |= {id: as_defect(scans[id]) for id in white}
    return {id: scan.values for id, scan in scans.items()}


def _pixels(sample: Sample) -> int:
    """Of the mask, by its header; 0 where it has none: whoever reads it says what is wrong.

    One that is made of objects has those of its image.
    """
    if sample.mask is None:
        return 0
    try:
        with Image.open(sample.image if sample.paint else sample.mask) as mask:
            return mask.width * mask.height
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return 0


def class_counts(values: Values, classes: Sequence[str]) -> list[tuple[str, int]]:
    """How many masks show nothing, as "sound", and how many each defect class."""
    shown = Counter(value for found in values.values() for value in found - {0, IGNORE})
    sound = sum(not found - {0, IGNORE} for found in values.values())
    return [
        ("sound", sound),
        *((name, shown[index]) for index, name in enumerate(classes) if index),
    ]


@dataclass(frozen=True)
class Parts:
    """Which photos show one part."""

    of: Mapping[str, str]
    """By id; {} where the data set does not know."""
    sure: bool
    """Whether names tell; else likeness does, and these are the parts of the last run."""


def known_parts(
    raw: Path, samples: Sequence[Sample], data: DataSettings, sets: LastSets | None
) -> Parts | None:
    """The parts of all samples; None where only a run can tell.

    Where likeness tells, a photo that the last run did not see counts as a part of its own.

    Raises:
        InputError: as `find_groups`.
    """
    if told_by_names(data):
        return Parts(parts_of(find_groups(raw, samples, data), samples, data), sure=True)
    if sets is None or not sets.record.parts:
        return None
    before = sets.record.parts
    return Parts({sample.id: before.get(sample.id, sample.id) for sample in samples}, sure=False)
