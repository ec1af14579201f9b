"""Split lists: which images a person, or the authors of a data set, put into which set."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from ppl.core.errors import InputError
from ppl.data.adapters.base import without_suffix
from ppl.images.pictures import IMAGE_SUFFIXES

DEFAULT_LISTS = Path("data/lists")
"""The one folder of lists that may hold none: then the fractions choose."""


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
class Named:
    """The images that one list names."""

    file: str
    line_of: Mapping[str, int]
    """The number of the line that names an image, by its id; of several the first."""


@dataclass(frozen=True)
class NamedLists:
    """The images that the lists of one split name; None where a file is absent."""

    labeled: Named | None
    unlabeled: Named | None
    test: Named | None

    @property
    def to_train(self) -> set[str]:
        """The ids that are named to be trained on, with or without their masks."""
        return {id for one in (self.labeled, self.unlabeled) if one for id in one.line_of}


def read_lists(folder: Path, labeled_fraction: Fraction, *, optional: bool) -> Lists | None:
    """The list files in `folder`, or None where it holds none and `optional` allows that.

    labeled.txt, unlabeled.txt and val.txt stand in the folder itself, or the first two stand in a
    folder for each fraction (1_8 for 1/8), which `labeled_fraction` picks. Each is optional, but
    unlabeled.txt needs labeled.txt.

    Raises:
        InputError: no such folder, no lists where they are not optional, no lists for this
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
        chosen = fractions.get(labeled_fraction)
        if chosen is None:
            raise InputError(
                f"{folder} has no lists for split.labeled_fraction {labeled_fraction}; "
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
    if others or not optional:
        found = f" but {', '.join(others[:5])}" if others else ""
        raise InputError(
            f"{folder} (split.lists) holds no list{found}: {expected}; "
            f"set split.lists to {DEFAULT_LISTS} to split by fraction"
        )
    return None


def match_lists(
    lists: Lists | None, image_paths: Mapping[str, str]
) -> tuple[NamedLists, list[str]]:
    """Which images the lists name, and what a person should know of them.

    Args:
        image_paths: path of every image below the data set's root, '/'-separated, by id.

    Raises:
        InputError: lines that name no image, or several.
    """
    if lists is None:
        return NamedLists(None, None, None), []
    index = ImageIndex(image_paths)
    labeled, of_labeled = index.match(lists.labeled)
    unlabeled, of_unlabeled = index.match(lists.unlabeled)
    test, of_test = index.match(lists.test)
    return NamedLists(labeled, unlabeled, test), [*of_labeled, *of_unlabeled, *of_test]


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


class ImageIndex:
    """Images by file name, to find what a line of a list means in any folder layout."""

    def __init__(self, image_paths: Mapping[str, str]) -> None:
        self._by_name: defaultdict[str, list[tuple[str, list[tuple[str, ...]]]]] = defaultdict(list)
        for id, path in sorted(image_paths.items()):
            parts = _parts(path)
            self._by_name[parts[-1]].append((id, [parts, PurePosixPath(id).parts]))

    def match(self, listed: ListFile | None) -> tuple[Named | None, list[str]]:
        """The images that a list names; what is listed twice counts once and is noted.

        Raises:
            InputError: lines that name no image, or several.
        """
        if listed is None:
            return None, []
        found: dict[str, int] = {}
        problems = []
        twice = 0
        for number, line in listed.lines:
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
        if problems:
            more = f" ({len(problems) - 1} more such lines)" if len(problems) > 1 else ""
            raise InputError(f"{listed.file}, {problems[0]}{more}")
        again = f"{listed.file} names {twice} images again: each counts once"
        return Named(listed.file, found), [again] if twice else []

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
    """The parts of a path without the suffix of an image file, in composed Unicode."""
    return PurePosixPath(without_suffix(path)).parts


def _common_suffix(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    length = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        length += 1
    return length


def _names(fractions: Iterable[Fraction]) -> str:
    return ", ".join(f"{share.numerator}/{share.denominator}" for share in sorted(fractions))
