"""Which image of the data a name from a tool means."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ppl.core.errors import InputError
from ppl.data.adapters.base import by_id, without_suffix
from ppl.formats.source import leaves
from ppl.images.pictures import IMAGE_SUFFIXES, files_below

_SHOWN = 80
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")


def plain(text: str) -> str:
    """A text with what no terminal shows as ASCII: half a letter cannot even be written."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown(name: str) -> str:
    """A name from a file, as a message can show it: neither too long nor with odd characters."""
    return plain(name[:_SHOWN]) + ("..." if len(name) > _SHOWN else "")


@dataclass(frozen=True)
class ImageNames:
    """The images below a folder."""

    folder: Path
    files: Mapping[str, Path]
    """By id: the path below the folder, without suffix."""

    def id(self, name: str) -> str:
        """The image that a name means: its path, with or without suffix, or what only it can mean.

        Label Studio puts eight digits before the name of what is uploaded: the name without them is
        tried last.

        Raises:
            InputError: it leaves the folder, no image has the name, or several do.
        """
        inside = self._inside(name)
        given = without_suffix(inside)
        if inside in self._by_file:
            return self._by_file[inside]
        # an id may itself end like a file's name: photo.jpg of photo.jpg.png
        for id in (inside, given):
            if id in self.files:
                return id
        uploaded = _UPLOADED.fullmatch(PurePosixPath(given).name)
        for id in dict.fromkeys((given, inside, *([uploaded[1]] if uploaded else []))):
            alike = [
                other for other in self._by_end.get(_plain(id), []) if _folders_agree(id, other)
            ]
            if len(alike) == 1:
                return alike[0]
            if alike:
                raise InputError(
                    f"{len(alike)} images have this name in other folders, among them "
                    f"{alike[0]}: keep the folders of images/ in the tool"
                )
        raise InputError(f"no image below {self.folder} has this name")

    def _inside(self, name: str) -> str:
        """A path below the folder of images."""
        path = unicodedata.normalize("NFC", name).replace("\\", "/")
        parts: list[str] = []
        for part in path.split("/") if not leaves(path.replace("..", "__")) else []:
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
    def _by_file(self) -> dict[str, str]:
        return {f"{id}{file.suffix}": id for id, file in self.files.items()}

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """The ids of each file name, as an upload may have rewritten it."""
        found: dict[str, list[str]] = {}
        for id in self.files:
            found.setdefault(_plain(id), []).append(id)
        return found


def _folders_agree(name: str, id: str) -> bool:
    """Whether the folders of one path are the last ones of the other: tools add some, or drop all.

    Photos of two folders often share their names, and one is never taken for the other.
    """
    pairs = zip(reversed(name.split("/")[:-1]), reversed(id.split("/")[:-1]), strict=False)
    return all(one == other for one, other in pairs)


def _plain(id: str) -> str:
    """A file name as Label Studio stores an uploaded one: `my part(1)` is `my_part1`."""
    return re.sub(r"[^-\w.]", "", PurePosixPath(id).name.strip().replace(" ", "_"))


def image_names(folder: Path, mask_suffix: str = "") -> ImageNames:
    """The images below a folder.

    Args:
        mask_suffix: `data.mask_suffix`: what is named so is a mask.

    Raises:
        InputError: there are none, or two differ by their suffix alone.
    """
    files = (
        (without_suffix(file.relative_to(folder).as_posix()), file)
        for file in files_below(folder, lambda below: False)
        if file.suffix.lower() in IMAGE_SUFFIXES
    )
    found = by_id(
        ((id, file) for id, file in files if not (mask_suffix and id.endswith(mask_suffix))),
        "image",
    )
    if not found:
        raise InputError(f"{folder} holds no image: name the data's folder with --root")
    return ImageNames(folder, found)
