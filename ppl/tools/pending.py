"""Which stages a run would have to compute again, and why: what DVC says of them, summed up."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ppl.core.declared import CODE_FOLDERS, PIPELINE, dependencies
from ppl.core.errors import InputError

ALWAYS_SAME = ("data/settings_checked",)
"""Outputs that no edit changes: what follows them does not run for their sake."""

KINDS = ("data", "settings", "code")

_MISSING = ("deleted", "not in cache")


@dataclass(frozen=True)
class Pending:
    """What stands between the workspace and its results."""

    stages: tuple[str, ...] = ()
    """Those of which code, settings, inputs or command changed, or whose outputs are lost."""
    following: tuple[str, ...] = ()
    """Those behind them: they run where what they take comes out otherwise."""
    inputs: tuple[str, ...] = ()
    """Folders and files of yours that changed."""
    code: tuple[str, ...] = ()
    """Packages of ppl/ that changed, and stages."""
    why: frozenset[tuple[str, str]] = frozenset()
    """Stage and kind of what changed of it, one of `KINDS`."""
    edited: tuple[str, ...] = ()
    """Outputs that are not as their stage left them."""
    missing: tuple[str, ...] = ()
    """Outputs that are not here."""

    def __bool__(self) -> bool:
        return bool(self.stages or self.edited or self.missing)

    @property
    def all(self) -> tuple[str, ...]:
        return self.stages + self.following


@dataclass(frozen=True)
class Pipeline:
    """Who takes what from whom, as dvc.yaml says it, in its order."""

    takes: Mapping[str, Sequence[str]]
    """The paths that each stage depends on."""
    leaves: Mapping[str, Sequence[str]]
    """The paths that each stage writes."""
    uncached: frozenset[str]
    """Those of them that DVC keeps no copy of."""

    @property
    def maker(self) -> dict[str, str]:
        """The stage that writes each path."""
        return {path: stage for stage, paths in self.leaves.items() for path in paths}

    def behind(self, stages: Sequence[str]) -> list[str]:
        """What follows these stages, directly or not, without themselves."""
        reached = set(stages)
        growing = True
        while growing:
            growing = False
            for stage in self.takes:
                if stage not in reached and self._follows(stage, reached):
                    reached.add(stage)
                    growing = True
        return [stage for stage in self.takes if stage in reached - set(stages)]

    def before(self, stage: str) -> set[str]:
        """The stages on whose results `stage` rests, itself among them."""
        above = {stage}
        for path in self.takes.get(stage, ()):
            if path in self.maker and path not in ALWAYS_SAME:
                above |= self.before(self.maker[path])
        return above

    def _follows(self, stage: str, others: set[str]) -> bool:
        return any(
            self.maker.get(path) in others for path in self.takes[stage] if path not in ALWAYS_SAME
        )


DRAWING = "synthesize"
"""Draws the default data set."""


def read_pipeline(params: Mapping[str, Any]) -> Pipeline:
    """dvc.yaml, its ${...} filled in from `params`.

    The stage that draws the default data set is none of the pipeline of who has other data.

    Raises:
        InputError: it is missing, or no YAML.
    """
    try:
        described = dict(yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"])
        if DRAWING in described and not _is_drawn(described, params):
            del described[DRAWING]
        found = {stage: dependencies(entry, dict(params)) for stage, entry in described.items()}
        outs = {stage: dict(_outs(entry)) for stage, entry in described.items()}
    except FileNotFoundError:
        raise InputError(f"{PIPELINE} is missing: run from the project's root") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{PIPELINE} cannot be read, a merge conflict? {error}") from None
    return Pipeline(
        {stage: [path.as_posix() for path in each.inputs] for stage, each in found.items()},
        {stage: list(paths) for stage, paths in outs.items()},
        frozenset(path for paths in outs.values() for path, cached in paths.items() if not cached),
    )


def _is_drawn(described: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Whether the data are the default set, by name, or since a stage takes its folder."""
    drawn = {path for path, _ in _outs(described[DRAWING])}
    taken = {
        path.as_posix()
        for entry in described.values()
        for path in dependencies(entry, dict(params)).inputs
    }
    return params["data"]["name"] == "synthetic" or bool(drawn & taken)


def _outs(entry: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each path that a stage writes, and whether DVC keeps a copy."""
    for kind in ("outs", "metrics", "plots"):
        for each in entry.get(kind, ()):
            if isinstance(each, dict):
                yield from ((path, (how or {}).get("cache", True)) for path, how in each.items())
            else:
                yield each, True


def pending(answer: str, pipeline: Pipeline, ran: Collection[str]) -> Pending:
    """What `dvc status --json` answered, summed up.

    What a stage takes from another counts as that one's change: DVC would put back what it has a
    copy of, and the stage in between leaves the same or not.

    Args:
        answer: stage -> what changed of it.
        ran: the stages that dvc.lock records; of any other one DVC says that all has changed.
    """
    said = {stage: _merged(entries) for stage, entries in json.loads(answer).items()}
    stages = [stage for stage in pipeline.takes if stage not in ran]
    said = {stage: said[stage] for stage in said if stage in ran and stage in pipeline.takes}
    outs = {path: how for each in said.values() for path, how in each["outs"].items()}
    inputs, code, why = set(), set(), set()
    for stage, each in said.items():
        own = {path: how for path, how in each["deps"].items() if path not in outs}
        lost = [path for path, how in each["outs"].items() if _lost(path, how, pipeline)]
        if own or lost or each["else"]:
            stages.append(stage)
        for path in own:
            if path == "params.yaml":
                why.add((stage, "settings"))
            elif Path(path).parts[0] in CODE_FOLDERS:
                why.add((stage, "code"))
                code.add(_package(path))
            elif path not in pipeline.maker:
                why.add((stage, "data"))
                inputs.add(path)
    ordered = [stage for stage in pipeline.takes if stage in stages]
    return Pending(
        tuple(ordered),
        tuple(pipeline.behind(ordered)),
        inputs=tuple(sorted(inputs)),
        code=tuple(sorted(code)),
        why=frozenset(why),
        edited=tuple(path for path, how in outs.items() if how == "modified"),
        missing=tuple(path for path, how in outs.items() if how in _MISSING),
    )


def _merged(entries: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """What DVC says of one stage, in several pieces: of deps, of outs, and of something else."""
    found: dict[str, dict[str, Any]] = {"deps": {}, "outs": {}, "else": {}}
    for entry in entries:
        if isinstance(entry, dict):
            found["deps"] |= entry.get("changed deps", {})
            found["outs"] |= entry.get("changed outs", {})
        else:
            found["else"][str(entry)] = True
    return found


def _lost(path: str, how: str, pipeline: Pipeline) -> bool:
    """Whether DVC cannot put an output back by itself."""
    return how == "not in cache" or path in pipeline.uncached


def _package(path: str) -> str:
    """The package of a path below ppl/, without that; a stage's script as it is."""
    folder, *rest = Path(path).parts
    if folder != "ppl" or not rest:
        return path
    return rest[0].removesuffix(".py")
