"""Check a data set file by file and lay it out as image sets, labels kept apart from images."""

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    Adapter,
    DataSettings,
    Sample,
    dataset_info,
    load_adapter,
    load_samples,
)
from ppl.data.groups import find_groups, parts_of
from ppl.data.split_lists import read_lists
from ppl.data.splits import Split, SplitSettings, make_split
from ppl.images.files import IGNORE, class_values, read_image, write_mask
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import DatasetInfo, Entry, mask_file, write_dataset_info, write_index

# decoding releases the interpreter, so threads share it; the number changes no result
_THREADS = 8

_SHOWN_ERRORS = 10

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Scan:
    """What one look at a sample's files showed."""

    entry: Entry
    values: frozenset[int]
    """The values of its mask, 255 among them; empty without annotation."""


def prepare(
    *,
    raw: Path,
    lists: Path,
    data: DataSettings,
    split: SplitSettings,
    seed: int,
    labeled: Path,
    validation: Path,
    unlabeled: Path,
    hidden: Path,
    test: Path,
    dataset: Path,
    record: Path,
) -> None:
    """Check and split the data set in `raw`, then write its image sets (see ppl/images/sets.py).

    labeled, validation and test get images and masks, unlabeled images alone, and hidden the masks
    of those unlabeled images that have one. `dataset` gets the class names and colours, `record`
    how the split was made and which images show one part. Nothing is written unless everything was
    found in order.

    Raises:
        InputError: wrong settings, files or lists; up to ten damaged files are named at once.
    """
    info = dataset_info(data)
    adapter = load_adapter(data.name)
    list_files = read_lists(lists, split.labeled_fraction, optional=split.lists_optional)
    samples = {sample.id: sample for sample in load_samples(raw, data)}
    scans = scan(list(samples.values()), adapter, data, info)
    _stop_without_defects(scans, info)
    groups = find_groups(raw, list(samples.values()), data)
    one_part = parts_of(groups, list(samples.values()), data)
    parts = make_split(
        image_paths={
            id: sample.image.relative_to(raw).as_posix() for id, sample in samples.items()
        },
        defect_classes={
            id: scans[id].values - {0, IGNORE} for id, sample in samples.items() if sample.annotated
        },
        groups=one_part,
        published_test=[id for id, sample in samples.items() if sample.part == "test"],
        lists=list_files,
        settings=split,
        class_names=info.classes,
        seed=seed,
    )
    _stop_at_empty_set(parts)

    hidden_ids = [id for id in parts.unlabeled if samples[id].annotated]
    image_sets = {
        labeled: parts.labeled,
        validation: parts.validation,
        unlabeled: parts.unlabeled,
        test: parts.test,
    }
    mask_sets = {
        labeled: parts.labeled,
        validation: parts.validation,
        hidden: hidden_ids,
        test: parts.test,
    }
    _remove_earlier_sets([labeled, validation, unlabeled, hidden, test])

    def copy_image(task: tuple[Path, str]) -> None:
        folder, id = task
        target = folder / "images" / scans[id].entry.image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(samples[id].image, target)

    def copy_mask(task: tuple[Path, str]) -> None:
        folder, id = task
        mask = adapter.read_mask(samples[id], data)
        write_mask(mask_file(folder / "masks", id), mask, info.colours)

    _in_threads(copy_image, _tasks(image_sets), "copying images")
    _in_threads(copy_mask, _tasks(mask_sets), "writing masks")
    for folder, ids in {**image_sets, **mask_sets}.items():
        write_index(folder, [scans[id].entry for id in ids])
    write_dataset_info(dataset, info)
    used = {id for ids in image_sets.values() for id in ids}
    write_split_record(
        record,
        SplitRecord(
            parts.by,
            groups={id: group for id, group in groups.items() if id in used},
            parts={id: part for id, part in one_part.items() if id in used},
        ),
    )
    _report(parts, len(hidden_ids), one_part, scans, info)


def scan(
    samples: Sequence[Sample], adapter: Adapter, settings: DataSettings, info: DatasetInfo
) -> dict[str, Scan]:
    """Decode and check every image and mask once; holds none of them afterwards.

    Raises:
        InputError: an unreadable file, an image and a mask of different sizes, a mask value that
            is no class; up to ten of them are named.
    """

    def look(sample: Sample) -> Scan | InputError:
        try:
            return _scan_one(sample, adapter, settings, info)
        except InputError as error:
            return error

    scans: dict[str, Scan] = {}
    errors: list[str] = []
    results = _in_threads(look, samples, "checking images")
    for sample, result in zip(samples, results, strict=True):
        if isinstance(result, Scan):
            scans[sample.id] = result
        else:
            errors.append(str(result))
    if errors:
        more = len(errors) - _SHOWN_ERRORS
        tail = [f"... and {more} more"] if more > 0 else []
        raise InputError("\n".join(errors[:_SHOWN_ERRORS] + tail))
    return scans


def _scan_one(sample: Sample, adapter: Adapter, settings: DataSettings, info: DatasetInfo) -> Scan:
    _, height, width = read_image(sample.image).shape
    entry = Entry(sample.id, sample.id + sample.image.suffix.lower(), height, width)
    if not sample.annotated:
        return Scan(entry, frozenset())
    mask = adapter.read_mask(sample, settings)
    if mask.shape != (height, width):
        raise InputError(
            f"image {sample.image} has {width} x {height} pixels (width x height), but its mask "
            f"{sample.mask} has {mask.shape[1]} x {mask.shape[0]}: they must agree"
        )
    return Scan(entry, class_values(mask, len(info.classes), str(sample.mask)))


def _in_threads(work: Callable[[T], R], items: Sequence[T], title: str) -> list[R]:
    """`work` of each item, in order, under a progress bar where someone watches."""
    with ThreadPoolExecutor(_THREADS) as pool:
        bar = tqdm(pool.map(work, items), total=len(items), desc=title, unit="", disable=None)
        return list(bar)


def _tasks(sets: Mapping[Path, Iterable[str]]) -> list[tuple[Path, str]]:
    return [(folder, id) for folder, ids in sets.items() for id in ids]


def _stop_without_defects(scans: Mapping[str, Scan], info: DatasetInfo) -> None:
    """Masks of 0 and 255 would pass as background and ignore, and train nothing."""
    annotated = [scan.values for scan in scans.values() if scan.values]
    values = frozenset[int]().union(*annotated)
    if annotated and not values - {0, IGNORE}:
        found = "0 and 255 (ignored) alone" if IGNORE in values else "background alone"
        raise InputError(
            f"the {len(annotated)} masks hold {found}, no pixel of {', '.join(info.classes[1:])}: "
            "a mask holds class indices, so a defect of the first class is 1, not 255"
        )


def _stop_at_empty_set(split: Split) -> None:
    if not split.unlabeled:
        raise InputError(
            f"no image is left unlabeled ({len(split.labeled)} are labeled), but the method learns "
            "from unlabeled images: lower split.labeled_fraction or add images without masks"
        )
    if not split.test:
        raise InputError(
            "there is no test image: set split.test_fraction above 0, name test images in val.txt "
            "of split.lists, or use the published test part where there is one"
        )


def _remove_earlier_sets(folders: Sequence[Path]) -> None:
    """What an earlier run left would mix with this one, and could leak labels."""
    earlier = [folder for folder in folders if folder.exists()]
    for folder in earlier:
        if any(folder.iterdir()) and not (folder / "index.json").is_file():
            raise InputError(
                f"{folder} exists and is no prepared image set: move it away, since this stage "
                "replaces the folder"
            )
    for folder in earlier:
        shutil.rmtree(folder)


def _report(
    split: Split,
    hidden_count: int,
    groups: Mapping[str, str],
    scans: Mapping[str, Scan],
    info: DatasetInfo,
) -> None:
    def showing(ids: Sequence[str]) -> list[int]:
        return [sum(index in scans[id].values for id in ids) for index in range(len(info.classes))]

    images, tested = showing(split.labeled), showing(split.test)
    for note in split.notes:
        print(f"prepare: note: {note}", file=sys.stderr)
    warnings = (
        (images, "labeled", "no model can learn it", "labeled_fraction"),
        (tested, "test", "its scores are undefined", "test_fraction"),
    )
    for counts, part, consequence, setting in warnings:
        for name, count in zip(info.classes, counts, strict=True):
            if count == 0:
                print(
                    f"prepare: warning: no {part} image shows {name}, so {consequence}: raise "
                    f"split.{setting}, change the seed, or list the {part} images",
                    file=sys.stderr,
                )
    parts = f", {len(set(groups.values()))} parts" if groups else ""
    defects = ", ".join(
        f"{name} {count}" for name, count in zip(info.classes[1:], images[1:], strict=True)
    )
    print(
        f"{info.name}, split by {split.by}{parts}: "
        f"labeled {len(split.labeled)} (images with {defects}), "
        f"validation {len(split.validation)}, unlabeled {len(split.unlabeled)} "
        f"(masks hidden: {hidden_count}), test {len(split.test)}"
    )
