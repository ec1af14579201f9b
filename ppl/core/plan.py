"""What the method does in a phase, as the file of the phase says it.

Stage choose_method leaves a file for each, see `ppl/methods/choose.py`.
"""

import json
from pathlib import Path
from typing import Any

WITHOUT = "the method (method.name) does without"
"""Why there is no model of a phase; the same for all methods, so that they share what it leaves."""

NOT_ONCE = "the method (method.name) trains in phases"
"""The same of the model of those that train once."""


def read_plan(file: Path) -> Any:
    """The one value that `choose_method` left in a file."""
    (value,) = json.loads(file.read_text(encoding="utf-8")).values()
    return value
