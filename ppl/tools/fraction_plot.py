"""The plot of mIoU over a fraction, of labels say; the gain of the unlabeled images is shaded."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import vl_convert

TEACHER, FINAL = "teacher", "final"
COLOURS = {"copycat": "#c5a1d6", TEACHER: "#9aa5b1", "student_1": "#4c9be8", FINAL: "#d9480f"}
GAIN, LOSS = "#2b8a3e", "#c92a2a"
_SHADED = "shaded: final student above (green) or below (red) its teacher"
ASIDE = 1.02
"""Factor between the x of two models, so that their intervals do not cover each other."""


@dataclass(frozen=True)
class Point:
    """The score of one model of one run; `panel` is the title of the panel that it belongs to."""

    panel: str
    fraction: Fraction
    model: str
    miou: float
    low: float | None
    high: float | None


def fraction_plot(points: Sequence[Point], *, of: str = "labeled fraction") -> dict[str, Any]:
    """A Vega-Lite specification: a panel a title, a line a model through its means over runs.

    The area between teacher and final student is green where the student is better, else red.

    Args:
        of: what `Point.fraction` is; names the axis.
    """
    panels = list(dict.fromkeys(point.panel for point in points))
    views = [_panel(title, [p for p in points if p.panel == title], of) for title in panels]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "concat": views,
        "columns": 2,
        "config": {"view": {"stroke": None}, "axis": {"labelFontSize": 12, "titleFontSize": 12}},
    }


def write_png(file: Path, specification: dict[str, Any]) -> None:
    """Draw a Vega-Lite specification; needs no browser and no network."""
    picture = vl_convert.vegalite_to_png(json.dumps(specification), scale=2)
    file.write_bytes(picture)


def gain_areas(means: dict[str, dict[float, float]]) -> list[dict[str, float | str]]:
    """Corners {side, x, teacher, final} of the area between two lines, split where they cross.

    `means` holds for teacher and final a score at each x; between them the lines are straight over
    log x, as they are drawn. `side` is gain or loss, followed by the number of the piece.
    """
    teacher, final = means[TEACHER], means[FINAL]
    corners: list[dict[str, float | str]] = []
    places = sorted(teacher.keys() & final.keys())
    for piece, (left, right) in enumerate(pairwise(places)):
        before, after = final[left] - teacher[left], final[right] - teacher[right]
        ends = [(left, teacher[left], final[left]), (right, teacher[right], final[right])]
        if before * after >= 0:
            pieces = [(ends, before + after)]
        else:
            share = before / (before - after)
            x = math.exp(math.log(left) + share * (math.log(right) - math.log(left)))
            y = teacher[left] + share * (teacher[right] - teacher[left])
            crossing = (x, y, y)
            pieces = [([ends[0], crossing], before), ([crossing, ends[1]], after)]
        for part, (both, sign) in enumerate(pieces):
            side = f"{'gain' if sign >= 0 else 'loss'} {piece}.{part}"
            corners += [{"side": side, "x": x, "teacher": t, "final": f} for x, t, f in both]
    return corners


def _panel(title: str, points: Sequence[Point], of: str) -> dict[str, Any]:
    """The view of one panel: areas below, lines, intervals, points above."""
    means = _means(points)
    models = [model for model in COLOURS if model in means]
    x, y = _x_axis(points, of), _y_axis(points)
    shaded = {"subtitle": _SHADED} if {TEACHER, FINAL} <= means.keys() else {}
    colour = {
        "field": "model",
        "type": "nominal",
        "title": None,
        "scale": {"domain": models, "range": [COLOURS[model] for model in models]},
        "legend": {"orient": "right", "symbolOpacity": 1},
    }
    rows = _rows(points, models)
    lines = [
        {"x": place, "model": model, "miou": mean}
        for model in models
        for place, mean in sorted(means[model].items())
    ]
    return {
        "width": 420,
        "height": 300,
        "title": {
            "text": title or f"mIoU over the {of}",
            **shaded,
            "anchor": "start",
        },
        "layer": [
            _area_layer(means, x, y),
            {
                "data": {"values": lines},
                "mark": "line",
                "encoding": {"x": x, "y": y, "color": colour},
            },
            _interval_layer(rows, x, y, colour),
            {
                "data": {"values": rows},
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {"x": x, "y": y, "color": colour},
            },
        ],
    }


def _means(points: Sequence[Point]) -> dict[str, dict[float, float]]:
    """Model -> fraction -> the mean mIoU of its runs, in percent."""
    values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        values[point.model][float(point.fraction)].append(100 * point.miou)
    return {model: {x: fmean(ys) for x, ys in found.items()} for model, found in values.items()}


def _rows(points: Sequence[Point], models: Sequence[str]) -> list[dict[str, Any]]:
    """A row a point, in percent; those of several models stand beside each other."""
    aside = {model: ASIDE ** (n - (len(models) - 1) / 2) for n, model in enumerate(models)}
    return [
        {
            "x": float(p.fraction) * aside[p.model],
            "model": p.model,
            "miou": 100 * p.miou,
            "low": None if p.low is None else 100 * p.low,
            "high": None if p.high is None else 100 * p.high,
        }
        for p in points
    ]


def _x_axis(points: Sequence[Point], of: str) -> dict[str, Any]:
    """Fractions over a logarithmic axis, each labeled as it was written: 1/8."""
    ticks = {float(point.fraction): str(point.fraction) for point in points}
    labels = " : ".join(f"abs(datum.value - {x!r}) < 1e-9 ? '{text}'" for x, text in ticks.items())
    return {
        "field": "x",
        "type": "quantitative",
        "title": of,
        "scale": {"type": "log", "domain": [min(ticks) / 1.15, max(ticks) * 1.15], "nice": False},
        "axis": {"values": list(ticks), "labelExpr": f"{labels} : ''", "grid": False},
    }


def _y_axis(points: Sequence[Point]) -> dict[str, Any]:
    """mIoU in percent, over the range that the points and their intervals take."""
    lows = [100 * (p.miou if p.low is None else p.low) for p in points]
    highs = [100 * (p.miou if p.high is None else p.high) for p in points]
    scale = {
        "domain": [max(0, math.floor(min(lows)) - 1), math.ceil(max(highs)) + 1],
        "zero": False,
    }
    return {"field": "miou", "type": "quantitative", "title": "mIoU (%)", "scale": scale}


def _area_layer(
    means: dict[str, dict[float, float]], x: dict[str, Any], y: dict[str, Any]
) -> dict[str, Any]:
    """What lies between teacher and final student; empty where one of them is missing."""
    return {
        "data": {"values": gain_areas(means) if {TEACHER, FINAL} <= means.keys() else []},
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {
            "x": x,
            "y": {"field": "teacher", "type": "quantitative", "scale": y["scale"]},
            "y2": {"field": "final"},
            "detail": {"field": "side"},
            "fill": {
                "condition": {"test": "slice(datum.side, 0, 4) == 'loss'", "value": LOSS},
                "value": GAIN,
            },
        },
    }


def _interval_layer(
    rows: Sequence[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], colour: dict[str, Any]
) -> dict[str, Any]:
    """A rule a point that has an interval."""
    return {
        "data": {"values": rows},
        "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.7},
        "encoding": {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": colour},
    }
