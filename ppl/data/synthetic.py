"""Draw grey-scale pictures of metal parts with four kinds of defect and their exact masks.

A picture is made as it comes about in a factory: a surface (grain, tool marks, dirt, the part's
edge before a background), the defects on it, then light, optics and sensor. The same light, optics
and noise fall on the surface without its defects, so each part also comes as it was before.

Legend: every array is (H, W) float64 unless said otherwise. `surface` and other greys are in grey
levels 0-255 before the light; lengths are in pixels; `inside` is the distance to the part's edge,
positive on the part; `unit` is the length that is 1 pixel in a picture of 96 pixels, so that
defects grow with the picture.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from ppl.core.seeds import generator
from ppl.core.settings import Settings
from ppl.images.files import Colour, write_mask

CLASSES = ("background", "pore", "scratch", "stain", "edge_break")
"""Class names; the position is the value in the mask."""

COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),
    (230, 60, 60),
    (255, 210, 30),
    (70, 130, 230),
    (60, 180, 75),
)

# Defects are drawn in this order: a break takes the stain with it, and neither a scratch nor a
# pore, being small, may vanish under another defect.
_DRAWING_ORDER = (3, 4, 2, 1)

# Images are planned in blocks of this length, each with its share of defective ones.
_BLOCK = 20

# Share of the pictures that show an edge although it is not broken.
_EDGE_SHARE = 0.45

# Pores and scratches differ from the surface by this multiple of the grain's standard deviation
# on top of their own grey levels: a rough surface would hide them otherwise.
_GRAIN_MARGIN = 1.6

# Grey level that the brightest 3 % of the part may exceed before the camera's gain and offset.
_EXPOSURE = 205

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


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
    contrast: float = Field(gt=0)
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
    for index, classes in enumerate(tqdm(plan, desc="synthesize", unit="image")):
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
        dice = _Dice(generator(seed, "synthesize", f"plan_{len(plan)}"))
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
    dice = _Dice(generator(seed, "synthesize", f"part_{index + 1:04d}"))
    height, width = (
        round(size * (1 + dice.between(-settings.size_jitter, settings.size_jitter)))
        for size in (settings.height, settings.width)
    )
    scene = _draw_scene(dice, height, width, with_edge=4 in classes or dice.chance(_EDGE_SHARE))
    camera = _draw_camera(dice, scene, settings.noise)
    clean = _photograph(scene.surface, camera)
    mask = np.zeros((height, width), dtype=np.uint8)
    scene = replace(scene, unit=scene.unit * settings.defect_scale)
    for index_of_class in _DRAWING_ORDER:
        if index_of_class in classes:
            before = scene.surface
            scene, marked = _DRAW[index_of_class](dice, scene)
            after = before + settings.contrast * (scene.surface - before)
            scene = replace(scene, surface=after.clip(0, 255))
            mask[marked] = index_of_class
    return Part(
        image=torch.from_numpy(_photograph(scene.surface, camera)),
        clean=torch.from_numpy(clean),
        mask=torch.from_numpy(mask),
    )


def _share(fraction: float, start: int, stop: int) -> int:
    """How many of the items start..stop-1 belong to an evenly spread `fraction` of all items."""
    # rounded first: 0.29 * 100 is 28.999999999999996
    return math.floor(round(fraction * stop, 6)) - math.floor(round(fraction * start, 6))


class _Dice:
    """Draws of one generator in the shapes that drawing needs."""

    def __init__(self, source: torch.Generator) -> None:
        self._source = source

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self._source).item()

    def log_between(self, low: float, high: float) -> float:
        """Small values as often as large ones, as sizes of flaws are."""
        return math.exp(self.between(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        return self.between(0, 1) < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._source).item())

    def sign(self) -> int:
        return 1 if self.chance(0.5) else -1

    def shuffled(self, items: Any) -> list[Any]:
        items = sorted(items)
        return [items[i] for i in torch.randperm(len(items), generator=self._source).tolist()]

    def normal(self, *shape: int) -> Array:
        draws = torch.randn(shape, generator=self._source).numpy()
        return draws.astype(np.float64)


@dataclass(frozen=True)
class _Scene:
    """A part before its background, not yet lit."""

    y: Array
    x: Array
    unit: float
    surface: Array
    inside: Array  # +inf everywhere if no edge is in view
    edge_along: Array  # coordinate along the first edge, 0 at its middle
    behind: Array  # grey of the background
    base: float  # mean grey of the part
    grain: float  # standard deviation of its grain in grey levels
    grain_angle: float
    light_angle: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.surface.shape[0], self.surface.shape[1]


@dataclass(frozen=True)
class _Camera:
    light: Array  # factor, about 1
    blur: float  # weight of each of the two neighbours in the optics' 3-tap filter
    gain: float
    offset: float
    noise: Array  # grey levels


def _smooth_noise(
    dice: _Dice, shape: tuple[int, int], along: float, across: float, angle: float = 0.0
) -> Array:
    """Noise of mean 0 and standard deviation 1, blurred by Gaussians along `angle` and across."""
    # a margin, because filtering in the frequency domain wraps around; multiples of 32, because
    # the transform is slow for lengths with large prime factors
    margin = math.ceil(min(3 * max(along, across), max(shape) / 2))
    height, width = (1 if size == 1 else -(-(size + margin) // 32) * 32 for size in shape)
    frequency_y = np.fft.fftfreq(height)[:, None]
    frequency_x = np.fft.rfftfreq(width)[None, :]
    frequency_along = frequency_x * math.cos(angle) + frequency_y * math.sin(angle)
    frequency_across = frequency_y * math.cos(angle) - frequency_x * math.sin(angle)
    blur = np.exp(
        -2 * math.pi**2 * ((along * frequency_along) ** 2 + (across * frequency_across) ** 2)
    )
    noise = np.fft.irfft2(np.fft.rfft2(dice.normal(height, width)) * blur, s=(height, width))
    noise = noise[: shape[0], : shape[1]]
    return _standardised(noise)


def _standardised(values: Array) -> Array:
    result: Array = (values - values.mean()) / (values.std() + 1e-9)
    return result


def _fractal_noise(dice: _Dice, shape: tuple[int, int], largest: float) -> Array:
    """Noise with detail at every scale from `largest` pixels down."""
    octaves = [
        0.62**octave * _smooth_noise(dice, shape, largest / 2**octave, largest / 2**octave)
        for octave in range(4)
    ]
    return _standardised(np.sum(octaves, axis=0))


def _step(values: Array) -> Array:
    """A smooth step from 0 at 0 to 1 at 1."""
    clipped: Array = values.clip(0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def _coverage(depth: Array) -> Array:
    """How much of a pixel lies within an outline, from the signed depth of the pixel's centre."""
    return (depth + 0.5).clip(0, 1)


def _mix(below: Array, above: Array | float, weight: Array) -> Array:
    return below + weight * (above - below)


# --- the sound part ---------------------------------------------------------------------------


def _draw_scene(dice: _Dice, height: int, width: int, *, with_edge: bool) -> _Scene:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y -= (height - 1) / 2
    x -= (width - 1) / 2
    base = dice.between(75, 180)
    angle = dice.between(0, math.pi)
    grain = dice.log_between(3.5, 11.0)
    texture = _draw_grain(dice, y, x, angle)
    # wear and uneven pressure make the grain stronger in some places
    texture *= 1 + 0.25 * _smooth_noise(dice, (height, width), 14, 14).clip(-2, 2)
    scene = _Scene(
        y=y,
        x=x,
        unit=min(height, width) / 96,
        surface=base + grain * texture,
        inside=np.full((height, width), np.inf),
        edge_along=x,
        behind=np.zeros((height, width)),
        base=base,
        grain=grain,
        grain_angle=angle,
        light_angle=dice.between(-math.pi, math.pi),
    )
    scene = replace(scene, surface=scene.surface + _draw_distractors(dice, scene))
    return _draw_edge(dice, scene) if with_edge else scene


def _draw_grain(dice: _Dice, y: Array, x: Array, angle: float) -> Array:
    """A finish with standard deviation 1: brushed, ground, milled or blasted."""
    shape = (y.shape[0], y.shape[1])
    finish = dice.whole(0, 3)
    fine = _smooth_noise(dice, shape, 0.5, 0.5)
    if finish == 0:
        long = _smooth_noise(dice, shape, dice.between(15, 45), 0.45, angle)
        short = _smooth_noise(dice, shape, dice.between(4, 10), 0.55, angle)
        mixed = long + dice.between(0.4, 1.0) * short + dice.between(0.15, 0.4) * fine
    elif finish == 1:
        coarse = _smooth_noise(dice, shape, dice.between(20, 60), dice.between(0.9, 1.7), angle)
        short = _smooth_noise(dice, shape, dice.between(3, 8), 0.6, angle)
        mixed = coarse + dice.between(0.4, 0.9) * short + dice.between(0.2, 0.5) * fine
    elif finish == 2:
        mixed = _milling_marks(dice, y, x, angle) + dice.between(0.3, 0.6) * fine
    else:
        pits = _smooth_noise(dice, shape, 1.1, 1.1)
        clouds = _smooth_noise(dice, shape, 3.5, 3.5)
        mixed = dice.between(0.5, 1.0) * fine + pits + dice.between(0.2, 0.5) * clouds
    mixed = _standardised(mixed)
    # valleys are deeper than ridges are high, or glints brighter than grooves are dark
    return _standardised(mixed + dice.between(-0.2, 0.15) * mixed**2)


def _milling_marks(dice: _Dice, y: Array, x: Array, angle: float) -> Array:
    """Arcs about a far centre: the feed's period, and a random height for each arc."""
    distance = dice.between(0.9, 4.0) * max(y.shape)
    radius = np.hypot(y - distance * math.sin(angle), x - distance * math.cos(angle))
    period = dice.between(3.0, 7.5)
    heights = dice.normal(4 * int(radius.max() + 2))
    random_arcs = np.interp(radius * 1.4, np.arange(len(heights)), heights)
    shape = (y.shape[0], y.shape[1])
    strength = 0.8 + 0.35 * _smooth_noise(dice, shape, 12, 12)
    feed = np.sin(2 * math.pi * radius / period)
    marks: Array = dice.between(0.4, 1.0) * feed * strength + dice.between(0.4, 0.8) * random_arcs
    return marks


def _draw_distractors(dice: _Dice, scene: _Scene) -> Array:
    """Grey levels to add: faint grinding lines, specks of dirt, fibres of dust and glare."""
    added = np.zeros(scene.shape)
    height, width = scene.shape
    for _ in range(dice.whole(0, 4)):  # grinding lines run straight and with the grain
        angle = scene.grain_angle + dice.between(-0.12, 0.12)
        middle_y, middle_x = _any_point(dice, scene)
        along = (scene.x - middle_x) * math.cos(angle) + (scene.y - middle_y) * math.sin(angle)
        across = (scene.y - middle_y) * math.cos(angle) - (scene.x - middle_x) * math.sin(angle)
        half_length = dice.between(0.15, 0.7) * max(height, width)
        profile = np.exp(-((across / dice.between(0.45, 0.9)) ** 2))
        window = _step((half_length - np.abs(along)) / 8)
        added += dice.sign() * (dice.between(2, 6) + 0.6 * scene.grain) * profile * window
    for _ in range(dice.whole(0, 6)):  # dirt is smaller than any pore and has no rim
        middle_y, middle_x = _any_point(dice, scene)
        squared = (scene.y - middle_y) ** 2 + (scene.x - middle_x) ** 2
        grey = -dice.between(10, 40) if dice.chance(0.7) else dice.between(10, 30)
        added += grey * np.exp(-squared / dice.between(0.45, 0.8) ** 2)
    if dice.chance(0.2):  # a fibre is shorter and fainter than any scratch
        path = _random_walk(dice, _any_point(dice, scene), dice.between(6, 13), bend=0.3, jitter=0)
        distance, _ = _distance_to_path(scene, path)
        added += dice.sign() * dice.between(7, 13) * np.exp(-((distance / 0.6) ** 2))
    if dice.chance(0.25):  # glare has no outline and leaves the grain as it is
        middle_y, middle_x = _any_point(dice, scene)
        spread = dice.between(12, 25) * scene.unit
        squared = (scene.y - middle_y) ** 2 + ((scene.x - middle_x) * dice.between(0.5, 1.5)) ** 2
        added += dice.between(8, 26) * np.exp(-squared / (2 * spread**2))
    return added


def _draw_edge(dice: _Dice, scene: _Scene) -> _Scene:
    """Let the part end within the picture: an edge, sometimes a corner, before a background."""
    # parts lie straight in their holder, give or take a few degrees
    tilt = 0.12 * float(dice.normal(1).clip(-2, 2)[0])
    angle = dice.whole(0, 3) * math.pi / 2 + tilt
    inside, along = _edge_line(dice, scene, angle)
    if dice.chance(0.2):
        other, _ = _edge_line(dice, scene, angle + dice.sign() * math.pi / 2)
        inside = np.minimum(inside, other)
    kind = dice.whole(0, 2)
    if kind == 0:  # dark room
        grey, roughness = dice.between(8, 35), 1.5
    elif kind == 1:  # back light, or a part darker than its bright holder
        grey, roughness = max(dice.between(205, 245), scene.base + 45), 1.5
    else:  # holder of another material
        grey, roughness = scene.base * dice.between(0.35, 0.62), dice.between(3, 7)
    behind = grey + roughness * _smooth_noise(dice, scene.shape, 1.2, 1.2)
    shadow = dice.between(0.0, 0.35) * np.exp(-(-inside).clip(0, None) / dice.between(2, 6))
    behind = behind * (1 - shadow)
    # a chamfer reflects into or past the lens
    chamfer = _coverage(inside) * _coverage(dice.between(0.8, 4.0) * scene.unit - inside)
    surface = scene.surface + dice.sign() * dice.between(10, 45) * chamfer
    surface = _mix(behind, surface, _coverage(inside))
    return replace(scene, surface=surface, inside=inside, edge_along=along, behind=behind)


def _edge_line(dice: _Dice, scene: _Scene, angle: float) -> tuple[Array, Array]:
    """Distance to the edge whose outward normal has `angle`, and the coordinate along it."""
    outward = scene.x * math.cos(angle) + scene.y * math.sin(angle)
    along = scene.y * math.cos(angle) - scene.x * math.sin(angle)
    curvature = dice.between(-0.005, 0.005) / scene.unit if dice.chance(0.4) else 0.0
    roughness = dice.between(0.0, 0.2) * _smooth_noise(dice, scene.shape, 2, 2)
    outward += curvature / 2 * along**2
    # a quantile, so that the edge is in view and the part fills most of the picture at any size
    edge = np.quantile(outward, dice.between(0.68, 0.92))
    return edge - outward + roughness, along


# --- defects: each takes the scene and returns it with the defect, and the defect's pixels ------


def _draw_pores(dice: _Dice, scene: _Scene) -> tuple[_Scene, Mask]:
    """1-4 small irregular holes: dark, shaded from one side, the far rim catching the light."""
    surface = scene.surface
    marked = np.zeros(scene.shape, dtype=bool)
    clustered = dice.chance(0.5)
    middle = _point_on_part(dice, scene, 8 * scene.unit)
    for number in range(dice.whole(1, 4)):
        # a smaller one could fall between the centres of the pixels
        radius = max(dice.log_between(1.5, 5.5) * scene.unit, 1.6)
        if number and clustered:
            spread = 9 * scene.unit
            middle_y, middle_x = (at + dice.between(-spread, spread) for at in middle)
        elif number:
            middle_y, middle_x = _point_on_part(dice, scene, radius + 3)
        else:
            middle_y, middle_x = middle
        squeeze, tilt = dice.log_between(0.7, 1.0), dice.between(0, math.pi)
        dy, dx = scene.y - middle_y, scene.x - middle_x
        along = dx * math.cos(tilt) + dy * math.sin(tilt)
        across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / squeeze
        direction = np.arctan2(across, along)
        outline = np.full(scene.shape, radius)
        for lobes in (2, 3, 5):
            phase = dice.between(0, 2 * math.pi)
            outline += radius * dice.between(0, 0.32 / lobes) * np.cos(lobes * direction + phase)
        depth = outline - np.hypot(along, across)
        facing = np.cos(np.arctan2(dy, dx) - scene.light_angle)
        # the light enters from light_angle: the wall there is in shade, the far wall is lit
        darkness = dice.between(0.42, 0.78) * scene.base + _GRAIN_MARGIN * scene.grain
        shade = 0.86 + 0.22 * facing * (1 - (depth / radius).clip(0, 1))
        hole = (scene.base - darkness * shade).clip(4, None)
        hole += 2.5 * _smooth_noise(dice, scene.shape, 0.7, 0.7)
        rim = np.exp(-(((depth + 0.9) / 0.7) ** 2)) * (depth > -2.5) * (0.25 - facing).clip(0, 1)
        surface = surface + dice.between(5, 55) * rim * _coverage(scene.inside)
        surface = _mix(surface, hole, _coverage(depth) * _coverage(scene.inside))
        marked |= (depth > 0) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_scratch(dice: _Dice, scene: _Scene) -> tuple[_Scene, Mask]:
    """A smooth scratch, bright or dark, or a jagged dark crack that may branch."""
    is_crack = dice.chance(0.45)
    length = dice.log_between(28, 95) * scene.unit
    bend, jitter = (0.16, 0.45) if is_crack else (dice.between(0.01, 0.07), 0.03)
    start = _point_on_part(dice, scene, 8 * scene.unit)
    path = _random_walk(dice, start, length, bend=bend, jitter=jitter)
    paths = [path]
    if is_crack or dice.chance(0.15):
        for _ in range(dice.whole(0, 2)):
            at = dice.whole(len(path) // 4, len(path) - 2)
            branch = _random_walk(
                dice, (0, 0), length * dice.between(0.2, 0.45), bend=bend, jitter=jitter
            )
            paths.append(branch - branch[0] + path[at])
    half_width = dice.log_between(0.6, 1.0 if is_crack else 1.6) * scene.unit
    grey = dice.between(24, 65) + _GRAIN_MARGIN * scene.grain
    # a bright scratch on a bright part and a dark one on a dark part would not show
    polarity = -1 if is_crack else 1 if dice.between(60, 200) > scene.base else -1
    has_burr = not is_crack and dice.chance(0.4)
    surface = scene.surface
    marked = np.zeros(scene.shape, dtype=bool)
    on_part = _coverage(scene.inside)
    for points in paths:
        distance, position = _distance_to_path(scene, points)
        # pressure comes and goes along the way and fades at both ends
        knots = np.linspace(0, 1, 9)
        pressure = np.interp(position, knots, 1 + 0.28 * dice.normal(9).clip(-2, 2))
        taper = np.sqrt(np.sin(math.pi * position.clip(0.03, 0.97)))
        # a line narrower than a pixel has no gapless mask
        local_half_width = (half_width * taper * pressure).clip(0.6, None)
        depth = local_half_width - distance
        strength = (0.55 + 0.45 * taper) * pressure.clip(0.55, 1.25)
        if has_burr:
            burr = np.exp(-(((depth + 0.7) / 0.6) ** 2)) * (depth > -2)
            surface = surface - polarity * 0.35 * grey * strength * burr * on_part
        bottom = scene.base + 0.3 * (scene.surface - scene.base) + polarity * grey * strength
        surface = _mix(surface, bottom.clip(3, 252), _coverage(depth) * on_part)
        marked |= (depth > 0) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_stain(dice: _Dice, scene: _Scene) -> tuple[_Scene, Mask]:
    """A large blotch with a soft outline: discoloured, mottled, the grain dulled."""
    radius = dice.log_between(14, 36) * scene.unit
    middle_y, middle_x = _point_on_part(dice, scene, 0.6 * radius)
    squeeze, tilt = dice.log_between(0.35, 0.9), dice.between(0, math.pi)
    dy, dx = scene.y - middle_y, scene.x - middle_x
    along = dx * math.cos(tilt) + dy * math.sin(tilt)
    across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / squeeze
    outline = _fractal_noise(dice, scene.shape, dice.between(0.3, 0.55) * radius * squeeze)
    away = np.hypot(along, across) / radius
    # the noise bends the outline but makes no islands far from the blotch
    height = 1 - away + dice.between(0.13, 0.28) * outline * (1.6 - away).clip(0, 1)
    softness = dice.between(0.08, 0.32)
    strength = _step(height / softness) * _coverage(scene.inside)
    # thin where the liquid ran off, thick where it dried
    thickness = (0.85 + 0.3 * along / radius * dice.sign()).clip(0.65, 1.2)
    mottle = _smooth_noise(dice, scene.shape, 2.2 * scene.unit, 2.2 * scene.unit)
    clouds = _smooth_noise(dice, scene.shape, 6 * scene.unit, 6 * scene.unit)
    grey = dice.between(14, 28) + scene.grain
    grey *= -1 if dice.chance(0.7) else 0.8
    shift = grey * (thickness + 0.22 * clouds.clip(-2, 2)) + dice.between(3, 8) * mottle
    if dice.chance(0.5):  # a dried drop leaves a darker line where it ended
        shift = shift - dice.between(8, 22) * np.exp(-(((height - 0.7 * softness) / 0.09) ** 2))
    dulled = dice.between(0.2, 0.8) * (scene.surface - scene.base) + scene.base + shift
    surface = _mix(scene.surface, dulled.clip(4, 251), strength)
    # where an eye would trace it: the outermost tail of a soft outline cannot be seen
    marked = (height > 0.35 * softness) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_edge_break(dice: _Dice, scene: _Scene) -> tuple[_Scene, Mask]:
    """A piece broken out of the edge: what is behind shows, and a rough fracture face."""
    half_width = dice.log_between(8, 21) * scene.unit
    deepest = max(min(dice.log_between(6, 20) * scene.unit, 1.3 * half_width), 4.0)
    edge_in_view = scene.edge_along[np.abs(scene.inside) < 1]
    offset = (scene.edge_along - np.quantile(edge_in_view, dice.between(0.2, 0.8))) / half_width
    profile = (1 - np.abs(offset) ** dice.between(1.2, 4.0)).clip(-1, None)
    # noise along the edge alone: noise in both directions would break islands out of the part
    count = 2 * max(scene.shape)
    jagged = _fractal_noise(dice, (1, count), dice.between(3, 7) * scene.unit)[0]
    jagged = np.interp(scene.edge_along + count / 2, np.arange(count), jagged)
    ragged = dice.between(0.14, 0.34) * deepest * (2 * profile).clip(0, 1)
    fine = 0.4 * (4 * profile).clip(0, 1) * _smooth_noise(dice, scene.shape, 1.3, 1.3)
    depth = deepest * profile + ragged * jagged + fine
    # the second bound keeps the edge whole where the break is too shallow to cover a pixel's centre
    cut = np.minimum(depth - scene.inside, 20 * (depth - 1.5))
    face_width = dice.between(1.0, 6.0) * scene.unit
    uneven_width = face_width * (1 + 0.5 * _smooth_noise(dice, scene.shape, 4, 4)).clip(0.2, 2)
    crystals = _smooth_noise(dice, scene.shape, 0.8, 0.8)
    facets = _smooth_noise(dice, scene.shape, 2.2, 2.2)
    tone = dice.between(0.4, 0.75) if dice.chance(0.65) else dice.between(1.15, 1.4)
    face = scene.base * tone + dice.between(8, 16) * crystals + dice.between(6, 14) * facets
    lip = dice.sign() * dice.between(8, 30) * np.exp(-(((cut - 0.8) / 0.8) ** 2))
    face = (face + lip).clip(4, 251)
    surface = _mix(scene.surface, face, _coverage(cut) * _coverage(scene.inside))
    surface = _mix(surface, scene.behind, _coverage(cut - uneven_width))
    marked = (cut > 0) & (scene.inside > 0)
    return replace(scene, surface=surface, inside=np.minimum(scene.inside, -cut)), marked


_DRAW = {1: _draw_pores, 2: _draw_scratch, 3: _draw_stain, 4: _draw_edge_break}


def _any_point(dice: _Dice, scene: _Scene) -> tuple[float, float]:
    height, width = scene.shape
    return dice.between(-0.5, 0.5) * height, dice.between(-0.5, 0.5) * width


def _point_on_part(dice: _Dice, scene: _Scene, margin: float) -> tuple[float, float]:
    """(y, x) at least `margin` from the part's edge, if a few tries find one, and in view."""
    height, width = scene.shape
    best, best_inside = (0.0, 0.0), -math.inf
    for _ in range(12):
        at_y, at_x = dice.between(-0.4, 0.4) * height, dice.between(-0.4, 0.4) * width
        row, column = round(at_y + (height - 1) / 2), round(at_x + (width - 1) / 2)
        inside = float(scene.inside[row, column])
        if inside >= margin:
            return at_y, at_x
        if inside > best_inside:
            best, best_inside = (at_y, at_x), inside
    return best


def _random_walk(
    dice: _Dice, middle: tuple[float, float], length: float, *, bend: float, jitter: float
) -> Array:
    """(N, 2) points (y, x) 2 pixels apart, halfway through `middle`.

    The heading drifts by `bend` radians a step and each step deviates by `jitter` radians.
    """
    steps = max(4, round(length / 2))
    drift = np.cumsum(dice.normal(steps)) * bend
    heading = dice.between(0, 2 * math.pi) + drift + jitter * dice.normal(steps)
    points = 2 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
    moved: Array = points - points[steps // 2] + np.array(middle)
    return moved


def _distance_to_path(scene: _Scene, points: Array) -> tuple[Array, Array]:
    """Distance of each pixel to the polyline, and the nearest point's position on it in 0..1."""
    nearest = np.full(scene.shape, np.inf)
    position = np.zeros(scene.shape)
    pieces = len(points) - 1
    for piece in range(pieces):
        (start_y, start_x), (end_y, end_x) = points[piece], points[piece + 1]
        step_y, step_x = end_y - start_y, end_x - start_x
        dy, dx = scene.y - start_y, scene.x - start_x
        along = ((dy * step_y + dx * step_x) / (step_y**2 + step_x**2)).clip(0, 1)
        squared = (dy - along * step_y) ** 2 + (dx - along * step_x) ** 2
        closer = squared < nearest
        nearest = np.where(closer, squared, nearest)
        position = np.where(closer, (piece + along) / pieces, position)
    return np.sqrt(nearest), position


# --- light, optics and sensor -------------------------------------------------------------------


def _draw_camera(dice: _Dice, scene: _Scene, noise: float) -> _Camera:
    height, width = scene.shape
    ramp = (scene.x * math.cos(scene.light_angle) + scene.y * math.sin(scene.light_angle)) / (
        0.5 * max(height, width)
    )
    light = 1 + dice.between(0.0, 0.22) * ramp
    far = 0.35 * max(height, width)
    light += dice.between(0.02, 0.08) * _smooth_noise(dice, scene.shape, far, far).clip(-2, 2)
    if dice.chance(0.4):  # polished grain mirrors a lamp as a band across the grain
        angle = scene.grain_angle
        along = scene.x * math.cos(angle) + scene.y * math.sin(angle)
        shift = dice.between(-0.4, 0.4) * max(height, width)
        spread = dice.between(0.12, 0.35) * max(height, width)
        light += dice.between(0.06, 0.28) * np.exp(-(((along - shift) / spread) ** 2))
    corner = (scene.y**2 + scene.x**2) / (0.25 * (height**2 + width**2))
    light *= 1 - dice.between(0.03, 0.3) * corner
    # people set up a camera so that the part itself is not overexposed
    brightest = float(np.quantile((scene.surface * light)[scene.inside > 0], 0.97))
    light *= min(1.0, _EXPOSURE / brightest)
    return _Camera(
        light=light,
        blur=dice.between(0.04, 0.2),
        gain=dice.between(0.8, 1.2),
        offset=dice.between(-12, 12),
        noise=noise * dice.normal(height, width),
    )


def _photograph(surface: Array, camera: _Camera) -> npt.NDArray[np.uint8]:
    lit = surface.clip(0, 255) * camera.light
    # 3 taps and no more: what does not change stays the same to the bit one pixel away
    for axis in (0, 1):
        padding = [(1, 1) if axis == other else (0, 0) for other in (0, 1)]
        padded = np.pad(lit, padding, mode="edge")
        before, after = (np.delete(padded, ends, axis=axis) for ends in ([-2, -1], [0, 1]))
        lit = (1 - 2 * camera.blur) * lit + camera.blur * (before + after)
    grey = (lit - 128) * camera.gain + 128 + camera.offset + camera.noise
    return grey.round().clip(0, 255).astype(np.uint8)
