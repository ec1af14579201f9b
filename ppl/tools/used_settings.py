"""The settings that results were computed with, as dvc.lock holds them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ppl.core.errors import InputError


class _Loader(yaml.SafeLoader):
    """Takes 1e-05 for a number, as DVC writes it; PyYAML by itself takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?\d+e[-+]?\d+$"), list("-0123456789")
)


def used_settings(lock: str) -> dict[str, Any]:
    """Section -> its content, from the text of dvc.lock; the last stage that read one counts.

    Raises:
        InputError: nothing was computed yet.
    """
    used: dict[str, Any] = {}
    for sections in _recorded(lock):
        used |= sections
    if "evaluate" not in used:
        raise InputError("dvc.lock holds no evaluation: run `dvc repro` first")
    return used


def outdated_sections(lock: str, params: Mapping[str, Any]) -> list[str]:
    """The sections that a stage in dvc.lock read with other values than params.yaml has now."""
    return sorted(
        {
            name
            for sections in _recorded(lock)
            for name, content in sections.items()
            if params.get(name) != content
        }
    )


def _recorded(lock: str) -> Iterator[dict[str, Any]]:
    """The sections that each stage read, in the order of the text."""
    stages = (yaml.load(lock, _Loader) or {}).get("stages", {})
    for stage in stages.values():
        yield stage.get("params", {}).get("params.yaml", {})


def flat(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted key, value)."""
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
