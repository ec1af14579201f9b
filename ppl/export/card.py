"""What goes with an exported network: card.json for programs, card.md for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ppl.export.compare import Comparison, most_differing
from ppl.export.int8 import Int8, as_json
from ppl.inspection.model import Model
from ppl.station.appearance import (
    NUMBERS,
    Reference,
    reference_as_json,
    reference_from_json,
)
from ppl.station.card import FORMAT, INT8_NETWORK, NETWORK, file_digest
from ppl.station.thresholds import Thresholds, thresholds_as_json

LIBRARIES = ("torch", "onnx", "onnxscript")
"""Those that made the file."""

NUMPY_AND_CO = ("numpy", "pillow")
"""Those that a station needs beside a runtime."""


@dataclass(frozen=True)
class Known:
    """What the pipeline found out about a model before it is exported."""

    scores: Mapping[str, Any]
    """metrics/final.json"""
    audit: Mapping[str, Any]
    """metrics/leakage.json"""
    weights: Mapping[str, str]
    """Of `weights_note`."""


def card_content(
    model: Model,
    network: bytes,
    comparisons: Mapping[str, Comparison],
    known: Known,
    int8: Int8 | None = None,
) -> dict[str, Any]:
    """The content of card.json.

    Args:
        network: the content of model.onnx.
        comparisons: by runtime.
        int8: the network in integers, where one was asked for.
    """
    return {
        "format": FORMAT,
        "digest": model.digest,
        "onnx": file_digest(network),
        "classes": model.classes,
        "colours": model.colours,
        "input": model.image.model_dump(),
        "prediction": model.test_time.described(),
        "thresholds": thresholds_as_json(model.thresholds, model.classes),
        "appearance": reference_as_json(model.reference),
        "network": model.network.description(),
        "weights": model.weights,
        "compared": {name: _compared(one) for name, one in comparisons.items()},
        "int8": as_json(int8),
        "made_with": {name: _version(name) for name in (*LIBRARIES, *NUMPY_AND_CO, *comparisons)},
        "encoder_weights": known.weights,
        "data": {"name": model.info.name, "split_by": known.audit.get("split_by")},
        "audit": known.audit,
        "scores": known.scores,
    }


def _compared(comparison: Comparison) -> dict[str, Any]:
    return {
        "images": comparison.images,
        "other_verdicts": len(comparison.verdicts),
        "pixels": comparison.pixels,
        "other_pixels": comparison.differing,
        # a rounding error: its size says something, its digits do not
        "largest_difference_of_a_probability": float(f"{comparison.probability:.1e}"),
        "largest_difference_of_a_score": float(f"{comparison.score:.1e}"),
    }


def _version(name: str) -> str:
    # a local part, as of +cpu, names the machine and not what is computed
    return version(name).partition("+")[0]


def requirements() -> str:
    """requirements.txt of a station: what the model was compared with, to the version."""
    names = (*NUMPY_AND_CO, "onnxruntime")
    return "".join(f"{name}=={_version(name)}\n" for name in names)


def card_text(content: Mapping[str, Any], thresholds: Thresholds) -> str:
    """card.md: the same for people.

    Args:
        content: of card.json.
    """
    parts = [
        f"# Model {content['digest']}: defects of {content['data']['name']}\n",
        *_use(content),
        *_verdict(content, thresholds),
        *_look(reference_from_json(content["appearance"])),
        *_scores(content["scores"]),
        *_audit(content),
        *_equal(content),
        *_in_integers(content["int8"]),
        *_licence(content["encoder_weights"]),
    ]
    return "\n".join(parts) + "\n"


def _use(content: Mapping[str, Any]) -> list[str]:
    looks, prediction = content["input"], content["prediction"]
    height, width = looks["height"], looks["width"]
    seen = (
        f"resized to {width} x {height} pixels"
        if looks["fit"] == "whole"
        else f"seen through windows of {width} x {height} pixels that overlap by {looks['overlap']}"
    )
    scales = ", ".join(f"{scale:g}" for scale in prediction["scales"])
    mirrored = "plain and mirrored" if prediction["flip"] else "as it is, not mirrored"
    if prediction.get("vertical_flip"):
        mirrored += ", and upside down"
    return [
        "    python -m pip install -r requirements.txt",
        "    python predict.py --check    # does this machine give the verdicts of the project?",
        "    python predict.py --help\n",
        f"- An image is {seen}, at scales {scales}, {mirrored}.",
        f"- `{NETWORK}`: `image`, uint8 (B, height, width, 3), red first, of that size ->",
        "  `probabilities`, float32 (B, classes, height, width). Normalisation and softmax are in",
        "  the graph. The way to that size and back is `ppl/station/resize.py`, in NumPy: to the",
        "  bit what the training saw, which resizes of other libraries, and of ONNX, are not.",
        f"- Classes: {', '.join(content['classes'])}.",
        f"- SHA-256 of `{NETWORK}`: {content['onnx']}\n",
    ]


def _verdict(content: Mapping[str, Any], thresholds: Thresholds) -> list[str]:
    lines = [
        "## Verdict",
        f"An image is called defective when its score is above {thresholds.score:g}.\n",
        "| class | least probability of a pixel | least pixels of a defect |",
        "|---|---|---|",
        *(
            f"| {name} | {limits.pixel:g} | {limits.area} |"
            for name, limits in zip(content["classes"][1:], thresholds.classes, strict=True)
        ),
        "",
    ]
    promise = thresholds.promise
    if promise is None:
        return [
            *lines,
            "Nothing is promised of false alarms: the thresholds were not calibrated.\n",
        ]
    return [
        *lines,
        f"At most {promise.false_alarms:.1%} of sound parts are called defective; of such promises "
        f"{promise.confidence:.0%} hold.",
        f"It was chosen on {promise.sound_parts} sound parts, of which {promise.called} are "
        "called.\n",
    ]


def _look(reference: Reference | None) -> list[str]:
    if reference is None:
        return []
    ranges = [
        f"{name} {reference.percentiles[name][0]:.3g}-{reference.percentiles[name][-1]:.3g}"
        for name in NUMBERS
    ]
    return [
        f"The training images ({reference.images}) have {', '.join(ranges)}. What lies far outside "
        "is marked in",
        "the results, and a lasting shift gives an alarm.\n",
    ]


def _scores(scores: Mapping[str, Any]) -> list[str]:
    tested = scores.get("test_set", {})
    whole = [f"| mean | {_interval(scores, 'miou')} |"] if "miou" in scores else []
    by_class = [
        f"| {name} | {_share(value)}{_bounds(scores, 'iou', name)} |"
        for name, value in scores.get("iou", {}).items()
    ]
    verdicts = scores.get("verdicts", {})
    called = {
        "image_recall": "defective images that are called defective",
        "image_false_alarm_rate": "sound images that are called defective",
    }
    images = {
        "image_recall": "defective images whose mask shows a defect",
        "image_false_alarm_rate": "sound images whose mask shows one",
        "defect_recall": "defects found",
    }
    return [
        "## Scores",
        f"On {tested.get('images', '?')} test images of {tested.get('parts', '?')} parts, in "
        "percent, with intervals over the parts where there are some.\n",
        "| class | IoU |",
        "|---|---|",
        *whole,
        *by_class,
        "",
        *(f"- {said}: {_share(verdicts[key])}" for key, said in called.items() if key in verdicts),
        *(f"- {said}: {_share(scores[key])}" for key, said in images.items() if key in scores),
        "",
    ]


def _interval(scores: Mapping[str, Any], key: str) -> str:
    low, high = scores.get(f"{key}_low"), scores.get(f"{key}_high")
    return _share(scores[key]) + ("" if low is None else f" ({_share(low)}-{_share(high)})")


def _bounds(scores: Mapping[str, Any], key: str, name: str) -> str:
    low, high = (scores.get(f"{key}_{end}", {}).get(name) for end in ("low", "high"))
    return "" if low is None else f" ({_share(low)}-{_share(high)})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _audit(content: Mapping[str, Any]) -> list[str]:
    audit = content["audit"]
    seen = audit.get("test_images_seen_in_training", {})
    known = {how: count for how, count in seen.items() if count is not None}
    listed = ", ".join(f"{count} {how.replace('_', ' ')}" for how, count in known.items())
    return [
        "## Data",
        f"Data set `{content['data']['name']}`, split by {content['data']['split_by']}. Of "
        f"{audit.get('test_images', '?')} test images training saw: {listed or 'not known'}.\n",
    ]


def _equal(content: Mapping[str, Any]) -> list[str]:
    lines = [
        f"| {name} | {one['images']} | {one['other_verdicts']} | "
        f"{one['other_pixels']} of {one['pixels']:,} (at most {most_differing(one['pixels'])}) | "
        f"{one['largest_difference_of_a_probability']:g} |"
        for name, one in content["compared"].items()
    ]
    made = ", ".join(f"{name} {number}" for name, number in content["made_with"].items())
    return [
        "## Compared with PyTorch",
        "On a CPU in float32, on every test image:\n",
        "| runtime | images | other verdicts | other pixels | largest step of a probability |",
        "|---|---|---|---|---|",
        *lines,
        "",
        f"Made with {made}.\n",
    ]


def _in_integers(int8: Mapping[str, Any] | None) -> list[str]:
    if int8 is None:
        return []
    kept = (
        f"`{INT8_NETWORK}`, which `predict.py --int8` takes. The promise of false alarms was made "
        "for floats, and is none for integers."
        if int8["kept"]
        else f"Not kept: it may lose {int8['most_lost']:g} points of mIoU."
    )
    lines = [
        f"| {name} | {_share(one['miou'])} | {_share(int8['miou_in_floats'])} | "
        f"{one['other_verdicts']} |"
        for name, one in int8["runtimes"].items()
    ]
    return [
        "## In 8-bit integers",
        f"{kept} Ranges were taken from {int8['calibrated_on']} labeled images.\n",
        "| runtime | test mIoU | in floats | other verdicts |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def _licence(weights: Mapping[str, str]) -> list[str]:
    page = f", {weights['page']}" if "page" in weights else ""
    note = f" {weights['note']}." if "note" in weights else ""
    return [
        "## Licences",
        "- The code beside this card: Apache-2.0. ONNX Runtime: MIT. OpenVINO: Apache-2.0.",
        f"- Weights that the encoder {weights['encoder']} started from: {weights['source']}{page}. "
        f"Licence: {weights['licence']}.{note}",
        "- The images and masks that it learned from, and the samples: as you hold them.",
    ]
