"""Who is labeled, who is not, who is tested: a split of image ids, drawn by fraction or by lists.

Drawing is stratified by the set of defect classes that an image holds, and nested: with one seed,
the images labeled at 1/8 are among those labeled at 1/4, and the test images stay the same.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from ppl.errors import InputError
from ppl.image_files import IMAGE_SUFFIXES
from ppl.seeds import generator
from ppl.settings import Settings

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, spread evenly however many there are."""

DEFAULT_LISTS = Path("data/lists")
"""The one folder of lists that may hold none: then the fractions choose."""

Classes = frozenset[int]


class SplitSettings(Settings):
    """Section `split` of params.yaml."""

    labeled_fraction: Fraction
    """Share of the annotated images outside test that keep their masks: "1/8" or 0.125."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the annotated images to test on, where neither a list nor the data set says."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the labeled images taken out to validate on."""
    use_published_test: bool
    """Test on the published test part where the data set has one."""
    lists: Annotated[str, Field(min_length=1)]
    """Folder with labeled.txt, unlabeled.txt and val.txt; data/lists may hold none."""

    @field_validator("labeled_fraction", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Fraction:
        # 1/8 and 0.125 are the same split; a float's own fraction would not be that of its text
        try:
            if isinstance(value, bool):
                raise TypeError
            fraction = Fraction(str(value).replace(" ", "")).limit_denominator(1_000_000)
        except (TypeError, ValueError, ZeroDivisionError):
            raise ValueError("expected a fraction such as 1/8 or a number such as 0.125") from None
        if not 0 < fraction <= 1:
            raise ValueError("should be above 0 and at most 1")
        return fraction


@dataclass(frozen=True)
class ListFile:
    """The lines of one list file that name an image: (line number from 1, text)."""

    file: str
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Lists:
    """The lists of one split; None where a file is absent. `test` is val.txt."""

    labeled: ListFile | None
    unlabeled: ListFile | None
    test: ListFile | None


@dataclass(frozen=True)
class Split:
    """Ids of each set, sorted; no id in two sets."""

    labeled: tuple[str, ...]
    """Trained on with their masks."""
    validation: tuple[str, ...]
    """Taken out of the labeled images to choose checkpoints."""
    unlabeled: tuple[str, ...]
    """Trained on without masks, whether or not they have some."""
    test: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a person should know: images listed twice, images in no list."""


def make_split(
    *,
    image_paths: Mapping[str, str],
    defect_classes: Mapping[str, Classes],
    published_test: Collection[str],
    lists: Lists | None,
    settings: SplitSettings,
    seed: int,
) -> Split:
    """Split a data set; the order in which images are given does not matter.

    Test comes first: val.txt, else the published part, else `test_fraction`, always of annotated
    images. What is left of the annotated images is the pool. Labeled images come from
    labeled.txt, else they are `labeled_fraction` of the pool; validation is taken out of them.
    Unlabeled images come from unlabeled.txt, else they are the rest of the pool and all images
    without annotation.

    Args:
        image_paths: path of every image below the data set's root, '/'-separated, by id.
        defect_classes: the defect classes of every annotated image, by id; empty: defect-free.
        published_test: ids of the published test part.
        lists: as `read_lists` gives them.
        seed: the project's seed.

    Raises:
        InputError: no annotated image; a list names an unknown or ambiguous image, or, for
            labeled.txt and val.txt, one without a mask; an image is both tested and trained on;
            nothing is left for training.
    """
    if not defect_classes:
        raise InputError(
            f"none of the {len(image_paths)} images has a mask: annotate some, and put their "
            "masks where the layout of the data set expects them"
        )
    lists = lists or Lists(None, None, None)
    index = _Index(image_paths)
    notes: list[str] = []
    labeled_lines = index.match(lists.labeled, notes)
    unlabeled_lines = index.match(lists.unlabeled, notes)
    test_lines = index.match(lists.test, notes)
    for listed in (lists.labeled, labeled_lines), (lists.test, test_lines):
        _stop_at_missing_mask(*listed, defect_classes)

    if lists.test is not None:
        test = set(test_lines)
    elif settings.use_published_test and not defect_classes.keys().isdisjoint(published_test):
        test = defect_classes.keys() & set(published_test)
    else:
        test = _draw_test(
            defect_classes, labeled_lines.keys() | unlabeled_lines.keys(), settings, seed
        )
    _stop_at_leak(lists.labeled, labeled_lines, test)
    _stop_at_leak(lists.unlabeled, unlabeled_lines, test)

    pool = {id: classes for id, classes in defect_classes.items() if id not in test}
    if not pool:
        raise InputError(
            f"all {len(test)} annotated images are test images, none is left to train on: lower "
            "split.test_fraction, shorten val.txt, or annotate more images"
        )
    if lists.labeled is None:
        order = stratified_order(pool, seed, "labeled")
        order = order[: _count(settings.labeled_fraction, len(order))]
    else:
        order = stratified_order({id: pool[id] for id in labeled_lines}, seed, "labeled")
    validation = _take_validation(order, pool, settings.validation_fraction)

    if lists.unlabeled is None:
        unlabeled = image_paths.keys() - test - set(order)
    else:
        both = unlabeled_lines.keys() & set(order)
        if both:
            notes.append(
                f"{lists.unlabeled.file} names {len(both)} images that are labeled already, "
                f"e.g. {min(both)}: they count as labeled only"
            )
        unlabeled = unlabeled_lines.keys() - both
    left_out = image_paths.keys() - test - set(order) - unlabeled
    if left_out:
        notes.append(f"{len(left_out)} images are in no list and left out, e.g. {min(left_out)}")
    return Split(
        labeled=tuple(sorted(set(order) - validation)),
        validation=tuple(sorted(validation)),
        unlabeled=tuple(sorted(unlabeled)),
        test=tuple(sorted(test)),
        notes=tuple(notes),
    )


def stratified_order(defect_classes: Mapping[str, Classes], seed: int, purpose: str) -> list[str]:
    """The ids in a random order whose prefixes hold every stratum about in proportion.

    A stratum is the images with the same defect classes. Prefixes of one order are what makes
    splits nested. The images of a stratum stand at equal distances from an offset of its own; the
    offsets of all strata are spread evenly too, so that a prefix holds its share of many strata
    which are each too small for one image in it.
    """
    strata: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for id in sorted(defect_classes):
        strata[tuple(sorted(defect_classes[id]))].append(id)
    start = torch.rand((), generator=generator(seed, "split", purpose), dtype=torch.float64).item()
    places = []
    for number, (stratum, ids) in enumerate(sorted(strata.items())):
        offset = (start + number * GOLDEN_RATIO) % 1
        # a generator each: one more image with a crack reorders no image without
        draw = generator(seed, "split", purpose, *map(str, stratum))
        shuffled = torch.randperm(len(ids), generator=draw).tolist()
        ties = torch.rand(len(ids), generator=draw, dtype=torch.float64).tolist()
        for rank, (position, tie) in enumerate(zip(shuffled, ties, strict=True)):
            places.append(((rank + offset) / len(ids), tie, ids[position]))
    return [id for _, _, id in sorted(places)]


def read_lists(folder: Path, settings: SplitSettings) -> Lists | None:
    """The list files in `folder`, or None where the fractions choose.

    labeled.txt, unlabeled.txt and val.txt stand in the folder itself, or the first two stand in a
    folder for each fraction (1_8 for 1/8), which `labeled_fraction` picks. Each is optional, but
    unlabeled.txt needs labeled.txt.

    Raises:
        InputError: no such folder, no lists in a folder other than data/lists, no lists for this
            fraction, or files that do not fit together.
    """
    expected = "expected labeled.txt, unlabeled.txt and val.txt, or folders such as 1_8 with them"
    if not folder.is_dir():
        raise InputError(
            f"the folder {folder} (split.lists) does not exist: {expected}; "
            f"set split.lists to {DEFAULT_LISTS} to split by fraction"
        )
    fractions = {
        Fraction(*map(int, child.name.split("_"))): child
        for child in sorted(folder.iterdir())
        if re.fullmatch(r"[1-9]\d*_[1-9]\d*", child.name) and (child / "labeled.txt").is_file()
    }
    labeled = _read_list(folder / "labeled.txt")
    unlabeled = _read_list(folder / "unlabeled.txt")
    test = _read_list(folder / "val.txt")
    if fractions:
        if labeled or unlabeled:
            raise InputError(
                f"{folder} holds lists of labeled or unlabeled images beside folders for each "
                f"fraction ({_names(fractions)}): keep one or the other"
            )
        chosen = fractions.get(settings.labeled_fraction)
        if chosen is None:
            raise InputError(
                f"{folder} has no lists for split.labeled_fraction {settings.labeled_fraction}; "
                f"it has {_names(fractions)}"
            )
        labeled = _read_list(chosen / "labeled.txt")
        unlabeled = _read_list(chosen / "unlabeled.txt")
        test = test or _read_list(chosen / "val.txt")
    if unlabeled and not labeled:
        raise InputError(f"{folder} has unlabeled.txt without labeled.txt: add labeled.txt")
    if labeled or test:
        return Lists(labeled, unlabeled, test)
    others = sorted(file.name for file in folder.glob("*.txt"))
    if others or Path(settings.lists) != DEFAULT_LISTS:
        found = f" but {', '.join(others[:5])}" if others else ""
        raise InputError(
            f"{folder} (split.lists) holds no list{found}: {expected}; "
            f"set split.lists to {DEFAULT_LISTS} to split by fraction"
        )
    return None


def _read_list(file: Path) -> ListFile | None:
    if not file.is_file():
        return None
    try:
        # a byte order mark and \r\n are what Windows editors leave
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: save it as UTF-8") from None
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    listed = tuple((number, line) for number, line in numbered if line)
    if not listed:
        raise InputError(f"{file} is empty: list an image a line, or remove the file")
    return ListFile(str(file), listed)


class _Index:
    """Images by file name, to find what a line of a list means in any folder layout."""

    def __init__(self, image_paths: Mapping[str, str]) -> None:
        self._by_name: defaultdict[str, list[tuple[str, list[tuple[str, ...]]]]] = defaultdict(list)
        for id, path in sorted(image_paths.items()):
            parts = _parts(path)
            self._by_name[parts[-1]].append((id, [parts, PurePosixPath(id).parts]))

    def match(self, listed: ListFile | None, notes: list[str]) -> dict[str, int]:
        """The line number of each listed id; what is listed twice counts once and is noted.

        Raises:
            InputError: lines that name no image, or several.
        """
        found: dict[str, int] = {}
        problems = []
        twice = 0
        for number, line in listed.lines if listed else ():
            ids = self._ids(line)
            if len(ids) == 1:
                twice += ids[0] in found
                found.setdefault(ids[0], number)
            elif ids:
                problems.append(
                    f"line {number}: {line} may be any of {', '.join(ids[:3])}: write its path "
                    "with as many folders as tell them apart"
                )
            else:
                problems.append(f"line {number}: the data set holds no image {line}")
        if listed and problems:
            more = f" ({len(problems) - 1} more such lines)" if len(problems) > 1 else ""
            raise InputError(f"{listed.file}, {problems[0]}{more}")
        if listed and twice:
            notes.append(f"{listed.file} names {twice} images again: each counts once")
        return found

    def _ids(self, line: str) -> list[str]:
        """The ids that fit the line best: those that share the most trailing path parts."""
        for image in _image_candidates(line):
            wanted = _parts(image)
            shared = {
                id: max(_common_suffix(wanted, parts) for parts in paths)
                for id, paths in self._by_name.get(wanted[-1], [])
            }
            if shared:
                return [id for id, length in shared.items() if length == max(shared.values())]
        return []


def _image_candidates(line: str) -> list[str]:
    """What the image path may be in 'IMAGE MASK' or 'IMAGE', where names may hold spaces."""
    line = line.replace("\\", "/")
    splits = [
        (line[: space.start()], line[space.end() :])
        for space in re.finditer(r"\s+", line)
        if line[: space.start()].lower().endswith(IMAGE_SUFFIXES)
    ]
    # a mask named like its image decides which space separates the two
    splits.sort(key=lambda split: _parts(split[0])[-1] != _parts(split[1])[-1])
    return [image for image, _ in splits] or [line]


def _parts(path: str) -> tuple[str, ...]:
    """The parts of a path without the suffix of an image file."""
    pure = PurePosixPath(path)
    return (pure.with_suffix("") if pure.suffix.lower() in IMAGE_SUFFIXES else pure).parts


def _common_suffix(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    length = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        length += 1
    return length


def _draw_test(
    defect_classes: Mapping[str, Classes],
    listed: Collection[str],
    settings: SplitSettings,
    seed: int,
) -> set[str]:
    if settings.test_fraction == 0:
        return set()
    free = {id: classes for id, classes in defect_classes.items() if id not in listed}
    count = _count(Fraction(str(settings.test_fraction)), len(defect_classes))
    if count > len(free):
        raise InputError(
            f"split.test_fraction asks for {count} test images, but the lists leave only "
            f"{len(free)} annotated images out: add a val.txt, or shorten the lists"
        )
    return set(stratified_order(free, seed, "test")[:count])


def _take_validation(
    order: list[str], defect_classes: Mapping[str, Classes], fraction: float
) -> set[str]:
    """The share `fraction` of each stratum, rounded; the first of a stratum stays to be trained on.

    Each stratum is rounded on its own: where most images are sound, a common count would leave the
    validation images without defects, and a model could not be chosen by them.
    """
    share = Fraction(str(fraction))
    validation: set[str] = set()
    seen: Counter[Classes] = Counter()
    taken: Counter[Classes] = Counter()
    for id in order:
        stratum = defect_classes[id]
        seen[stratum] += 1
        if seen[stratum] > 1 and seen[stratum] * share - taken[stratum] >= Fraction(1, 2):
            validation.add(id)
            taken[stratum] += 1
    return validation


def _stop_at_missing_mask(
    listed: ListFile | None, lines: Mapping[str, int], annotated: Collection[str]
) -> None:
    bare = [id for id in lines if id not in annotated]
    if listed and bare:
        raise InputError(
            f"{listed.file}, line {lines[bare[0]]}: image {bare[0]} has no mask ({len(bare)} such "
            "lines): add the mask, or take the image out of the list"
        )


def _stop_at_leak(listed: ListFile | None, lines: Mapping[str, int], test: Collection[str]) -> None:
    leaks = [id for id in lines if id in test]
    if listed and leaks:
        raise InputError(
            f"{listed.file}, line {lines[leaks[0]]}: image {leaks[0]} is a test image as well "
            f"({len(leaks)} such lines): keep it in one of the two"
        )


def _count(share: Fraction, total: int) -> int:
    """The share of `total`, half rounded up, at least 1."""
    return max(1, math.floor(share * total + Fraction(1, 2)))


def _names(fractions: Iterable[Fraction]) -> str:
    return ", ".join(f"{share.numerator}/{share.denominator}" for share in sorted(fractions))
