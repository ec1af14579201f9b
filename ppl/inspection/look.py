"""How the images look that a model is trained on: what new ones are compared with."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ppl.core.progress import bar
from ppl.images.pictures import read_pixels
from ppl.images.room import in_room
from ppl.images.sets import ImageSet
from ppl.station.appearance import Appearance, Reference, appearance_of, reference_of

MOST = 2000
"""Images that are read, at equal distances in the order of their names: that many give the
percentiles that are kept, and of a hundred thousand it would take an hour."""

READERS = 4


def look_of(trained: Sequence[ImageSet]) -> Reference | None:
    """Of the images of some sets; None where they are too few to compare with.

    Raises:
        InputError: an unreadable image.
    """
    files = [images.image_file(entry) for images in trained for entry in images.entries]
    chosen = sorted(files)[:: -(-len(files) // MOST) or 1]
    found: list[Appearance] = []
    with (
        ThreadPoolExecutor(READERS) as pool,
        bar(total=len(chosen), desc="look of the training images", unit="image") as progress,
    ):
        for seen in pool.map(lambda file: in_room(partial(_look, file), file), chosen):
            found.append(seen)
            progress.update()
    return reference_of(found)


def _look(file: Path) -> Appearance:
    return appearance_of(read_pixels(file))
