"""What a decision is about to do, noted before it does it: a start after a kill ends that alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.review.prepared import inside, read_text


@dataclass(frozen=True)
class Begun:
    """One decision between its row and its mask."""

    image: str
    saved_as: str
    """Path of its mask, below the folder of masks."""
    marks: tuple[str, ...]
    """Marks of the image's rows after each row that is added: the last one with all of them."""
    written: str = ""
    """Digest of the mask that comes; "" where none does."""
    gone: str = ""
    """Digest of the mask that goes, which an earlier decision wrote; "" where none does."""
    changed: int = 0
    """When that was written, in ns: one that somebody puts there later stays, even if alike."""

    def target(self, masks: Path) -> Path:
        """Where the mask lies."""
        return inside(masks, self.saved_as)

    def pending(self, masks: Path) -> Path:
        """A place beside it which no reader of masks looks at."""
        return self.target(masks).with_name(f".{self.written}.half")

    def as_bytes(self) -> bytes:
        """As `read_begun` reads it."""
        return json.dumps(asdict(self)).encode()


def read_begun(file: Path) -> Begun | None:
    """What was noted; None where nothing was, or not to its end: then no row was added either."""
    if not file.is_file():
        return None
    try:
        content: Any = json.loads(read_text(file))
        text = {name: str(content[name]) for name in ("image", "saved_as", "written", "gone")}
        begun = Begun(
            **text, marks=tuple(map(str, content["marks"])), changed=int(content["changed"])
        )
        inside(file.parent, begun.saved_as)
        inside(file.parent, f".{begun.written}.half")
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return begun


def changed_at(file: Path) -> int:
    """When a file was written, in ns; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
