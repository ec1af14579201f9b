"""What the method does in a phase, as the file of the phase says it.

Stage choose_method leaves a file for each, see `ppl/methods/choose.py`.
"""

import json
from pathlib import Path
from typing import Any

NO_PHASE = "the method (method.name) has no use for {}: nothing to do"
"""What a stage says that the method does without."""

NOT_ONCE = "the method (method.name) trains in phases: nothing to do"
"""The same of the stage of those that train once."""


def read_plan(file: Path) -> Any:
    """The one value that `choose_method` left in a file."""
    (value,) = json.loads(file.read_text(encoding="utf-8")).values()
    return value
