"""A set of prepared images: the folder that `prepare` leaves and every later stage reads.

FOLDER/index.json         one entry an image, sorted by id
FOLDER/images/ID.SUFFIX   the image, as it came
FOLDER/masks/ID.png       class indices, 255 is ignore; absent in the unlabeled set
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from ppl.core.errors import InputError
from ppl.images.files import read_image, read_mask
from ppl.images.pictures import Colour


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: its id (the relative path without suffix), file name below images/, own size."""

    id: str
    image: str
    height: int
    width: int


@dataclass(frozen=True)
class ImageSet:
    """The images of one prepared folder, in the order of their ids."""

    folder: Path
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def image_file(self, entry: Entry) -> Path:
        return self.folder / "images" / entry.image

    def image(self, entry: Entry) -> Tensor:
        """(3, H, W) uint8 at its own size."""
        return read_image(self.image_file(entry))

    def mask(self, entry: Entry) -> Tensor:
        """(H, W) uint8 class indices at the image's own size."""
        return read_mask(mask_file(self.folder / "masks", entry.id))

    def subset(self, ids: Sequence[str]) -> "ImageSet":
        """The entries with these ids, in the set's own order.

        Raises:
            InputError: an id that the set does not hold.
        """
        known = {entry.id for entry in self.entries}
        strangers = [id for id in ids if id not in known]
        if strangers:
            raise InputError(f"{self.folder} holds no image {strangers[0]} ({len(strangers)} such)")
        wanted = set(ids)
        return replace(self, entries=tuple(entry for entry in self.entries if entry.id in wanted))


@dataclass(frozen=True)
class DatasetInfo:
    """What every stage may know of a data set: class names by index and their colours."""

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]


def mask_file(folder: Path, id: str) -> Path:
    """Where the mask of image `id` lies in a folder of masks."""
    return folder / f"{id}.png"


def masked_ids(folder: Path) -> list[str]:
    """The ids of the images that have a mask in `folder`, sorted."""
    return sorted(
        file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.png")
    )


def read_image_set(folder: Path) -> ImageSet:
    """The set that `write_index` described in `folder`."""
    entries = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return ImageSet(folder, tuple(Entry(**entry) for entry in entries))


def write_index(folder: Path, entries: list[Entry]) -> None:
    """Write FOLDER/index.json, sorted by id."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "index.json", [asdict(entry) for entry in sorted(entries, key=lambda e: e.id)]
    )


def read_dataset_info(file: Path) -> DatasetInfo:
    """The data set's name, class names and colours."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return DatasetInfo(
        content["name"],
        tuple(content["classes"]),
        tuple((red, green, blue) for red, green, blue in content["colours"]),
    )


def write_dataset_info(file: Path, info: DatasetInfo) -> None:
    write_json(file, asdict(info))


def write_json(file: Path, content: object, *, sort: bool = True) -> None:
    """JSON whose bytes depend on the content alone; its keys are sorted unless told otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        json.dump(content, stream, indent=1, sort_keys=sort, allow_nan=False)
        stream.write("\n")
