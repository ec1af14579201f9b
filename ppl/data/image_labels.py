"""What is known of images as a whole: good, bad, or which defect they show, with or without a mask.

An image that is called good needs no mask: it is annotated, all background. Any other label trains
nothing by itself; it is held against the mask where there is one.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppl.core.errors import InputError
from ppl.data.adapters.base import BAD, GOOD, Label, Sample
from ppl.data.scans import SHOWN, Scan, named
from ppl.data.tables import known_as, read_rows
from ppl.images.pictures import IGNORE
from ppl.images.sets import DatasetInfo

LABELS_FILE = "labels.csv"
_COLUMNS = ["image", "label"]


def with_labels(raw: Path, samples: Sequence[Sample], classes: Sequence[str]) -> list[Sample]:
    """The samples with what RAW/labels.csv says of them; as they are without that file.

    Its columns are image, the path below images/ with or without suffix, and label: good, bad, or
    the name of a class, in any letters. The name of the background means good.

    Raises:
        InputError: no such columns; an unknown image or label; two labels for one image.
    """
    file = raw / LABELS_FILE
    if not file.is_file():
        return list(samples)
    labels = _labels(file, {sample.id for sample in samples}, _label_names(file, classes))
    return [sound_if_good(replace(sample, label=labels.get(sample.id))) for sample in samples]


def sound_if_good(sample: Sample) -> Sample:
    """The sample, annotated as all background where it is called good and has no mask."""
    good = sample.label is not None and sample.label.name == GOOD
    return replace(sample, annotated=True) if good else sample


@dataclass(frozen=True)
class _Names:
    """What the labels of a table mean."""

    exact: Mapping[str, str]
    sure: Mapping[str, str]
    """The same in small letters, where these leave no doubt."""

    def meant(self, said: str) -> str | None:
        return self.exact.get(unicodedata.normalize("NFC", said)) or self.sure.get(_small(said))


def _label_names(file: Path, classes: Sequence[str]) -> _Names:
    """The labels that images may have, by these class names.

    Raises:
        InputError: a class of defect is called good.
    """
    background, *defects = classes
    taken = [name for name in defects if _small(name) == GOOD]
    if taken:
        raise InputError(
            f"{file}: {taken[0]} is a class of defect in data.classes, and good means sound here: "
            "rename the class"
        )
    names = {GOOD: GOOD, BAD: BAD, background: GOOD} | {name: name for name in defects}
    in_small: dict[str, set[str]] = {}
    for name, label in names.items():
        in_small.setdefault(_small(name), set()).add(label)
    sure = {small: label for small, (label, *others) in in_small.items() if not others}
    exact = {unicodedata.normalize("NFC", name): label for name, label in names.items()}
    return _Names(exact, sure)


def _small(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _labels(file: Path, ids: set[str], names: _Names) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for where, (image, said) in read_rows(file, _COLUMNS):
        id = known_as(image, ids)
        if id is None:
            raise InputError(f"{where}: the data set holds no image {image!r}")
        name = names.meant(said)
        if name is None:
            raise InputError(
                f"{where}: image {image} has the label {said!r}: expected one of "
                f"{', '.join(dict.fromkeys(names.exact.values()))}"
            )
        first = labels.setdefault(id, Label(name, where))
        if first.name != name:
            raise InputError(
                f"{where}: image {image} is {name}, and {first.name} by "
                f"{first.where.rpartition(', ')[2]}: an image has one label; one that shows "
                f"several defects is {BAD}"
            )
    return labels


def stop_at_contradictions(
    samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> None:
    """Either the label or the mask of such an image is wrong.

    Raises:
        InputError: a mask shows a defect in an image that is called good, up to ten of them.
    """
    lines = [
        f"image {samples[id].image} is good by {label.where}, but its mask {samples[id].mask} "
        f"shows {', '.join(shown)}: correct one of the two"
        for id, label, shown in _labelled(samples, scans, info)
        if label.name == GOOD and shown
    ]
    if lines:
        more = len(lines) - SHOWN
        raise InputError("\n".join(lines[:SHOWN] + ([f"... and {more} more"] if more > 0 else [])))


def label_notes(samples: Mapping[str, Sample]) -> Iterator[str]:
    """How many images labels make sound, and how many they leave unlabeled."""
    sound = sum(
        1 for sample in samples.values() if sample.label and sample.annotated and not sample.mask
    )
    if sound:
        yield f"{sound} images without a mask are called good: annotated, all background"
    left = Counter(
        sample.label.name for sample in samples.values() if sample.label and not sample.annotated
    )
    if left:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(left.items()))
        yield (
            f"{left.total()} images have a label and no mask ({counts}): they stay unlabeled, "
            "since a label does not say where a defect is"
        )


def label_warnings(
    samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> Iterator[str]:
    """Masks that lack what the label of their image says."""
    lacking = [
        f"{id} ({label.name})"
        for id, label, shown in _labelled(samples, scans, info)
        if label.name != GOOD and (not shown or label.name not in (BAD, *shown))
    ]
    if lacking:
        yield (
            f"{len(lacking)} masks lack the defect that a label names: {named(lacking)}; are mask "
            "and label of the same image?"
        )


def _labelled(
    samples: Mapping[str, Sample], scans: Mapping[str, Scan], info: DatasetInfo
) -> Iterator[tuple[str, Label, list[str]]]:
    """Each image with a label and a mask, and the defects that the mask shows."""
    for id, sample in sorted(samples.items()):
        if sample.label and sample.mask:
            shown = scans[id].values - {0, IGNORE}
            yield id, sample.label, [info.classes[value] for value in sorted(shown)]
