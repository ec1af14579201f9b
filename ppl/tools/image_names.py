"""Which image of the data a name from a tool means."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ppl.core.errors import InputError
from ppl.data.adapters.base import by_id, without_suffix
from ppl.formats.source import leaves
from ppl.images.pictures import IMAGE_SUFFIXES, files_below

_SHOWN = 80


@dataclass(frozen=True)
class ImageNames:
    """The images below a folder."""

    folder: Path
    files: Mapping[str, Path]
    """By id: the path below the folder, without suffix."""

    def id(self, name: str, also: Iterable[str] = ()) -> str:
        """The image that a name means: its path, with or without suffix, or the end of only one.

        Args:
            name: as the tool has it.
            also: other names that it may have had, tried after it.

        Raises:
            InputError: it leaves the folder, no image has the name, or several do.
        """
        tried = [without_suffix(self._inside(each)) for each in (name, *also)]
        for id in tried:
            if id in self.files:
                return id
        for id in tried:
            alike = self._by_end.get(_plain(id), [])
            exact = [other for other in alike if f"/{other}".endswith(f"/{id}")]
            if len(exact or alike) == 1:
                return (exact or alike)[0]
            if alike:
                raise InputError(
                    f"{len(alike)} images have this name in other folders, among them "
                    f"{alike[0]}: keep the folders of images/ in the tool"
                )
        raise InputError(f"no image below {self.folder} has this name")

    def _inside(self, name: str) -> str:
        """A path below the folder of images."""
        plain = unicodedata.normalize("NFC", name).replace("\\", "/")
        parts: list[str] = []
        for part in plain.split("/") if not leaves(plain.replace("..", "__")) else []:
            if part == ".." and not parts:
                break
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        else:
            if parts:
                return "/".join(parts[1:] if len(parts) > 1 and parts[0] == "images" else parts)
        raise InputError(
            f"the path {name[:_SHOWN]!r} leads out of the images: expected one below images/"
        )

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """The ids of each file name, as an upload may have rewritten it."""
        found: dict[str, list[str]] = {}
        for id in self.files:
            found.setdefault(_plain(id), []).append(id)
        return found


def _plain(id: str) -> str:
    """A file name as Label Studio stores an uploaded one: `my part(1)` is `my_part1`."""
    return re.sub(r"[^-\w.]", "", PurePosixPath(id).name.strip().replace(" ", "_"))


def image_names(folder: Path) -> ImageNames:
    """The images below a folder.

    Raises:
        InputError: there are none, or two differ by their suffix alone.
    """
    found = pictures_below(folder)
    if not found:
        raise InputError(f"{folder} holds no image: name the data's folder with --root")
    return ImageNames(folder, found)


def pictures_below(folder: Path) -> dict[str, Path]:
    """The images or masks below a folder by their id; {} where it is not there.

    Raises:
        InputError: two differ by their suffix alone.
    """
    files = (
        file
        for file in files_below(folder, lambda below: False)
        if file.suffix.lower() in IMAGE_SUFFIXES
    )
    return by_id(
        ((without_suffix(file.relative_to(folder).as_posix()), file) for file in files), "image"
    )
