"""Read one section of params.yaml into the typed settings of the module that uses it.

Each module that has settings declares them itself as a subclass of `Settings`; this module only
knows how to read and check one. A stage asks for its own sections and sees no others.
"""

import contextlib
import difflib
import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ppl.core.errors import InputError
from ppl.core.plain_yaml import MOST_BYTES, plain_values

PARAMS_FILE = Path("params.yaml")

T = TypeVar("T")


class Settings(BaseModel):
    """Base of all settings: no unknown key, no silent conversion, no change after reading.

    Strict types matter here: DVC sees no difference between 3 and 3.0 or between 1 and true, so
    only this check keeps one value from meaning two things.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    LINES: ClassVar[Mapping[str, str]] = {}
    """For sections that users write themselves: by key, the line of YAML to add if it is missing.
    An error shows it; no result comes from it before it stands in params.yaml."""


def _can_be_shown(path: str) -> str:
    if path.startswith("~"):
        raise ValueError("only a shell knows what ~ means: write the whole path")
    for letter in path:
        if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(
                f"{letter!r} cannot be shown in a line: rename the folder, or link to it by a name "
                "without"
            )
    return path


PathSetting = Annotated[str, Field(min_length=1), AfterValidator(_can_be_shown)]
"""A path on which a stage depends. No shell sees it: dvc.yaml names the setting, not its value."""


def read_params(file: Path = PARAMS_FILE) -> dict[str, Any]:
    """The whole of params.yaml as plain values.

    Raises:
        InputError: the file is missing, is not YAML, names a key twice, holds no sections, or more
            than settings need.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(
            f"{file} is missing in {Path.cwd()}: run from the project's root"
        ) from None
    params = plain_values(content, str(file))
    if not isinstance(params, dict):
        raise InputError(f"{file} holds no sections: expected `section:` and its keys")
    return params


def section(name: str, kind: type[T], *, file: Path = PARAMS_FILE) -> T:
    """The section `name` of params.yaml, checked against `kind`: a `Settings` class or a type.

    Raises:
        InputError: one line for each wrong key: the key, what came, what is allowed.
    """
    params = read_params(file)
    if name not in params:
        raise InputError(f"{file}: section `{name}` is missing")
    return check(name, params[name], kind, file=file)


def sections(kind: type[T]) -> T:
    """A dataclass whose fields are sections of params.yaml, each read by its name and type.

    Raises:
        InputError: as `section`.
    """
    assert is_dataclass(kind), kind
    types = get_type_hints(kind)
    return kind(**{field.name: section(field.name, types[field.name]) for field in fields(kind)})


def check(name: str, value: Any, kind: type[T], *, file: Path = PARAMS_FILE) -> T:
    """`value`, the content of section `name`, as an instance of `kind`.

    Raises:
        InputError: as `section`.
    """
    # who watches a stage sees which settings it reads; without a watcher this does nothing
    sys.audit("ppl.core.settings.check", name)
    return checked(name, value, kind, file=file)


def checked(name: str, value: Any, kind: type[T], *, file: Path) -> T:
    """The same of what is no section of params.yaml.

    Raises:
        InputError: as `section`.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        known: Mapping[str, str] = getattr(kind, "LINES", {})
        details = [(detail, _lacks(detail, known)) for detail in error.errors()]
        lines = [_describe(name, kind, detail) for detail, key in details if key is None]
        missing = [known[key] for _, key in details if key is not None]
        if missing:
            plural = "s" if len(missing) > 1 else ""
            lines.append(
                f"{name}: {len(missing)} key{plural} missing; add to the section, with your values:"
            )
            lines += [f"  {line}" for line in missing]
        raise InputError(f"{file}: " + "\n".join(lines)) from None


def _lacks(detail: ErrorDetails, known: Mapping[str, str]) -> str | None:
    """The key of a section that is missing, where `known` has a line for it."""
    if detail["type"] != "missing" or len(detail["loc"]) != 1:
        return None
    key = str(detail["loc"][0])
    return key if key in known else None


def _describe(name: str, kind: type, detail: ErrorDetails) -> str:
    # pydantic appends the tried member of a union to the location; that is no key of the file,
    # but an unknown key may look like anything
    unknown = detail["loc"][-1:] if detail["type"] == "extra_forbidden" else ()
    known = detail["loc"][: len(detail["loc"]) - len(unknown)]
    location = [part for part in known if isinstance(part, int) or part.isidentifier()]
    location += unknown
    key = name + "".join(
        f"[{part}]" if isinstance(part, int) else f".{brief_key(part)}" for part in location
    )
    came = detail["input"]
    if detail["type"] == "extra_forbidden":
        wrong = str(location[-1])
        allowed = list(_keys_at(kind, location[:-1]))
        close = difflib.get_close_matches(wrong, allowed, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{key}: unknown key{hint}; allowed: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{key}: missing; add it to the section"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if isinstance(came, Mapping) and not location:
        return f"{key}: {_told_of(came, message)}{_cut(message)}"
    line = f"{key}: got {_brief(came)} ({type(came).__name__}); {_cut(message)}{_near(detail)}"
    if isinstance(came, str) and "number" in message:
        with contextlib.suppress(ValueError):
            if math.isfinite(float(came)):
                line += f". YAML reads {came} as text: write {float(came)!r}"
    return line


def _near(detail: ErrorDetails) -> str:
    """The allowed word that is most like what came, where there is one."""
    if detail["type"] != "literal_error" or not isinstance(detail["input"], str):
        return ""
    allowed = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
    came = detail["input"].strip().lower()[:_MOST_SHOWN]
    close = difflib.get_close_matches(came, allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


_MOST_SHOWN = 300
"""Letters of a value or a reason in a message."""


def _cut(text: str) -> str:
    """A text in a line that a terminal can show, its middle left out where it is long."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 50]} ... {text[-40:]}"


def _brief(value: Any) -> str:
    return _cut(repr(value))


def brief_key(key: object) -> str:
    """A key of a file as a message can show it."""
    return _cut(str(key))


def _told_of(section: Mapping[Any, Any], message: str) -> str:
    """Of keys that do not go together, those that the message names, in place of the section."""
    named = [
        f"{key} {_brief(value)}"
        for key, value in section.items()
        if re.search(rf"\b{re.escape(str(key))}\b", message)
    ]
    return f"got {', '.join(named)}; " if named else ""


def _keys_at(kind: Any, location: list[Any]) -> list[str]:
    for part in location:
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            return []
        kind = fields[part].annotation
    return list(getattr(kind, "model_fields", {}))
