"""Which photos show one part: the groups that a split may keep together and an audit counts.

A factory photographs a part several times, at other exposures or after turning it. The data set
knows of it by its file names (magnetic_tile), by a table (folder), or not at all.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    DataSettings,
    Sample,
    load_adapter,
    no_groups,
)
from ppl.data.near_duplicates import Pairs, components, describe, pairs_in_blocks
from ppl.data.shared_parts import looks, shared_parts
from ppl.data.tables import known_as, read_rows

GROUPS_FILE = "groups.csv"
_COLUMNS = ["image", "group"]


def find_groups(raw: Path, samples: Sequence[Sample], settings: DataSettings) -> dict[str, str]:
    """The group of each image by id, as `data.groups` asks; {} where there are none.

    Raises:
        InputError: the pattern finds nothing in an image's path; a groups.csv that does not fit.
    """
    if settings.groups == "none":
        return {}
    if settings.groups == "pattern":
        found: Mapping[str, str] = by_pattern(raw, samples, settings.group_pattern)
    elif settings.groups == "content":
        found = by_content(raw, samples, settings)
    else:
        found = load_adapter(settings.name).find_groups(raw, samples, settings)
    # a part is one part, in whichever bytes a system writes its accents
    return {id: unicodedata.normalize("NFC", group) for id, group in found.items()}


def by_pattern(raw: Path, samples: Sequence[Sample], pattern: str) -> dict[str, str]:
    """What the regular expression finds in each image's path below `raw`, '/'-separated.

    Its parentheses name the group, joined by a dash where there are several; without any, the
    whole match does.

    Raises:
        InputError: paths without a match, or with an empty one.
    """
    compiled = re.compile(unicodedata.normalize("NFC", pattern))
    groups, missed = {}, []
    for sample in samples:
        path = unicodedata.normalize("NFC", sample.image.relative_to(raw).as_posix())
        match = compiled.search(path)
        found = [part or "" for part in match.groups() or (match.group(),)] if match else []
        if any(found):
            groups[sample.id] = "-".join(found)
        else:
            missed.append(path)
    if missed:
        raise InputError(
            f"data.group_pattern {pattern!r} finds nothing in {missed[0]} ({len(missed)} of "
            f"{len(samples)} images), or nothing but an empty text: each image needs a group"
        )
    return groups


def by_table(raw: Path, samples: Sequence[Sample], settings: DataSettings) -> dict[str, str]:
    """The groups of RAW/groups.csv, with the columns image and group; {} without that file.

    `image` is the path below images/, with or without suffix.

    Raises:
        InputError: no such columns; an image that is missing, unknown or in two groups.
    """
    file = raw / GROUPS_FILE
    if not file.is_file():
        return {}
    groups: dict[str, str] = {}
    known = {sample.id for sample in samples}
    for where, (image, group) in read_rows(file, _COLUMNS):
        id = known_as(image, known)
        if id is None:
            raise InputError(f"{where}: the data set holds no image {image!r}")
        if not group:
            raise InputError(f"{where}: image {image} has no group")
        if groups.setdefault(id, group) != group:
            raise InputError(
                f"{where}: image {image} is in the groups {groups[id]} and {group}: "
                "an image shows one part"
            )
    missing = sorted(known - groups.keys())
    if missing:
        raise InputError(
            f"{file} misses {len(missing)} of {len(known)} images, e.g. {missing[0]}: add a line "
            "for each, images without masks included; a part photographed once is a group of one"
        )
    return groups


def by_content(raw: Path, samples: Sequence[Sample], settings: DataSettings) -> dict[str, str]:
    """Images that look the same, also turned or mirrored, are one group, named by its first.

    So are those of which a half or a quarter is the same: pictures that were joined from strips.

    Raises:
        InputError: `data.same_part` does not say from where on images look the same.
    """
    if settings.same_part is None:
        raise InputError(
            "data.same_part is null, but groups by content need a similarity from which two images "
            "show one part, e.g. 0.9"
        )
    seen = looks(sample.image for sample in samples)
    alike = chain(
        pairs_in_blocks(seen.thumbnails, threshold=settings.same_part),
        [shared_parts(seen, threshold=settings.same_part)],
    )
    return _merged({sample.id: sample.id for sample in samples}, samples, alike)


def told_by_names(settings: DataSettings) -> bool:
    """Whether names tell which photos show one part, or each image is its own, and not likeness.

    Such a part stays itself, whatever images come or go.
    """
    if settings.groups in ("none", "pattern"):
        return True
    find = load_adapter(settings.name).find_groups
    return settings.groups == "own" and find in (by_table, no_groups)


def parts_of(
    groups: Mapping[str, str], samples: Sequence[Sample], settings: DataSettings
) -> dict[str, str]:
    """The part of each image: its group, where a person named it or likeness made it.

    Groups that the file names of a published data set tell are merged where they look alike. A
    person is taken at their word: different parts in one fixture may look more alike than that.
    """
    find = load_adapter(settings.name).find_groups
    if settings.groups != "own" or find in (by_table, by_content):
        return dict(groups)
    return merge_alike(groups, samples, settings)


def merge_alike(
    groups: Mapping[str, str], samples: Sequence[Sample], settings: DataSettings
) -> dict[str, str]:
    """Groups of which an image looks the same as one of another group, merged into one part.

    Names do not tell of a part that was photographed again: many magnetic tiles were, and count as
    another tile by their frame numbers. `data.same_part` is the similarity from which two images
    show one part; null looks at none. A part is named by the first of its groups.
    """
    if settings.same_part is None or not groups:
        return dict(groups)
    alike = pairs_in_blocks(
        describe(sample.image for sample in samples), threshold=settings.same_part
    )
    return _merged(groups, samples, alike)


def _merged(
    groups: Mapping[str, str], samples: Sequence[Sample], alike: Iterable[Pairs]
) -> dict[str, str]:
    """Groups merged of which samples are among the pairs, named by the first."""
    names = sorted(set(groups.values()))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = torch.tensor([number_of[groups[sample.id]] for sample in samples])
    first = components(len(names), ((numbers[found.one], numbers[found.other]) for found in alike))
    return {id: names[first[number_of[group]]] for id, group in groups.items()}
