"""MVTec AD, and data in its layout: one category, whose good images are sound, not unlabeled.

Bergmann, Fauser, Sattlegger, Steger: "MVTec AD - A Comprehensive Real-World Dataset for
Unsupervised Anomaly Detection", CVPR 2019, doi 10.1109/CVPR.2019.00982; mvtec.com.

The folders of test/ name the classes of defect. A published part is not taken over: train/ shows no
defect, so nothing could be learned from it, and test/ holds all of them. `split` draws the test
images from both. Masks are black and white.
"""

import unicodedata
from dataclasses import replace
from pathlib import Path

import torch

from ppl.core.errors import InputError
from ppl.data.adapters.base import (
    GOOD,
    DataSettings,
    Label,
    Sample,
    by_id,
    classes_line,
    masks_below,
    no_groups,
    pictures_with_ids,
    sound_mask,
    stop_at_capitals,
    stop_at_stray_masks,
)
from ppl.data.image_labels import sound_if_good
from ppl.images.files import StoredMask, read_grey
from ppl.images.pictures import Colour, files_below

CLASSES: tuple[str, ...] = ()
COLOURS: tuple[Colour, ...] = ()
LAYOUT = (
    "train/good/NAME.png and test/good/NAME.png without a mask, test/CLASS/NAME.png with its mask "
    "ground_truth/CLASS/NAME_mask.png: one category of MVTec AD, as bottle"
)

_MASK_SUFFIX = "_mask"
_TRAIN, _TEST, _TRUTH = "train", "test", "ground_truth"

find_groups = no_groups


def find_classes(root: Path) -> tuple[str, ...]:
    """Background and the folders of test/ but good, sorted; () where there are none."""
    # as in ids, macOS writes accents as characters of their own
    folders = (unicodedata.normalize("NFC", folder.name) for folder in _folders(root / _TEST))
    names = sorted(name for name in folders if name != GOOD)
    return ("background", *names) if names else ()


def find_samples(root: Path, settings: DataSettings) -> list[Sample]:
    """Every image below train/ and test/; one of test/CLASS without a mask is unlabeled.

    Raises:
        InputError: the folder of all categories, none of masks, a folder with capitals, one that
            no class names, `data.classes` that are not those of the folders, a mask without an
            image, one id for two files, or a picture in no folder of a class.
    """
    _stop_at_all_categories(root)
    _stop_at_other_folders(root)
    found = [
        (f"{part}/{id}", image)
        for part in (_TRAIN, _TEST)
        for id, image in pictures_with_ids(root / part)
    ]
    if not found:
        return []
    _stop_at_other_classes(root, settings)
    images = by_id(found, "image")
    masks = {f"{_TEST}/{id}": mask for id, mask in masks_below(root / _TRUTH, _MASK_SUFFIX).items()}
    stop_at_stray_masks(masks, images, root)
    return [
        sound_if_good(
            Sample(
                id,
                image,
                masks.get(id),
                annotated=id in masks,
                part=None,
                label=_label(root, id, image),
            )
        )
        for id, image in images.items()
    ]


def _label(root: Path, id: str, image: Path) -> Label:
    """What the folder of an image says.

    Raises:
        InputError: it lies in none.
    """
    part, *folders = id.split("/")[:-1]
    if not folders:
        raise InputError(
            f"{image} lies in no folder of a class: move it to {root / part / GOOD}, or to one "
            "that names its defect"
        )
    return Label(folders[0], f"its folder {root / part / folders[0]}")


def _folders(folder: Path) -> list[Path]:
    """The folders in one, hidden ones and those that hold no file left out."""
    if not folder.is_dir():
        return []
    found = (child for child in sorted(folder.iterdir()) if not child.name.startswith("."))
    return [child for child in found if child.is_dir() and _holds_files(child)]


def _holds_files(folder: Path) -> bool:
    return any(True for _ in files_below(folder, lambda _: False))


def _stop_at_all_categories(root: Path) -> None:
    if (root / _TRAIN).is_dir() or (root / _TEST).is_dir():
        return
    categories = [folder for folder in _folders(root) if (folder / _TEST).is_dir()]
    if categories:
        raise InputError(
            f"{root} (data.root) holds {len(categories)} categories, and a model is of one: set "
            f"data.root to that folder, e.g. {categories[0]}"
        )


def _stop_at_other_folders(root: Path) -> None:
    """Folders that would be left alone, or read as something else."""
    stop_at_capitals(root, (_TRAIN, _TEST, _TRUTH))
    for part in (_TRAIN, _TEST, _TRUTH):
        if (root / part).is_dir():
            stop_at_capitals(root / part, (GOOD,))
    others = [folder.name for folder in _folders(root / _TRAIN) if folder.name != GOOD]
    if others:
        raise InputError(
            f"{root / _TRAIN / others[0]}: train/ of this layout holds good/ alone; move the "
            f"images to {root / _TEST / others[0]}, and masks, if any, to "
            f"{root / _TRUTH / others[0]}"
        )


def _stop_at_other_classes(root: Path, settings: DataSettings) -> None:
    found = find_classes(root)
    if not found:
        raise InputError(
            f"{root / _TEST} holds no folder of defects beside {GOOD}/: expected "
            f"{root / _TEST}/CLASS/NAME.png"
        )
    background, *defects = settings.classes
    if tuple(unicodedata.normalize("NFC", name) for name in defects) != found[1:]:
        raise InputError(
            f"data.classes lists {', '.join(defects)} after {background}, but the folders of "
            f"{root / _TEST} are {', '.join(found[1:])}: write "
            f"`{classes_line([background, *found[1:]])}`"
        )
    if not any(True for _ in pictures_with_ids(root / _TRUTH)):
        raise InputError(
            f"{root / _TRUTH} holds no mask, so nothing could be learned: expected "
            f"{root / _TRUTH / found[1] / f'NAME{_MASK_SUFFIX}.png'}"
        )


def read_mask(sample: Sample, settings: DataSettings) -> StoredMask:
    """The class of the sample's folder where the mask reaches the threshold; 0 of a good image.

    Raises:
        InputError: an unreadable mask, or one with marks that all stay below the threshold.
    """
    if sample.mask is None:
        return sound_mask(sample)
    assert sample.label is not None, sample.id
    grey = read_grey(sample.mask)
    defect = grey.values >= settings.mask_threshold
    brightest = int(grey.values.max())
    if brightest and not bool(defect.any()):
        raise InputError(
            f"mask {sample.mask} has no level above {brightest}, and a defect begins at "
            f"data.mask_threshold {settings.mask_threshold}: save defects as 255, or lower it"
        )
    # what a good image shows is refused by its label, whichever class it would be
    classes = [unicodedata.normalize("NFC", name) for name in settings.classes]
    number = 1 if sample.label.name == GOOD else classes.index(sample.label.name, 1)
    return replace(grey, values=defect.to(torch.uint8) * number)
