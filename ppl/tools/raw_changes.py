"""What people changed in the raw data since the run that dvc.lock records.

DVC tells that a folder changed and not what in it. The record of what `prepare` read tells that, if
it is of the same run; else the ids of its image sets tell what came and went.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pathspec

from ppl.data.adapters.base import Sample
from ppl.images.pictures import IMAGE_SUFFIXES
from ppl.run.record import TakenFile, files_taken, taken_now
from ppl.tools.dvc_md5 import folder_md5
from ppl.tools.raw_counts import NO_SETS, LastSets

IGNORE_FILE = Path(".dvcignore")

Ids = tuple[str, ...]


@dataclass(frozen=True)
class RawChanges:
    """Ids of images, sorted."""

    images_added: Ids = ()
    images_gone: Ids = ()
    images_replaced: Ids = ()
    masks_added: Ids = ()
    """Drawn ones, in masks/."""
    masks_corrected: Ids = ()
    """Those that began as a model's, added as well."""
    masks_gone: Ids = ()
    masks_changed: Ids = ()
    """Also those of one file that holds the masks of many, which tells no more."""
    others: Ids = ()
    """Other files below the folder, as paths: groups.csv, say."""
    by_content: bool = True
    """Whether replaced and changed ones are known; else what came and went alone."""

    def __bool__(self) -> bool:
        return any(value for value in vars(self).values() if isinstance(value, tuple))

    @property
    def redone(self) -> frozenset[str]:
        """Images whose picture or mask is another one."""
        return frozenset(self.images_replaced) | frozenset(self.masks_changed)


def raw_changes(
    root: Path, samples: Sequence[Sample], last: LastSets | None, stages: Mapping[str, Any]
) -> RawChanges | None:
    """What is other than it was; None where that is not known.

    Args:
        root: data.root.
        samples: those that lie below it now.
        last: what the last run made of them; None after a run that stopped in `prepare`.
        stages: what dvc.lock records, by stage.
    """
    before = _before(root, stages)
    if last is None and before is None:
        return None
    sets = last or NO_SETS
    ids = {sample.id for sample in samples}
    masked = {sample.id for sample in samples if sample.annotated}
    if before is None:
        found = _by_ids(samples, sets)
    else:
        now = _files(root, before)
        found = replace(
            _by_files(samples, sets, before, now),
            others=_others(root, samples, before, now, pictures=last is None),
        )
    return replace(
        found,
        images_gone=tuple(sorted(sets.images - ids)),
        masks_gone=tuple(sorted(sets.masked - masked)),
    )


def _by_ids(samples: Sequence[Sample], sets: LastSets) -> RawChanges:
    masks = [one for one in samples if one.annotated and one.id not in sets.masked]
    return RawChanges(
        images_added=_ids(samples, lambda one: one.id not in sets.images),
        masks_added=_ids(masks, lambda one: not one.corrected),
        masks_corrected=_ids(masks, lambda one: one.corrected),
        by_content=False,
    )


def _by_files(
    samples: Sequence[Sample],
    sets: LastSets,
    before: Mapping[str, TakenFile],
    now: Mapping[str, TakenFile],
) -> RawChanges:
    def other(file: Path) -> bool:
        name = file.as_posix()
        # one that went since the samples were listed is left to the next look
        return name in now and (name not in before or before[name].md5 != now[name].md5)

    def was_there(file: Path, id: str, known: frozenset[str]) -> bool:
        return file.as_posix() in before or id in known

    def had_mask(file: Path, id: str) -> bool:
        # one file may hold the masks of all: that it was there says nothing of this one
        return id in sets.masked if holders[file] > 1 else was_there(file, id, sets.masked)

    images = [one for one in samples if other(one.image)]
    masks = [(one, one.mask) for one in samples if one.mask and other(one.mask)]
    holders = Counter(mask for _, mask in masks)
    new = [one for one, mask in masks if not had_mask(mask, one.id)]
    return RawChanges(
        images_added=_ids(images, lambda one: not was_there(one.image, one.id, sets.images)),
        images_replaced=_ids(images, lambda one: was_there(one.image, one.id, sets.images)),
        masks_added=_ids(new, lambda one: not one.corrected),
        masks_corrected=_ids(new, lambda one: one.corrected),
        masks_changed=tuple(sorted(one.id for one, mask in masks if had_mask(mask, one.id))),
    )


def _ids(samples: Sequence[Sample], wanted: Callable[[Sample], bool]) -> Ids:
    return tuple(sorted(sample.id for sample in samples if wanted(sample)))


def _others(
    root: Path,
    samples: Sequence[Sample],
    before: Mapping[str, TakenFile],
    now: Mapping[str, TakenFile],
    *,
    pictures: bool,
) -> Ids:
    """Files that are neither image nor mask.

    Args:
        pictures: whether those that went count, too, for want of the ids that tell of them.
    """
    read = {file.as_posix() for one in samples for file in (one.image, one.mask) if file}
    changed = {
        name
        for name in before.keys() | now.keys()
        if name not in read
        and (name not in before or name not in now or before[name].md5 != now[name].md5)
        and (pictures or name in now or Path(name).suffix.lower() not in IMAGE_SUFFIXES)
    }
    return tuple(sorted({_told(Path(name).relative_to(root)) for name in changed}))


_NO_DATA = ("review", "to_correct")
"""Below the data, and a person's work on them: .dvcignore leaves it alone inside the project, but
DVC looks at it where the data lie outside."""


def _told(path: Path) -> str:
    return f"{path.parts[0]}/ (no data)" if path.parts[0] in _NO_DATA else path.as_posix()


def _before(root: Path, stages: Mapping[str, Any]) -> dict[str, TakenFile] | None:
    """The files below `root` that the recorded run read; None where the record is of another."""
    taken = files_taken()
    if taken is None:
        return None
    ignored = _ignored()
    files = {
        name: file
        for name, file in taken.items()
        if Path(name).is_relative_to(root) and not ignored(Path(name))
    }
    deps = stages.get("prepare", {}).get("deps") or ()
    recorded = {str(dep.get("md5")) for dep in deps if Path(dep["path"]) == root}
    md5 = folder_md5(root, {Path(name): file.md5 for name, file in files.items()})
    return files if md5 in recorded else None


def _files(root: Path, before: Mapping[str, TakenFile]) -> dict[str, TakenFile]:
    """The files below `root` as they are, but for those that go meanwhile."""
    ignored = _ignored()
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not ignored(file)]
    try:
        return taken_now(files, before)
    except FileNotFoundError:
        return taken_now([file for file in files if file.is_file()], before)


def _ignored() -> Callable[[Path], bool]:
    """Whether DVC leaves a file alone; outside of the project it leaves none."""
    lines = IGNORE_FILE.read_text(encoding="utf-8").splitlines() if IGNORE_FILE.is_file() else []
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    here = Path.cwd()

    def ignored(file: Path) -> bool:
        absolute = Path(here, file)
        return absolute.is_relative_to(here) and spec.match_file(absolute.relative_to(here))

    return ignored
