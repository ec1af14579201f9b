"""Which run scores are of: the one that dvc.lock records, or a former one.

Metrics come with Git, so they lie there before anything was run, and they stay while a run that
broke off has already made other image sets. dvc.lock tells: what a stage took has to be what the
stage before it left.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.core.settings import PARAMS_FILE, read_params
from ppl.judge.absence import is_absent
from ppl.judge.table import read_scores
from ppl.tools.commands import ask_git
from ppl.tools.dvc_md5 import md5_of
from ppl.tools.used_settings import (
    EVALUATE,
    edited_since,
    lock_text,
    locked_stages,
    rests_on,
    title,
    used_settings,
)

LOCK = Path("dvc.lock")
FINAL = Path("metrics", "final.json")


@dataclass(frozen=True)
class Scored:
    """What scores come from."""

    lock: str
    """The text of the dvc.lock of their run; "" where none is known."""
    commit: str = ""
    """The commit that brought them, where they are of another run than the lock beside them."""
    why: str = ""
    """What tells that they are; "" where they are of that run."""

    @property
    def title(self) -> str:
        """What was learned from, in a few words; "" where that is not known."""
        try:
            used = used_settings(self.lock)
        except InputError:
            return ""
        return title(used) if {"data", "split"} <= used.keys() else ""

    @property
    def whose(self) -> str:
        """Their run, where it is a former one."""
        of = f" ({self.title})" if self.title else ""
        return f"commit {self.commit}{of}" if self.commit else "an earlier run"

    @property
    def note(self) -> str:
        """That they are of another run, and of which; "" where they are not."""
        if not self.why:
            return ""
        return (
            f"these scores are of {self.whose}, not of the present data and settings ({self.why}): "
            "run `make repro`"
        )


def scored_here(project: Path) -> Scored:
    """The run of the scores in `project`, the working directory.

    Raises:
        InputError: dvc.lock is no YAML.
    """
    file = project / FINAL
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return scored_by(lock_text(project), text, "HEAD")


def scored_by(lock: str, final: str, revision: str) -> Scored:
    """The run of the scores `final`, which lie beside `lock`.

    Args:
        lock: the text of a dvc.lock.
        final: that of a metrics/final.json.
        revision: the commit at which, and before which, their own run is looked for.

    Raises:
        InputError: the lock is no YAML.
    """
    why = _apart(locked_stages(lock), final)
    if not why or not final:
        return Scored(lock)
    try:
        commit = ask_git("log", "--max-count=1", "--format=%h", revision, "--", FINAL).strip()
        if not commit or ask_git("show", f"{commit}:./{FINAL.as_posix()}") != final:
            return Scored("", "", why)
        former = ask_git("show", f"{commit}:./{LOCK}")
        return Scored("" if _apart(locked_stages(former), final) else former, commit, why)
    except InputError:
        return Scored("", "", why)


def notes_on(scored: Scored, project: Path) -> str:
    """That the scores are of another run, or of other settings than params.yaml has; else "".

    Raises:
        InputError: params.yaml cannot be read.
    """
    return scored.note or edited_since(scored.lock, read_params(project / PARAMS_FILE))


def _apart(stages: Mapping[str, Any], final: str) -> str:
    """Why scores cannot be of the run that was recorded; "" where they can."""
    since = ran_since(stages)
    if since:
        return f"{', '.join(since)} ran since"
    outs = stages.get(EVALUATE, {}).get("outs") or ()
    recorded = {out.get("md5") for out in outs if out.get("path") == FINAL.as_posix()}
    if recorded and md5_of(final.encode()) not in recorded:
        return f"{LOCK} records other scores"
    return ""


def ran_since(stages: Mapping[str, Any]) -> list[str]:
    """The stages that left something else since, on which the recorded scores do not rest.

    Args:
        stages: what dvc.lock records, by stage.
    """
    left = {
        str(out["path"]): (stage, out.get("md5"))
        for stage, entry in stages.items()
        for out in entry.get("outs") or ()
    }
    found = set()
    for name in rests_on(stages, EVALUATE):
        for dep in stages[name].get("deps") or ():
            stage, md5 = left.get(str(dep["path"]), (None, None))
            if stage is not None and md5 != dep.get("md5"):
                found.add(stage)
    return [stage for stage in stages if stage in found]


def scores_here(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """As `read_scores`; those of a model that was not trained say why.

    Raises:
        InputError: a file is missing, or holds no scores.
    """
    for file in files:
        found = metrics_of(file) if file.is_file() else {}
        untrained = is_absent(found) and file.stem != FINAL.stem
        if file.is_file() and not (untrained or found.keys() >= _NEEDED):
            raise InputError(
                f"{file} holds no scores, or those of an earlier version: expected a metrics file "
                f"with {', '.join(sorted(_NEEDED))}, as `dvc repro` leaves {FINAL}"
            )
    return read_scores(files)


_NEEDED = {"miou", "iou", "parts", "few_parts"}


def metrics_of(file: Path) -> dict[str, Any]:
    """What a metrics file holds.

    Raises:
        InputError: it is missing, or no JSON.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no scores at {file}: run `dvc repro` first") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file} is not valid JSON, a merge conflict? Take one side of all results, "
            f"`git checkout --theirs -- {LOCK} {FINAL.parent}` (or --ours), or let `dvc repro` "
            f"write it anew ({error})"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: expected a metrics file, as {FINAL}") from None
    return found if isinstance(found, dict) else {}
