"""Draw grey-scale pictures of metal parts with four kinds of defect and their exact masks.

A picture is made as it comes about in a factory: a surface (grain, tool marks, dirt, the part's
edge before a background), the defects on it, then light, optics and sensor. The same light, optics
and noise fall on the surface without its defects, so each part also comes as it was before.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from ppl.core.progress import bar
from ppl.core.seeds import generator
from ppl.core.settings import Settings
from ppl.data.synthetic_defects import DRAWINGS
from ppl.data.synthetic_surface import Dice, draw_camera, draw_scene, photograph
from ppl.images.files import write_mask
from ppl.images.pictures import Colour

CLASSES = ("background", "pore", "scratch", "stain", "edge_break")
"""Class names; the position is the value in the mask."""

COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),
    (230, 60, 60),
    (255, 210, 30),
    (70, 130, 230),
    (60, 180, 75),
)

# Images are planned in blocks of this length, each with its share of defective ones.
_BLOCK = 20

# Share of the pictures that show an edge although it is not broken.
_EDGE_SHARE = 0.45


class SyntheticSettings(Settings):
    """How many pictures, how large, how often defective and how difficult."""

    images: int = Field(gt=0, le=9999)
    """Number of pictures."""
    height: int = Field(ge=32, le=4096)
    """Mean height in pixels."""
    width: int = Field(ge=32, le=4096)
    """Mean width in pixels."""
    size_jitter: float = Field(ge=0, le=0.5)
    """Largest relative deviation of an image's height and width from the mean."""
    defective_fraction: float = Field(ge=0, le=1)
    """Share of the pictures with a defect."""
    second_defect_fraction: float = Field(ge=0, le=1)
    """Share of the defective pictures with defects of a second class."""
    defect_scale: float = Field(ge=0.5, le=3)
    """Factor on the size of all defects; at 1 many are a few pixels wide."""
    contrast: float = Field(gt=0, le=100)
    """Factor on the grey-level difference between a defect and the clean surface."""
    noise: float = Field(ge=0, le=255)
    """Standard deviation of the sensor noise in grey levels."""


@dataclass(frozen=True)
class Part:
    """One picture, each tensor (H, W) uint8.

    `image` is what the camera sees, `clean` the same without the defects (0-255 both), and `mask`
    holds indices into CLASSES.
    """

    image: Tensor
    clean: Tensor
    mask: Tensor


def write_parts(folder: Path, settings: SyntheticSettings, seed: int) -> None:
    """Write FOLDER/images/part_0001.png (grey) and FOLDER/masks/part_0001.png (palette), etc."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    plan = plan_defects(settings, seed)
    for index, classes in enumerate(bar(plan, desc="synthesize", unit="image")):
        part = draw_part(settings, seed, index, classes)
        name = f"part_{index + 1:04d}.png"
        Image.fromarray(part.image.numpy()).save(folder / "images" / name, format="PNG")
        write_mask(folder / "masks" / name, part.mask, COLOURS)


def plan_defects(settings: SyntheticSettings, seed: int) -> list[tuple[int, ...]]:
    """The classes that each picture shows: none, one or two indices into CLASSES.

    Each run of 20 pictures has its share of defective ones, and each run of four defective
    pictures has each class once as its first. A longer plan begins with the shorter one.
    """
    plan: list[tuple[int, ...]] = []
    defective = 0
    order: list[int] = []
    while len(plan) < settings.images:
        dice = Dice(generator(seed, "synthesize", f"plan_{len(plan)}"))
        wanted = _share(settings.defective_fraction, len(plan), len(plan) + _BLOCK)
        is_defective = [position < wanted for position in dice.shuffled(range(_BLOCK))]
        for has_defect in is_defective:
            if not has_defect:
                plan.append(())
                continue
            order = order or dice.shuffled(range(1, len(CLASSES)))
            first = order.pop()
            second = dice.shuffled(set(range(1, len(CLASSES))) - {first})[0]
            two = _share(settings.second_defect_fraction, defective, defective + 1) == 1
            plan.append((first, second) if two else (first,))
            defective += 1
    return plan[: settings.images]


def draw_part(settings: SyntheticSettings, seed: int, index: int, classes: tuple[int, ...]) -> Part:
    """Picture number `index` (from 0) with defects of `classes`.

    It depends on these arguments alone, not on the other pictures.
    """
    dice = Dice(generator(seed, "synthesize", f"part_{index + 1:04d}"))
    height, width = (
        round(size * (1 + dice.between(-settings.size_jitter, settings.size_jitter)))
        for size in (settings.height, settings.width)
    )
    scene = draw_scene(dice, height, width, with_edge=4 in classes or dice.chance(_EDGE_SHARE))
    camera = draw_camera(dice, scene, settings.noise)
    clean = photograph(scene.surface, camera)
    mask = np.zeros((height, width), dtype=np.uint8)
    scene = replace(scene, unit=scene.unit * settings.defect_scale)
    for index_of_class, draw in DRAWINGS.items():
        if index_of_class in classes:
            before = scene.surface
            scene, marked = draw(dice, scene)
            after = before + settings.contrast * (scene.surface - before)
            scene = replace(scene, surface=after.clip(0, 255))
            mask[marked] = index_of_class
    return Part(
        image=torch.from_numpy(photograph(scene.surface, camera)),
        clean=torch.from_numpy(clean),
        mask=torch.from_numpy(mask),
    )


def _share(fraction: float, start: int, stop: int) -> int:
    """How many of the items start..stop-1 belong to an evenly spread `fraction` of all items."""
    # rounded first: 0.29 * 100 is 28.999999999999996
    return math.floor(round(fraction * stop, 6)) - math.floor(round(fraction * start, 6))
