"""The settings that results were computed with, as dvc.lock holds them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ppl.core.errors import InputError

EVALUATE = "evaluate"
"""The stage that leaves the scores."""


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


def edited_since(lock: str, params: Mapping[str, Any]) -> str:
    """That params.yaml says other than what scores were computed with; "" where it does not."""
    outdated = outdated_sections(lock, params)
    if not outdated:
        return ""
    return (
        "params.yaml has been edited since these scores were computed "
        f"({', '.join(outdated)}): run `dvc repro` first"
    )


def title(used: Mapping[str, Any]) -> str:
    """What was learned from, in a line."""
    return f"{used['data']['name']}, {used['split']['labeled_fraction']} labeled"


def lock_text(project: Path) -> str:
    """The text of dvc.lock; "" without one."""
    lock = project / "dvc.lock"
    return lock.read_text(encoding="utf-8") if lock.is_file() else ""


def locked_stages(lock: str) -> dict[str, dict[str, Any]]:
    """What DVC recorded of each stage, from the text of dvc.lock; {} before the first run.

    Raises:
        InputError: it is not valid YAML.
    """
    try:
        found: dict[str, dict[str, Any]] = (yaml.load(lock, _Loader) or {}).get("stages") or {}
    except yaml.YAMLError as error:
        raise InputError(f"dvc.lock is not valid YAML, a merge conflict? {error}") from None
    return found


def rests_on(stages: Mapping[str, Any], stage: str) -> list[str]:
    """A stage and all whose outputs it takes, at first or second hand, in the order of dvc.lock.

    Args:
        stages: what dvc.lock records, by stage.
    """
    leaves = {
        str(out["path"]): name for name, one in stages.items() for out in one.get("outs") or ()
    }
    reached, open_ones = {stage}, [stage]
    while open_ones:
        for dep in stages.get(open_ones.pop(), {}).get("deps") or ():
            before = leaves.get(str(dep["path"]))
            if before is not None and before not in reached:
                reached.add(before)
                open_ones.append(before)
    return [name for name in stages if name in reached]


def _recorded(lock: str) -> Iterator[dict[str, Any]]:
    """The sections that each stage read, in the order of the text."""
    for stage in locked_stages(lock).values():
        yield stage.get("params", {}).get("params.yaml", {})


def flat(nested: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted key, value)."""
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
