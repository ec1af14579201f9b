"""Where the project stands, in about ten lines: data, changes, what a run would do, what is next.

DVC says what changed, except while a run goes on: to ask it takes locks that the run may want. Raw
data are looked at by name, size and time; a mask is read where all are read in a second. Nothing is
written.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl.core.errors import InputError
from ppl.core.settings import read_params, section
from ppl.run.record import Took, times_taken
from ppl.tools.at_work import Work, at_work, locks_are_broken
from ppl.tools.commands import ask_dvc
from ppl.tools.pending import KINDS, Pending, Pipeline, pending, read_pipeline
from ppl.tools.scored import scored_here
from ppl.tools.used_settings import flat, lock_text, locked_stages
from ppl.tools.wording import NAMED, Line, lasting, more, shortened

if TYPE_CHECKING:
    from ppl.tools.raw_state import RawState

MODEL = Path("data", "model")
FINAL = Path("metrics", "final.json")

CHECK = "check_settings"

MODEL_STAGE = "calibrate"
"""Leaves the finished model."""

_LABEL = 10
"""Columns before the text of a line."""


@dataclass(frozen=True)
class Asked:
    """What DVC and the records say."""

    pipeline: Pipeline
    stages: Mapping[str, Any]
    """What dvc.lock records, by stage."""
    work: Work | None
    pending: Pending | None
    """None where DVC was not asked, or did not answer."""
    silence: str
    """Why it did not."""
    times: Mapping[str, Took]
    settings: Mapping[str, tuple[Any, Any]]
    """Changed settings by dotted key: the value that was used, the value now."""


def status(check: Callable[[dict[str, Any]], None]) -> str:
    """The lines.

    Args:
        check: checks all of params.yaml; it knows every package, as no tool does.

    Raises:
        InputError: params.yaml or dvc.yaml is wrong, dvc.lock is no YAML.
    """
    lock, work = lock_text(Path()), at_work()
    with ThreadPoolExecutor(1) as pool:
        # DVC is a process of its own: it answers while torch is imported here
        answer = pool.submit(ask_dvc, "status", "--json") if lock and not work else None
        params, stages = read_params(), locked_stages(lock)
        check(params)
        raw = _raw_state(stages)
        asked = _asked(read_pipeline(params), stages, work, answer, params)
    raw = raw.compared(asked.pending)
    lines = [
        *_work_lines(asked),
        *raw.data_lines(),
        *_change_lines(asked, raw),
        *_run_lines(asked),
        *raw.test_lines(),
        *raw.person_lines(),
        *_model_lines(asked),
        ("next", _next(asked, raw)),
    ]
    return "\n".join(f"{label:<{_LABEL}}{text}" for label, text in lines)


def _raw_state(stages: Mapping[str, Any]) -> "RawState":
    """The raw data.

    Raises:
        InputError: classes that do not fit the data set.
    """
    from ppl.data.adapters.base import DataSettings, dataset_info
    from ppl.data.split_settings import SplitSettings
    from ppl.tools.raw_state import raw_state

    data = section("data", DataSettings)
    return raw_state(
        data, section("split", SplitSettings), section("seed", int), dataset_info(data), stages
    )


def _asked(
    pipeline: Pipeline,
    stages: Mapping[str, Any],
    work: Work | None,
    answer: "Future[str] | None",
    params: Mapping[str, Any],
) -> Asked:
    found, silence = None, ""
    try:
        if answer is not None:
            found = pending(answer.result(), pipeline, stages.keys())
    except InputError as error:
        silence = str(error).splitlines()[0]
    if silence and locks_are_broken():
        silence = "a kill left DVC's list of locks empty: `make unlock`"
    told = {stage: entry for stage, entry in stages.items() if stage in pipeline.takes}
    settings = _changed_settings(told, params)
    return Asked(pipeline, stages, work, found, silence, times_taken(), settings)


def _changed_settings(
    stages: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Of all stages; where they used different values, that of the last."""
    found: dict[str, tuple[Any, Any]] = {}
    for stage in stages.values():
        used = stage.get("params", {}).get("params.yaml", {})
        before = dict(flat(used))
        now = dict(flat({name: params.get(name) for name in used}))
        found |= {
            key: (before.get(key, "not there"), now.get(key, "not there"))
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        }
    return found


def _work_lines(asked: Asked) -> Iterator[Line]:
    work = asked.work
    if work is None:
        return
    what = f"`{work.command}` (process {work.process}) goes on"
    if work.stage is None or work.since is None:
        yield "at work", f"{what}, between two stages"
        return
    spent = lasting(time.time() - work.since)
    took = asked.times.get(work.stage)
    last = f", {lasting(took.seconds)} last time" if took else ""
    yield "at work", f"{what}: {work.stage} for {spent}{last}"


def _change_lines(asked: Asked, raw: "RawState") -> Iterator[Line]:
    """What changed since the last run, a line a kind."""
    if not asked.stages:
        return
    inputs = [
        path
        for path in (asked.pending.inputs if asked.pending else ())
        if Path(path).resolve() != raw.root.resolve()
    ]
    found = asked.pending or Pending()
    others = [
        *([f"settings: {_settings_text(asked.settings)}"] if asked.settings else []),
        *([f"code: {shortened(found.code)}"] if found.code else []),
        *([f"inputs: {shortened(inputs)}"] if inputs else []),
    ]
    outputs = [
        *([f"outputs edited: {shortened(found.edited)}"] if found.edited else []),
        *([f"outputs not here: {shortened(found.missing)}"] if found.missing else []),
    ]
    kinds = list(filter(None, [*raw.change_texts(), "; ".join(others), "; ".join(outputs)]))
    if not kinds and asked.pending is not None:
        early = MODEL_STAGE not in asked.stages
        kinds = [
            f"nothing since the last run{_when(asked)}{', which ended early' if early else ''}"
        ]
    yield from zip(["changed", *[""] * len(kinds)], kinds, strict=False)


def _settings_text(settings: Mapping[str, tuple[Any, Any]]) -> str:
    shown = [
        f"{key} {shortened([str(old)])} -> {shortened([str(new)])}"
        for key, (old, new) in list(settings.items())[:NAMED]
    ]
    return ", ".join([*shown, *more(len(settings))])


def _when(asked: Asked) -> str:
    if not asked.times:
        return ""
    ended = max(took.ended for took in asked.times.values())
    return f", {time.strftime('%Y-%m-%d %H:%M', time.localtime(ended))}"


def _run_lines(asked: Asked) -> Iterator[Line]:
    count = len(asked.pipeline.takes)
    if not asked.stages:
        yield "to run", f"all {count} stages: nothing was run here yet"
    elif asked.work is not None:
        yield "to run", "DVC is not asked while a run goes on"
    elif asked.pending is None:
        yield "to run", f"DVC does not say: {asked.silence}"
    elif not asked.pending.stages:
        yield "to run", f"nothing: all {count} stages are up to date{_put_back(asked.pending)}"
    else:
        yield "to run", f"{_stages_text(asked.pending)}; {_duration(asked.pending, asked.times)}"


def _put_back(found: Pending) -> str:
    missing = f", {len(found.missing)} missing" if found.missing else ""
    edited = f", {len(found.edited)} edited" if found.edited else ""
    return f"; outputs that DVC puts back{missing}{edited}" if missing or edited else ""


def _stages_text(found: Pending) -> str:
    behind = f", and up to {len(found.following)} behind" if found.following else ""
    # the check leaves the same bytes and takes seconds
    named = [stage for stage in found.stages if stage != CHECK] or found.stages
    return f"{shortened(named)}{behind}"


def _duration(found: Pending, times: Mapping[str, Took]) -> str:
    """How long the stages took the last time, all together."""
    known = [times[stage].seconds for stage in found.all if stage in times]
    if not known:
        return "no time is known, none was timed on this machine"
    most = "up to " if found.following else "about "
    missing = len(found.all) - len(known)
    without = f", and {missing} that were never timed" if missing else ""
    return f"{most}{lasting(sum(known))} as last time here{without}"


def _model_lines(asked: Asked) -> Iterator[Line]:
    if MODEL_STAGE in asked.stages:
        yield "model", _model_text(asked)
    scores = _scores()
    if scores:
        yield "scores", scores


def _model_text(asked: Asked) -> str:
    if not (MODEL / "model.json").is_file():
        return f"{MODEL} is not here: `dvc pull {MODEL}` where it was pushed, or `make repro`"
    found = asked.pending
    if found is None:
        return f"{MODEL} is of the last run that ended; whether that is of today is not known"
    above = asked.pipeline.before(MODEL_STAGE)
    if MODEL.as_posix() in found.edited:
        return f"{MODEL} was edited: `make repro` puts it back"
    if above.isdisjoint(found.all):
        return f"{MODEL} is of the present data, settings and code"
    kinds = {kind for stage, kind in found.why if stage in above}
    return (
        f"{MODEL} is of earlier {', '.join(kind for kind in KINDS if kind in kinds) or 'results'}"
    )


def _scores() -> str:
    """The last scores with their test set, and whose they are; "" where there are none."""
    from ppl.judge.table import miou_cell, percent

    try:
        found = json.loads(FINAL.read_text(encoding="utf-8"))
        tested = found.get("test_set") or {}
        on = f"{tested['images']:,} images" if tested else "test"
        text = (
            f"mIoU {miou_cell(found)}, recall {percent(found.get('image_recall'))}, "
            f"false alarms {percent(found.get('image_false_alarm_rate'))}"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    scored = scored_here(Path())
    if scored.why:
        return f"{text} on {on}; not of the present data and settings, but of {scored.whose}"
    return f"{text} on {on}" + (f" of {scored.title}" if scored.title else "")


def _next(asked: Asked, raw: "RawState") -> str:
    """The one command that is most sensible now."""
    if asked.work is not None:
        return "let it end, then `make status`"
    if raw.problem:
        return raw.remedy
    if not asked.stages or asked.pending is None or asked.pending:
        return "make repro"
    return raw.next_command()
