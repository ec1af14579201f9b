"""Colours of classes: by the settings or by CVAT's labelmap.txt; what cannot be meant is named."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.data.adapters.base import DataSettings, dataset_info
from ppl.data.class_colours import LABELMAP_FILE, find_colours, labelmap_classes
from ppl.images.pictures import IGNORE

CLASSES = ["background", "scratch", "dent"]
RED, GREEN = (255, 0, 0), (0, 255, 0)
PARAMS = Path(__file__).parents[2] / "params.yaml"


def section(**changes: Any) -> dict[str, Any]:
    lines = yaml.safe_load("\n".join(DataSettings.LINES.values()))
    return {**lines, "classes": CLASSES, **changes}


def write_labelmap(root: Path, text: str, folder: str = "") -> Path:
    file = root / folder / LABELMAP_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


@pytest.mark.parametrize(
    "colours",
    [
        {"scratch": [255, 0, 0], "dent": [0, 255, 0]},
        {"dent": [0, 255, 0], "background": [0, 0, 0], "scratch": [255, 0, 0]},
        [[0, 0, 0], [255, 0, 0], [0, 255, 0]],
    ],
)
def test_the_settings_name_colours_by_class_or_by_index(tmp_path: Path, colours: Any) -> None:
    settings = check("data", section(colours=colours), DataSettings)
    found = find_colours(tmp_path, settings.colours, settings.classes)
    assert found is not None
    assert found.values == {(0, 0, 0): 0, RED: 1, GREEN: 2}
    assert found.file is None


def test_background_need_not_be_black_and_ignored_may_have_a_colour(tmp_path: Path) -> None:
    colours = {"background": [9, 9, 9], "ignored": [224, 224, 192], "scratch": RED, "dent": GREEN}
    found = find_colours(tmp_path, {name: list(c) for name, c in colours.items()}, CLASSES)
    assert found is not None
    assert found.values == {(9, 9, 9): 0, (224, 224, 192): IGNORE, RED: 1, GREEN: 2}


@pytest.mark.parametrize(
    ("colours", "said"),
    [
        ({"scratch": [255, 0, 0]}, "dent has no colour"),
        ({"scratch": [9, 0, 0], "dent": [9, 0, 0]}, r"scratch and dent have one colour, \(9, 0, 0"),
        ({"scratch": [0, 0, 0], "dent": [9, 0, 0]}, "background and scratch have one colour"),
        (
            {"scratch": [9, 0, 0], "dent": [1, 0, 0], "dust": [1, 1, 0]},
            "dust is none of data.class",
        ),
        ({"scratch": [256, 0, 0]}, "scratch has the colour .*whole numbers of 0-255"),
        ({"scratch": [255, 0]}, "scratch has the colour"),
        ({"scratch": [1.0, 0, 0]}, "scratch has the colour"),
        ({"scratch": [True, 0, 0]}, "scratch has the colour"),
        ({"scratch": "red"}, "scratch has the colour 'red'"),
        ({"scratch": None}, "scratch has the colour None"),
        ("#ff0000", "expected a colour by class name"),
        (7, "expected a colour by class name"),
        ([[0, 0, 0], [9, 0, 0]], "2 colours for 3 classes"),
        ([[0, 0, 0], [9, 0, 0], 5], "dent has the colour 5"),
    ],
)
def test_colours_that_cannot_be_meant_are_named_in_a_line(colours: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check("data", section(colours=colours), DataSettings)
    assert "data.colours: got" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_classes_are_said_by_themselves() -> None:
    with pytest.raises(InputError) as caught:
        check("data", section(classes=["x"], colours={"scratch": [255, 0, 0]}), DataSettings)
    assert "data.classes: got" in str(caught.value)
    assert "colours" not in str(caught.value)


def test_a_layout_of_its_own_reads_no_colours() -> None:
    wrong = section(name="neu_seg", classes=[], colours=[[0, 0, 0]])
    with pytest.raises(InputError, match=r"data\.colours: .*`folder` alone reads it"):
        check("data", wrong, DataSettings)


@pytest.mark.parametrize("folder", ["", "masks"])
def test_a_labelmap_of_cvat_names_the_colours(tmp_path: Path, folder: str) -> None:
    text = (
        "\ufeff# label:color_rgb:parts:actions\r\nbackground:0,0,0::\r\n"
        "dent:0,255,0:head,body:bent\r\n\r\nscratch: 255, 0 ,0"
    )
    file = write_labelmap(tmp_path, text, folder)
    found = find_colours(tmp_path, None, CLASSES)
    assert found is not None
    assert found.values == {(0, 0, 0): 0, RED: 1, GREEN: 2}
    assert found.file == file
    assert str(file) in found.source


def test_settings_go_before_a_labelmap_and_neither_need_be_there(tmp_path: Path) -> None:
    assert find_colours(tmp_path, None, CLASSES) is None
    write_labelmap(tmp_path, "no labelmap at all")
    found = find_colours(tmp_path, [[0, 0, 0], [1, 2, 3], [4, 5, 6]], CLASSES)
    assert found is not None
    assert found.values[4, 5, 6] == 2


@pytest.mark.parametrize("first", ["sound", "background"])
def test_the_background_of_cvat_is_the_first_class_whatever_it_is_called(
    tmp_path: Path, first: str
) -> None:
    for name in ("background", "Background"):
        write_labelmap(tmp_path, f"{name}:1,1,1::\nscratch:255,0,0::\n")
        found = find_colours(tmp_path, None, [first, "scratch"])
        assert found is not None
        assert found.values == {(1, 1, 1): 0, RED: 1}
        assert labelmap_classes(tmp_path) == ("background", "scratch")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scratch:255,0,0::\n", "dent has no colour"),
        ("scratch:255,0,0::\ndent:255,0,0::\n", "scratch and dent have one colour"),
        ("scratch:1,0,0\ndent:2,0,0\ndust:3,0,0\n", "dust is none of data.classes"),
        ("scratch:255,0,0::\ndent:::\n", r'line 2: "dent:::" gives no class its colour'),
        ("scratch\n", "line 1: .*expected name:red,green,blue"),
        ("scratch:255,0::\n", "line 1"),
        ("scratch:255,0,300::\n", "line 1"),
        ("scratch:255,0,-1::\n", "line 1"),
        ("scratch:255,0,x::\n", "line 1"),
        ("scratch:²,0,0::\n", "line 1"),
        (":255,0,0::\n", "line 1"),
        ("scratch:1,0,0\nscratch:1,0,0\n", "line 2: scratch stands there twice"),
        ("x" * 3000, "line 1"),
    ],
)
def test_a_labelmap_that_does_not_fit_is_named_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    file = write_labelmap(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        find_colours(tmp_path, None, CLASSES)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


def test_a_labelmap_of_bytes_or_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    file = tmp_path / LABELMAP_FILE
    file.write_bytes(b"scratch:1,2,3::\n\xff\n")
    with pytest.raises(InputError, match="no UTF-8 text"):
        find_colours(tmp_path, None, CLASSES)
    with file.open("wb") as stream:
        stream.truncate(2**30)
    with pytest.raises(InputError, match=r"more than 1,048,576 bytes"):
        find_colours(tmp_path, None, CLASSES)


def test_two_labelmaps_agree_or_are_refused(tmp_path: Path) -> None:
    text = "scratch:1,0,0\ndent:2,0,0\n"
    write_labelmap(tmp_path, text)
    write_labelmap(tmp_path, text, "masks")
    assert find_colours(tmp_path, None, CLASSES) is not None
    write_labelmap(tmp_path, text.replace("2", "3"), "masks")
    with pytest.raises(InputError, match=r"labelmap\.txt and .*labelmap\.txt differ"):
        find_colours(tmp_path, None, CLASSES)


def test_a_labelmap_says_which_classes_to_write(tmp_path: Path) -> None:
    write_labelmap(tmp_path, "background:0,0,0::\nscratch:1,0,0::\nDelle:2,0,0::\n")
    assert labelmap_classes(tmp_path) == ("background", "scratch", "Delle")
    settings = check("data", section(classes=[], root=str(tmp_path)), DataSettings)
    with pytest.raises(InputError) as caught:
        dataset_info(settings)
    assert '`classes: ["background", "scratch", "Delle"]`' in str(caught.value)


def test_optional_keys_stand_in_params_yaml_as_comments_that_are_valid() -> None:
    text = PARAMS.read_text(encoding="utf-8")
    data = text[text.index("\ndata:\n") : text.index("\nsplit:\n")]
    shown = [line.strip().removeprefix("# ") for line in data.splitlines() if "  # " in line[:4]]
    optional = [
        name for name, field in DataSettings.model_fields.items() if not field.is_required()
    ]
    for name in optional:
        [line] = [line for line in shown if line.startswith(f"{name}:")]
        assert " # " in line, "says what it is"
        values = section(classes=["background", "scratch"]) | yaml.safe_load(line)
        assert getattr(check("data", values, DataSettings), name) == yaml.safe_load(line)[name]


def test_the_sections_that_the_documents_show_are_valid() -> None:
    text = (PARAMS.parent / "docs/your_data.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?:^ {6}\w+: .*\n)+", text, flags=re.MULTILINE)
    keys = set()
    for block in shown:
        values = yaml.safe_load(block)
        check("data", section() | values, DataSettings)
        keys |= values.keys()
    assert {"colours", "mask_suffix", "name", "classes"} <= keys
