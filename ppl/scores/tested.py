"""Which images scores are of, and what two test sets have in common.

A test set is its images and their masks: a corrected mask or a photo taken again makes another one,
since a score moves with it though no model did.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ppl.images.sets import write_json


@dataclass(frozen=True)
class ScoredImages:
    """The images that a model was tested on, in the order of its counts."""

    ids: Sequence[str]
    parts: Sequence[str]
    """The part that each shows."""
    masks: Sequence[str] | None
    """The fingerprint of each one, picture and mask; None where an earlier version wrote none."""

    @property
    def record(self) -> dict[str, object]:
        """What metrics say of it: two records are equal where the test sets are."""
        pairs = sorted(zip(self.ids, self.masks or [""] * len(self.ids), strict=True))
        return {
            "images": len(self.ids),
            "parts": len(set(self.parts)),
            "digest": hashlib.blake2b(json.dumps(pairs).encode(), digest_size=8).hexdigest(),
        }

    def rows(self, ids: Collection[str]) -> Tensor:
        """Where the images `ids` stand, in the order of their ids: int64 indices."""
        place = {id: number for number, id in enumerate(self.ids)}
        return torch.tensor([place[id] for id in sorted(ids)], dtype=torch.int64)


def fingerprint(mask: Tensor, image: Tensor) -> str:
    """16 characters that depend on the size and the pixels of both alone.

    Args:
        mask: (H, W) uint8.
        image: (3, H, W) uint8.
    """
    seen = hashlib.blake2b(digest_size=8)
    for pixels in (mask, image):
        seen.update(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes())
    return seen.hexdigest()


@dataclass(frozen=True)
class Change:
    """What became of an earlier test set, as ids."""

    kept: frozenset[str]
    """In both, with the same picture and mask."""
    redrawn: frozenset[str]
    """In both, with another picture or mask."""
    gone: frozenset[str]
    new: frozenset[str]

    def __str__(self) -> str:
        before = len(self.kept) + len(self.redrawn) + len(self.gone)
        redrawn = f", {len(self.redrawn)} with another picture or mask" if self.redrawn else ""
        return f"test: {len(self.kept)} of {before} kept{redrawn}, {len(self.new)} new"


def change(old: ScoredImages, new: ScoredImages) -> Change:
    """What became of `old` in `new`; where one knows no masks, an id is an image."""
    known = old.masks is not None and new.masks is not None
    before, now = (
        dict(zip(one.ids, (one.masks if known else None) or [""] * len(one.ids), strict=True))
        for one in (old, new)
    )
    both = before.keys() & now.keys()
    kept = frozenset(id for id in both if before[id] == now[id])
    return Change(
        kept,
        redrawn=frozenset(both - kept),
        gone=frozenset(before.keys() - both),
        new=frozenset(now.keys() - both),
    )


def write_tested(file: Path, tested: ScoredImages) -> None:
    """Which images the counts beside this file are of."""
    columns = {"ids": list(tested.ids), "parts": list(tested.parts)}
    masks = {} if tested.masks is None else {"masks": list(tested.masks)}
    write_json(file, columns | masks)


def read_tested(file: Path) -> ScoredImages:
    """What `write_tested` wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return ScoredImages(found["ids"], found["parts"], found.get("masks"))
