"""YAML is read as plain values, in bounded time, or refused by line and key."""

import time

import pytest

from ppl.core.errors import InputError
from ppl.core.plain_yaml import DEEPEST, MOST_BYTES, plain_values

LAUGHS = "[&a [x, x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!!python/object/apply:os.system [id]", "could not determine a constructor for the tag"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("2024-13-45", r"no plain value \(month must be in 1..12\)"),
        ("!!int x", "no plain value"),
        ("!!bool x", r"no plain value \('x'\)"),
        ("!!timestamp x", "no plain value"),
        ("!!map x", "no section of keys"),
        ("1" + "0" * 5000, "no plain value|more than 100 digits"),
        ("0x" + "F" * 5000, "a whole number of more than 100 digits"),
        ("[" * 5000, "more than 30 levels"),
        ("{a: " * 5000, "more than 30 levels"),
        ("*nowhere", "found undefined alias 'nowhere'"),
        ("{? [a] : b}", "found unhashable key"),
        ("'open", "found unexpected end of stream"),
        ("[open", "expected ',' or ']'"),
    ],
)
def test_what_is_no_plain_value_is_refused_in_a_line_with_line_and_key(
    value: str, said: str
) -> None:
    text = f"other:\n  a: 1\n\nsection:\n  before: 1\n  key: {value}\n  after: 2\n"
    with pytest.raises(
        InputError, match=rf"^p\.yaml is not valid YAML: line 6, .*: .*{said}"
    ) as no:
        plain_values(text.encode(), "p.yaml")
    assert "at section.key: " in str(no.value)
    assert len(str(no.value).splitlines()) == 1


@pytest.mark.parametrize("value", [f"{LAUGHS}]", "&a [*a]", "&a {b: *a}", "&a [1, {b: [*a]}]"])
def test_aliases_that_would_never_be_written_out_are_refused_at_once(value: str) -> None:
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"^p\.yaml: s\.k holds more than 10,000 values, or itself"
    ):
        plain_values(f"s:\n  k: {value}\n".encode(), "p.yaml")
    assert time.monotonic() - began < 5


def test_aliases_and_levels_that_a_person_writes_are_read() -> None:
    text = "a: &a {x: [1, 2]}\nb: *a\nc:\n  <<: *a\n  y: 3\n"
    found = plain_values(text.encode(), "p.yaml")
    assert found == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}}
    levels = DEEPEST - 2
    deep = plain_values(f"a: {'[' * levels}1{']' * levels}".encode(), "p.yaml")["a"]
    for _ in range(levels):
        [deep] = deep
    assert deep == 1


def test_a_file_that_is_no_text_or_too_long_is_named_by_line_or_size() -> None:
    with pytest.raises(InputError, match="line 2 is no UTF-8 text"):
        plain_values(b"a: 1\nb: \xe9\n", "p.yaml")
    with pytest.raises(InputError, match=r"line 3, at a\.c holds a character that no text does"):
        plain_values(b"a:\n  b: 1\n  c: \x07\n", "p.yaml")
    with pytest.raises(InputError, match=r"^p\.yaml has more than 1,048,576 bytes"):
        plain_values(b"#" * (MOST_BYTES + 1), "p.yaml")
