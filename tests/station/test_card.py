"""Every way in which a card, a network or the samples beside it are not as they were written."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.pictures import write_indices
from ppl.station import card as card_module
from ppl.station.card import MOST_NETWORK, Card, described_digest, file_digest, read_card
from ppl.station.exported import run
from ppl.station.onnx_predictor import load_onnx
from ppl.station.samples import check_samples
from tests.inspection.test_tampered import damaged, tampered
from tests.station.bright import Bright

NETWORK = b"a network, which a card knows by its digest"

Alter = Callable[[dict[str, Any]], object]


def content() -> dict[str, Any]:
    """A card as an export writes it, as far as a station reads it."""
    made: dict[str, Any] = {
        "format": 1,
        "onnx": file_digest(NETWORK),
        "classes": ["background", "dent", "rust"],
        "colours": [[0, 0, 0], [255, 0, 0], [0, 255, 0]],
        "input": {"height": 64, "width": 96, "fit": "whole", "overlap": 0},
        "prediction": {"scales": [0.5, 1.0], "flip": True},
        "thresholds": {
            "classes": {"dent": {"pixel": 0.4, "area": 3}, "rust": {"pixel": 0.5, "area": 10}},
            "score": 0.55,
            "promise": {"false_alarms": 0.3, "confidence": 0.95, "sound_parts": 8, "called": 0},
        },
        "appearance": {
            "images": 40,
            "percentiles": {
                name: [0.0, 1.0, 2.0] for name in ("brightness", "contrast", "sharpness")
            },
        },
        "network": {"architecture": "Unet"},
        "weights": "f00d",
        "compared": {"onnxruntime": {"images": 7}},
        "int8": {"kept": True, "onnx": file_digest(b"in integers")},
    }
    return made | {"digest": described_digest(made)}


def write(folder: Path, card: dict[str, Any], *, sealed: bool = True) -> Path:
    """The folder of an export; `sealed` has the digest of what the card says now, as a forger."""
    if sealed:
        card["digest"] = described_digest(card)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    (folder / "model.onnx").write_bytes(NETWORK)
    (folder / "model.int8.onnx").write_bytes(b"in integers")
    return folder


def refused(folder: Path, said: str, *, int8: bool = False) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_card(folder, int8=int8)
    assert len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value) or "8-bit integers" in str(caught.value)


def test_a_card_as_it_was_written_is_read(tmp_path: Path) -> None:
    card, network = read_card(write(tmp_path, content()))
    assert network == NETWORK
    assert card.classes == ("background", "dent", "rust")
    assert (card.size, card.scales, card.flip, card.windows) == ((64, 96), (0.5, 1.0), True, False)
    # a card of before there was a choice
    assert card.vertical_flip is False
    assert card.reference is not None
    whole, integers = read_card(tmp_path, int8=True)
    assert (whole.digest, integers) == (f"{card.digest}-int8", b"in integers")


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "model.int8.onnx"])
def test_what_lacks_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path, content()) / name).unlink()
    refused(tmp_path, rf"is incomplete: {name} is missing", int8="int8" in name)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_network_that_was_exchanged_is_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path, content()) / name).write_bytes(b"another")
    refused(tmp_path, rf"{name} is not the file that card.json was written", int8="int8" in name)


def test_files_that_are_too_long_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (write(tmp_path, content()) / "model.onnx").open("r+b") as stream:
        stream.truncate(MOST_NETWORK + 1)
    refused(tmp_path, r"model\.onnx has more than 2,147,483,648 bytes")
    monkeypatch.setattr(card_module, "MOST_CARD", 100)
    refused(tmp_path, r"card\.json has more than 100 bytes")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "{}",
        '{"format": 1}',
        '{"format": NaN}',
        "[" * 100_000,
        '{"format": 1, "classes": Infinity}',
        "\ud800",
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, content())
    (tmp_path / "card.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(tmp_path, "card.json is no card of an exported model: .*copy the whole folder")


@pytest.mark.parametrize("format", [0, 2, "1", None, 1e300])
def test_another_format_is_refused(tmp_path: Path, format: object) -> None:
    write(tmp_path, content() | {"format": format})
    refused(tmp_path, "card.json has format .*, but the code beside it reads 1")


NO_CARD: list[tuple[Alter, str]] = [
    *((lambda card, key=key: card.pop(key), key) for key in ("onnx", "colours", "compared")),
    (lambda card: card["thresholds"].pop("promise"), "promise"),
    (lambda card: card["thresholds"].update(promise={"odd": 1}), "odd"),
    (lambda card: card["thresholds"]["classes"].pop("rust"), "rust"),
    (lambda card: card["thresholds"]["classes"]["dent"].pop("area"), "area"),
    (lambda card: card["thresholds"]["classes"]["dent"].update(area=0), "an area is no number of"),
    (lambda card: card["thresholds"]["classes"]["dent"].update(area=0.5), "an area is no number"),
    (lambda card: card["thresholds"]["classes"]["dent"].update(pixel=2), "lies outside 0-1"),
    (lambda card: card["thresholds"].update(score=-0.1), "lies outside 0-1"),
    (lambda card: card["thresholds"].update(score="x"), "could not convert"),
    (lambda card: card["classes"].append(7), "7"),
    (lambda card: card.update(classes=["background"], colours=[[0, 0, 0]]), "1 classes, 1 colours"),
    (lambda card: card.update(classes=[]), "0 classes"),
    (lambda card: card["classes"].__setitem__(0, 7), "a class is no text"),
    (lambda card: card["colours"].pop(), "3 classes, 2 colours"),
    (lambda card: card["colours"].append([0, 0, 1]), "3 classes, 4 colours"),
    (lambda card: card["colours"].__setitem__(0, [0, 0]), "unpack"),
    (lambda card: card["colours"].__setitem__(0, [0, 0, 256]), "no.* of three numbers, 0-255"),
    (lambda card: card["colours"].__setitem__(0, [0, 0, True]), "of three numbers, 0-255"),
    *(
        (lambda card, key=key, size=size: card["input"].update({key: size}), "no number of pixels")
        for key in ("height", "width")
        for size in (0, -1, 8193, 10**30, 64.0, True)
    ),
    (lambda card: card["input"].update(height="64"), "no number of pixels"),
    (lambda card: card["input"].update(overlap=-1), "no number of pixels"),
    (lambda card: card["input"].update(overlap="0"), "concatenate"),
    (lambda card: card["input"].update(fit="windows", overlap=33), "moves on by less than 32"),
    *(
        (lambda card, scales=scales: card["prediction"].update(scales=scales), said)
        for scales, said in (
            ([], "1 to 8 times"),
            ([1.0] * 9, "1 to 8 times"),
            ([0], "a scale is no number"),
            ([1e9], "a scale is no number"),
            (["1"], "a scale is no number"),
            ([None], "a scale is no number"),
            (3, "not iterable"),
        )
    ),
    (lambda card: card["prediction"].update(flip="no"), "mirrored or not"),
    (lambda card: card["prediction"].update(vertical_flip=1), "mirrored or not"),
    (lambda card: card["appearance"].pop("images"), "images"),
    (lambda card: card["appearance"].update(images=0), "the number of images is none"),
    (lambda card: card["appearance"]["percentiles"].pop("contrast"), "contrast"),
    (lambda card: card["appearance"]["percentiles"].update(contrast=[1]), "no ascending numbers"),
    (lambda card: card["appearance"]["percentiles"].update(contrast=[2, 1]), "no ascending num"),
    (lambda card: card.update(appearance=3), "not subscriptable"),
]


@pytest.mark.parametrize(("alter", "said"), NO_CARD)
def test_a_forged_card_that_no_predictor_could_follow_is_refused(
    tmp_path: Path, alter: Alter, said: str
) -> None:
    card = content()
    alter(card)
    refused(write(tmp_path, card), f"card.json is no card of an exported model: .*{said}")


@pytest.mark.parametrize("key", ["weights", "network", "input", "prediction", "thresholds"])
def test_a_card_that_describes_no_model_is_refused(tmp_path: Path, key: str) -> None:
    card = content()
    del card[key]
    refused(write(tmp_path, card, sealed=False), f"is no card of an exported model: .*'{key}'")


@pytest.mark.parametrize(
    "alter",
    [
        lambda card: card["thresholds"].update(score=0.1),
        lambda card: card["thresholds"]["classes"]["dent"].update(area=4),
        lambda card: card["input"].update(height=32),
        lambda card: card["input"].update(fit="windows"),
        lambda card: card["prediction"].update(flip=False),
        lambda card: card["prediction"].update(scales=[1.0]),
        lambda card: card["network"].update(architecture="FPN"),
        lambda card: card.update(weights="beef"),
        lambda card: card.update(digest="beef"),
        lambda card: card.update(digest=None),
    ],
)
def test_a_card_that_was_altered_is_refused(tmp_path: Path, alter: Alter) -> None:
    card = content()
    alter(card)
    refused(write(tmp_path, card, sealed=False), "card.json was altered: its classes, sizes or thr")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "without a network in 8-bit integers: set export.int8"),
        ({"kept": False}, "lost too much, and was not kept"),
        ({}, "no card of an exported model: KeyError"),
        ({"kept": True}, "no card of an exported model: KeyError"),
        (3, "no card of an exported model: TypeError"),
    ],
)
def test_integers_that_there_are_not_are_refused(tmp_path: Path, made: Any, said: str) -> None:
    refused(write(tmp_path, content() | {"int8": made}), said, int8=True)


def test_a_runtime_that_was_not_compared_and_a_network_that_is_none_are_refused(
    tmp_path: Path,
) -> None:
    write(tmp_path, content())
    with pytest.raises(InputError, match="was not compared with openvino, only with onnxruntime"):
        load_onnx(tmp_path, runtime="openvino")
    with pytest.raises(InputError, match="onnxruntime cannot read "):
        load_onnx(tmp_path)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_a_tampered_card_is_refused_or_changes_nothing(tmp_path: Path, count: int) -> None:
    draws = random.Random(count)
    expected, _ = read_card(write(tmp_path, content()))
    text = (tmp_path / "card.json").read_text(encoding="utf-8")
    found: Counter[str] = Counter()
    for number in range(count):
        changed = tampered(text, draws).encode() if number % 4 else damaged(text.encode(), draws)
        (tmp_path / "card.json").write_bytes(changed)
        try:
            card, _ = read_card(tmp_path)
        except InputError as error:
            found["of several lines" if "\n" in str(error) else "refused"] += 1
        else:
            found["equal" if _judges_as(card, expected) else f"otherwise: {changed!r}"] += 1
    print(dict(found))
    assert found.keys() == {"refused", "equal"}


def _judges_as(card: Card, expected: Card) -> bool:
    """Colours, how training images looked and what was compared are no part of a verdict."""
    keys = ("classes", "thresholds", "size", "windows", "overlap", "scales", "flip", "digest")
    return all(getattr(card, key) == getattr(expected, key) for key in keys)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """One sample, of which `Bright` has this mask and verdict."""
    folder = tmp_path / "samples"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (8, 6), (128, 128, 128)).save(folder / "images" / "a.png")
    write_indices(folder / "masks" / "a.png", np.zeros((6, 8), np.uint8), Bright().colours)
    return folder


def entry(**changes: Any) -> dict[str, Any]:
    return {"image": "a.png", "mask": "a.png", "defective": False, "score": 0.0} | changes


def test_samples_as_they_were_written_are_compared(samples: Path, tmp_path: Path) -> None:
    (samples / "samples.json").write_text(json.dumps([entry()]), encoding="utf-8")
    assert check_samples(tmp_path, Bright()) == (1, [])
    (samples / "samples.json").write_text(json.dumps([entry(defective=True)]), encoding="utf-8")
    assert len(check_samples(tmp_path, Bright())[1]) == 1


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("[]", "holds no samples to check by"),
        ("", "cannot be read"),
        ("3", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[3]", "cannot be read"),
        ("[{}]", "cannot be read .*'image'"),
        *(
            (json.dumps([entry(**{key: value})]), "cannot be read .*leads out of the samples")
            for key in ("image", "mask")
            for value in ("../card.json", "/etc/passwd", "", "a/../../b")
        ),
        (json.dumps([entry(image=3)]), "cannot be read"),
        (json.dumps([entry(mask=None)]), "cannot be read"),
        (json.dumps([entry(defective="no")]), "a verdict or a score is none"),
        (json.dumps([entry(score=2)]), "a verdict or a score is none"),
        (json.dumps([entry(score=None)]), "cannot be read"),
        (json.dumps([entry(image="gone.png")]), "gone.png"),
        (json.dumps([entry(mask="gone.png")]), "gone.png"),
    ],
)
def test_samples_that_are_none_are_refused(
    samples: Path, tmp_path: Path, listed: str, said: str
) -> None:
    (samples / "samples.json").write_text(listed, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        check_samples(tmp_path, Bright())


def test_the_command_says_it_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, ["--check"]) == 1
    said = capsys.readouterr().err
    assert "is incomplete: card.json is missing" in said
    assert len(said.splitlines()) == 1
