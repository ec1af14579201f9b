"""A model that the chosen method does not train has a metrics file all the same: it says why.

DVC asks for the file, and who compares runs has to tell a model without scores from a run without
any.
"""

from collections.abc import Mapping
from typing import Any

_WHY = "absent"
"""The only key of such a file."""


def absent_metrics(why: str) -> dict[str, str]:
    """What goes to metrics/ in place of scores."""
    return {_WHY: why}


def is_absent(found: Mapping[str, Any]) -> bool:
    """Whether these metrics are of a model that was not trained."""
    return _WHY in found


def present(scores_of: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The models that have scores, in the order given."""
    return {model: found for model, found in scores_of.items() if not is_absent(found)}


def absences(scores_of: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line a reason: which models were not trained, and why."""
    models: dict[str, list[str]] = {}
    for model, found in scores_of.items():
        if is_absent(found):
            models.setdefault(str(found[_WHY]), []).append(model)
    return [f"no {', no '.join(names)}: {why}" for why, names in models.items()]
