"""What a data set is to the pipeline, and how the adapter of one is found by its file name.

An adapter is a module of this package with six names: CLASSES, COLOURS, LAYOUT, `find_samples`,
`find_groups` and `read_mask` (see `Adapter`). One more file here is one more value of `data.name`.
Where `data.classes` names the classes, a seventh, `find_classes`, may say what the data call them.
"""

import colorsys
import contextlib
import importlib
import json
import os
import pkgutil
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Protocol, cast

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

import ppl.data.adapters
from ppl.core.errors import InputError
from ppl.core.settings import PathSetting, Settings
from ppl.data.class_colours import ClassColours, colours_of_settings
from ppl.formats import labelme
from ppl.formats.base import Paint
from ppl.images.files import StoredMask, read_image, read_stored_mask
from ppl.images.pictures import IGNORE, IMAGE_SUFFIXES, Colour, files_below, is_no_plain_file
from ppl.images.sets import DatasetInfo

Part = Literal["train", "test"]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
"""Formats that keep class indices; JPEG blurs one class into others that were never drawn."""

_SHOWN_NAMES = 10


def adapter_names() -> list[str]:
    """The values that `data.name` may take: the modules of this package, without this one."""
    modules = (module.name for module in pkgutil.iter_modules(ppl.data.adapters.__path__))
    return sorted(name for name in modules if name != "base" and not name.startswith("_"))


class DataSettings(Settings):
    """Section `data` of params.yaml: which data set, where it lies, how its masks are read."""

    name: str
    """The adapter: a module name of ppl/data/adapters."""
    root: PathSetting
    """The folder that holds the data set in its published layout."""
    mask_threshold: Annotated[int, Field(ge=1, le=255)]
    """Grey level (1-255) from which a pixel of a grey mask is defect: magnetic_tile, dagm and
    mvtec."""
    classes: list[str]
    """Class names by index, background first, for `folder` and `mvtec`; every other adapter wants
    []."""
    groups: Literal["own", "none", "pattern", "content"]
    """How photos of one part are told: as the data set knows, not at all, by `group_pattern`, or
    by how they look."""
    group_pattern: str
    """For `pattern`: a regular expression; what it finds in an image's path names the part."""
    same_part: Annotated[float, Field(ge=0.5, le=1)] | None
    """Similarity from which two images show one part, by content; and from which two groups that
    file names tell are one part, photographed again, where null leaves them as they are."""
    colours: dict[str, list[int]] | list[list[int]] | None = None
    """Of `folder`, optional: the colour of each class in its masks, RGB in 0-255, by name or by
    index. Background is black unless named; `ignored` may have one, too. Null: masks hold class
    indices, or a labelmap.txt says the colours."""
    mask_suffix: str = ""
    """Of `folder`, optional: what the name of a mask has more than that of its image, as _mask."""

    LINES: ClassVar[Mapping[str, str]] = {
        "name": "name: folder                 # your own images; or the name of a published set",
        "root": "root: data/raw/my_parts      # folder of the data set",
        "mask_threshold": "mask_threshold: 128          # not read by `folder`",
        "classes": "classes: [background, defect] # by index; [] where a set has its own classes",
        "groups": "groups: own                  # which photos show one part: by groups.csv",
        "group_pattern": 'group_pattern: ""            # for `groups: pattern`',
        "same_part": "same_part: 0.9               # for `groups: content`",
        "colours": "colours: null                # RGB by class, where masks are in colours",
        "mask_suffix": 'mask_suffix: ""              # _mask: the mask of NAME is NAME_mask.png',
    }

    @field_validator("name")
    @classmethod
    def _is_an_adapter(cls, name: str) -> str:
        if name not in adapter_names():
            raise ValueError(f"expected one of {', '.join(adapter_names())}")
        return name

    @field_validator("classes")
    @classmethod
    def _are_names(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) < len(classes):
            raise ValueError("each class name may stand there once")
        if not all(name.strip() for name in classes):
            raise ValueError("a class name may not be empty")
        if len(classes) == 1 or len(classes) > IGNORE:
            raise ValueError(f"expected background and 1 to {IGNORE - 1} defect classes, or []")
        return classes

    @field_validator("colours", mode="before")
    @classmethod
    def _name_classes(cls, colours: Any, info: ValidationInfo) -> Any:
        if colours is not None:
            _for_folder_alone(info)
            # what is wrong with the classes is said by themselves
            if info.data.get("classes"):
                colours_of_settings(colours, info.data["classes"])
        return colours

    @field_validator("mask_suffix")
    @classmethod
    def _ends_a_name(cls, suffix: str, info: ValidationInfo) -> str:
        if not suffix:
            return suffix
        _for_folder_alone(info)
        if suffix.lower().endswith(IMAGE_SUFFIXES):
            raise ValueError("write it without the suffix of the file: _mask, not _mask.png")
        if suffix != suffix.strip() or not _is_plain(suffix) or set(suffix) & set("/\\"):
            raise ValueError("expected the end of a file name, as _mask")
        return unicodedata.normalize("NFC", suffix)

    @model_validator(mode="after")
    def _has_its_pattern(self) -> "DataSettings":
        try:
            re.compile(self.group_pattern)
        except re.error as error:
            raise ValueError(f"group_pattern is no regular expression: {error}") from None
        if (self.groups == "pattern") != bool(self.group_pattern):
            raise ValueError(
                "group_pattern is what `groups: pattern` needs, and nothing else does: set both"
            )
        return self


def _for_folder_alone(info: ValidationInfo) -> None:
    """No other layout reads it, and nobody should believe that one does."""
    name = info.data.get("name", "folder")
    if name != "folder":
        raise ValueError(f"`folder` alone reads it, and data.name is {name}: remove the line")


@dataclass(frozen=True)
class Label:
    """What a person or a folder says of an image as a whole."""

    name: str
    """`GOOD`, `BAD`, or the name of a defect class."""
    where: str
    """The line of a table, or the folder, that says so."""


GOOD, BAD = "good", "bad"


@dataclass(frozen=True)
class Sample:
    """One image of a data set as it was published."""

    id: str
    """Relative path without suffix, '/' between its parts; unique over the data set."""
    image: Path
    mask: Path | None
    """The published mask; None as well where a defect-free image has none by convention."""
    annotated: bool
    """Whether `read_mask` knows the classes of its pixels."""
    part: Part | None
    """The published part, or None where the data set has none."""
    corrected: bool = False
    """Whether the mask began as a model's, which a person corrected: to train on alone."""
    colours: ClassColours | None = None
    """Which classes the colours of its mask name; None where it holds class indices."""
    label: Label | None = None
    """What is said of the image as a whole, where anything is."""
    paint: Paint | None = None
    """Makes its mask of the objects in the file of a tool, where `mask` is such a file."""


class Adapter(Protocol):
    """What a module of this package offers."""

    CLASSES: tuple[str, ...]
    """Class names by index, background first; () takes them from `data.classes`."""
    COLOURS: tuple[Colour, ...]
    """One a class, background black; () takes `distinct_colours`."""
    LAYOUT: str
    """The expected layout in a line, for error messages."""

    def find_samples(self, root: Path, settings: DataSettings) -> list[Sample]:
        """All images below `root`, in any order; opens no image."""

    def find_groups(
        self, root: Path, samples: Sequence[Sample], settings: DataSettings
    ) -> Mapping[str, str]:
        """The part that each image shows, by id, for all images; {} where it is not known."""

    def read_mask(self, sample: Sample, settings: DataSettings) -> StoredMask:
        """An annotated sample's mask, its values class indices; 255 is ignore."""


def load_adapter(name: str) -> Adapter:
    """The adapter module `name`, one of `adapter_names()`."""
    assert name in adapter_names(), name
    return cast(Adapter, importlib.import_module(f"ppl.data.adapters.{name}"))


def dataset_info(settings: DataSettings) -> DatasetInfo:
    """Class names and colours of the chosen data set.

    Raises:
        InputError: `data.classes` is missing where the data has no fixed classes, or given
            where it has.
    """
    adapter = load_adapter(settings.name)
    if adapter.CLASSES and settings.classes:
        raise InputError(
            f"data.classes lists {len(settings.classes)} names, but {settings.name} has classes "
            f"of its own ({', '.join(adapter.CLASSES)}): write `classes: []`"
        )
    if not adapter.CLASSES and not settings.classes:
        raise InputError(_no_classes(adapter, settings))
    classes = adapter.CLASSES or tuple(settings.classes)
    colours = adapter.COLOURS or distinct_colours(len(classes))
    assert len(colours) == len(classes) == len(set(colours)), "one colour a class"
    return DatasetInfo(settings.name, classes, colours)


def _no_classes(adapter: Adapter, settings: DataSettings) -> str:
    """What to write for `data.classes`: what the data call them, where they do."""
    find = getattr(adapter, "find_classes", None)
    found = find(Path(settings.root)) if find else ()
    if found:
        return (
            f"data.classes is empty: {settings.root} names classes, so write "
            f"`{classes_line(found)}`"
        )
    return (
        f"data.classes is empty, and {settings.name} has no classes of its own: list the "
        "names by index, background first, e.g. `classes: [background, scratch]`"
    )


def classes_line(classes: Sequence[str]) -> str:
    """The line of params.yaml that names these classes, to be pasted."""
    return f"classes: {json.dumps(list(classes), ensure_ascii=False)}"


def stop_unless_there(root: Path, settings: DataSettings) -> None:
    """Say what belongs into a folder that is not there.

    Raises:
        InputError: `root` is no folder.
    """
    if not root.is_dir():
        raise InputError(f"the folder {root} (data.root) does not exist. {_expected(settings)}")


def stop_at_odd_names(root: Path) -> None:
    """DVC stops at a name that is no UTF-8 without naming it, and no list can name two lines.

    A pipe would keep DVC and every reader waiting. Hidden files and thumbnails are looked at like
    all others, since DVC reads them too.

    Raises:
        InputError: files or folders below `root` with such names, or pipes, sockets and devices; up
            to ten of them.
    """
    odd, waiting = list[str](), list[str]()
    for entry in _entries_below(root):
        if not _is_plain(entry.name):
            odd.append(os.fsencode(entry.path).decode("utf-8", "backslashreplace"))
        elif not (entry.is_file() or entry.is_dir()) and is_no_plain_file(Path(entry.path)):
            waiting.append(entry.path)
    if waiting:
        raise InputError(
            f"{len(waiting)} below {root} are no files but pipes, sockets or devices, and reading "
            f"one would never end: remove {', '.join(sorted(waiting)[:_SHOWN_NAMES])}"
        )
    if odd:
        named = ", ".join(repr(name) for name in sorted(odd)[:_SHOWN_NAMES])
        raise InputError(
            f"{len(odd)} names below {root} hold bytes that are no UTF-8 text, or a line break or "
            f"another control character: rename {named}"
        )


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies below a folder; what cannot be listed holds nothing, links are not followed."""
    waiting = [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _is_plain(name: str) -> bool:
    """No byte that was no UTF-8, which Python reads as a surrogate, and no control character."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


def unread_files(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """Files below `folder` that are neither image nor mask of a sample, sorted.

    Hidden files, and what storage devices leave, are not among them.
    """
    read = {file for sample in samples for file in (sample.image, sample.mask)}
    read |= {sample.colours.file for sample in samples if sample.colours}
    return [file for file in _files_below(folder) if file not in read]


def _expected(settings: DataSettings) -> str:
    return (
        f"Expected the layout of {settings.name}: {load_adapter(settings.name).LAYOUT}. Put or "
        "link the data there, or set data.root; to try the pipeline without data of your own, set "
        "`data.name: synthetic` and `data.root: data/raw/synthetic`"
    )


def load_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """All images of the data set below `root`, sorted by id.

    Raises:
        InputError: no such folder, no image in the expected layout, one id for two images, or a
            name that DVC cannot record.
    """
    stop_unless_there(root, settings)
    stop_at_odd_names(root)
    adapter = load_adapter(settings.name)
    samples = sorted(
        adapter.find_samples(root, settings), key=lambda sample: (sample.id, sample.image)
    )
    if not samples:
        raise InputError(f"the folder {root} (data.root) holds no image. {_expected(settings)}")
    by_id(((sample.id, sample.image) for sample in samples), "image")
    read = (file for sample in samples for file in (sample.image, sample.mask) if file)
    for folder in {parent for file in read for parent in file.parents}:
        if root in folder.parents:
            stop_at_link(folder)
    return samples


def stop_at_link(folder: Path) -> bool:
    """DVC does not look behind a link below a dependency: images added there would be missed.

    Raises:
        InputError: the folder is a link.
    """
    if folder.is_symlink():
        raise InputError(
            f"{folder} is a link to another folder, and changes behind it would go unnoticed: link "
            "the whole data set (data.root may be a link), or copy the folder"
        )
    return False


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """`count` RGB colours (0-255), black first, no two alike; a longer list extends a shorter one.

    Hues step by the golden ratio, which keeps neighbouring classes far apart, in three
    brightnesses. None is white, which shows ignored pixels.
    """
    assert 1 <= count <= IGNORE, count
    colours: list[Colour] = [(0, 0, 0)]
    for step in range(count - 1):
        hue = (step * 0.618033988749895) % 1.0
        value = (1.0, 0.75, 0.5)[step // 8 % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colours)


def by_id(files: Iterable[tuple[str, Path]], what: str) -> dict[str, Path]:
    """The files by their id.

    Raises:
        InputError: two files share an id, e.g. a.jpg and a.png in one folder.
    """
    found: dict[str, Path] = {}
    for id, file in files:
        if id in found:
            raise InputError(
                f"{what} file name twice: {found[id]} and {file} would both be {what} {id!r}; "
                "remove or rename one"
            )
        found[id] = file
    return found


def paired_samples(
    root: Path,
    *,
    images: str,
    masks: str,
    parts: Mapping[str, Part],
    corrected: str | None = None,
    mask_suffix: str | None = None,
    drawn_elsewhere: bool = False,
) -> list[Sample]:
    """Samples of the common layout: ROOT/images/ID.SUFFIX with its mask at ROOT/masks/ID.png.

    An image without a mask is unlabeled.

    Args:
        images, masks: the two folders below `root`.
        parts: the published part by the first folder of an id; {} where there are none.
        corrected: the folder of the masks that began as a model's.
        mask_suffix: what the name of a mask may have more than that of its image. Files of
            `images` whose name ends with it are masks, too. None where a layout has none.
        drawn_elsewhere: whether masks may lie somewhere else, so that `masks` need not be there.

    Raises:
        InputError: a mask without an image, a mask as JPEG or WebP, one id for two files, an image
            with both a drawn and a corrected mask, a folder named otherwise by its case alone, or
            another folder where one of the two is missing.
    """
    stop_at_capitals(root, (images, masks, *filter(None, [corrected])))
    _stop_at_other_name(root, images)
    pictures = list(pictures_with_ids(root / images))
    suffix = mask_suffix or ""
    beside = list(_ending_with(suffix, pictures))
    if not beside and not drawn_elsewhere:
        _stop_at_other_name(root, masks)
    image_by_id = by_id(_not_ending_with(suffix, pictures), "image")
    drawn = by_id([*beside, *_masks_with_ids(root / masks, suffix)], "mask")
    began = masks_below(root / corrected, suffix) if corrected else {}
    _stop_at_two_masks(drawn, began)
    mask_by_id = drawn | began
    if mask_suffix == "":
        _stop_at_usual_suffix(mask_by_id, image_by_id)
    stop_at_stray_masks(mask_by_id, image_by_id, root / images)
    return [
        Sample(
            id,
            image,
            mask_by_id.get(id),
            annotated=id in mask_by_id,
            part=parts.get(id.split("/")[0]),
            corrected=id in began,
        )
        for id, image in image_by_id.items()
    ]


def _stop_at_two_masks(drawn: Mapping[str, Path], began_as_pseudo: Mapping[str, Path]) -> None:
    for id in sorted(began_as_pseudo.keys() & drawn.keys()):
        raise InputError(
            f"image {id} has two masks, {drawn[id]} and {began_as_pseudo[id]}: keep the first "
            "if it was drawn from scratch, and the second if it began as a model's"
        )


def _stop_at_usual_suffix(masks: Mapping[str, Path], images: Mapping[str, Path]) -> None:
    """A mask that would have an image, were it not for the end of its name."""
    for id, mask in masks.items():
        for suffix in _USUAL_SUFFIXES:
            if id not in images and id.endswith(suffix) and id[: -len(suffix)] in images:
                raise InputError(
                    f"mask {mask} has no image of its name, but there is "
                    f"{images[id[: -len(suffix)]]}: set `mask_suffix: {suffix}` in section data"
                )


def stop_at_stray_masks(
    masks: Mapping[str, Path], images: Mapping[str, Path], folder: Path
) -> None:
    """A mask that no image has is misnamed, and its image would count as unlabeled.

    Args:
        masks, images: the files by id.
        folder: where the images lie.

    Raises:
        InputError: a mask as JPEG or WebP, or without an image.
    """
    for id, mask in masks.items():
        if mask.suffix.lower() not in MASK_SUFFIXES:
            raise InputError(
                f"mask {mask} is a {mask.suffix.lower()} file, which alters class indices or holds "
                "none: save masks as PNG"
            )
        if id not in images:
            raise InputError(
                f"mask {mask} has no image {folder / id} with any of the suffixes "
                f"{' '.join(IMAGE_SUFFIXES)}: add the image or remove the mask"
            )


_USUAL_SUFFIXES = ("_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_gt", ".mask")


def named_like_masks(ids: Collection[str]) -> dict[str, list[str]]:
    """Images that are named like another and a usual ending of masks, by that ending."""
    known = set(ids)
    found = {
        suffix: sorted(id for id in known if id.endswith(suffix) and id[: -len(suffix)] in known)
        for suffix in _USUAL_SUFFIXES
    }
    return {suffix: like for suffix, like in found.items() if like}


def masks_below(folder: Path, mask_suffix: str) -> dict[str, Path]:
    """The masks below a folder by the id of their image, whose name may lack `mask_suffix`.

    Raises:
        InputError: two masks of one image, or a folder below is a link.
    """
    return by_id(_masks_with_ids(folder, mask_suffix), "mask")


def _masks_with_ids(folder: Path, mask_suffix: str) -> Iterator[tuple[str, Path]]:
    # no image is named like a mask, so the suffix can go from every name that has it
    return ((id.removesuffix(mask_suffix), file) for id, file in pictures_with_ids(folder))


def _ending_with(
    mask_suffix: str, pictures: Iterable[tuple[str, Path]]
) -> Iterator[tuple[str, Path]]:
    """Those that are masks by their name, under the ids of their images."""
    return (
        (id.removesuffix(mask_suffix), file)
        for id, file in pictures
        if mask_suffix and id.endswith(mask_suffix)
    )


def _not_ending_with(
    mask_suffix: str, pictures: Iterable[tuple[str, Path]]
) -> Iterator[tuple[str, Path]]:
    """Those that are images by their name.

    Raises:
        InputError: one ends with the suffix of masks but for capitals: it would be an image
            without a mask.
    """
    for id, file in pictures:
        if mask_suffix and id.endswith(mask_suffix):
            continue
        _stop_at_suffix_in_capitals(id, file, mask_suffix)
        yield id, file


def _stop_at_suffix_in_capitals(id: str, file: Path, mask_suffix: str) -> None:
    if mask_suffix and id.lower().endswith(mask_suffix.lower()):
        raise InputError(
            f"{file} ends with data.mask_suffix {mask_suffix!r} but for capitals: rename it, or "
            f"write `mask_suffix: {id[-len(mask_suffix) :]}`"
        )


def stop_at_capitals(root: Path, wanted: Sequence[str]) -> None:
    """Masks/ is another folder than masks/ on most systems, and would be left alone."""
    for folder in sorted(root.iterdir()):
        for name in wanted:
            if folder.name == name or folder.name.lower() != name or not folder.is_dir():
                continue
            meant = root / name
            # one folder on a system that takes both names
            same = meant.is_dir() and meant.samefile(folder)
            if not same and any(True for _ in _files_below(folder)):
                raise InputError(
                    f"{folder} is not read: rename it to {name}/, in small letters"
                    + (f", or move its files into {meant}" if meant.is_dir() else "")
                )


_OWN_FOLDERS = ("images", "masks", "annotations", "corrected", "to_correct", "review")
"""What lies there is meant: masks that began as a model's must never be renamed to masks/."""


def _stop_at_other_name(root: Path, wanted: str) -> None:
    """labels/ in place of masks/ would make every image unlabeled."""
    if (root / wanted).is_dir():
        return
    others = sorted(
        folder.name
        for folder in root.iterdir()
        if folder.is_dir() and folder.name not in _OWN_FOLDERS
    )
    holding = [
        name for name in others if any(True for _ in files_below(root / name, Path.is_symlink))
    ]
    if holding:
        raise InputError(
            f"{root} holds no folder {wanted}/, but {', '.join(f'{name}/' for name in holding)}: "
            f"rename the one that is meant to {wanted}/, in small letters"
        )


def no_groups(root: Path, samples: Sequence[Sample], settings: DataSettings) -> dict[str, str]:
    """The groups of a data set that does not know which photos show one part."""
    return {}


def without_suffix(path: str) -> str:
    """The path of an image without the suffix of an image file, in composed Unicode, as in ids."""
    pure = PurePosixPath(unicodedata.normalize("NFC", path))
    return (pure.with_suffix("") if pure.suffix.lower() in IMAGE_SUFFIXES else pure).as_posix()


def read_indices(sample: Sample, settings: DataSettings) -> StoredMask:
    """The mask of an annotated sample as stored: its values are the class indices.

    Raises:
        InputError: an unreadable mask, or a colour image instead of indices.
    """
    assert sample.mask is not None, sample.id
    return read_stored_mask(sample.mask)


def sound_mask(sample: Sample) -> StoredMask:
    """The mask of an annotated image that has none: all background.

    Raises:
        InputError: an unreadable image.
    """
    assert sample.annotated, sample.id
    _, height, width = read_image(sample.image).shape
    return StoredMask(torch.zeros((height, width), dtype=torch.uint8))


def annotated_ids(settings: DataSettings) -> set[str]:
    """The ids of the images that a person annotated: by a mask, or by a label that calls them good.

    Of data that a run would refuse, those of `folder` that have a mask.
    """
    try:
        samples = load_samples(Path(settings.root), settings)
    except InputError:
        return masked_ids(settings)
    return {sample.id for sample in samples if sample.annotated}


def masked_ids(settings: DataSettings) -> set[str]:
    """The ids of the images of `folder` that have a mask, drawn or corrected.

    Raises:
        InputError: a folder below is a link.
    """
    return {id for masks in _masks_by_folder(settings).values() for id, _ in masks}


def mask_files(settings: DataSettings) -> dict[str, dict[str, Path]]:
    """The masks of `folder` by the id of their image: those drawn, as `masks`, and `corrected`.

    Raises:
        InputError: two masks of one image in one of these, or a folder below is a link.
    """
    return {name: by_id(masks, "mask") for name, masks in _masks_by_folder(settings).items()}


def _masks_by_folder(settings: DataSettings) -> dict[str, Iterator[tuple[str, Path]]]:
    """Each mask with the id of its image; those beside the images are of `masks`.

    What a COCO file lists is not among them: only data that a run takes tell which images it means.
    """
    root, suffix = Path(settings.root), settings.mask_suffix
    beside = _ending_with(suffix, pictures_with_ids(root / "images"))
    shapes = labelme_files(root / "images")
    return {
        "masks": chain(beside, shapes, _masks_with_ids(root / "masks", suffix)),
        "corrected": _masks_with_ids(root / "corrected", suffix),
    }


def pictures_with_ids(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files with the suffix of an image, in any case, by their path below `folder` without it.

    Raises:
        InputError: a folder below is a link.
    """
    return ((_id(file, folder), file) for file in _pictures_below(folder))


def labelme_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of LabelMe below a folder, by the ids of the images that are called like them.

    Raises:
        InputError: a folder below is a link.
    """
    for file in _files_below(folder):
        if file.suffix.lower() == ".json" and labelme.is_one(file):
            yield _id(file, folder), file


def _id(file: Path, folder: Path) -> str:
    # macOS writes accents as characters of their own: the same name in other bytes
    return unicodedata.normalize("NFC", file.relative_to(folder).with_suffix("").as_posix())


def _pictures_below(folder: Path) -> Iterator[Path]:
    """Files with the suffix of an image, in any case.

    Raises:
        InputError: a folder below is a link.
    """
    return (file for file in _files_below(folder) if file.suffix.lower() in IMAGE_SUFFIXES)


def _files_below(folder: Path) -> Iterator[Path]:
    """All files; hidden files and folders, and folders of thumbnails, are left alone.

    Raises:
        InputError: the folder, or one below, is a link.
    """
    stop_at_link(folder)
    return files_below(folder, stop_at_link)
