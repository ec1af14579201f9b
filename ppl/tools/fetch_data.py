"""Fetch a published data set at its pinned revision.

data/published/NAME.dvc is the pin: where the data set is published, the revision, and the content
hash of its files as `dvc add` computes it. What turns out to have another hash does not stay.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ppl.core.errors import InputError
from ppl.tools.commands import ask_dvc, ask_git

PINS = Path("data/published")
RAW = Path("data/raw")


@dataclass(frozen=True)
class Pin:
    """What data/published/NAME.dvc says."""

    file: Path
    url: str
    rev: str
    size: int
    """Bytes of all files together."""
    files: int


def read_pin(name: str) -> Pin:
    """The pin of data set `name`.

    Raises:
        InputError: there is none; names those that there are.
    """
    file = PINS / f"{name}.dvc"
    if not file.is_file():
        known = ", ".join(sorted(pin.stem for pin in PINS.glob("*.dvc")))
        raise InputError(
            f"no published data set `{name}` is pinned; there are: {known}. Any other goes into a "
            "folder of its own, see docs/your_data.md"
        )
    meta = yaml.safe_load(file.read_text(encoding="utf-8"))["meta"]
    [out] = _read_outs(file)
    return Pin(file, meta["url"], meta["rev"], out["size"], out["nfiles"])


def fetch(name: str, source: str | None = None) -> Path:
    """Leave data set `name` in data/raw/NAME, tracked by DVC, and return that folder.

    Args:
        source: a Git repository (URL or path) or a plain folder in place of the published URL.

    Raises:
        InputError: an unknown name, a source that gives nothing, or other content than pinned.
    """
    pin = read_pin(name)
    target, tracked = RAW / name, RAW / f"{name}.dvc"
    if target.is_symlink():
        raise InputError(
            f"{target} is a link, which DVC does not track: remove it, or keep it and set "
            "data.root to it, which needs no fetching"
        )
    if target.exists():
        if not _is_as_pinned(pin, target, tracked):
            raise InputError(
                f"{target} exists and is not the pinned revision ({_content(target)} instead of "
                f"{pin.files} files, {pin.size} bytes): move it away, or keep it and set data.root "
                "to it, which needs no fetching"
            )
        print(f"{target} is there already, as pinned")
    else:
        # a download that breaks off must not look like the data set
        part = RAW / f".{name}.part"
        _get(source or pin.url, pin.rev, part, name)
        part.rename(target)
        if not _is_as_pinned(pin, target, tracked):
            content = _content(target)
            shutil.rmtree(target)
            raise InputError(
                f"{source or pin.url} does not hold what is pinned in {pin.file}: {content} "
                f"instead of {pin.files} files, {pin.size} bytes, or other bytes in them. Nothing "
                "was kept. To use it all the same, set data.root to a folder with it"
            )
    ask_dvc("commit", "--force", str(tracked))
    # DVC may have broken its long lines
    shutil.copyfile(pin.file, tracked)
    _tell_git(tracked)
    return target


def _is_as_pinned(pin: Pin, target: Path, tracked: Path) -> bool:
    """Whether `target` has the pinned hash; `tracked` is then the pin, and else what it was."""
    before = tracked.read_bytes() if tracked.exists() else None
    same = False
    try:
        shutil.copyfile(pin.file, tracked)
        # nothing goes into the cache yet; `dvc status` would not do: it asks no further than that
        ask_dvc("add", "--no-commit", str(target))
        same = _read_outs(tracked) == _read_outs(pin.file)
    finally:
        if not same:
            tracked.unlink(missing_ok=True)
            if before is not None:
                tracked.write_bytes(before)
    return same


def _read_outs(tracked: Path) -> list[dict[str, Any]]:
    """The outputs of a .dvc file: path, hash, size, number of files."""
    outs: list[dict[str, Any]] = yaml.safe_load(tracked.read_text(encoding="utf-8"))["outs"]
    return outs


def _get(source: str, rev: str, target: Path, name: str) -> None:
    """Copy the work tree of `source` at `rev`, or all of it if it is a plain folder."""
    if target.exists():
        shutil.rmtree(target)
    RAW.mkdir(parents=True, exist_ok=True)
    folder = Path(source).expanduser()
    if folder.is_dir() and not _is_repository(folder):
        print(f"copying {folder}")
        try:
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".git"))
        except (OSError, shutil.Error) as error:
            raise InputError(f"{folder} could not be copied: {error}") from None
        return
    print(f"fetching {source} at {rev}")
    try:
        ask_dvc("get", str(folder) if folder.is_dir() else source, ".", "--rev", rev, "-o", target)
    except InputError as error:
        raise InputError(
            f"{source} gave no revision {rev} ({error}). Without internet, copy the repository "
            f"or its files here and name the place: make data-{name} FROM=/path/to/copy"
        ) from None


def _is_repository(folder: Path) -> bool:
    """Whether `folder` is the top of a Git repository, bare or not; no matter who owns it."""
    return (folder / ".git").exists() or all((folder / name).exists() for name in ("HEAD", "refs"))


def _content(folder: Path) -> str:
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return f"{len(sizes)} files, {sum(sizes)} bytes"


def _tell_git(tracked: Path) -> None:
    """Queued experiments get the data of those .dvc files alone that Git knows."""
    try:
        ask_git("add", "--", tracked)
    except InputError as error:
        print(f"Git did not take {tracked} ({error})", file=sys.stderr)
    else:
        print(f"added {tracked} to Git's index: commit it with your experiments")
