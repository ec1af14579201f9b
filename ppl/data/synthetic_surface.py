"""A metal part without a defect, and what a camera sees of it: the ground of synthetic pictures.

Legend: every array is (H, W) float64 unless said otherwise. `surface` and other greys are in grey
levels 0-255 before the light; lengths are in pixels; `inside` is the distance to the part's edge,
positive on the part; `unit` is the length that is 1 pixel in a picture of 96 pixels, so that
defects grow with the picture.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

# Grey level that the brightest 3 % of the part may exceed before the camera's gain and offset.
_EXPOSURE = 205

Array: TypeAlias = npt.NDArray[np.float64]


class Dice:
    """Draws of one generator in the shapes that drawing needs."""

    def __init__(self, source: torch.Generator) -> None:
        self._source = source

    def between(self, low: float, high: float) -> float:
        """Evenly from `low` to `high`."""
        return low + (high - low) * torch.rand((), generator=self._source).item()

    def log_between(self, low: float, high: float) -> float:
        """Small values as often as large ones, as sizes of flaws are."""
        return math.exp(self.between(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        """True with this probability (0-1)."""
        return self.between(0, 1) < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._source).item())

    def sign(self) -> int:
        """1 or -1."""
        return 1 if self.chance(0.5) else -1

    def shuffled(self, items: Any) -> list[Any]:
        """The items in a random order that does not depend on theirs."""
        items = sorted(items)
        return [items[i] for i in torch.randperm(len(items), generator=self._source).tolist()]

    def normal(self, *shape: int) -> Array:
        """Numbers of mean 0 and standard deviation 1."""
        draws = torch.randn(shape, generator=self._source).numpy()
        return draws.astype(np.float64)


@dataclass(frozen=True)
class Scene:
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
class Camera:
    """Light, optics and sensor: they are the same with and without the defects."""

    light: Array  # factor, about 1
    blur: float  # weight of each of the two neighbours in the optics' 3-tap filter
    gain: float
    offset: float
    noise: Array  # grey levels


def smooth_noise(
    dice: Dice, shape: tuple[int, int], along: float, across: float, angle: float = 0.0
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


def fractal_noise(dice: Dice, shape: tuple[int, int], largest: float) -> Array:
    """Noise with detail at every scale from `largest` pixels down."""
    octaves = [
        0.62**octave * smooth_noise(dice, shape, largest / 2**octave, largest / 2**octave)
        for octave in range(4)
    ]
    return _standardised(np.sum(octaves, axis=0))


def step(values: Array) -> Array:
    """A smooth step from 0 at 0 to 1 at 1."""
    clipped: Array = values.clip(0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def coverage(depth: Array) -> Array:
    """How much of a pixel lies within an outline, from the signed depth of the pixel's centre."""
    return (depth + 0.5).clip(0, 1)


def mix(below: Array, above: Array | float, weight: Array) -> Array:
    """`below` where the weight (0-1) is 0, `above` where it is 1."""
    return below + weight * (above - below)


# --- the sound part ---------------------------------------------------------------------------


def draw_scene(dice: Dice, height: int, width: int, *, with_edge: bool) -> Scene:
    """A sound part of `height` x `width` pixels: its grain, its dirt and, if asked for, an edge."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y -= (height - 1) / 2
    x -= (width - 1) / 2
    base = dice.between(75, 180)
    angle = dice.between(0, math.pi)
    grain = dice.log_between(3.5, 11.0)
    texture = _draw_grain(dice, y, x, angle)
    # wear and uneven pressure make the grain stronger in some places
    texture *= 1 + 0.25 * smooth_noise(dice, (height, width), 14, 14).clip(-2, 2)
    scene = Scene(
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


def _draw_grain(dice: Dice, y: Array, x: Array, angle: float) -> Array:
    """A finish with standard deviation 1: brushed, ground, milled or blasted."""
    shape = (y.shape[0], y.shape[1])
    finish = dice.whole(0, 3)
    fine = smooth_noise(dice, shape, 0.5, 0.5)
    if finish == 0:
        long = smooth_noise(dice, shape, dice.between(15, 45), 0.45, angle)
        short = smooth_noise(dice, shape, dice.between(4, 10), 0.55, angle)
        mixed = long + dice.between(0.4, 1.0) * short + dice.between(0.15, 0.4) * fine
    elif finish == 1:
        coarse = smooth_noise(dice, shape, dice.between(20, 60), dice.between(0.9, 1.7), angle)
        short = smooth_noise(dice, shape, dice.between(3, 8), 0.6, angle)
        mixed = coarse + dice.between(0.4, 0.9) * short + dice.between(0.2, 0.5) * fine
    elif finish == 2:
        mixed = _milling_marks(dice, y, x, angle) + dice.between(0.3, 0.6) * fine
    else:
        pits = smooth_noise(dice, shape, 1.1, 1.1)
        clouds = smooth_noise(dice, shape, 3.5, 3.5)
        mixed = dice.between(0.5, 1.0) * fine + pits + dice.between(0.2, 0.5) * clouds
    mixed = _standardised(mixed)
    # valleys are deeper than ridges are high, or glints brighter than grooves are dark
    return _standardised(mixed + dice.between(-0.2, 0.15) * mixed**2)


def _milling_marks(dice: Dice, y: Array, x: Array, angle: float) -> Array:
    """Arcs about a far centre: the feed's period, and a random height for each arc."""
    distance = dice.between(0.9, 4.0) * max(y.shape)
    radius = np.hypot(y - distance * math.sin(angle), x - distance * math.cos(angle))
    period = dice.between(3.0, 7.5)
    heights = dice.normal(4 * int(radius.max() + 2))
    random_arcs = np.interp(radius * 1.4, np.arange(len(heights)), heights)
    shape = (y.shape[0], y.shape[1])
    strength = 0.8 + 0.35 * smooth_noise(dice, shape, 12, 12)
    feed = np.sin(2 * math.pi * radius / period)
    marks: Array = dice.between(0.4, 1.0) * feed * strength + dice.between(0.4, 0.8) * random_arcs
    return marks


def _draw_distractors(dice: Dice, scene: Scene) -> Array:
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
        window = step((half_length - np.abs(along)) / 8)
        added += dice.sign() * (dice.between(2, 6) + 0.6 * scene.grain) * profile * window
    for _ in range(dice.whole(0, 6)):  # dirt is smaller than any pore and has no rim
        middle_y, middle_x = _any_point(dice, scene)
        squared = (scene.y - middle_y) ** 2 + (scene.x - middle_x) ** 2
        grey = -dice.between(10, 40) if dice.chance(0.7) else dice.between(10, 30)
        added += grey * np.exp(-squared / dice.between(0.45, 0.8) ** 2)
    if dice.chance(0.2):  # a fibre is shorter and fainter than any scratch
        path = random_walk(dice, _any_point(dice, scene), dice.between(6, 13), bend=0.3, jitter=0)
        distance, _ = distance_to_path(scene, path)
        added += dice.sign() * dice.between(7, 13) * np.exp(-((distance / 0.6) ** 2))
    if dice.chance(0.25):  # glare has no outline and leaves the grain as it is
        middle_y, middle_x = _any_point(dice, scene)
        spread = dice.between(12, 25) * scene.unit
        squared = (scene.y - middle_y) ** 2 + ((scene.x - middle_x) * dice.between(0.5, 1.5)) ** 2
        added += dice.between(8, 26) * np.exp(-squared / (2 * spread**2))
    return added


def _draw_edge(dice: Dice, scene: Scene) -> Scene:
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
    behind = grey + roughness * smooth_noise(dice, scene.shape, 1.2, 1.2)
    shadow = dice.between(0.0, 0.35) * np.exp(-(-inside).clip(0, None) / dice.between(2, 6))
    behind = behind * (1 - shadow)
    # a chamfer reflects into or past the lens
    chamfer = coverage(inside) * coverage(dice.between(0.8, 4.0) * scene.unit - inside)
    surface = scene.surface + dice.sign() * dice.between(10, 45) * chamfer
    surface = mix(behind, surface, coverage(inside))
    return replace(scene, surface=surface, inside=inside, edge_along=along, behind=behind)


def _edge_line(dice: Dice, scene: Scene, angle: float) -> tuple[Array, Array]:
    """Distance to the edge whose outward normal has `angle`, and the coordinate along it."""
    outward = scene.x * math.cos(angle) + scene.y * math.sin(angle)
    along = scene.y * math.cos(angle) - scene.x * math.sin(angle)
    curvature = dice.between(-0.005, 0.005) / scene.unit if dice.chance(0.4) else 0.0
    roughness = dice.between(0.0, 0.2) * smooth_noise(dice, scene.shape, 2, 2)
    outward += curvature / 2 * along**2
    # a quantile, so that the edge is in view and the part fills most of the picture at any size
    edge = np.quantile(outward, dice.between(0.68, 0.92))
    return edge - outward + roughness, along


# --- places and ways on a part ----------------------------------------------------------------


def _any_point(dice: Dice, scene: Scene) -> tuple[float, float]:
    height, width = scene.shape
    return dice.between(-0.5, 0.5) * height, dice.between(-0.5, 0.5) * width


def point_on_part(dice: Dice, scene: Scene, margin: float) -> tuple[float, float]:
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


def random_walk(
    dice: Dice, middle: tuple[float, float], length: float, *, bend: float, jitter: float
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


def distance_to_path(scene: Scene, points: Array) -> tuple[Array, Array]:
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


def draw_camera(dice: Dice, scene: Scene, noise: float) -> Camera:
    """How the part is photographed; `noise` is the sensor's standard deviation in grey levels."""
    height, width = scene.shape
    ramp = (scene.x * math.cos(scene.light_angle) + scene.y * math.sin(scene.light_angle)) / (
        0.5 * max(height, width)
    )
    light = 1 + dice.between(0.0, 0.22) * ramp
    far = 0.35 * max(height, width)
    light += dice.between(0.02, 0.08) * smooth_noise(dice, scene.shape, far, far).clip(-2, 2)
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
    return Camera(
        light=light,
        blur=dice.between(0.04, 0.2),
        gain=dice.between(0.8, 1.2),
        offset=dice.between(-12, 12),
        noise=noise * dice.normal(height, width),
    )


def photograph(surface: Array, camera: Camera) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: the surface as the camera sees it."""
    lit = surface.clip(0, 255) * camera.light
    # 3 taps and no more: what does not change stays the same to the bit one pixel away
    for axis in (0, 1):
        padding = [(1, 1) if axis == other else (0, 0) for other in (0, 1)]
        padded = np.pad(lit, padding, mode="edge")
        before, after = (np.delete(padded, ends, axis=axis) for ends in ([-2, -1], [0, 1]))
        lit = (1 - 2 * camera.blur) * lit + camera.blur * (before + after)
    grey = (lit - 128) * camera.gain + 128 + camera.offset + camera.noise
    return grey.round().clip(0, 255).astype(np.uint8)
