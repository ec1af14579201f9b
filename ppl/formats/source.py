"""What comes back as one thing: the files of a folder, of a .zip archive, or a single file.

An archive is never unpacked as a whole: a file of it is, in a folder of the moment, while it is
read.
"""

import json
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from ppl.core.errors import InputError
from ppl.images.pictures import files_below

MOST_JSON = 100_000_000
"""Bytes of a JSON file: read, it takes 3 GB of memory at worst, and usually 1 GB."""

MOST_UNPACKED = 1_000_000_000
"""Bytes of one file in an archive."""

MOST_LISTED = 2**26
"""Bytes of an archive's list of files, half a million of them."""

_END = struct.Struct("<4s4H2LH")
_LONGEST_COMMENT = 2**16
_LONGEST_SUFFIX = 8


class Source(ABC):
    """Files by their paths, '/' between the parts."""

    path: Path
    names: list[str]
    """All that can be read, sorted."""

    @abstractmethod
    def file(self, name: str) -> Any:
        """A context that gives the path at which a file of `names` can be read."""

    def named(self, *suffixes: str) -> list[str]:
        """Those that end so, in small letters or capitals."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    def json(self, name: str) -> Any:
        """What a JSON file holds.

        Raises:
            InputError: it is too large, cut short or no JSON.
        """
        with self.file(name) as file:
            return read_json(file, name)


def open_source(path: Path) -> Source:
    """The files at a path.

    Raises:
        InputError: nothing is there, or an archive that cannot be read.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: name a folder, a file or a .zip archive")
    if path.suffix.lower() == ".zip":
        return _Archive(path)
    return _Single(path)


class _Folder(Source):
    def __init__(self, path: Path) -> None:
        self.path = path
        # what links lead to is not ours to read
        found = files_below(path, lambda folder: folder.is_symlink())
        self.names = sorted(file.relative_to(path).as_posix() for file in found)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        yield self.path / name


class _Single(Source):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = [path.name]

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        yield self.path


class _Archive(Source):
    def __init__(self, path: Path) -> None:
        self.path = path
        _stop_at_long_list(path)
        try:
            # held open: its list is read once, not with every file
            self._archive = zipfile.ZipFile(path)
            listed = [each for each in self._archive.infolist() if not each.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise InputError(f"{path} is no sound .zip archive ({error})") from None
        for each in listed:
            if leaves(each.filename):
                raise InputError(
                    f"{path} holds {each.filename[:80]!r}, a path that leads out of the archive: "
                    "it was not made by an annotation tool"
                )
        self.names = sorted({each.filename for each in listed if _wanted(each.filename)})

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory() as folder:
            # a name in an archive may be longer than those of a file system
            target = Path(folder, f"file{PurePosixPath(name).suffix[:_LONGEST_SUFFIX]}")
            target.write_bytes(self._content(name))
            try:
                yield target
            except InputError as error:
                # the file of the moment is nobody's
                raise InputError(str(error).replace(str(target), name)) from None

    def _content(self, name: str) -> bytes:
        try:
            with self._archive.open(name) as member:
                content = member.read(MOST_UNPACKED + 1)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise InputError(f"{name} cannot be read from {self.path} ({error})") from None
        except Exception as error:  # decompressors have errors of their own
            raise InputError(f"{name} in {self.path} is damaged ({error})") from None
        if len(content) > MOST_UNPACKED:
            raise InputError(f"{name} in {self.path} has more than {MOST_UNPACKED:,} bytes")
        return content


def _wanted(name: str) -> bool:
    """Neither hidden nor left by macOS."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _stop_at_long_list(path: Path) -> None:
    """Python reads all of an archive's list, however long it is."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LONGEST_COMMENT - _END.size))
        tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + _END.size:
        raise InputError(f"{path} is no sound .zip archive: it is cut short, or something else")
    if _END.unpack_from(tail, place)[5] > MOST_LISTED:
        raise InputError(
            f"{path} lists too many files, or is above 4 GB: unpack it, name the folder"
        )


def leaves(name: str) -> bool:
    """Whether a path is absolute, of a drive, or leads above where it starts."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ":" in parts[0] or ".." in parts


def read_json(file: Path, name: str) -> Any:
    """What a JSON file holds; `name` is how messages call it.

    Raises:
        InputError: it is too large, cut short or no JSON, or the system does not let it be read.
    """
    try:
        return _json_of(file, name)
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror})") from None


def _json_of(file: Path, name: str) -> Any:
    size = file.stat().st_size
    if size > MOST_JSON:
        raise InputError(
            f"{name} has {size / 1e6:,.0f} MB, more than {MOST_JSON / 1e6:,.0f}: export fewer "
            "images at a time"
        )
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"))
    except RecursionError:
        raise InputError(f"{name} is nested too deeply to be an annotation") from None
    except ValueError as error:
        raise InputError(f"{name} is cut short or no JSON ({error})") from None
