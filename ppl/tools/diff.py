"""What the workspace's scores differ in from those of a commit, on a page.

`dvc metrics diff` lists every number of every metrics file. These are the ones that people compare
by, beside the settings that changed between both. Scores of different test sets are not set side
by side: what both tested is scored anew for that.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.judge.absence import present
from ppl.judge.table import (
    few_parts,
    miou_cell,
    percent,
    reasons,
    stand_ins,
    text_table,
)
from ppl.scores.tested import Change, change
from ppl.tools.commands import ask_git
from ppl.tools.common_part import (
    MODELS,
    CommonPart,
    common_part,
    evaluation_at,
    evaluation_here,
    interval_settings,
    test_record,
)
from ppl.tools.scored import (
    LOCK,
    Scored,
    notes_on,
    scored_by,
    scored_here,
    scores_here,
)
from ppl.tools.used_settings import flat, used_settings

METRICS = Path("metrics")
COPYCAT = "copycat"
FILES = {model: METRICS / f"{model}.json" for model in (COPYCAT, *MODELS)}

COMMIT = f"`git add {LOCK} params.yaml {METRICS}` and `git commit`"
"""What brings a run into Git, as two commands."""

NEEDED = ("miou", "miou_low", "iou", "parts", "few_parts", "image_recall")
"""What a model's metrics hold since they can be compared."""

LISTED = 10
"""Changed settings that are listed one by one."""

Scores = Mapping[str, dict[str, Any]]
"""Model -> its metrics file."""


@dataclass(frozen=True)
class State:
    """What a commit holds, or the workspace: scores and the settings that they come from.

    The scores are those of the models that were trained.
    """

    name: str
    scores: dict[str, dict[str, Any]]
    scored: Scored
    """Where the scores come from."""
    commit: str = ""
    """Of the commit that brought the scores its hash, empty for the workspace."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores were computed with, by dotted key; empty where that is not known."""
        try:
            return dict(flat(used_settings(self.scored.lock)))
        except InputError:
            return {}


class UnreadError(InputError):
    """A commit's scores cannot be read.

    Attributes:
        why: that by itself, without what to do, for who did not name the commit.
    """

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"{why}: {remedy}")
        self.why = why


def difference(revision: str) -> str:
    """The workspace against commit `revision`: a table in percent, and what else sets them apart.

    Raises:
        InputError: there is no such commit, or scores are missing in it or in the workspace.
    """
    old, new = at_commit(revision), in_workspace()
    other = other_tests(old, new)
    shown = _apart(old, new, other) if other else _scores(old, new)
    note = notes_on(new.scored, Path())
    return "\n".join([*shown, *_notes(old, new), *filter(None, [note])])


def at_commit(revision: str) -> State:
    """The state that `revision` holds.

    Raises:
        InputError: Git knows no such commit.
        UnreadError: it holds no scores, those of an earlier version, or no JSON.
    """
    try:
        commit = ask_git("rev-parse", "--verify", "--short", f"{revision}^{{commit}}").strip()
    except InputError:
        raise InputError(
            f"Git finds no commit `{revision}` here: `git log --oneline` lists them"
        ) from None
    name = commit if revision.startswith(commit) else f"{revision} ({commit})"
    found = {model: _shown(commit, file) for model, file in FILES.items()}
    missing = [str(FILES[model]) for model in MODELS if not found[model]]
    if missing:
        raise UnreadError(
            f"{name} holds no {', '.join(missing)}",
            f"name a commit with scores, `git log --oneline -- {METRICS}` lists them",
        )
    scores = {model: _parsed(text, FILES[model], name) for model, text in found.items() if text}
    if not set(NEEDED) <= scores["final"].keys():
        raise UnreadError(
            f"the scores of {name} are of an earlier version, which wrote other numbers",
            "name a later commit, or run that one's settings again",
        )
    try:
        scored = scored_by(_shown(commit, LOCK), found["final"], commit)
    except InputError:
        # a lock that was committed with the marks of a merge tells nothing
        scored = Scored("")
    return State(name, present(scores), scored, scored.commit or commit)


def in_workspace() -> State:
    """The state of the working directory.

    Raises:
        InputError: scores are missing, or no JSON.
    """
    wanted = [file for model, file in FILES.items() if model != COPYCAT or file.is_file()]
    return State("workspace", present(scores_here(wanted)), scored_here(Path()))


def _parsed(text: str, file: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        raise UnreadError(f"{file} of {name} is not valid JSON", "name another commit") from None
    return found


def _shown(commit: str, file: Path) -> str:
    """The text of `file`, below the working directory, at `commit`; empty where it is missing."""
    try:
        return ask_git("show", f"{commit}:./{file.as_posix()}")
    except InputError:
        return ""


@dataclass(frozen=True)
class OtherTests:
    """What of two test sets that differ can be compared."""

    change: Change | None
    """What became of the former; None where that is not known."""
    why: str
    """Why nothing can be compared; empty where something can."""
    common: CommonPart | None = None
    """What both tested."""
    pairs: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """Model -> its scores on the common part, before and now; the gain of now is over before."""
    sure: bool = True
    """Whether they differ; False where that could not be found out."""

    @property
    def said(self) -> str:
        """What became of the former, and what can be compared."""
        known = [str(self.change)] if self.change else []
        return "; ".join([*known, *([self.why] if self.why else [])])


_THEN = f"{COMMIT} keep this run, and the next is compared with it"


def other_tests(old: State, new: State) -> OtherTests | None:
    """None where both were tested on the same images with the same masks."""
    before, now = (test_record(state.scores) for state in (old, new))
    classes, others = (list(state.scores["final"]["iou"]) for state in (old, new))
    if before and now and before["digest"] == now["digest"]:
        return None
    same_parts = old.scores["final"]["parts"] == new.scores["final"]["parts"]
    if not before and not now and same_parts:
        return None
    try:
        one, other = evaluation_at(old.commit, old.scores), evaluation_here(new.scores)
    except InputError as error:
        why = f"which images both tested is not known ({error})"
        if apart := _data_apart(old, new):
            why = f"nothing to compare with: {apart}; {_THEN}"
        return OtherTests(None, why, sure=bool(before and now) or not same_parts)
    found = change(one.images, other.images)
    # an earlier version wrote no masks: then the images alone say it
    if not (before and now) and same_parts and not (found.new or found.gone):
        return None
    if classes != others:
        return OtherTests(found, f"nothing to compare with: the classes differ; {_THEN}")
    common = common_part([one, other], classes)
    if common is None:
        return OtherTests(found, f"nothing to compare with: no image is in both; {_THEN}")
    settings = interval_settings(new.settings)
    once, today = common.scores(one, settings), common.scores(other, settings, over=one)
    both = [model for model in MODELS if model in once and model in today]
    return OtherTests(found, "", common, {model: (once[model], today[model]) for model in both})


def _data_apart(old: State, new: State) -> str:
    """That both are of other data, whatever images these hold; "" where nothing says so."""
    if list(old.scores["final"]["iou"]) != list(new.scores["final"]["iou"]):
        return "the classes differ"
    before, now = (state.settings.get("data.root") for state in (old, new))
    return f"data.root was {before}, and is {now}" if before != now and before and now else ""


def _apart(old: State, new: State, other: OtherTests) -> list[str]:
    """The scores on what both tested, and each state's own, not subtracted."""
    states = f"scores of {old.name} and of the workspace"
    lines = [
        f"the test sets differ: {states} do not compare"
        if other.sure
        else f"whether the test sets differ is not known: {states} may not compare",
        other.said,
    ]
    if other.pairs:
        final = other.pairs["final"][1]
        lines += [
            f"on the {other.common} of both, in percent, differences in points",
            difference_table(
                {model: (_pixels(one), _pixels(two)) for model, (one, two) in other.pairs.items()},
                few_parts(final),
            ),
        ]
        if few_parts(final):
            lines.append(f"* fewer than {final['few_parts']} parts of these images show it")
        lines += [f"undefined: {reason}" for reason in reasons({"final": final})]
    models = [model for model in MODELS if model in old.scores or model in new.scores]
    own = [
        [s.name, *(miou_cell(s.scores[m]) if m in s.scores else "-" for m in models)]
        for s in (old, new)
    ]
    return [*lines, "each on its own test images, mIoU", text_table([["", *models], *own])]


def _scores(old: State, new: State) -> list[str]:
    """The table of both, or that they are the same."""
    pairs = {
        model: (_numbers(old.scores[model]), _numbers(new.scores[model]))
        for model in (COPYCAT, *MODELS)
        if model in old.scores and model in new.scores
    }
    if all(before == now for before, now in pairs.values()):
        return [
            f"no difference to {old.name} in mIoU, IoU by class, image recall, image false alarms"
        ]
    if COPYCAT in pairs and pairs[COPYCAT][0] == pairs[COPYCAT][1]:
        del pairs[COPYCAT]
    final = new.scores["final"]
    lines = [
        f"{old.name} -> workspace, in percent, differences in points",
        difference_table(pairs, few_parts(final)),
    ]
    if few_parts(final):
        lines.append(f"* fewer than {final['few_parts']} test parts show it")
    return lines


LOW, HIGH = "mIoU, lower bound", "mIoU, upper bound"
DIFF_LOW, DIFF_HIGH = "mIoU diff, lower bound", "mIoU diff, upper bound"


def _numbers(found: Mapping[str, Any]) -> dict[str, float | None]:
    """What people compare by of one model's metrics, 0-1, by the name of its row."""
    return {
        **_miou(found),
        **found["iou"],
        "image recall": found.get("image_recall"),
        "image false alarms": found.get("image_false_alarm_rate"),
    }


def _miou(found: Mapping[str, Any]) -> dict[str, float | None]:
    return {"mIoU": found["miou"], LOW: found.get("miou_low"), HIGH: found.get("miou_high")}


def _pixels(found: Mapping[str, Any]) -> dict[str, float | None]:
    """The same of a common part: of pixels alone, and bounds of the difference, a gain of now."""
    return {
        **_miou(found),
        DIFF_LOW: found.get("gain_low"),
        DIFF_HIGH: found.get("gain_high"),
        **found["iou"],
    }


def difference_table(
    pairs: Mapping[str, tuple[Mapping[str, float | None], Mapping[str, float | None]]],
    few: Sequence[str],
) -> str:
    """A row a score that both have, and for each model the old value, the new one, new - old.

    Args:
        pairs: model -> its scores, 0-1, before and now.
        few: names of rows to mark by a star.
    """
    before, now = next(iter(pairs.values()))
    rows = [
        ["", *(model.center(len(_cell("", "", ""))) for model in pairs)],
        ["", *(_cell("old", "new", "diff") for _ in pairs)],
    ]
    for name in [name for name in now if name in before]:
        cells = [_change(name, old[name], new[name]) for old, new in pairs.values()]
        rows.append([f"{name}*" if name in few else name, *cells])
    return text_table(rows)


def _change(name: str, old: float | None, new: float | None) -> str:
    if name in (DIFF_LOW, DIFF_HIGH):
        return _cell("", "", percent(new, "+.1f"))
    change = None if old is None or new is None else new - old
    points = "" if name in (LOW, HIGH) else percent(change, "+.1f")
    return _cell(percent(old), percent(new), points)


def _cell(old: str, new: str, change: str) -> str:
    return f"  {old:>5}  {new:>5}  {change:>6}"


def _notes(old: State, new: State) -> Iterator[str]:
    """What else sets both apart: data, models that gave way, settings."""
    before, now = old.scores["final"], new.scores["final"]
    for state, other in ((old, new), (new, old)):
        alone = [model for model in MODELS if model in state.scores.keys() - other.scores.keys()]
        if alone:
            yield f"{', '.join(alone)}: trained in {state.name} alone"
    yield from (
        f"{name}: {other} in its place (fall_back)" for name, other in stand_ins(new.scores)
    )
    gone = [name for name in before["iou"] if name not in now["iou"]]
    come = [name for name in now["iou"] if name not in before["iou"]]
    if gone or come:
        yield (
            f"the data sets differ: {old.name} has {', '.join(gone) or 'no other class'}, "
            f"the workspace {', '.join(come) or 'no other class'}"
        )
    if old.scored.why:
        yield (
            f"{old.name} lacks the scores of its dvc.lock: those that it holds are of "
            f"{old.scored.whose}; {COMMIT} bring both"
        )
    yield from _changed_settings(old, new)


def _changed_settings(old: State, new: State) -> Iterator[str]:
    """The settings of both that differ, a line each."""
    before, now = old.settings, new.settings
    if not before or not now:
        without = [state.name for state in (old, new) if not state.settings]
        yield f"with which settings is not known: no evaluation in {LOCK} of {', '.join(without)}"
        return
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if keys:
        yield f"computed with other settings, {old.name} -> workspace:"
    for key in keys[:LISTED]:
        yield f"  {key}: {before.get(key, 'not there')} -> {now.get(key, 'not there')}"
    if len(keys) > LISTED:
        yield f"  and {len(keys) - LISTED} more: `git diff {old.name.split()[0]} -- {LOCK}`"
