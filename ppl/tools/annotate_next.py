"""Hand out what to annotate next: copies of the masks to start from, in the user's own folder.

The pipeline's own files are no place to work in: DVC puts them back as they were.
"""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, masked_ids, without_suffix
from ppl.tools.own_folders import HANDED_OUT, stop_at_owned


def default_folder(data: DataSettings) -> Path:
    """ROOT/to_correct for one's own images; data/to_correct where DVC owns the data's folder."""
    return Path(data.root if data.name == "folder" else "data", "to_correct")


def hand_out(to: Path | None) -> str:
    """Copy masks, list and contact sheet to a folder; what to do next, in words.

    A mask lies there under its image's relative path. A file that is there already is left alone:
    somebody may have corrected it. One's own images that have a mask are left out.

    Args:
        to: the folder; None takes `default_folder`.

    Raises:
        InputError: the pipeline has left no list; `to` lies among its outputs.
    """
    data = section("data", DataSettings)
    folder = to or default_folder(data)
    stop_at_owned(folder, data.name, data.root)
    files = list(_files(folder))
    masked = _masked(data)
    copied = left = out = 0
    for source, target in files:
        if source.parent != HANDED_OUT and _id(source) in masked:
            out += 1
            continue
        # list and sheet are of this round, whatever lies there
        if target.exists() and source.parent != HANDED_OUT:
            left += 1
            continue
        _copy(source, target)
        copied += 1
    alone = f", {left} that were there already left alone" if left else ""
    done = f", {out} left out whose images have a mask" if out else ""
    return (
        f"{folder}: {copied} file(s) copied{alone}{done}\n"
        "Correct the masks there, the first of list.csv first. Move those that are done below "
        "`corrected/`, beside `masks/` of your data, under the same relative path: then they count "
        "as labeled."
    )


def _masked(data: DataSettings) -> set[str]:
    """The ids of one's own images that have a mask; those of other data sets are hidden labels."""
    if data.name != "folder":
        return set()
    return masked_ids(data)


def _id(mask: Path) -> str:
    """The id of the image of a mask that the pipeline left."""
    return without_suffix(mask.relative_to(HANDED_OUT / "masks").as_posix())


def _copy(source: Path, target: Path) -> None:
    """Half a copy, after a kill, must not pass for one that somebody may have corrected."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(".half_copied")
    shutil.copyfile(source, half)
    half.replace(target)


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each file to copy with its place in `folder`.

    Raises:
        InputError: there is no list, or it names a mask that is not there.
    """
    listed = HANDED_OUT / "list.csv"
    if not listed.is_file():
        raise InputError(f"there is no {listed}: run `make repro` first")
    with listed.open(encoding="utf-8", newline="") as stream:
        masks = [row["mask"] for row in csv.DictReader(stream)]
    for mask in masks:
        source = HANDED_OUT / "masks" / mask
        if not source.is_file():
            raise InputError(f"{listed} names {mask}, which is not there: run `make repro` first")
        yield source, folder / mask
    for name in ("list.csv", "sheet.png"):
        if (HANDED_OUT / name).is_file():
            yield HANDED_OUT / name, folder / name
