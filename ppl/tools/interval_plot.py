"""The plot of each class's IoU with its interval, a point a model."""

from collections.abc import Mapping
from typing import Any

from ppl.judge.table import few_parts
from ppl.tools.fraction_plot import COLOURS

MEAN = "mean (mIoU)"


def interval_plot(scores_of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A Vega-Lite specification of the mIoU and IoU of each model's metrics, in percent.

    A class that few test parts show is marked by a star; undefined scores are left out.
    """
    rows = [row for model, found in scores_of.items() for row in _rows(model, dict(found))]
    models = list(scores_of)
    names = list(dict.fromkeys(row["class"] for row in rows))
    bounds = {"type": "quantitative", "scale": {"domain": [0, 100]}}
    colour = {
        "field": "model",
        "type": "nominal",
        "title": None,
        "scale": {"domain": models, "range": [COLOURS[model] for model in models]},
    }
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "data": {"values": rows},
        "width": 520,
        "height": {"step": 11},
        "encoding": {
            "y": {
                "field": "class",
                "type": "nominal",
                "sort": names,
                "title": None,
                "scale": {"paddingInner": 0.35},
                "axis": {"labelFontSize": 12, "ticks": False, "domain": False},
            },
            "yOffset": {"field": "model", "type": "nominal", "scale": {"domain": models}},
            "color": colour,
        },
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.75},
                "encoding": {
                    "x": bounds | {"field": "low", "title": "IoU (%)"},
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
                "encoding": {"x": bounds | {"field": "iou", "title": "IoU (%)"}},
            },
        ],
        "config": {"view": {"stroke": None}},
    }


def _rows(model: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    few = few_parts(found)
    scores = [(MEAN, found["miou"], found["miou_low"], found["miou_high"])] + [
        (
            f"{name}*" if name in few else name,
            iou,
            found["iou_low"][name],
            found["iou_high"][name],
        )
        for name, iou in found["iou"].items()
    ]
    return [
        {
            "model": model,
            "class": name,
            "iou": _percent(iou),
            "low": _percent(low),
            "high": _percent(high),
        }
        for name, iou, low, high in scores
        if iou is not None
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 4)
