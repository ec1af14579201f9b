"""Whether the first of a person's classes is the background, as it has to be.

It is the class of all that is no defect. Who lists the defects alone would have the first of them
taken for it, and nothing in the masks need contradict.
"""

from collections.abc import Sequence

_NAMES = """
background bg back clean defectfree faultfree flawless good healthy intact nodefect nodefects
nondefect nondefective none normal nothing ok okay other plain sound surface undamaged void
hintergrund fehlerfrei gut fond sain achtergrond goed fondo sano sfondo fundo bakgrund bakgrunn
baggrund tausta tlo tło pozadi pozadí pozadie háttér fundal arkaplan zemin фон норма
背景 正常 良品 배경 정상
"""
"""How people call it, in letters and digits alone."""

_KNOWN = frozenset(_NAMES.split())


def names_background(name: str) -> bool:
    """Whether a class is called as people call the background."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return "".join(words) in _KNOWN or any(word in ("background", "bg") for word in words)


def background_warning(classes: Sequence[str]) -> str:
    """That the first class may be a defect; "" where its name is one of the background.

    Args:
        classes: of `data.classes`, by index.
    """
    if not classes or names_background(classes[0]):
        return ""
    return (
        f"the first of data.classes names the background, so {classes[0]} is all that masks show "
        f"as 0: if {classes[0]} is a defect, write `{with_background(classes)}`"
    )


def with_background(classes: Sequence[str]) -> str:
    """The line of params.yaml with the background before these classes."""
    return f"classes: [{', '.join(('background', *classes))}]"
