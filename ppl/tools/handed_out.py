"""Which masks went out to start from: one that comes back as it went was not looked at for sure.

The list lies with what went out, since the next run of the pipeline makes other masks; and once
more in the project, since most tools give back a file that lies elsewhere.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ppl.core.cells import as_cell, as_text
from ppl.core.declared import SCRATCH
from ppl.core.errors import InputError
from ppl.data.adapters.base import without_suffix
from ppl.formats import files
from ppl.formats.base import Item, Mask
from ppl.images.files import read_stored_mask

LIST = "handed_out.csv"
"""In the folder that went out: an image and the digest of its mask a line."""

_HEAD = ("image", "mask")
_READ_BYTES = 64 << 20
"""A list of more bytes is not read."""
_ABOVE = 2
"""In how many folders above what came back a list is looked for: images/ holds none itself."""

Digests = Mapping[str, set[str]]
"""By image, the masks that went out; several where several rounds did."""


def digest(mask: Mask) -> str:
    """Of the class indices of a mask, (H, W), however its file stores them."""
    content = hashlib.blake2b(mask.tobytes(), digest_size=16)
    content.update(repr(mask.shape).encode())
    return content.hexdigest()


class HandedOut:
    """Takes down the masks of items that go out."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def noted(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items as they are; whoever writes a mask says what is wrong with it."""
        for item in items:
            if item.start is not None:
                try:
                    mask = read_stored_mask(item.start).values.numpy()
                    self._rows.append((without_suffix(item.name), digest(mask)))
                except InputError:
                    pass
            yield item

    def write(self, folder: Path) -> None:
        """Add them to the lists of the folder and of the project."""
        _add(folder / LIST, self._rows)
        _add(_of_project(), self._rows)


def _add(file: Path, rows: Iterable[tuple[str, str]]) -> None:
    known = [(id, one) for id, some in _read(file).items() for one in sorted(some)]
    text = io.StringIO()
    cells = ((as_cell(id), one) for id, one in dict.fromkeys([*known, *rows]))
    csv.writer(text, lineterminator="\n").writerows([_HEAD, *cells])
    files.whole(file, lambda half: half.write_bytes(text.getvalue().encode("utf-8")))


def went_out(path: Path) -> Digests:
    """What went out of what came back: by the list with it, else by that of the project.

    Args:
        path: what came back: a folder, a file or an archive.
    """
    found = dict(_read(_of_project()))
    here = path.absolute()
    for folder in reversed((here, *list(here.parents)[:_ABOVE])):
        found |= _read(folder / LIST)
    return found


def _of_project() -> Path:
    return SCRATCH / LIST


def _read(file: Path) -> Digests:
    """A list; what cannot be read of it counts as none."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    try:
        if file.stat().st_size > _READ_BYTES:
            return {}
        text = file.read_text(encoding="utf-8", errors="replace")
        for row in csv.reader(text.splitlines()[1:]):
            if len(row) == len(_HEAD):
                found[as_text(row[0])].add(row[1])
    except (OSError, csv.Error):
        pass
    return found
