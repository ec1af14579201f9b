"""Keep what a person edited among the pipeline's outputs, before DVC puts its own copy back.

DVC restores an output that differs from dvc.lock, without a word of what it overwrites. Plain
`dvc repro` starts nothing of ours where no stage is stale, so this is done by `python -m ppl
check`, with which `make repro` begins.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ppl.core.errors import InputError
from ppl.tools.commands import ask_dvc
from ppl.tools.dvc_md5 import folder_md5, md5_of
from ppl.tools.used_settings import lock_text, locked_stages

EDITABLE = ("data/annotate_next/masks", "data/pseudo/reliable", "data/pseudo/hard")
"""Folders of masks, which a person may want to correct in place."""

RESCUED = Path("data", "rescued")

_THREADS = 8


def rescue() -> Path | None:
    """Copy edited files of `EDITABLE` to data/rescued/N/ under their paths; that folder, if any.

    Edited is a file that is another than dvc.lock has under its name: a copy of another output,
    say an empty mask, is a correction, too. A whole folder that DVC has in its cache is an older
    result and no edit. What was rescued before is not copied again. A stage that was interrupted
    leaves such files, too, and they are kept as well.

    Raises:
        InputError: dvc.lock is no YAML.
    """
    recorded = _recorded()
    edited: list[Path] = []
    for folder in map(Path, EDITABLE):
        hashes = _hashes(folder) if folder.is_dir() else {}
        now, before = folder_md5(folder, hashes), recorded.get(folder.as_posix(), "")
        # nothing more is asked where nothing changed
        if hashes and now != before:
            cache = _cache()
            if not _place(cache, now).is_file():
                edited += _edited(folder, hashes, before, cache)
    edited = [file for file in edited if not _kept(file)]
    return _copy(edited) if edited else None


def _place(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _edited(folder: Path, hashes: Mapping[Path, str], recorded: str, cache: Path) -> list[Path]:
    """The files that differ from what the cache lists for the recorded folder."""
    listing = _place(cache, recorded)
    if recorded and listing.is_file():
        listed = json.loads(listing.read_text(encoding="utf-8"))
        before = {folder / each["relpath"]: each["md5"] for each in listed}
        return [file for file, md5 in hashes.items() if before.get(file) != md5]
    # what the folder held is not known: what DVC has a copy of is not lost
    return [file for file, md5 in hashes.items() if not _place(cache, md5).is_file()]


def rescued_words(folder: Path) -> str:
    """What to tell a person of files that were rescued."""
    count = len([file for file in sorted(folder.rglob("*")) if file.is_file()])
    return (
        f"{count} file{'s' if count > 1 else ''} among the pipeline's outputs had been edited, and "
        f"the next run puts its own in their place: yours are kept in {folder}. Corrected masks "
        "belong below `corrected/` beside `masks/`; `python -m ppl annotate-next` hands out copies "
        "to correct"
    )


def _recorded() -> dict[str, str]:
    """The md5 of each output by its path, as dvc.lock has it; {} before the first run."""
    return {
        out["path"]: str(out.get("md5"))
        for stage in locked_stages(lock_text(Path())).values()
        for out in stage.get("outs") or ()
    }


def _hashes(folder: Path) -> dict[Path, str]:
    """The md5 of each file below a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(files, pool.map(_md5, files), strict=True))


def _md5(file: Path) -> str:
    return md5_of(file.read_bytes())


def _cache() -> Path:
    """Where DVC keeps copies of files, by their md5; nowhere if it does not say."""
    try:
        return Path(ask_dvc("cache", "dir").strip(), "files", "md5")
    except InputError:
        return Path()


def _kept(file: Path) -> bool:
    """Whether an earlier rescue kept this very content."""
    content = file.read_bytes()
    copies = [folder / file for folder in sorted(RESCUED.glob("*"))]
    return any(copy.is_file() and copy.read_bytes() == content for copy in copies)


def _copy(files: Iterable[Path]) -> Path:
    """The files copied to the first data/rescued/N/ that is not there yet."""
    taken = {int(each.name) for each in sorted(RESCUED.glob("*")) if each.name.isdigit()}
    folder = RESCUED / str(max(taken, default=0) + 1)
    for file in files:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    return folder
