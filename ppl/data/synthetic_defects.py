"""Draw four kinds of defect on a metal part, each with the pixels that show it.

A drawing function takes the part as it is and returns it with the defect, and (H, W) bool: where
the defect is. Arrays and lengths are as in synthetic_surface.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ppl.data.synthetic_surface import (
    Dice,
    Scene,
    coverage,
    distance_to_path,
    fractal_noise,
    mix,
    point_on_part,
    random_walk,
    smooth_noise,
    step,
)

# Pores and scratches differ from the surface by this multiple of the grain's standard deviation
# on top of their own grey levels: a rough surface would hide them otherwise.
_GRAIN_MARGIN = 1.6

Mask: TypeAlias = npt.NDArray[np.bool_]


def _draw_pores(dice: Dice, scene: Scene) -> tuple[Scene, Mask]:
    """1-4 small irregular holes: dark, shaded from one side, the far rim catching the light."""
    surface = scene.surface
    marked = np.zeros(scene.shape, dtype=bool)
    clustered = dice.chance(0.5)
    middle = point_on_part(dice, scene, 8 * scene.unit)
    for number in range(dice.whole(1, 4)):
        # a smaller one could fall between the centres of the pixels
        radius = max(dice.log_between(1.5, 5.5) * scene.unit, 1.6)
        if number and clustered:
            spread = 9 * scene.unit
            middle_y, middle_x = (at + dice.between(-spread, spread) for at in middle)
        elif number:
            middle_y, middle_x = point_on_part(dice, scene, radius + 3)
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
        hole += 2.5 * smooth_noise(dice, scene.shape, 0.7, 0.7)
        rim = np.exp(-(((depth + 0.9) / 0.7) ** 2)) * (depth > -2.5) * (0.25 - facing).clip(0, 1)
        surface = surface + dice.between(5, 55) * rim * coverage(scene.inside)
        surface = mix(surface, hole, coverage(depth) * coverage(scene.inside))
        marked |= (depth > 0) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_scratch(dice: Dice, scene: Scene) -> tuple[Scene, Mask]:
    """A smooth scratch, bright or dark, or a jagged dark crack that may branch."""
    is_crack = dice.chance(0.45)
    length = dice.log_between(28, 95) * scene.unit
    bend, jitter = (0.16, 0.45) if is_crack else (dice.between(0.01, 0.07), 0.03)
    start = point_on_part(dice, scene, 8 * scene.unit)
    path = random_walk(dice, start, length, bend=bend, jitter=jitter)
    paths = [path]
    if is_crack or dice.chance(0.15):
        for _ in range(dice.whole(0, 2)):
            at = dice.whole(len(path) // 4, len(path) - 2)
            branch = random_walk(
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
    on_part = coverage(scene.inside)
    for points in paths:
        distance, position = distance_to_path(scene, points)
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
        surface = mix(surface, bottom.clip(3, 252), coverage(depth) * on_part)
        marked |= (depth > 0) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_stain(dice: Dice, scene: Scene) -> tuple[Scene, Mask]:
    """A large blotch with a soft outline: discoloured, mottled, the grain dulled."""
    radius = dice.log_between(14, 36) * scene.unit
    middle_y, middle_x = point_on_part(dice, scene, 0.6 * radius)
    squeeze, tilt = dice.log_between(0.35, 0.9), dice.between(0, math.pi)
    dy, dx = scene.y - middle_y, scene.x - middle_x
    along = dx * math.cos(tilt) + dy * math.sin(tilt)
    across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / squeeze
    outline = fractal_noise(dice, scene.shape, dice.between(0.3, 0.55) * radius * squeeze)
    away = np.hypot(along, across) / radius
    # the noise bends the outline but makes no islands far from the blotch
    height = 1 - away + dice.between(0.13, 0.28) * outline * (1.6 - away).clip(0, 1)
    softness = dice.between(0.08, 0.32)
    strength = step(height / softness) * coverage(scene.inside)
    # thin where the liquid ran off, thick where it dried
    thickness = (0.85 + 0.3 * along / radius * dice.sign()).clip(0.65, 1.2)
    mottle = smooth_noise(dice, scene.shape, 2.2 * scene.unit, 2.2 * scene.unit)
    clouds = smooth_noise(dice, scene.shape, 6 * scene.unit, 6 * scene.unit)
    grey = dice.between(14, 28) + scene.grain
    grey *= -1 if dice.chance(0.7) else 0.8
    shift = grey * (thickness + 0.22 * clouds.clip(-2, 2)) + dice.between(3, 8) * mottle
    if dice.chance(0.5):  # a dried drop leaves a darker line where it ended
        shift = shift - dice.between(8, 22) * np.exp(-(((height - 0.7 * softness) / 0.09) ** 2))
    dulled = dice.between(0.2, 0.8) * (scene.surface - scene.base) + scene.base + shift
    surface = mix(scene.surface, dulled.clip(4, 251), strength)
    # where an eye would trace it: the outermost tail of a soft outline cannot be seen
    marked = (height > 0.35 * softness) & (scene.inside > 0)
    return replace(scene, surface=surface), marked


def _draw_edge_break(dice: Dice, scene: Scene) -> tuple[Scene, Mask]:
    """A piece broken out of the edge: what is behind shows, and a rough fracture face."""
    half_width = dice.log_between(8, 21) * scene.unit
    deepest = max(min(dice.log_between(6, 20) * scene.unit, 1.3 * half_width), 4.0)
    edge_in_view = scene.edge_along[np.abs(scene.inside) < 1]
    offset = (scene.edge_along - np.quantile(edge_in_view, dice.between(0.2, 0.8))) / half_width
    profile = (1 - np.abs(offset) ** dice.between(1.2, 4.0)).clip(-1, None)
    # noise along the edge alone: noise in both directions would break islands out of the part
    count = 2 * max(scene.shape)
    jagged = fractal_noise(dice, (1, count), dice.between(3, 7) * scene.unit)[0]
    jagged = np.interp(scene.edge_along + count / 2, np.arange(count), jagged)
    ragged = dice.between(0.14, 0.34) * deepest * (2 * profile).clip(0, 1)
    fine = 0.4 * (4 * profile).clip(0, 1) * smooth_noise(dice, scene.shape, 1.3, 1.3)
    depth = deepest * profile + ragged * jagged + fine
    # the second bound keeps the edge whole where the break is too shallow to cover a pixel's centre
    cut = np.minimum(depth - scene.inside, 20 * (depth - 1.5))
    face_width = dice.between(1.0, 6.0) * scene.unit
    uneven_width = face_width * (1 + 0.5 * smooth_noise(dice, scene.shape, 4, 4)).clip(0.2, 2)
    crystals = smooth_noise(dice, scene.shape, 0.8, 0.8)
    facets = smooth_noise(dice, scene.shape, 2.2, 2.2)
    tone = dice.between(0.4, 0.75) if dice.chance(0.65) else dice.between(1.15, 1.4)
    face = scene.base * tone + dice.between(8, 16) * crystals + dice.between(6, 14) * facets
    lip = dice.sign() * dice.between(8, 30) * np.exp(-(((cut - 0.8) / 0.8) ** 2))
    face = (face + lip).clip(4, 251)
    surface = mix(scene.surface, face, coverage(cut) * coverage(scene.inside))
    surface = mix(surface, scene.behind, coverage(cut - uneven_width))
    marked = (cut > 0) & (scene.inside > 0)
    return replace(scene, surface=surface, inside=np.minimum(scene.inside, -cut)), marked


DRAWINGS: Mapping[int, Callable[[Dice, Scene], tuple[Scene, Mask]]] = {
    3: _draw_stain,
    4: _draw_edge_break,
    2: _draw_scratch,
    1: _draw_pores,
}
"""How each class is drawn, in this order: a break takes the stain with it, and neither a scratch
nor a pore, being small, may vanish under another defect."""
