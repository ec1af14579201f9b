"""What one look at the files of a data set showed, and which masks cannot mean what they say.

Each mask may be in order by itself and wrong beside the others: numbered by another palette, with
255 for a defect, inverted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    Adapter,
    DataSettings,
    Sample,
    named_like_masks,
    unread_files,
    without_suffix,
)
from ppl.data.colour_masks import Origin, OwnMask, in_own_palette
from ppl.data.tool_files import ToolMask, tool_mask
from ppl.images.files import StoredMask, class_pixels, read_picture
from ppl.images.pictures import IGNORE, UPRIGHT, Colour, palette_of
from ppl.images.sets import DatasetInfo, Entry

SHOWN = 10
"""How many files a message names at most."""

IGNORED_FILE = "ignored.txt"
"""Beside images/: the images whose masks hold 255 and no defect, and mean it; * means all."""

_HARDLY = 0.1
"""Share of background from which on, downwards, a mask looks inverted."""

_GREYS = tuple((level, level, level) for level in range(256))


@dataclass(frozen=True)
class Scan:
    """What one look at a sample's files showed."""

    entry: Entry
    pixels: Mapping[int, int] = field(default_factory=dict)
    """How many pixels of its mask hold each value that occurs; empty without annotation."""
    colours: Mapping[int, Colour] = field(default_factory=dict)
    """What its palette, where it has one, says of those values but 255."""
    image_orientation: int = UPRIGHT
    """The EXIF orientation by which the image was turned."""
    mask_orientation: int | None = None
    """That of the mask; None without a file of its own."""
    clear: bool = False
    """A pixel of the image is fully transparent."""
    origin: Origin = "indices"
    """How its mask says the classes."""
    own: bool = False
    """Its mask means what it holds: it is in the palette of this project, as `annotate_next` hands
    it out, or made of objects that have names."""
    notes: tuple[str, ...] = ()
    """What is to be said of the objects that its mask is made of."""

    @property
    def values(self) -> frozenset[int]:
        """The values of its mask, 255 among them; empty without annotation."""
        return frozenset(self.pixels)

    @property
    def background(self) -> float:
        """The share of class 0 in the pixels that are not ignored; 1 where there are none."""
        counted = sum(count for value, count in self.pixels.items() if value != IGNORE)
        return self.pixels.get(0, 0) / counted if counted else 1.0

    @property
    def turned_apart(self) -> bool:
        """Whether image and mask were turned otherwise."""
        return self.mask_orientation not in (None, self.image_orientation)


def mask_of(
    sample: Sample, adapter: Adapter, settings: DataSettings, *, height: int, width: int
) -> StoredMask:
    """The mask of an annotated sample; all background where it is sound and has none.

    Args:
        height, width: of the image as shown, in pixels.

    Raises:
        InputError: as `read_mask` of the adapter.
    """
    if sample.mask is None:
        return StoredMask(torch.zeros((height, width), dtype=torch.uint8))
    if sample.paint is not None:
        return tool_mask(sample, (height, width))
    return adapter.read_mask(sample, settings)


def scan_one(sample: Sample, adapter: Adapter, settings: DataSettings, info: DatasetInfo) -> Scan:
    """Decode and check one image and its mask.

    Raises:
        InputError: an unreadable file, an image and a mask of different sizes, a mask value that
            is no class.
    """
    picture = read_picture(sample.image)
    _, height, width = picture.pixels.shape
    entry = Entry(sample.id, sample.id + sample.image.suffix.lower(), height, width)
    if not sample.annotated:
        return Scan(entry, clear=picture.clear)
    mask = mask_of(sample, adapter, settings, height=height, width=width)
    values = mask.values
    if values.shape != (height, width):
        turned = "" if picture.orientation == UPRIGHT else ", turned by its EXIF orientation"
        raise InputError(
            f"image {sample.image} has {width} x {height} pixels (width x height{turned}), but its "
            f"mask {sample.mask} has {values.shape[1]} x {values.shape[0]}: they must agree"
        )
    counts = class_pixels(values, len(info.classes), str(sample.mask))
    pixels = {value: count for value, count in enumerate(counts) if count}
    # 255 has no class; a tool that saves a mask again may cut its palette short
    palette = (mask.palette or ())[:IGNORE]
    return Scan(
        entry,
        pixels,
        {value: palette[value] for value in pixels if value < len(palette)},
        picture.orientation,
        _orientation(sample, mask, picture.orientation),
        picture.clear,
        mask.origin if isinstance(mask, OwnMask) else "indices",
        means_what_it_holds(mask, info),
        mask.notes if isinstance(mask, ToolMask) else (),
    )


def _orientation(sample: Sample, mask: StoredMask, of_image: int) -> int | None:
    """By which a mask was turned: one that is made of objects is made for the image as shown."""
    if sample.mask is None:
        return None
    return of_image if isinstance(mask, ToolMask) else mask.orientation


def means_what_it_holds(mask: StoredMask, info: DatasetInfo) -> bool:
    """Whether 255 in a mask cannot be a defect: its colours are this project's, or it has names."""
    return isinstance(mask, ToolMask) or in_own_palette((mask.palette or ())[:IGNORE], info.colours)


def stop_at_senseless_masks(
    raw: Path,
    samples: Mapping[str, Sample],
    scans: Mapping[str, Scan],
    info: DatasetInfo,
    settings: DataSettings,
) -> None:
    """Stop at masks that would train something else than was drawn.

    Raises:
        InputError: no mask holds a defect; palettes number colours otherwise from mask to mask;
            255 where a defect is meant, in a data set of the user's own: a published one, which
            has classes of its own, is taken at its word.
    """
    _stop_without_defects(scans, info)
    _stop_at_renumbered_palettes(samples, scans, info)
    if settings.classes:
        _stop_at_ignored_alone(raw, samples, scans, info)


def _stop_without_defects(scans: Mapping[str, Scan], info: DatasetInfo) -> None:
    """Masks of 0 and 255 would pass as background and ignore, and train nothing."""
    annotated = [scan.values for scan in scans.values() if scan.values]
    values = frozenset[int]().union(*annotated)
    if annotated and not values - {0, IGNORE}:
        found = "0 and 255 (ignored) alone" if IGNORE in values else "background alone"
        raise InputError(
            f"the {_masks_told(scans)} hold {found}, no pixel of {', '.join(info.classes[1:])}: "
            "a mask holds class indices, so a defect of the first class is 1, not 255"
        )


def _masks_told(scans: Mapping[str, Scan]) -> str:
    """How many masks there are, and how many sound images that have none."""
    annotated = [scan for scan in scans.values() if scan.values]
    sound = sum(scan.mask_orientation is None for scan in annotated)
    bare = f" and {sound} sound images without one" if sound else ""
    return f"{len(annotated) - sound} masks{bare}"


def _stop_at_renumbered_palettes(
    samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> None:
    """A palette made for each mask by itself gives a class another index in each.

    The colours of `write_mask`, in which `annotate_next` leaves masks, and a ramp of all greys are
    made for no single mask: they may stand beside those of a tool.
    """
    fixed = (palette_of(info.colours), _GREYS)
    first: dict[int, tuple[Colour, str]] = {}
    for id, scan in sorted(scans.items()):
        if any(all(shown == one[value] for value, shown in scan.colours.items()) for one in fixed):
            continue
        for value, shown in scan.colours.items():
            colour, other = first.setdefault(value, (shown, id))
            if colour != shown:
                raise InputError(
                    f"palettes number colours otherwise: index {value} is {colour} (RGB) in mask "
                    f"{samples[other].mask} and {shown} in {samples[id].mask}. Of a "
                    "palette the index counts: write all masks with one palette, not with one made "
                    "for each (`quantize`, adaptive), or as grey class indices"
                )


def _stop_at_ignored_alone(
    raw: Path, samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> None:
    """A defect drawn as 255 would be ignored, and its image count as sound."""
    meant = meant_ignored(raw / IGNORED_FILE, samples)
    found = [
        str(samples[id].mask)
        for id, scan in sorted(scans.items())
        # a colour is ignored only where a person named it so
        if IGNORE in scan.values
        and not scan.values - {0, IGNORE}
        and id not in meant
        and scan.origin != "colours"
    ]
    if found:
        raise InputError(
            f"{len(found)} masks hold 255 (ignored) and no defect, so their images would count as "
            f"sound: {named(found, SHOWN)}. Draw defects by their class index "
            f"({_indices(info)}); where 255 does mean ignored, name the images in "
            f"{raw / IGNORED_FILE}, one a line, or * for all"
        )


def meant_ignored(file: Path, samples: Mapping[str, Sample]) -> set[str]:
    """The ids of the images that `file` names; none without that file.

    Raises:
        InputError: it is no UTF-8 text, or names an image that is not there.
    """
    if not file.is_file():
        return set()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: save it as UTF-8") from None
    names = {line.strip().replace("\\", "/") for line in lines} - {""}
    if "*" in names:
        return set(samples)
    ids = {without_suffix(name.removeprefix("images/")): name for name in names}
    for id, name in sorted(ids.items()):
        if id not in samples:
            raise InputError(f"{file}: the data set holds no image {name}: correct or remove it")
    return set(ids)


def shares(scans: Mapping[str, Scan], info: DatasetInfo) -> str:
    """The share of each class in the pixels of all masks, in percent, in a line; "" without any."""
    total = _totals(scans)
    if not sum(total):
        return ""
    names = [*zip(info.classes, total, strict=False), ("ignored", total[IGNORE])]
    parts = [f"{name} {100 * count / sum(total):.3g}" for name, count in names]
    sound = sum(bool(scan.values) and scan.mask_orientation is None for scan in scans.values())
    bare = f" and of {sound} sound images without one" if sound else ""
    return f"pixels of all masks{bare} in percent: {', '.join(parts)}"


def mask_notes(scans: Mapping[str, Scan]) -> Iterator[str]:
    """How masks were read, where that is not by class indices as they are stored."""
    by_colour = sum(scan.origin == "colours" for scan in scans.values())
    if by_colour:
        yield f"{by_colour} masks are read by their colours"
    grey = sum(scan.origin == "grey_in_colour" for scan in scans.values())
    if grey:
        yield f"{grey} masks store grey as colours with equal channels: read as class indices"
    noted: dict[str, list[str]] = {}
    for id, scan in sorted(scans.items()):
        for note in scan.notes:
            noted.setdefault(note, []).append(id)
    yield from (f"{len(ids)} masks: {note}: {named(ids)}" for note, ids in noted.items())


def mask_warnings(
    raw: Path, samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> Iterator[str]:
    """What a person should look at, in sentences without a start."""
    total = _totals(scans)
    largest = max(range(len(info.classes)), key=lambda index: (total[index], -index))
    if largest != 0:
        yield (
            f"{info.classes[largest]} has more pixels than {info.classes[0]}: are masks inverted, "
            "or is the background not the first of data.classes?"
        )
    inverted = [id for id, scan in scans.items() if scan.values and scan.background < _HARDLY]
    if inverted:
        yield (
            f"in {len(inverted)} masks hardly a pixel is {info.classes[0]}: {named(inverted)}; "
            "are they inverted?"
        )
    void = [id for id, scan in scans.items() if IGNORE in scan.values]
    for index, name in enumerate(info.classes):
        if void and not total[index]:
            yield (
                f"no mask holds {name}, but {len(void)} hold 255 (ignored): {named(void)}; is "
                f"{name} drawn as 255 instead of {index}?"
            )
    yield from _turned_apart(scans)
    clear = [id for id, scan in scans.items() if scan.clear]
    if clear:
        yield (
            f"{len(clear)} images have fully transparent pixels, and models see the colours that "
            f"these hide: {named(clear)}; save them without transparency where that is not meant"
        )
    yield from _unread(raw, samples)
    if info.name == "folder":
        for suffix, like in named_like_masks(samples).items():
            yield (
                f"{len(like)} images are named like another and {suffix}: {named(like)}; if these "
                f"are masks, set `mask_suffix: {suffix}` in section data"
            )


def _turned_apart(scans: Mapping[str, Scan]) -> Iterator[str]:
    """Images and masks of which one alone has an EXIF orientation, or each another."""
    apart = {id: scan.image_orientation for id, scan in scans.items() if scan.turned_apart}
    images = [id for id, orientation in apart.items() if orientation != UPRIGHT]
    masks = [id for id, orientation in apart.items() if orientation == UPRIGHT]
    if images:
        yield (
            f"{len(images)} images were turned by their EXIF orientation, as viewers show them, "
            f"and their masks have another or none: {named(images)}; look whether they fit"
        )
    if masks:
        yield (
            f"{len(masks)} masks were turned by their EXIF orientation, as viewers show them, and "
            f"their images have none: {named(masks)}; look whether they fit"
        )


def _unread(raw: Path, samples: Mapping[str, Sample]) -> Iterator[str]:
    """Files beside images and masks that nothing reads: masks of another tool, more than once."""
    for folder in ("images", "masks", "annotations", "corrected"):
        files = unread_files(raw / folder, list(samples.values()))
        if not files:
            continue
        paths = [file.relative_to(raw).as_posix() for file in files]
        ids = [file.relative_to(raw / folder).with_suffix("").as_posix() for file in files]
        bare = {id for id in ids if id in samples and not samples[id].annotated}
        then = f"; {len(bare)} are named like images that have no mask" if bare else ""
        yield f"{len(files)} files below {folder}/ are not read: {named(paths)}{then}"


def _totals(scans: Mapping[str, Scan]) -> list[int]:
    """How many pixels of all masks hold each of the values 0-255."""
    total = [0] * (IGNORE + 1)
    for scan in scans.values():
        for value, count in scan.pixels.items():
            total[value] += count
    return total


def named(names: Sequence[str], shown: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def _indices(info: DatasetInfo) -> str:
    return ", ".join(f"{index} {name}" for index, name in enumerate(info.classes) if index)
