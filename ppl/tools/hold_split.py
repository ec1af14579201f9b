"""Hold every annotated image where it is: in test, or out of it, whatever comes.

What likeness tells of parts may change with the images; whom it was tested on should not.
"""

import json
from pathlib import Path

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.held import HELD_FILE, Held, read_held, write_held
from ppl.data.split_settings import SplitSettings
from ppl.images.sets import read_image_set
from ppl.tools.commands import ask_dvc

PREPARED = Path("data", "prepared")


def hold_split() -> str:
    """Write what `prepare` left into held.csv, besides what it holds already; what it is, in words.

    Raises:
        InputError: nothing is prepared, or with other settings, data or code; val.txt or folds say
            who is tested.
    """
    split = section("split", SplitSettings)
    folder = Path(split.lists)
    _stop_where_another_decides(folder, split)
    now = _prepared()
    before = read_held(folder, now.test | now.train)
    held = Held(
        file=str(folder / HELD_FILE),
        # one that was held to be trained on, and is tested since its part is, stays tested
        test=before.test | now.test,
        train=(before.train | (now.train - before.test)) - now.test,
    )
    new = len((held.test | held.train) - before.test - before.train)
    file = write_held(folder, held)
    return (
        f"{file}: {len(held.test)} images stay in test, {len(held.train)} out of it; {new} are "
        "new there\nCommit it. Run this again after images were annotated: what is not in it is "
        "drawn."
    )


def _prepared() -> Held:
    """The annotated images that the last run tested on, and those that it did not."""
    if not (PREPARED / "test" / "index.json").is_file():
        raise InputError(f"there is no {PREPARED}/test: run `make repro` first")
    if json.loads(ask_dvc("status", "--json", "prepare")):
        raise InputError(
            f"{PREPARED} is not what params.yaml, the data and the code say now: run "
            "`dvc repro prepare` first"
        )
    ids = {
        name: frozenset(read_image_set(PREPARED / name).ids)
        for name in ("labeled", "validation", "hidden", "test")
    }
    return Held(test=ids.pop("test"), train=frozenset[str]().union(*ids.values()))


def _stop_where_another_decides(folder: Path, split: SplitSettings) -> None:
    if split.folds:
        raise InputError("split.folds draws a test set for each fold: set it to 0 to hold one")
    lists = sorted(folder.rglob("val.txt"))
    if lists and split.by != "image":
        raise InputError(f"{lists[0]} fixes the test images already: nothing else needs to hold")
