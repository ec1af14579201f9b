"""Which phases a method has: one small file for each, so that a phase reruns when its file changes.

PPL, ST++ and ST share their teacher, for example: who compares them trains it once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ppl.core.plan import Perturbed, Ranking
from ppl.core.settings import Settings, section, sections
from ppl.images.sets import write_json

Name = Literal[
    "ppl",
    "st++",
    "st",
    "supervised",
    "cps",
    "cps_cutmix",
    "fixmatch",
    "unimatch",
    "unimatch_v2",
    "prevmatch",
]
NAMES: tuple[str, ...] = get_args(Name)


class MethodSettings(Settings):
    """Section `method`."""

    name: Name


@dataclass(frozen=True)
class Phases:
    """What a method that labels images in phases does in each of them."""

    ranking: Ranking
    student_1: Perturbed | None
    """None: there is no first student."""
    final: Perturbed


PHASED = {
    "ppl": Phases(ranking="reliability", student_1="def_up", final="def_up"),
    "st++": Phases(ranking="stability", student_1="strong", final="strong"),
    "st": Phases(ranking="all", student_1=None, final="strong"),
}
"""The methods with a teacher, see docs/methods.md for their sources. Others train once."""


@dataclass(frozen=True)
class OnceSections:
    """The sections of the methods that train once, by their names; each checks its own later."""

    supervised: dict[str, Any]
    cps: dict[str, Any]
    cps_cutmix: dict[str, Any]
    fixmatch: dict[str, Any]
    unimatch: dict[str, Any]
    unimatch_v2: dict[str, Any]
    prevmatch: dict[str, Any]


@dataclass(frozen=True)
class PlanFiles:
    """A file for each phase that depends on the method."""

    teacher: Path
    ranking: Path
    student_1: Path
    at_once: Path
    final: Path


def write_plan(files: PlanFiles) -> str:
    """Leave what the method of params.yaml does in each phase; returns a line for the user.

    The settings of a method that trains once come along. So a changed setting of another method
    changes none of the files.
    """
    name = section("method", MethodSettings).name
    phases = PHASED.get(name)
    every = sections(OnceSections)
    once = None if phases else {"name": name, "settings": getattr(every, name)}
    write_json(files.teacher, {"train": phases is not None})
    write_json(files.ranking, {"by": phases.ranking if phases else None})
    write_json(files.student_1, {"perturbed": phases.student_1 if phases else None})
    write_json(files.at_once, {"method": once})
    write_json(files.final, {"perturbed": phases.final if phases else None})
    if phases is None:
        return f"{name} trains once: no teacher, no ranking, no pseudo-masks"
    return f"{name} trains a teacher and {'two students' if phases.student_1 else 'a student'}"
