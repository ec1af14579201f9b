"""Take in what came back from an annotation tool: masks of the data set, or why there is none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import (
    DataSettings,
    Sample,
    dataset_info,
    load_adapter,
    load_samples,
    mask_files,
)
from ppl.data.image_names import ImageNames, image_names, plain, shown
from ppl.formats import files
from ppl.formats.base import Found, Mask, Painted, size_differs
from ppl.formats.guess import other_format
from ppl.formats.known import FORMATS
from ppl.formats.names import ClassNames
from ppl.images.files import read_stored_mask
from ppl.images.pictures import IGNORE, open_image, write_indices
from ppl.tools.handed_out import Digests, digest, went_out
from ppl.tools.own_folders import HANDED_OUT

TAKEN, SAME, LEFT, WRONG = "taken", "as it is", "left out", "error"
"""What becomes of an image. Only the last is something to mend."""

_SHOWN = 5
"""Images named in a row of the table."""

_FEW = 3
"""Rows of a table where all is wrong, and for one reason."""

_LONGEST = 160


@dataclass(frozen=True)
class Wanted:
    """How what came back is to be taken."""

    drawn: bool
    """Into masks/, as drawn from scratch; else into corrected/."""
    replace: bool
    """Over a mask that differs."""
    checked: bool
    """A person has looked at every image, also at those without an object or as they went out."""

    @property
    def folder(self) -> str:
        return "masks" if self.drawn else "corrected"

    @property
    def other(self) -> str:
        return "corrected" if self.drawn else "masks"


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    image: str
    what: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Data:
    """The data set that masks are taken into."""

    root: Path
    images: ImageNames
    masks: Mapping[str, Mapping[str, Path]]
    """By folder, the masks that are there, by id; those beside the images are of `masks`."""
    names: ClassNames
    settings: DataSettings
    samples: Mapping[str, Sample]
    """What a run reads, by id; nothing of data that it would refuse."""
    handed_out: Digests
    """The masks that went out of what came back."""

    def shows(self, id: str, file: Path) -> Mask | None:
        """The class indices of the mask that is there; None where it cannot be read."""
        sample = self.samples.get(id)
        try:
            if sample is not None and sample.mask == file:
                return load_adapter("folder").read_mask(sample, self.settings).values.numpy()
            return read_stored_mask(file).values.numpy()
        except InputError:
            return None


def take_in(format: str, path: Path, root: Path | None, wanted: Wanted) -> tuple[str, bool]:
    """Write the masks that came back; the table of what became of them, and whether all went well.

    Args:
        format: a name of `FORMATS`.
        path: what came back: a folder, a file or a .zip archive.
        root: the folder that holds images/; None takes `data.root`.

    Raises:
        InputError: the data are no `folder`, hold no image, or nothing could be read at all.
    """
    settings = section("data", DataSettings)
    if settings.name != "folder":
        raise InputError(
            f"data.name is {settings.name}, which has masks of its own: set `data.name: folder` "
            "and data.classes"
        )
    info = dataset_info(settings)
    base = root or Path(settings.root)
    settings = settings.model_copy(update={"root": str(base)})
    data = _data(settings, ClassNames(info.classes, info.colours), went_out(path))
    outcomes = list(_outcomes(_read(format, path, data.names), data, wanted))
    if not outcomes:
        raise InputError(f"{path} names no image")
    said = table(outcomes, base / wanted.folder)
    if all(each.what == WRONG for each in outcomes):
        advice = other_format(format, path, sure=True)
        # then what is wrong with each image says nothing
        said = "\n".join([*said.splitlines()[: _FEW + 1], f"  {advice}"]) if advice else said
    return said, all(each.what != WRONG for each in outcomes)


def _read(format: str, path: Path, names: ClassNames) -> list[Found]:
    try:
        return list(FORMATS[format].read(path, names))
    except InputError as error:
        advice = other_format(format, path)
        raise InputError(f"{error}. {advice}" if advice else str(error)) from None


def _data(settings: DataSettings, names: ClassNames, handed_out: Digests) -> _Data:
    """The data as a run reads them; of those that it would refuse, what lies in their folders."""
    root = Path(settings.root)
    try:
        samples = {one.id: one for one in load_samples(root, settings)}
    except InputError:
        images = image_names(root / "images", settings.mask_suffix)
        return _Data(root, images, mask_files(settings), names, settings, {}, handed_out)
    masked = {id: (one.corrected, one.mask) for id, one in samples.items() if one.mask}
    masks = {
        "masks": {id: mask for id, (corrected, mask) in masked.items() if not corrected},
        "corrected": {id: mask for id, (corrected, mask) in masked.items() if corrected},
    }
    files = {id: one.image for id, one in samples.items()}
    images = ImageNames(root / "images", files)
    return _Data(root, images, masks, names, settings, samples, handed_out)


def _outcomes(found: list[Found], data: _Data, wanted: Wanted) -> Iterator[Outcome]:
    """What becomes of each image, and of each name that means none."""
    by_image: dict[str, list[Found]] = {}
    for each in found:
        try:
            by_image.setdefault(data.images.id(each.name), []).append(each)
        except InputError as error:
            yield Outcome(shown(each.name), WRONG, (each.broken or str(error),))
    for id, several in sorted(by_image.items()):
        name = data.images.files[id].relative_to(data.images.folder).as_posix()
        if len(several) > 1:
            why = f"{len(several)} annotations of one image: keep one file or entry of it"
            yield Outcome(name, WRONG, (why,))
            continue
        try:
            yield _outcome(id, name, several[0], data, wanted)
        except InputError as error:
            yield Outcome(name, WRONG, (str(error),))


def _outcome(id: str, name: str, found: Found, data: _Data, wanted: Wanted) -> Outcome:
    if found.not_annotated:
        return Outcome(name, LEFT, (found.not_annotated,))
    width, height = open_image(data.images.files[id]).image.size
    size = (height, width)
    if found.size and found.size != size:
        raise size_differs(found.size, size)
    painted = found.paint(size)
    why_not = _doubt(id, found, painted, data, wanted)
    if why_not:
        return Outcome(name, LEFT, (why_not,))
    there = data.masks[wanted.folder].get(id) or _of_a_tool(id, data)
    if there is not None and _equal(data.shows(id, there), painted.mask):
        return Outcome(name, SAME)
    if there is None and _called_good(id, data) and not painted.mask.any():
        return Outcome(name, SAME)
    _stop_at_ignored_alone(painted.mask)
    _stop_at_other(id, there, data, wanted)
    target = there or (data.root / wanted.folder / name).with_suffix(".png")
    files.whole(target, lambda half: write_indices(half, painted.mask, data.names.colours))
    return Outcome(name, TAKEN, painted.notes)


def _doubt(id: str, found: Found, painted: Painted, data: _Data, wanted: Wanted) -> str:
    """Why nobody can tell that a person has looked at an image; "" where that is sure."""
    if found.checked or wanted.checked:
        return ""
    if painted.empty:
        return "no object: sound, or not annotated yet? --checked takes it as sound"
    start = HANDED_OUT / "masks" / f"{id}.png"
    as_now = start.is_file() and _equal(read_stored_mask(start).values.numpy(), painted.mask)
    if as_now or digest(painted.mask) in data.handed_out.get(id, ()):
        return "as it went out: right, or not corrected yet? --checked takes it as right"
    return ""


def _equal(one: Mask | None, other: Mask) -> bool:
    return one is not None and np.array_equal(one, other)


def _of_a_tool(id: str, data: _Data) -> Path | None:
    """The file of a tool that is the mask of an image."""
    sample = data.samples.get(id)
    return sample.mask if sample is not None and sample.paint else None


def _called_good(id: str, data: _Data) -> bool:
    sample = data.samples.get(id)
    return sample is not None and sample.annotated and sample.mask is None


def _stop_at_ignored_alone(mask: Mask) -> None:
    """A run refuses such a mask, since a defect drawn as 255 would be ignored.

    Raises:
        InputError: it holds 255 and no defect.
    """
    shown = set(np.unique(mask).tolist())
    if IGNORE in shown and shown <= {0, IGNORE}:
        raise InputError("holds 255, which is ignored, and no defect: draw the defect by its class")


def _stop_at_other(id: str, there: Path | None, data: _Data, wanted: Wanted) -> None:
    """A mask that somebody made is not written over unasked, and never stands beside another.

    Raises:
        InputError: there is one.
    """
    if _called_good(id, data):
        raise InputError("labels.csv calls it good: correct the one or the other")
    if there is not None and there.suffix.lower() == ".json":
        raise InputError(
            f"has a mask in {there} already: correct it there, or move that file out of the data"
        )
    other = data.masks[wanted.other].get(id)
    if other is not None:
        raise InputError(
            f"has a mask in {wanted.other}/ already: take it in "
            f"{'without' if wanted.drawn else 'with'} --drawn, or remove that one"
        )
    if there is None:
        return
    if there.suffix != ".png":
        raise InputError(f"has a {there.suffix} mask that differs: remove that one")
    if not wanted.replace:
        raise InputError(f"has a mask in {wanted.folder}/ that differs: --replace writes over it")


def table(outcomes: list[Outcome], folder: Path) -> str:
    """A line for every group of images, by what became of them and why; the errors last."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in outcomes:
        groups.setdefault((each.what, "; ".join(each.why)), []).append(each.image)
    counts = {what: len([each for each in outcomes if each.what == what]) for what in _ORDER}
    lines = [f"{folder}: " + ", ".join(f"{count} {what}" for what, count in counts.items())]
    for (what, why), images in sorted(groups.items(), key=lambda each: _ORDER.index(each[0][0])):
        more = f" and {len(images) - _SHOWN} more" if len(images) > _SHOWN else ""
        names = ", ".join(images[:_SHOWN]) + more
        said = f"{plain(why[:_LONGEST])}: " if why else ""
        lines.append(f"  {what:<8} {len(images):>5}  {said}{names}")
    return "\n".join(lines)


_ORDER = (TAKEN, SAME, LEFT, WRONG)
