"""Objects of several classes painted over each other: the later one counts where two overlap."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ppl.formats.base import Mask, Painted, Size
from ppl.formats.names import ClassNames


@dataclass(frozen=True)
class Patch:
    """The pixels of an object, within a box of the image."""

    top: int
    left: int
    inside: NDArray[np.bool_]
    """(rows, columns) of the box, which lies in the image."""
    notes: tuple[str, ...] = ()


@dataclass
class Canvas:
    """A mask in the making."""

    size: Size
    names: ClassNames
    notes: list[str] = field(default_factory=list)
    objects: int = 0

    def __post_init__(self) -> None:
        self._mask: Mask = np.zeros(self.size, dtype=np.uint8)

    def put(self, label: str, patch: Patch) -> None:
        """Paint an object.

        Raises:
            InputError: the label is no class.
        """
        value, note = self.names.value(label)
        rows, columns = patch.inside.shape
        box = self._mask[patch.top : patch.top + rows, patch.left : patch.left + columns]
        before = box[patch.inside]
        overlap = bool(((before != 0) & (before != value)).any())
        box[patch.inside] = value
        self.objects += 1
        self._say(note, *patch.notes)
        if overlap and value:
            self._say("objects of two classes overlap: the later one counts there")

    def _say(self, *notes: str) -> None:
        self.notes += [note for note in notes if note and note not in self.notes]

    def painted(self) -> Painted:
        """What was painted."""
        return Painted(self._mask, self.objects == 0, tuple(self.notes))
