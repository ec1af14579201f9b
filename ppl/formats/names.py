"""The classes by their names, as tools write them."""

import unicodedata
from dataclasses import dataclass
from functools import cached_property

from ppl.core.errors import InputError
from ppl.images.pictures import IGNORE, Colour

IGNORE_NAME = "__ignore__"
"""How tools are told of pixels that are ignored; LabelMe's own word."""

BACKGROUND_NAMES = ("background", "_background_")
"""How tools call class 0, whatever the data set calls it."""

_SHOWN = 60
"""Characters of a class name from a file, which may run to pages."""


@dataclass(frozen=True)
class ClassNames:
    """Class names and colours by index, background first."""

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]

    def name(self, value: int) -> str:
        """The name of a mask's value: a class index, or 255 for ignore."""
        return IGNORE_NAME if value == IGNORE else self.classes[value]

    def colour(self, value: int) -> Colour:
        """The colour of a mask's value; white for ignore."""
        return (255, 255, 255) if value == IGNORE else self.colours[value]

    def html_colour(self, value: int) -> str:
        """The same as #rrggbb."""
        return "#" + bytes(self.colour(value)).hex()

    def value(self, name: str) -> tuple[int, str]:
        """The value that a name means, and what is to be said where it is spelled otherwise.

        The name itself goes first, then one that differs by capitals, by spaces around it or by how
        accents are stored, where only one does.

        Raises:
            InputError: it means no class, or several.
        """
        if name in self._exact:
            return self._exact[name], ""
        alike = self._folded.get(_folded(name), set())
        if len(alike) == 1:
            [value] = alike
            return value, f"class {_short(name)} taken for {self.name(value)}"
        some = "several" if alike else "none"
        raise InputError(
            f"class {_short(name)} is {some} of {', '.join(self.classes)}: rename it in the tool, "
            "or correct data.classes"
        )

    @cached_property
    def _exact(self) -> dict[str, int]:
        given = {name: value for value, name in enumerate(self.classes)}
        return dict.fromkeys(BACKGROUND_NAMES, 0) | {IGNORE_NAME: IGNORE} | given

    @cached_property
    def _folded(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for name, value in self._exact.items():
            found.setdefault(_folded(name), set()).add(value)
        return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _short(name: str) -> str:
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    return repr(shown)
