"""A file of YAML as plain values: whatever it holds, it is read in bounded time or refused by line.

YAML can name objects of Python, write a thousand million values in a line by repeating aliases,
and hold itself. None of that is a setting.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from ppl.core.errors import InputError

MOST_BYTES = 2**20
"""Of a file: hundred times what this project's settings need."""

DEEPEST = 30
"""Levels of lists and sections in one another."""

MOST_DIGITS = 100
"""Of a whole number."""

MOST_VALUES = 10_000
"""Under one key, an alias written out."""

_KEY = re.compile(r"\s*([\w-]+)\s*:")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one section, of which YAML would take the last.

    What is no plain value is refused at its place, also where PyYAML itself stumbles over it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._level += 1
        if self._level > DEEPEST:
            raise _refused(f"more than {DEEPEST} levels in one another", self.peek_event())  # type: ignore[no-untyped-call]
        found = super().compose_node(parent, index)
        self._level -= 1
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            found = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise _refused(f"no plain value ({error})", node) from None
        if isinstance(found, int) and abs(found) >= 10**MOST_DIGITS:
            # Python itself writes out no number of some thousand digits, not even into a message
            raise _refused(f"a whole number of more than {MOST_DIGITS} digits", node)
        return found

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refused("no section of keys", node)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in first:
                raise yaml.YAMLError(
                    f"`{key.value}` stands there twice, in the lines {first[key.value]} and "
                    f"{key.start_mark.line + 1}: keep one of the two"
                )
            if isinstance(key, yaml.ScalarNode):
                first[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _refused(why: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, why, at.start_mark)


def plain_values(content: bytes, name: str) -> Any:
    """What a file of YAML holds: text, numbers, dates, lists and sections.

    Args:
        name: of the file, for messages.

    Raises:
        InputError: a line that says where it is no YAML, no plain value, or too much.
    """
    if len(content) > MOST_BYTES:
        raise InputError(
            f"{name} has more than {MOST_BYTES:,} bytes, which no settings need: look for what was "
            "pasted into it"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name} is not valid YAML: line {line} is no UTF-8 text, save it as UTF-8"
        ) from None
    try:
        found = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        raise InputError(_not_yaml(name, text, error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{name} is not valid YAML: line {line}{_at(text, line)} holds a character that no "
            f"text does ({error.character!r}): remove it"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    for key in _too_large(found):
        raise InputError(
            f"{name}: {key} holds more than {MOST_VALUES:,} values, or itself, once its aliases "
            "are written out: write what it is to hold"
        )
    return found


def _not_yaml(name: str, text: str, error: yaml.MarkedYAMLError) -> str:
    """What is wrong, in which line and at which key."""
    lines = text.splitlines()
    if wrong := _at_the_margin(name, lines, error):
        return wrong
    said = ", ".join(part for part in (error.context, error.problem) if part)
    begun = "scanning" in said or "flow" in said
    mark = (error.context_mark if begun else None) or error.problem_mark or error.context_mark
    if mark is None:
        return f"{name} is not valid YAML: {said}"
    line = mark.line + 1
    return f"{name} is not valid YAML: line {line}{_at(text, line)}: {' '.join(said.split())}"


def _at(text: str, line: int) -> str:
    """The key that a line belongs to, with its section, to be put behind the line's number."""
    section = key = ""
    for above in text.split("\n")[:line]:
        if match := _KEY.match(above):
            indented = above[:1].isspace()
            section, key = (section, f".{match[1]}") if indented else (match[1], "")
    return f", at {section}{key}" if section or key else ""


def _at_the_margin(name: str, lines: list[str], error: yaml.MarkedYAMLError) -> str:
    """Of a key at the margin inside of a section YAML itself names the line behind it."""
    if error.problem_mark is None:
        return ""
    lines = lines[: error.problem_mark.line + 1]
    before = [
        (number, line)
        for number, line in enumerate(lines[:-1], start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not before or not lines[-1].startswith(" "):
        return ""
    number, line = before[-1]
    if not re.match(r"\w+:\s+[^\s#]", line):
        return ""
    said = line.split(" #")[0].strip()
    return (
        f"{name}, line {number}: `{said}` begins at the margin and has a value, so line "
        f"{len(lines)} behind it belongs to no section: indent line {number}, or move it out of "
        "the section"
    )


def _too_large(found: Any) -> Iterator[str]:
    """The keys that hold too much, as `section.key`."""
    for name, content in found.items() if isinstance(found, dict) else [("the file", found)]:
        for key, value in content.items() if isinstance(content, dict) else [("", content)]:
            if not _is_small(value):
                yield f"{name}.{key}" if key else str(name)


def _is_small(value: Any) -> bool:
    left, count = [(value, 0)], 0
    while left:
        value, level = left.pop()
        count += 1
        if count > MOST_VALUES or level > DEEPEST:
            return False
        if isinstance(value, dict):
            left += [(each, level + 1) for pair in value.items() for each in pair]
        elif isinstance(value, list | tuple | set):
            left += [(each, level + 1) for each in value]
    return True
