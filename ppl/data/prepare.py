"""Check a data set file by file and lay it out as image sets, labels kept apart from images."""

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.data.adapters.base import (
    DataSettings,
    Sample,
    dataset_info,
    load_adapter,
    load_samples,
)
from ppl.data.colour_masks import ColourError
from ppl.data.groups import find_groups, parts_of, told_by_names
from ppl.data.held import read_held
from ppl.data.image_labels import label_notes, label_warnings, stop_at_contradictions
from ppl.data.scans import (
    SHOWN,
    Scan,
    mask_notes,
    mask_of,
    mask_warnings,
    scan_one,
    shares,
    stop_at_senseless_masks,
)
from ppl.data.split_draws import Images
from ppl.data.split_lists import read_lists
from ppl.data.split_settings import SplitSettings
from ppl.data.splits import Split, make_split
from ppl.data.white_defects import as_defect, white_defects
from ppl.images.files import write_mask
from ppl.images.pictures import IGNORE
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.room import in_room
from ppl.images.sets import DatasetInfo, mask_file, write_dataset_info, write_index

# decoding releases the interpreter, so threads share it; the number changes no result
_THREADS = 8

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SetsPlan:
    """Which image goes into which set, decided before anything is written."""

    raw: Path
    """The data set in its published layout."""
    settings: DataSettings
    info: DatasetInfo
    samples: Mapping[str, Sample]
    """Every image of the data set, by id; so are the scans."""
    scans: Mapping[str, Scan]
    split: Split
    groups: Mapping[str, str]
    """What `data.groups` says of every image, by id; {} where it says nothing."""
    parts: Mapping[str, str]
    """The part that every image shows: groups that look alike are merged."""
    white: frozenset[str] = frozenset()
    """The images in whose masks 255 is the one class of defect; their scans say so already."""

    @property
    def hidden(self) -> list[str]:
        """The ids of the unlabeled images that have a mask, which no training may see.

        Corrected masks are not among them: pseudo-masks are judged by these.
        """
        samples = self.samples
        return [
            id for id in self.split.unlabeled if samples[id].annotated and not samples[id].corrected
        ]

    @property
    def record(self) -> SplitRecord:
        """How the split was made, and which of the images in a set show one part."""
        split = self.split
        used = {*split.labeled, *split.validation, *split.unlabeled, *split.test}
        defective = {
            self.parts.get(id, id) for id in split.validation if self.scans[id].values - {0, IGNORE}
        }
        return SplitRecord(
            split.by,
            groups={id: group for id, group in self.groups.items() if id in used},
            parts={id: part for id, part in self.parts.items() if id in used},
            defective_validation_parts=len(defective) if split.validation else None,
        )


@dataclass(frozen=True)
class SetPaths:
    """Where it all goes: a folder for each set, and two files about them."""

    labeled: Path
    validation: Path
    unlabeled: Path
    hidden: Path
    test: Path
    dataset: Path
    """Class names and colours."""
    record: Path
    """How the split was made and which images show one part."""


def plan_sets(
    raw: Path, lists: Path, data: DataSettings, split: SplitSettings, seed: int
) -> SetsPlan:
    """Check the data set in `raw` and decide what goes where. Nothing is written.

    Args:
        raw: the data set in its published layout.
        lists: the folder of split lists.
        seed: the project's seed.

    Raises:
        InputError: wrong settings, files or lists; up to ten damaged files are named at once.
    """
    info = dataset_info(data)
    samples = load_samples(raw, data)
    held = read_held(lists, {sample.id for sample in samples})
    optional = split.lists_optional or bool(held)
    list_files = read_lists(lists, split.labeled_fraction, optional=optional)
    by_id = {sample.id: sample for sample in samples}
    scans, white = as_meant(raw, by_id, scan(samples, data, info), data, info)
    groups = find_groups(raw, samples, data)
    parts = parts_of(groups, samples, data)
    images = Images(
        paths={sample.id: sample.image.relative_to(raw).as_posix() for sample in samples},
        defect_classes={
            sample.id: scans[sample.id].values - {0, IGNORE}
            for sample in samples
            if sample.annotated
        },
        groups=parts,
        published_test=[sample.id for sample in samples if sample.part == "test"],
        corrected=frozenset(sample.id for sample in samples if sample.corrected),
        told_by_names=told_by_names(data),
    )
    found = make_split(images, list_files, split, seed, held)
    stop_at_empty_set(found)
    return SetsPlan(raw, data, info, by_id, scans, found, groups, parts, white)


def write_sets(plan: SetsPlan, paths: SetPaths) -> None:
    """Write the image sets (see ppl/images/sets.py) in place of those of an earlier run.

    labeled, validation and test get images and masks, unlabeled images alone, and hidden the masks
    of those unlabeled images that have one.

    Raises:
        InputError: a folder is there that is no image set; nothing is written then.
    """
    split = plan.split
    both = {
        paths.labeled: split.labeled,
        paths.validation: split.validation,
        paths.test: split.test,
    }
    images = {**both, paths.unlabeled: split.unlabeled}
    masks = {**both, paths.hidden: plan.hidden}
    _remove_earlier_sets(
        [paths.labeled, paths.validation, paths.unlabeled, paths.hidden, paths.test]
    )
    _copy_images(plan, images)
    _write_masks(plan, masks)
    for folder, ids in {**images, **masks}.items():
        write_index(folder, [plan.scans[id].entry for id in ids])
    write_dataset_info(paths.dataset, plan.info)
    write_split_record(paths.record, plan.record)


def report(plan: SetsPlan) -> None:
    """Print what came of it: the counts, and to standard error what a person should look at."""
    for line in _remarks(plan):
        print(f"prepare: {line}", file=sys.stderr)
    print("\n".join(filter(None, [_summary(plan), shares(plan.scans, plan.info)])))


def as_meant(
    raw: Path,
    samples: Mapping[str, Sample],
    scans: Mapping[str, Scan],
    data: DataSettings,
    info: DatasetInfo,
) -> tuple[dict[str, Scan], frozenset[str]]:
    """The scans of all samples with white defects as such, and the ids of these.

    Raises:
        InputError: masks that cannot mean what they say, or contradict what labels say.
    """
    white = white_defects(raw, samples, scans, data)
    meant = {**scans, **{id: as_defect(scans[id]) for id in white}}
    stop_at_contradictions(samples, meant, info)
    stop_at_senseless_masks(raw, samples, meant, info, data)
    return meant, white


def scan(
    samples: Sequence[Sample],
    settings: DataSettings,
    info: DatasetInfo,
    *,
    seconds: float = math.inf,
) -> dict[str, Scan]:
    """Decode and check every image and mask once; holds none of them afterwards.

    Args:
        seconds: those whose turn comes later are left out.

    Raises:
        InputError: an unreadable file, an image and a mask of different sizes, a mask value that
            is no class; up to ten of them are named.
    """
    adapter = load_adapter(settings.name)
    end = time.monotonic() + seconds

    def look(sample: Sample) -> Scan | InputError | None:
        if time.monotonic() > end:
            return None
        try:
            look_at = partial(scan_one, sample, adapter, settings, info)
            return in_room(look_at, sample.image, sample.mask)
        except InputError as error:
            return error

    scans: dict[str, Scan] = {}
    errors: list[InputError] = []
    results = _in_threads(look, samples, "checking images")
    for sample, result in zip(samples, results, strict=True):
        if isinstance(result, Scan):
            scans[sample.id] = result
        elif result is not None:
            errors.append(result)
    if errors:
        lines = _lines_of(errors)
        more = len(lines) - SHOWN
        tail = [f"... and {more} more"] if more > 0 else []
        raise InputError("\n".join(lines[:SHOWN] + tail))
    return scans


def _lines_of(errors: Sequence[InputError]) -> list[str]:
    """A line an error; masks in unknown colours, of which mostly all are alike, share one."""
    coloured = [str(error) for error in errors if isinstance(error, ColourError)]
    lines = [str(error) for error in errors if not isinstance(error, ColourError)]
    if len(coloured) > 1:
        return [
            f"{len(coloured)} masks are in colours that name no class, e.g. {coloured[0]}",
            *lines,
        ]
    return [*coloured, *lines]


def _copy_images(plan: SetsPlan, sets: Mapping[Path, Iterable[str]]) -> None:
    def copy(task: tuple[Path, str]) -> None:
        folder, id = task
        target = folder / "images" / plan.scans[id].entry.image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plan.samples[id].image, target)

    _in_threads(copy, _tasks(sets), "copying images")


def _write_mask(plan: SetsPlan, id: str, folder: Path) -> None:
    entry, sample = plan.scans[id].entry, plan.samples[id]
    adapter = load_adapter(plan.settings.name)
    stored = mask_of(sample, adapter, plan.settings, height=entry.height, width=entry.width)
    mask = stored.values
    if id in plan.white:
        mask = torch.where(mask == IGNORE, 1, mask)
    write_mask(mask_file(folder / "masks", id), mask, plan.info.colours)


def _write_masks(plan: SetsPlan, sets: Mapping[Path, Iterable[str]]) -> None:
    def write(task: tuple[Path, str]) -> None:
        folder, id = task
        sample = plan.samples[id]
        in_room(partial(_write_mask, plan, id, folder), sample.image, sample.mask)

    _in_threads(write, _tasks(sets), "writing masks")


def _in_threads(work: Callable[[T], R], items: Sequence[T], title: str) -> list[R]:
    """`work` of each item, in order, under a progress bar."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(bar(pool.map(work, items), total=len(items), desc=title, unit="image"))


def _tasks(sets: Mapping[Path, Iterable[str]]) -> list[tuple[Path, str]]:
    return [(folder, id) for folder, ids in sets.items() for id in ids]


def stop_at_empty_set(split: Split) -> None:
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


def _remarks(plan: SetsPlan) -> list[str]:
    """Notes on the split, warnings: each class that labeled or test images lack, odd masks."""
    checked = (
        (plan.split.labeled, "labeled", "no model can learn it", "labeled_fraction"),
        (plan.split.test, "test", "its scores are undefined", "test_fraction"),
    )
    of_masks = (
        *mask_warnings(plan.raw, plan.samples, plan.scans, plan.info),
        *label_warnings(plan.samples, plan.scans, plan.info),
    )
    return [
        *(f"note: {note}" for note in (*plan.split.notes, *_notes_on_data(plan))),
        *(
            f"warning: no {part} image shows {name}, so {consequence}: raise split.{setting}, "
            f"change the seed, or list the {part} images"
            for ids, part, consequence, setting in checked
            for name, count in zip(plan.info.classes, _showing(plan, ids), strict=True)
            if count == 0
        ),
        *(f"warning: {warning}" for warning in of_masks),
    ]


def _notes_on_data(plan: SetsPlan) -> Iterator[str]:
    """How masks and labels were read, where a mask is not simply its class indices."""
    yield from mask_notes(plan.scans)
    if plan.white:
        yield (
            f"masks hold 0 and 255 alone, and there is one class of defect: 255 is taken as "
            f"{plan.info.classes[1]} in {len(plan.white)} masks"
        )
    yield from label_notes(plan.samples)


def _summary(plan: SetsPlan) -> str:
    split, (_background, *classes) = plan.split, plan.info.classes
    parts = f", {len(set(plan.parts.values()))} parts" if plan.parts else ""
    defects = ", ".join(
        f"{name} {count}"
        for name, count in zip(classes, _showing(plan, split.labeled)[1:], strict=True)
    )
    return (
        f"{plan.info.name}, split by {split.by}{parts}: "
        f"labeled {len(split.labeled)} (images with {defects}), "
        f"validation {len(split.validation)}, unlabeled {len(split.unlabeled)} "
        f"(masks hidden: {len(plan.hidden)}), test {len(split.test)}"
    )


def _showing(plan: SetsPlan, ids: Sequence[str]) -> list[int]:
    """How many of the images show each class, the background among them."""
    return [
        sum(index in plan.scans[id].values for id in ids) for index in range(len(plan.info.classes))
    ]
