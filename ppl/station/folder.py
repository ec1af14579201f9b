"""Which images are predicted, and under which names the results list them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.images.pictures import IMAGE_SUFFIXES, files_below
from ppl.station.places import PICTURES

MARK = "predicted_by.json"
"""Lies in a folder of results, and says which model made them."""


@dataclass(frozen=True)
class Found:
    """One image to predict."""

    name: str
    """As the results list it; no other image has it."""
    file: Path


@dataclass(frozen=True)
class Stamp:
    """By which a file is told from a later version of itself."""

    bytes: int
    modified: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class Listing:
    """What lies in the folders."""

    found: tuple[Found, ...]
    left_alone: int
    """Files that are no images by their names, and links to folders."""
    problems: tuple[str, ...]
    """What of the folders is not among these images, and why."""


def stamp_of(file: Path) -> Stamp | None:
    """The stamp of a file as it is now; None where there is none, as `why_missing` tells."""
    try:
        known = file.stat()
    except OSError:
        return None
    return Stamp(known.st_size, known.st_mtime_ns)


GONE = "the file is gone"


def why_missing(file: Path) -> str:
    """Why a file has no stamp."""
    try:
        file.lstat()
    except PermissionError:
        return "may not be reached: change the permissions of its folder"
    except OSError:
        return GONE
    return "is a link that leads nowhere"


def stop_at_wrong_paths(roots: Sequence[Path], out: Path) -> None:
    """Check where images come from and where results go.

    Raises:
        InputError: a path that does not exist, or images among the results.
    """
    for root in roots:
        if stamp_of(root) is None:
            why = why_missing(root)
            raise InputError(
                f"{root} does not exist: name a folder of images, or an image"
                if why == GONE
                else f"{root} {why}"
            )
        place = root.resolve()
        results = out.resolve()
        if place == results or any(
            place.is_relative_to(results / pictures) for pictures in PICTURES
        ):
            raise InputError(
                f"{root} is where the results go: give --out another folder, "
                f"such as {root.resolve().parent / 'predicted'}"
            )


def list_images(roots: Sequence[Path], out: Path) -> Listing:
    """All images, in the order of their names.

    A single folder's images are named by their paths in it. With several paths, the name of the
    folder comes before; a file's name is its own. Folders of results are left alone. What cannot be
    listed, or would have another image's name, is a problem.
    """
    known: dict[str, Path] = {}
    left_alone: list[Path] = []
    problems: list[str] = []
    for root in roots:
        single = os.path.isfile(root)  # noqa: PTH113
        prefix = f"{root.resolve().name}/" if len(roots) > 1 else ""
        for file in [root] if single else _files_in(root, out, left_alone, problems):
            if not single and file.suffix.lower() not in IMAGE_SUFFIXES:
                left_alone.append(file)
                continue
            name = as_cell(file.name if single else prefix + file.relative_to(root).as_posix())
            other = known.setdefault(name, file)
            if other is not file and other.resolve() != file.resolve():
                problems.append(
                    f"{other} and {file} would both be {name} in the results: give the folder "
                    "that holds both, or predict them into two folders"
                )
    found = tuple(Found(name, file) for name, file in known.items())
    return Listing(found, len(left_alone), tuple(problems))


def _files_in(root: Path, out: Path, left_alone: list[Path], problems: list[str]) -> Iterator[Path]:
    """Files below a folder; links to folders and what cannot be listed go into the lists."""
    results = out.resolve()
    if stamp_of(root) is None:
        why = why_missing(root)
        problems.append(f"folder {root} {'is gone' if why == GONE else why}")

    def left_out(folder: Path) -> bool:
        # what may not be entered makes pathlib raise
        if os.path.islink(folder):  # noqa: PTH114
            left_alone.append(folder)
            return True
        return stamp_of(folder / MARK) is not None or folder.resolve() == results

    yield from files_below(root, left_out, lambda problem: problems.append(str(problem)))
