"""A project of a person's own images, as `prepare` left it: what `status` is tried on."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ppl.data.adapters.base import DataSettings
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import Entry, write_index
from ppl.run.record import write_record
from ppl.tools.dvc_md5 import folder_md5
from ppl.tools.hold_split import PREPARED
from tests.pipeline.project import ROOT

RAW = Path("data/raw/my_parts")
CLASSES = ["background", "scratch", "dent"]

SETS: Mapping[str, list[str]] = {
    "labeled": ["a", "day/b", "day/c"],
    "validation": ["d"],
    "unlabeled": ["u1", "u2", "u3"],
    "hidden": [],
    "test": ["t1", "t2"],
}

DATA = {
    "name": "folder",
    "root": RAW.as_posix(),
    "mask_threshold": 128,
    "classes": CLASSES,
    "groups": "own",
    "group_pattern": "",
    "same_part": 0.9,
}

Stages = dict[str, dict[str, Any]]


def draw_image(id: str, *, level: int = 90, suffix: str = ".png") -> Path:
    file = RAW / "images" / f"{id}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), level, dtype=np.uint8)).save(file)
    return file


def draw_mask(id: str, value: int, *, folder: str = "masks") -> Path:
    file = RAW / folder / f"{id}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:4, 2:4] = value
    Image.fromarray(mask).save(file)
    return file


def make_project(folder: Path, chdir: Callable[[Path], None], **data: Any) -> DataSettings:
    """Images, masks, params.yaml, dvc.yaml and the sets of a last run, in `folder`."""
    chdir(folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] = DATA | data
    params["split"]["labeled_fraction"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    Path("dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    text = (ROOT / ".dvcignore").read_text(encoding="utf-8")
    Path(".dvcignore").write_text(text, encoding="utf-8")
    Path("data/lists").mkdir(parents=True)
    for number, id in enumerate(id for name in SETS for id in SETS[name]):
        draw_image(id, level=90 + number)
        if id not in SETS["unlabeled"]:
            draw_mask(id, number % 3)
    prepared()
    return DataSettings(**params["data"])


def prepared(sets: Mapping[str, list[str]] = SETS) -> None:
    for name, ids in sets.items():
        write_index(PREPARED / name, [Entry(id, f"{id}.png", 8, 8) for id in ids])
    write_split_record(PREPARED / "split.json", SplitRecord("image", {}, {}))


def recorded_run() -> Stages:
    """What dvc.lock records of `prepare` on the files as they are, which the stage noted, too."""
    write_record("prepare", set())
    return {"prepare": {"deps": [{"path": RAW.as_posix(), "md5": md5_of(RAW)}]}}


def md5_of(folder: Path) -> str:
    from ppl.run.record import taken_now

    files = [file for file in folder.rglob("*") if file.is_file() and "to_correct" not in str(file)]
    return folder_md5(folder, {Path(name): one.md5 for name, one in taken_now(files, {}).items()})
