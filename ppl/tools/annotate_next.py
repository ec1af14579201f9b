"""Hand out what to annotate next, as files of an annotation tool in the user's own folder.

The pipeline's own files are no place to work in: DVC puts them back as they were.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import (
    DataSettings,
    annotated_ids,
    dataset_info,
    load_samples,
    without_suffix,
)
from ppl.data.image_names import image_names
from ppl.formats import files
from ppl.formats.base import Item
from ppl.formats.known import FORMATS
from ppl.formats.names import ClassNames
from ppl.formats.png import OWN
from ppl.tools.own_folders import HANDED_OUT, stop_at_owned, stop_at_tool_files

DECISIONS = Path("review", "decisions.csv")
"""Below `data.root`: an image and a reviewer's decision a line; the last one of an image counts."""

REJECTED = "wrong"


@dataclass(frozen=True)
class _Chosen:
    """The images to hand out, by their ids."""

    starts: dict[str, Path | None]
    """The mask to start from; None where a reviewer rejected it."""
    masked: int
    """How many are left out since they have a mask."""


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
    chosen = _chosen(data)
    info = dataset_info(data)
    written = FORMATS[format].write(
        folder, _items(chosen, data, format), ClassNames(info.classes, info.colours)
    )
    # list and sheet are of this round, whatever lies there
    sheets = [file for name in OWN if (file := HANDED_OUT / name).is_file()]
    for sheet in sheets:
        files.copy(sheet, folder / sheet.name)
    alone = f", {written.left} that were there already left alone" if written.left else ""
    done = f", {chosen.masked} left out whose images have a mask" if chosen.masked else ""
    count = f"{written.files + len(sheets)} file(s) copied"
    if FORMATS[format].images:
        count = f"{written.files} image(s) written for {format}"
    return f"{folder}: {count}{alone}{done}\n{written.next}"


def _chosen(data: DataSettings) -> _Chosen:
    """What the list and the reviewers name, the first to annotate first."""
    listed = dict(_listed())
    rejected = _rejected(data)
    starts = {id: None if id in rejected else start for id, start in listed.items()}
    starts |= dict.fromkeys(sorted(rejected - starts.keys()))
    masked = _masked(data) & starts.keys()
    return _Chosen({id: start for id, start in starts.items() if id not in masked}, len(masked))


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


def _rejected(data: DataSettings) -> set[str]:
    """The ids of the images whose mask a reviewer called wrong, and did not take back.

    Raises:
        InputError: the table has other columns.
    """
    file = Path(data.root) / DECISIONS
    if not file.is_file():
        return set()
    # a quote that was left open ends with its line, as for the review
    lines = file.read_bytes().decode("utf-8-sig", "replace").splitlines()
    head, *rows = [next(csv.reader([line]), []) for line in lines] or [[]]
    if head[:2] != ["image", "decision"]:
        raise InputError(f"{file} has other columns than image,decision: correct its first line")
    # a row that is cut short does not count
    last = {without_suffix(row[0]): row[1] for row in rows if len(row) == len(head)}
    return {id for id, decision in last.items() if decision == REJECTED}


def _listed() -> Iterator[tuple[str, Path]]:
    """The id and the mask of each image of the list.

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
        yield without_suffix(mask), source
