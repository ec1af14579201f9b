"""What may be asked of `predict`: one table for the project's command line and a station's."""

from dataclasses import dataclass
from pathlib import Path

ABOUT = "Predict images: a mask, the defects and a verdict for each."

MODEL = "The folder of a finished model."
IMAGES = "A folder of images, several of them, or files."
OUT = "The folder that gets masks/, overlays/, results.csv and defects.csv."
DEFAULT_OUT = Path("predicted")

A_DAY = 86_400.0
"""Seconds; more is a mistake, and much more is beyond what the system can wait."""


def seconds(text: str | float) -> float:
    """What an option that takes seconds was given.

    Raises:
        ValueError: it is no number from 0 to a day.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    # not a number compares with nothing
    if not 0 <= found <= A_DAY:
        raise ValueError(f"{text} is no number of seconds from 0 to {A_DAY:,.0f}, a day")
    return found


@dataclass(frozen=True)
class Option:
    """One option. False by default makes it a switch; a number makes it take seconds."""

    name: str
    """Of the field of `Request`; on the command line with hyphens for underscores."""
    default: bool | float
    about: str


OPTIONS = (
    Option("no_overlays", False, "Draw no pictures of the masks laid over the images."),
    Option("watch", False, "Stay, and take what arrives in the folder."),
    Option("every", 1.0, "Seconds between two looks into a watched folder."),
    Option("settle", 2.0, "Seconds for which a file may not change before it counts as written."),
    Option(
        "patience", 30.0, "Seconds after which a file that cannot be read gets a row that says so."
    ),
)


@dataclass(frozen=True)
class Request:
    """What is asked of one run."""

    images: tuple[Path, ...]
    out: Path
    no_overlays: bool = False
    watch: bool = False
    every: float = 1.0
    settle: float = 2.0
    patience: float = 30.0
