"""Remove the empty list of locks that a kill -9 may leave.

DVC rewrites the list in place: killed in that moment, it leaves an empty one, and refuses to run
from then on. `make unlock` does the same without Python, before there is an environment.
"""

from pathlib import Path

DVC_FILES = Path(".dvc/tmp")


def unlock() -> list[Path]:
    """Remove the empty lists of this project and of its experiments' copies; what was removed."""
    empty = [file for file in sorted(DVC_FILES.rglob("rwlock")) if file.stat().st_size == 0]
    for file in empty:
        file.unlink()
    return empty
