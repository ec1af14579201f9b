"""Whether an exported network gives the project's own verdicts: on every test image, or no file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ppl.core.errors import InputError
from ppl.core.progress import bar
from ppl.images.pictures import read_pixels
from ppl.images.sets import ImageSet
from ppl.network import resize as in_torch
from ppl.station.predictor import Predictor
from ppl.station.resize import resize_image
from ppl.station.verdict import Verdict, verdict_of

MILLION = 10**6
"""Of that many pixels, and of a rest, one may get another class: two were equally likely."""

NAMED = 5
"""Images that a message names."""


@dataclass
class Comparison:
    """How far a runtime is from PyTorch."""

    images: int = 0
    pixels: int = 0
    probability: float = 0.0
    """The largest difference of a probability, 0-1."""
    score: float = 0.0
    """The largest difference of an image's score, 0-1."""
    pixels_of: dict[str, int] = field(default_factory=dict)
    """Differing pixels of the masks, by the id of each image that has some."""
    verdicts: list[str] = field(default_factory=list)
    """Ids of the images whose verdict is another."""

    @property
    def differing(self) -> int:
        """Pixels of another class."""
        return sum(self.pixels_of.values())

    @property
    def equal(self) -> bool:
        """No verdict differs, and no more pixels than rounding explains."""
        return not self.verdicts and self.differing <= most_differing(self.pixels)


def most_differing(pixels: int) -> int:
    """How many of so many pixels may get another class: one of each million begun."""
    return -(-pixels // MILLION)


def compare(
    model: Predictor, exported: Mapping[str, Predictor], test: ImageSet
) -> tuple[dict[str, Comparison], list[bool]]:
    """Each runtime against the project's own model, on every image of `test`.

    Returns:
        a comparison by runtime, and the verdict of `model` on each image.
    """
    found = {name: Comparison() for name in exported}
    called = []
    with bar(total=len(test), desc="export", unit="image") as progress:
        for ids, images in _batches(test, model.at_once):
            expected = list(model.probabilities(images))
            truth = [verdict_of(prob, model.thresholds) for prob in expected]
            called += [verdict.defective for verdict in truth]
            for name, predictor in exported.items():
                probs = predictor.probabilities(images)
                for id, own, verdict, prob in zip(ids, expected, truth, probs, strict=True):
                    difference = float(np.abs(own - prob).max())
                    _count(
                        found[name], id, verdict, verdict_of(prob, predictor.thresholds), difference
                    )
            progress.update(len(ids))
    return found, called


def _batches(
    test: ImageSet, at_once: int
) -> Iterator[tuple[list[str], Sequence[NDArray[np.uint8]]]]:
    for start in range(0, len(test), at_once):
        some = test.entries[start : start + at_once]
        yield (
            [entry.id for entry in some],
            [read_pixels(test.image_file(entry)) for entry in some],
        )


def _count(
    comparison: Comparison, id: str, expected: Verdict, found: Verdict, difference: float
) -> None:
    comparison.images += 1
    comparison.pixels += expected.mask.size
    comparison.probability = max(comparison.probability, difference)
    comparison.score = max(comparison.score, abs(expected.score - found.score))
    pixels = int(np.count_nonzero(expected.mask != found.mask))
    if pixels:
        comparison.pixels_of[id] = pixels
    if expected.defective != found.defective:
        comparison.verdicts.append(id)


def stop_unless_resized_alike() -> None:
    """Stop where PyTorch sees other images than those that networks are trained on elsewhere.

    Raises:
        InputError: this processor is one on which torchvision resizes bytes as floats.
    """
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    expected = in_torch.resize_image(tensor, (64, 50)).permute(1, 2, 0).numpy()
    if not np.array_equal(resize_image(image, (64, 50)), expected):
        raise InputError(
            "on this processor torchvision resizes images by floats and not by bytes, so that "
            "PyTorch gives other verdicts here than elsewhere: export on one with AVX2, or on ARM "
            f"(PyTorch finds {torch.backends.cpu.get_cpu_capability()})"
        )


def stop_unless_equal(comparisons: Mapping[str, Comparison]) -> None:
    """Stop an export that would give other verdicts.

    Raises:
        InputError: names for each such runtime the images and how many pixels of them differ.
    """
    problems = [_difference(name, one) for name, one in comparisons.items() if not one.equal]
    if not all(one.images for one in comparisons.values()):
        raise InputError("there is no test image to compare on: raise split.test_fraction")
    if problems:
        raise InputError(
            "\n".join(problems) + "\nNothing was exported. Train again, or take a runtime out of "
            "export.runtimes; another version of it may compute more exactly"
        )


def _difference(runtime: str, comparison: Comparison) -> str:
    lines = []
    if comparison.verdicts:
        lines.append(
            f"{runtime} gives another verdict than PyTorch on {len(comparison.verdicts)} of "
            f"{comparison.images} test images: {_named(comparison.verdicts)}"
        )
    worst = sorted(comparison.pixels_of.items(), key=lambda item: -item[1])
    if comparison.differing > most_differing(comparison.pixels):
        listed = _named([f"{id} ({count})" for id, count in worst])
        lines.append(
            f"{runtime} gives {comparison.differing} of {comparison.pixels:,} test pixels another "
            f"class than PyTorch, at most {most_differing(comparison.pixels)} may: {listed}"
        )
    return "\n".join(lines)


def _named(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
