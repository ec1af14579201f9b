r"""Texts as cells of a CSV file that a person opens in a spreadsheet, and back.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@` as a formula, whoever named the
image so (OWASP, "CSV injection"). What is written here is one line of valid UTF-8 that none takes
for a formula, and no two texts become one cell.
"""

import re

_FORMULA = "=+\\-@＝＋－＠"
"""Signs that begin a formula, also as wide as a letter of Japanese; for a set of an expression."""

_BEGINS = re.compile(rf"(?:\./)*\s*[{_FORMULA}]")
# spreadsheets of some countries split a line at semicolons, quoted by commas' rules or not
_LATER = re.compile(rf"(;[\s\"]*)([{_FORMULA}])")
_HIDDEN = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
_SHORT = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_LETTERS = {letter: name for name, letter in _SHORT.items()}

_BYTES = 0xDC00
"""Python hands on a byte of a file's name that is no text as this and the byte."""


def as_cell(text: str) -> str:
    r"""A text as a cell. `as_text` gives it back.

    A backslash is doubled, a byte that is no text is `\xe9`, and `\n` or `\u0085` are characters
    that end or control a line. `./` comes before a sign that would begin a formula, since a path
    with it names the same file; behind a semicolon such a sign is `\x3d`.
    """
    cell = _LATER.sub(_without_sign, _HIDDEN.sub(_escaped, text))
    return f"./{cell}" if _BEGINS.match(cell) else cell


def as_text(cell: str) -> str:
    """The text of which `as_cell` made a cell; what a person wrote otherwise is as it stands."""
    if cell.startswith("./") and _BEGINS.match(cell):
        cell = cell[2:]
    return _ESCAPE.sub(_meant, cell)


def _escaped(match: re.Match[str]) -> str:
    return _written(match[0])


def _without_sign(match: re.Match[str]) -> str:
    return match[1] + _written(match[2])


def _written(letter: str) -> str:
    code = ord(letter)
    if letter in _LETTERS:
        return f"\\{_LETTERS[letter]}"
    if code < 0x80:
        return f"\\x{code:02x}"
    if _BYTES + 0x80 <= code <= _BYTES + 0xFF:
        return f"\\x{code - _BYTES:02x}"
    return f"\\u{code:04x}"


def _meant(match: re.Match[str]) -> str:
    said = match[1]
    if said in _SHORT:
        return _SHORT[said]
    code = int(said[1:], 16)
    return chr(code + _BYTES if said[0] == "x" and code >= 0x80 else code)
