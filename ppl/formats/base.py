"""What goes out to an annotation tool, what comes back, and what a module of a format offers.

A format writes `Item`s and reads `Found`s. Neither knows where masks of the data set lie: which
image a name means, and whether its mask is kept, is decided by who calls.

Axes: H height, W width. Sizes are (H, W), those of an image as viewers show it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.formats.names import ClassNames
from ppl.images.files import class_pixels, read_stored_mask
from ppl.images.pictures import IMAGE_SUFFIXES, open_image

Size = tuple[int, int]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Item:
    """An image to annotate."""

    name: str
    """Its path below images/, '/' between its parts."""
    image: Path | None
    """Its file; None for a format that needs none."""
    start: Path | None
    """A palette PNG of class indices to start from; None where there is nothing to start from."""

    def size(self) -> Size:
        """(H, W) as viewers show the image.

        Raises:
            InputError: it cannot be decoded.
        """
        assert self.image is not None, self.name
        width, height = open_image(self.image).image.size
        return height, width

    def mask(self, size: Size, names: ClassNames) -> Mask:
        """(H, W) class indices to start from, 255 is ignore; zeros where there are none.

        Raises:
            InputError: the mask cannot be read, has another size, or a class that is none.
        """
        if self.start is None:
            return np.zeros(size, dtype=np.uint8)
        stored = read_stored_mask(self.start).values
        class_pixels(stored, len(names.classes), str(self.start))
        if tuple(stored.shape) != size:
            raise InputError(
                f"{self.start} is {_words(tuple(stored.shape))}, and its image {_words(size)}: "
                "run `make repro` first"
            )
        return stored.numpy()


@dataclass(frozen=True)
class Painted:
    """The mask of one image, as a tool left it."""

    mask: Mask
    """(H, W) class indices, 255 is ignore."""
    empty: bool = False
    """No object at all, in a format that tells an image without defects by nothing else."""
    notes: tuple[str, ...] = ()
    """What is to be said of it, though it can be taken."""


Paint = Callable[[Size], Painted]
"""The mask at the size of the image; an `InputError` says why there is none."""


@dataclass(frozen=True)
class Found:
    """What came back of one image."""

    name: str
    """How the tool calls it: a path, with or without suffix."""
    paint: Paint
    size: Size | None = None
    """What the file says of the image; None where it says nothing."""
    checked: bool = False
    """Whether the tool says that a person has finished the image, whatever is drawn."""
    not_annotated: str = ""
    """Why there is nothing to take, where the tool says so itself."""
    broken: str = ""
    """What is wrong with the file that should name the image, and so may not."""


@dataclass(frozen=True)
class Written:
    """What a format left."""

    files: int
    """How many images went out."""
    left: int
    """How many were there already, and were left alone."""
    next: str
    """What to do with it, in words."""


Write = Callable[[Path, Iterable[Item], ClassNames], Written]
"""Writes items into a folder.

Raises:
    InputError: an image or a mask cannot be read; what would be overwritten is there.
"""


class Read(Protocol):
    """What a format reads with."""

    def __call__(self, path: Path, names: ClassNames) -> Iterator[Found]:
        """What a folder, a file or a .zip archive holds, an image at a time.

        Raises:
            InputError: it is missing, damaged, too large, or something else.
        """


@dataclass(frozen=True)
class Format:
    """One of the formats that the command line names."""

    write: Write
    read: Read
    images: bool = True
    """Whether it writes the images, too."""


def with_suffix(id: str) -> str:
    """The path of an image without its suffix, as a name of which no more will be taken off."""
    return f"{id}.png" if PurePosixPath(id).suffix.lower() in IMAGE_SUFFIXES else id


def nothing(size: Size) -> Painted:
    """What is painted of an image that a tool lists without any object."""
    return Painted(np.zeros(size, dtype=np.uint8), empty=True)


def refused(error: InputError) -> Paint:
    """What paints nothing, but says why."""

    def paint(size: Size) -> Painted:
        raise error

    return paint


def size_differs(said: Size, size: Size) -> InputError:
    """What to tell of an image whose size is another than the file says."""
    turned = said == size[::-1] and said != size
    why = (
        "the tool did not turn the photo by its EXIF tag, as viewers do: save it upright"
        if turned
        else "annotate the image as it lies in images/"
    )
    return InputError(f"annotated at {_words(said)}, but the image is {_words(size)}: {why}")


def _words(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"
