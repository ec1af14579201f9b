"""Hand out what to annotate next, as files of an annotation tool in the user's own folder.

The pipeline's own files are no place to work in: DVC puts them back as they were.
"""

import csv
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppl.core.cells import as_text
from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import (
    DataSettings,
    annotated_ids,
    dataset_info,
    load_samples,
    without_suffix,
)
from ppl.data.image_names import image_names, shown
from ppl.data.tables import known_as
from ppl.formats import files
from ppl.formats.base import Item
from ppl.formats.known import FORMATS
from ppl.formats.names import ClassNames
from ppl.formats.png import OWN
from ppl.review.decisions import WRONG, standing
from ppl.tools.handed_out import LIST, HandedOut
from ppl.tools.own_folders import (
    HANDED_OUT,
    decisions_file,
    stop_at_owned,
    stop_at_tool_files,
)

_THEN = {
    "folder": "Move those that are done below `corrected/`, beside `masks/` of your data, under "
    "the same relative path: then they count as labeled.",
    "mvtec": "What counts is a mask that is drawn from scratch, black and white, as "
    "ground_truth/CLASS/NAME_mask.png.",
}
"""What to do with masks that are done, by `data.name`."""

_NO_MASKS_OF_YOURS = "They count nowhere: a published data set has masks of its own."

_SHOWN = 10
_LONGEST_HEAD = 1000


@dataclass(frozen=True)
class _Chosen:
    """The images to hand out, by their ids."""

    starts: dict[str, Path | None]
    """The mask to start from; None where a reviewer rejected it."""
    masked: int
    """How many are left out since they have a mask."""
    gone: tuple[str, ...]
    """Those that a reviewer rejected and that are not there any more."""


def default_folder(data: DataSettings) -> Path:
    """ROOT/to_correct for one's own images; data/to_correct where DVC owns the data's folder."""
    return Path(data.root if data.name == "folder" else "data", "to_correct")


def hand_out(to: Path | None, format: str = "png") -> str:
    """Write what to annotate, list and contact sheet to a folder; what to do next, in words.

    What is there already is left alone: somebody may have corrected it. One's own images that have
    a mask are left out. Images that a reviewer rejected have no mask to start from.

    Args:
        to: the folder; None takes `default_folder`.
        format: a name of `FORMATS`.

    Raises:
        InputError: the pipeline has left no list; `to` lies among its outputs, or where masks of
            the data are read; an image cannot be read.
    """
    data = section("data", DataSettings)
    folder = to or default_folder(data)
    stop_at_owned(folder, data.name, data.root)
    stop_at_tool_files(folder, data.name, data.root)
    sheets = [file for name in OWN if (file := HANDED_OUT / name).is_file()]
    _stop_at_others([folder / sheet.name for sheet in sheets])
    chosen = _chosen(data)
    info = dataset_info(data)
    noted = HandedOut()
    items = noted.noted(_items(chosen, data, format))
    try:
        written = FORMATS[format].write(folder, items, ClassNames(info.classes, info.colours))
    except InputError:
        # an image that cannot be read stops what comes after it; what was before it is out
        if noted:
            noted.write(folder)
        raise
    noted.write(folder)
    # list and sheet are of this round, whatever an earlier one left
    for sheet in sheets:
        files.copy(sheet, folder / sheet.name)
    alone = f", {written.left} that were there already left alone" if written.left else ""
    done = f", {chosen.masked} left out whose images have a mask" if chosen.masked else ""
    count = f"{written.files + len(sheets)} file(s) copied"
    if FORMATS[format].images:
        count = f"{written.files} image(s) written for {format}"
    then = "" if FORMATS[format].images else f" {_THEN.get(data.name, _NO_MASKS_OF_YOURS)}"
    return f"{folder}: {count}{alone}{done}\n{_gone(chosen)}{written.next}{then}"


def _gone(chosen: _Chosen) -> str:
    """The line of the images that cannot go out; "" without any."""
    if not chosen.gone:
        return ""
    more = f" and {len(chosen.gone) - _SHOWN} more" if len(chosen.gone) > _SHOWN else ""
    names = ", ".join(map(shown, chosen.gone[:_SHOWN]))
    return f"  left out {len(chosen.gone):>5}  rejected, but no such image: {names}{more}\n"


def _stop_at_others(sheets: Collection[Path]) -> None:
    """A list.csv or sheet.png that is no earlier round's is not written over.

    Raises:
        InputError: there is one.
    """
    for sheet in sheets:
        if sheet.exists() and not _is_a_rounds(sheet.parent):
            raise InputError(
                f"{sheet} is there already, and did not go out from here: name another folder"
            )


def _is_a_rounds(folder: Path) -> bool:
    """Whether an earlier round went out into it, by its list of masks or of images."""
    if (folder / LIST).is_file():
        return True
    try:
        with (folder / OWN[0]).open(encoding="utf-8", errors="replace") as stream:
            columns = stream.readline(_LONGEST_HEAD).strip().split(",")
    except OSError:
        return False
    return columns[:1] == ["rank"] and columns[-1:] == ["mask"]


def _chosen(data: DataSettings) -> _Chosen:
    """What the list and the reviewers name, the first to annotate first."""
    listed = dict(_listed())
    # images are looked for only where a table names some
    known = _images(data) if decisions_file(data.name, data.root).is_file() else {}
    rejected = _rejected(data, known)
    starts = {id: None if id in rejected else start for id, start in listed.items()}
    starts |= dict.fromkeys(sorted(rejected - starts.keys()))
    gone = rejected - known.keys()
    masked = _masked(data) & starts.keys()
    left = {id: start for id, start in starts.items() if id not in masked | gone}
    return _Chosen(left, len(masked), tuple(sorted(gone)))


def _items(chosen: _Chosen, data: DataSettings, format: str) -> Iterator[Item]:
    if not FORMATS[format].images:
        yield from (Item(f"{id}.png", None, start) for id, start in chosen.starts.items())
        return
    images = _images(data)
    gone = [id for id in chosen.starts if id not in images]
    if gone:
        raise InputError(
            f"{gone[0]} is to be annotated, but {data.root} holds no such image ({len(gone)} "
            "such): run `make repro` first"
        )
    for id, start in chosen.starts.items():
        yield Item(f"{id}{images[id].suffix}", images[id], start)


def _images(data: DataSettings) -> Mapping[str, Path]:
    """The file of each image by its id; of one's own, whatever else lies in `data.root`."""
    if data.name == "folder":
        return image_names(Path(data.root, "images"), data.mask_suffix).files
    return {sample.id: sample.image for sample in load_samples(Path(data.root), data)}


def _masked(data: DataSettings) -> set[str]:
    """The ids of one's own images that have a mask; those of other data sets are hidden labels."""
    if data.name != "folder":
        return set()
    return annotated_ids(data)


def _rejected(data: DataSettings, known: Collection[str]) -> set[str]:
    """The ids of the images whose mask a reviewer called wrong, and did not take back.

    Args:
        known: the ids of the data set; one that is none of them is as the table names it.

    Raises:
        InputError: the table has other columns.
    """
    file = decisions_file(data.name, data.root)
    decisions = standing(file, lambda name: known_as(name, known) or as_text(name))
    return {id for id, decision in decisions.items() if decision == WRONG}


def _listed() -> Iterator[tuple[str, Path]]:
    """The id and the mask of each image of the list.

    Raises:
        InputError: there is no list, or it names a mask that is not there.
    """
    listed = HANDED_OUT / "list.csv"
    if not listed.is_file():
        raise InputError(f"there is no {listed}: run `make repro` first")
    with listed.open(encoding="utf-8", newline="") as stream:
        masks = [as_text(row["mask"]) for row in csv.DictReader(stream)]
    for mask in masks:
        source = HANDED_OUT / "masks" / mask
        if not source.is_file():
            raise InputError(f"{listed} names {mask}, which is not there: run `make repro` first")
        yield without_suffix(mask), source
