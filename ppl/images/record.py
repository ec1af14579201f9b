"""What `prepare` writes down of a split for those who judge it: its kind, and who shows what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ppl.images.sets import write_json


@dataclass(frozen=True)
class SplitRecord:
    """How the images were split, and the part that each shows."""

    by: str
    """group, image or lists, see `split.by`."""
    groups: Mapping[str, str]
    """What the names say, by the id of each image of the four sets; {} where they say nothing."""
    parts: Mapping[str, str]
    """The same with groups merged that look alike: what a split by group keeps together."""
    defective_validation_parts: int | None = None
    """How many parts with a defect the validation images show; None where there are none."""

    def group_of(self, ids: Sequence[str]) -> list[str]:
        """The group of each image; without groups each image is its own."""
        return [self.groups[id] for id in ids] if self.groups else list(ids)

    def part_of(self, ids: Sequence[str]) -> list[str]:
        """The part that each image shows; where none is known each image is its own."""
        return [self.parts[id] for id in ids] if self.parts else list(ids)


def read_split_record(file: Path) -> SplitRecord:
    """The record that `write_split_record` wrote."""
    return SplitRecord(**json.loads(file.read_text(encoding="utf-8")))


def write_split_record(file: Path, record: SplitRecord) -> None:
    write_json(file, asdict(record))
