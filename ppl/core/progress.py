"""Progress bars, of one process where several work together."""

from typing import Any

from tqdm import tqdm

from ppl.core import processes


def bar(items: Any = None, **options: Any) -> "tqdm[Any]":
    """A bar of tqdm, with its options; TQDM_DISABLE=1 in the environment hides it."""
    if not processes.is_first():
        options["disable"] = True
    return tqdm(items, **options)
