"""Where the pictures of images lie: each image has a place of its own, whatever its name is."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath

from ppl.images.pictures import IMAGE_SUFFIXES

MASKS, OVERLAYS = "masks", "overlays"
"""Folders of results. An image's pictures have the same place in both, but for the suffix."""

PICTURES = (MASKS, OVERLAYS)

_SUFFIXES = (".png", ".jpg")
_LONGEST_PART, _LONGEST = 255, 1000
"""Bytes that file systems take of one name, and that the shortest of systems takes of a path."""
_KEPT = 24
"""Characters of a name that a hash makes short."""


def overlay_of(mask: str) -> str:
    """The path of the overlay beside a mask."""
    return f"{OVERLAYS}/{PurePosixPath(mask).relative_to(MASKS).with_suffix('.jpg')}"


class Places:
    """Remembers which image has which place."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._owners: dict[str, str] = {}
        """The image, by the place without the suffix of a picture."""
        self._folders: set[str] = set()
        """Places that are folders of others."""

    def mask_of(self, name: str) -> str:
        """Where the mask of an image goes; another image's mask or overlay never lies there.

        `a.jpg` has `a.png`, unless another image, such as `a.png`, has it: then `a.jpg.png`. Where
        that is taken or too long, or a folder is in the way, the name is cut and gets a hash.
        """
        place = next(place for place in _candidates(name) if self._is_free(place, name))
        mask = f"{MASKS}/{place}.png"
        self.take(mask, name)
        return mask

    def take(self, mask: str, name: str) -> None:
        """Give an image the place of a mask."""
        place = PurePosixPath(mask).relative_to(MASKS).with_suffix("")
        self._owners[_same(place)] = name
        self._folders.update(map(_same, place.parents))

    def leave(self, mask: str) -> None:
        """Let others have the place."""
        place = PurePosixPath(mask).relative_to(MASKS).with_suffix("")
        self._owners.pop(_same(place), None)

    def _is_free(self, place: PurePosixPath, name: str) -> bool:
        if self._owners.get(_same(place), name) != name or _is_too_long(place):
            return False
        folders = place.parents[:-1]
        in_the_way = any(_same(f"{place}{suffix}") in self._folders for suffix in _SUFFIXES) or any(
            folder.suffix.lower() in _SUFFIXES and _same(folder.with_suffix("")) in self._owners
            for folder in folders
        )
        return not in_the_way and not self._is_left(place, folders)

    def _is_left(self, place: PurePosixPath, folders: Sequence[PurePosixPath]) -> bool:
        """Whether what images left that have no row any more is in the way."""
        # names that a file system does not take make pathlib raise
        return any(
            os.path.isdir(self._out / pictures / f"{place}{suffix}")  # noqa: PTH112
            or any(os.path.isfile(self._out / pictures / folder) for folder in folders)  # noqa: PTH113
            for pictures, suffix in zip(PICTURES, _SUFFIXES, strict=True)
        )


def _is_too_long(place: PurePosixPath) -> bool:
    parts = [len(part.encode()) for part in place.with_name(f"{place.name}.png").parts]
    return max(parts) > _LONGEST_PART or sum(parts) + len(parts) > _LONGEST


def _candidates(name: str) -> Iterator[PurePosixPath]:
    """Places for an image, the best first."""
    path = PurePosixPath(name)
    short = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
    yield short
    yield path
    for number in count():
        text = f"{name}/{number}".encode()
        yield PurePosixPath(
            f"{short.name[:_KEPT]}.{hashlib.blake2b(text, digest_size=8).hexdigest()}"
        )


def _same(place: PurePosixPath | str) -> str:
    """The same for paths that some file system takes for one."""
    return unicodedata.normalize("NFC", str(place)).casefold()
