"""Serve the page to review masks: what is reviewed, and where decisions go."""

import getpass
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ppl.core.cells import as_cell
from ppl.core.errors import InputError
from ppl.core.settings import read_params, section
from ppl.images.pictures import IMAGE_SUFFIXES
from ppl.review.items import Work, predictions, to_annotate
from ppl.review.pictures import digest_of, write_synced
from ppl.review.prepared import inside
from ppl.review.review import Home, Review
from ppl.review.server import open_server
from ppl.station.folder import MARK
from ppl.tools.own_folders import OWN_REVIEW, stop_at_owned

OWN = OWN_REVIEW
"""Where DVC owns the folder of the data, or that cannot be written."""


def review(masks: str, out: Path | None, to: Path | None, reviewer: str | None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        masks: `next`, `pseudo` or `both`.
        out: a folder that `ppl predict` left, in place of the pipeline's masks.
        to: the folder for decisions and masks; None takes `home_of`.
        reviewer: None takes the name of the account.

    Raises:
        InputError: there is nothing to review, or no place for decisions.
    """
    home, notes = home_of(out, to)
    work = predictions(out) if out is not None else _masks_of_the_pipeline(masks, home)
    _stop_at_wrong_places(work, home)
    reviewing = Review(work, home, reviewer or getpass.getuser())
    if out is not None:
        _hide_from_predict(home, out)
    server, site = open_server(reviewing)
    for note in (*notes, *work.notes, *_torn(reviewing)):
        print(note)
    print(f"{len(work.items):,} images; decisions go to {home.decisions}, masks to {home.masks}")
    print(f"Open {site.url}\nCtrl-C ends the review; the same command goes on with it.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    print(_summary(reviewing))


def home_of(out: Path | None, to: Path | None) -> tuple[Home, list[str]]:
    """Where decisions and masks go, and what is to be said of that.

    One's own images have both beside them, as ROOT/review and ROOT/corrected.

    Raises:
        InputError: `to` is no folder that a person's work may go into, or cannot be written.
    """
    name, root = _data() if out is None or Path("params.yaml").exists() else ("", "")
    if out is not None:
        folder = to or out.absolute().with_name(f"{out.absolute().name}_review")
        if out.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise InputError(f"{folder} lies in {out}, which holds the model's results: name --to")
    elif to is None and name == "folder":
        masks_of = partial(_masks_of, Path(root), _mask_suffix())
        home = Home(Path(root, "review"), Path(root, "corrected"), masks_of)
        why = _why_not_writable(home.folder) or _why_not_writable(home.masks)
        if not why:
            return home, []
        folder, note = OWN, f"{why}: decisions and masks go to {OWN} instead"
        return _checked(folder, name, root), [note]
    else:
        folder = to or OWN
    return _checked(folder, name, root), []


def _checked(folder: Path, name: str, root: str) -> Home:
    home = Home(folder, folder / "corrected")
    for place in (home.folder, home.masks, home.replaced):
        stop_at_owned(place, name, root)
    if why := _why_not_writable(folder):
        raise InputError(f"{why}: name another folder by --to")
    return home


def _why_not_writable(folder: Path) -> str:
    """Why nothing can be written into a folder, or where it would be made; "" where it can."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    probe = there / ".writable"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"
    return ""


def _data() -> tuple[str, str]:
    """Name and root of the section `data`; its other keys are `check`'s to judge."""
    data: Any = read_params().get("data")
    name, root = (data.get(key) for key in ("name", "root")) if data else (None, None)
    if not isinstance(name, str) or not isinstance(root, str) or not root:
        raise InputError("params.yaml: section `data` has no name or no root")
    return name, root


def _mask_suffix() -> str:
    """Of the section `data`; one that is no text is `check`'s to judge."""
    suffix = read_params()["data"].get("mask_suffix")
    return unicodedata.normalize("NFC", suffix) if isinstance(suffix, str) else ""


def _masks_of(root: Path, mask_suffix: str, id: str) -> Iterator[Path]:
    """The masks of one image of one's own, as `masked_ids` tells them of all.

    It is asked at every decision, so it lists two or three folders and walks through none.
    """
    name = PurePosixPath(id).name
    folders = ("masks", "corrected", "images") if mask_suffix else ("masks", "corrected")
    for of in folders:
        called = {f"{name}{mask_suffix}"} if of == "images" else {name, f"{name}{mask_suffix}"}
        folder = Path(root, of, id).parent
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            is_picture = file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            if is_picture and unicodedata.normalize("NFC", file.stem) in called and file.is_file():
                yield file
    beside = Path(root, "images", f"{id}.json")
    if beside.is_file():
        # PyTorch comes with it, for which a review without such files does not wait
        from ppl.formats.labelme import is_one

        if is_one(beside):
            yield beside


def _masks_of_the_pipeline(masks: str, home: Home) -> Work:
    """Images of one's own that are annotated are left out, but for those that this review wrote."""
    name, root = _data()
    if name != "folder":
        return to_annotate(masks)
    # PyTorch comes with it, for which no other review waits
    from ppl.data.adapters.base import DataSettings, annotated_ids

    done = annotated_ids(section("data", DataSettings))
    if home.masks == Path(root, "corrected"):
        done -= _written_by(home, done)
    return to_annotate(masks, done)


def _written_by(home: Home, ids: set[str]) -> set[str]:
    """The images whose mask in the data is that of the decision that counts."""
    from ppl.review.decisions import Decisions

    known = Decisions(home.decisions)
    rows = {id: known.current(as_cell(id)) for id in ids}
    return {
        id
        for id, row in rows.items()
        if row is not None
        and row.written
        and digest_of(inside(home.masks, f"{id}.png")) == row.written
    }


def _hide_from_predict(home: Home, out: Path) -> None:
    """Mark folders of masks as results, where they may lie among images that are predicted."""
    mark = json.dumps({"reviewed": str(out)}, ensure_ascii=False).encode("utf-8", "replace")
    for folder in (home.masks, home.replaced):
        if not (folder / MARK).exists():
            write_synced(folder / MARK, mark)


def _stop_at_wrong_places(work: Work, home: Home) -> None:
    for item in work.items:
        inside(home.masks, item.saved_as)


def _torn(reviewing: Review) -> list[str]:
    count, where = reviewing.skipped, reviewing.home.decisions
    lines = "1 line is" if count == 1 else f"{count} lines are"
    return [f"{where}: {lines} no whole decision, and not counted"] if count else []


def _summary(reviewing: Review) -> str:
    counts = Counter(reviewing.decided())
    open_ = counts.pop("", 0)
    words = [f"{count:,} {decision}" for decision, count in sorted(counts.items())]
    return f"{', '.join(words) or 'nothing decided'}; {open_:,} not decided yet"
