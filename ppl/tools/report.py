"""One HTML file with what a run found out.

It needs no network and holds no script: plots are drawn here and pictures lie in the file, so it
can be mailed, and opened on a machine that is cut off.
"""

import base64
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
import yaml
from PIL import Image

from ppl.core.cells import as_text
from ppl.core.errors import InputError
from ppl.core.settings import PARAMS_FILE, read_params
from ppl.judge.absence import absences, is_absent, present
from ppl.judge.table import factory_rows, few_parts, pixel_rows, reasons
from ppl.tools.commands import ask_dvc, ask_git
from ppl.tools.diff import METRICS, UnreadError, at_commit, in_workspace, other_tests
from ppl.tools.findings import (
    Finding,
    final_called,
    findings,
    former_unknown,
    other_tests_finding,
)
from ppl.tools.interval_plot import interval_plot
from ppl.tools.scored import metrics_of, scored_here, scores_here
from ppl.tools.used_settings import lock_text, used_settings

MODELS = ("copycat", "teacher", "student_1", "final")
PLOTS = {
    "curves": "Training of the three models",
    "confusion": "metrics/plots/confusion.json",
    "calibration": "metrics/plots/calibration.json",
    "reliability": "metrics/plots/reliability.json",
    "verdicts": "metrics/plots/verdicts.json",
}
SETS = ("labeled", "validation", "unlabeled", "test")

_SHARP_ROWS = 5_000
"""Rows of a plot from which it is drawn in pixels: a shape for each would make it too large."""
_SMALL_PICTURE = 400_000
"""Bytes up to which a picture is taken as it is."""
_LISTED = 20


@dataclass(frozen=True)
class Picture:
    """A picture for the page: its caption and its content as a data: address."""

    caption: str
    source: str


def write_report(out: Path) -> None:
    """Write the report on the working directory's results to file `out`, and say so.

    Raises:
        InputError: as `page`; nothing is written then.
    """
    text = page(Path())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8", newline="\n")
    print(f"{out} ({len(text.encode()) / 1e6:.1f} MB): open it in a browser")


def page(project: Path) -> str:
    """The report on what lies in `project`, as HTML.

    Pictures that are not there, as in a clone without `dvc pull`, are left out; the page says so.

    Raises:
        InputError: there are no scores, params.yaml cannot be read, or `dvc` does not answer.
    """
    metrics = scores_here([project / "metrics" / f"{name}.json" for name in MODELS])
    scores_of = present(metrics)
    leakage = metrics_of(project / "metrics" / "leakage.json")
    scored = scored_here(project)
    # how wide intervals are is in no metrics file: where their run is not known, as now
    used = used_settings(scored.lock or lock_text(project))
    read_params(project / PARAMS_FILE)
    drawn = plots(project, json.loads(ask_dvc("plots", "show", "--json", *PLOTS.values())))
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.jinja")
    return template.render(
        title=scored.title or "scores of an earlier run",
        commit=commit(),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        of_another_run=scored.note,
        stale=stale_stages(json.loads(ask_dvc("status", "--json"))),
        # those of a former run are no longer there
        set_sizes={} if scored.why else set_sizes(project / "data" / "prepared"),
        findings=all_findings(metrics, leakage, used),
        confidence=used["intervals"]["confidence"],
        few_parts=scores_of["final"]["few_parts"] if few_parts(scores_of["final"]) else None,
        pixel_rows=pixel_rows(metrics),
        factory_rows=factory_rows(scores_of),
        false_alarm_rate=used["evaluate"]["false_alarm_rate"],
        reasons=reasons(scores_of),
        intervals=drawing(interval_plot(scores_of)),
        seen=leakage["test_images_seen_in_training"],
        leaks={
            name: counts
            for name, counts in leakage.items()
            if "_in_" in name and name != "test_images_seen_in_training"
        },
        similarity=used["audit"]["similarity"],
        pairs=pictures(project / "data" / "audit" / "pictures", {"pair": "pair"}),
        extremes=pictures(
            project / "data" / "overlays",
            {"best": "best", "median": "median", "worst": "worst"},
        ),
        examples=pictures(project / "data" / "overlays", {"overlay": "example"}),
        next_rows=next_rows(project / "data" / "annotate_next" / "list.csv"),
        sheet=pictures(project / "data" / "annotate_next", {"sheet": "annotate next"}),
        settings=yaml.safe_dump(used, sort_keys=False, allow_unicode=True)
        if scored.lock
        else "not known",
        **drawn,
        **untrained(project, metrics),
    )


def commit() -> str:
    """The commit of the working tree, with a word on changes; empty without Git."""
    try:
        changed = ask_git("status", "--porcelain", "--untracked-files=no").strip()
        return ask_git("rev-parse", "--short", "HEAD").strip() + (" and changes" if changed else "")
    except InputError:
        return ""


def all_findings(
    scores_of: Mapping[str, dict[str, Any]], leakage: Mapping[str, Any], used: Mapping[str, Any]
) -> list[Finding]:
    """What the scores say, and what became of a former test set.

    Args:
        scores_of: also those of models that were not trained, which say why.
        used: the settings that the scores were computed with, by section.
    """
    trained = present(scores_of)
    students = [
        *(["retrain_reliable"] if "student_1" in trained else []),
        *(["retrain_final"] if "teacher" in trained else []),
    ]
    return [
        *findings(
            scores_of,
            leakage,
            confidence=used["intervals"]["confidence"],
            false_alarm_rate=used["evaluate"]["false_alarm_rate"],
            unlabeled_batch=max((used[s]["unlabeled_batch"] for s in students), default=None),
        ),
        *since_former_run(),
    ]


def since_former_run() -> list[Finding]:
    """What became of the test set of the newest commit with other scores, if it had another one.

    Nothing where Git knows of no former run; why, where it does and that one cannot be read.
    """
    new = in_workspace()
    scored = ("log", "--max-count=2", "--format=%H", "--", METRICS / "final.json")
    try:
        commits = ask_git(*scored).split()
        cut_off = ask_git("rev-parse", "--is-shallow-repository").strip() == "true"
    except InputError:
        return []
    for commit in commits:
        try:
            old = at_commit(commit)
        except UnreadError as error:
            return [former_unknown(error.why)]
        if old.scores != new.scores:
            other = other_tests(old, new)
            called = final_called(new.scores)
            return [other_tests_finding(f"The run of {old.name}", other, called)] if other else []
    # a commit at which history is cut off seems to have changed all files
    return [former_unknown("this clone holds but the latest commits")] if cut_off else []


def stale_stages(status: Mapping[str, Any]) -> list[str]:
    """The stages whose results are older than what they come from, by `dvc status --json`.

    What is deleted does not count: a clone without `dvc pull` lacks most files.
    """
    return sorted(stage for stage, changes in status.items() if set(_states(changes)) - {"deleted"})


def _states(changes: Any) -> Iterator[str]:
    """The words at the leaves of what DVC says of a stage: modified, deleted, new, ..."""
    if isinstance(changes, str):
        yield changes
    else:
        for inner in changes.values() if isinstance(changes, Mapping) else changes:
            yield from _states(inner)


def set_sizes(prepared: Path) -> dict[str, int]:
    """The number of images of each set whose index is there."""
    files = {name: prepared / name / "index.json" for name in SETS}
    return {
        name: len(json.loads(file.read_text(encoding="utf-8")))
        for name, file in files.items()
        if file.is_file()
    }


def plots(project: Path, shown: Mapping[str, Any]) -> dict[str, str]:
    """Each of `PLOTS` drawn, from what `dvc plots show --json` prints; "" where it has no rows.

    Raises:
        InputError: DVC could not read one.
    """
    drawn = {}
    for name, target in PLOTS.items():
        found = shown["data"].get(target)
        if not found:
            if not (project / target).is_file():
                raise InputError(f"no plot `{target}`: run `dvc repro` first")
            drawn[name] = ""
            continue
        content = found[0]["content"]
        specification = json.loads(content) if isinstance(content, str) else content
        drawn[name] = drawing(_without_revision(specification))
    return drawn


def untrained(project: Path, metrics: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What the page says where a method trains fewer models: why, and what the last is called."""
    return {
        "absences": absences(metrics),
        "final": final_called(present(metrics)),
        "no_reliability": no_reliability(project),
    }


def no_reliability(project: Path) -> str:
    """Why no point can be drawn of reliability over true quality, where there is none."""
    found = metrics_of(project / "metrics" / "pseudo_masks.json")
    if is_absent(found):
        return f"There are no pseudo-masks: {', '.join(map(str, found.values()))}."
    if any(isinstance(half, dict) and half.get("images") for half in found.values()):
        return "No ranking chose between the pseudo-masks: there is no reliability to compare."
    return (
        "No unlabeled image has a mask that was hidden: how good the pseudo-masks are is not known."
    )


def drawing(specification: Mapping[str, Any]) -> str:
    """A Vega-Lite specification drawn, as a data: address; needs no browser and no network."""
    text = json.dumps(specification)
    if len(specification["data"]["values"]) > _SHARP_ROWS:
        return _address("image/png", vl_convert.vegalite_to_png(text, scale=2))
    return _address("image/svg+xml", vl_convert.vegalite_to_svg(text).encode())


def pictures(folder: Path, captions: Mapping[str, str]) -> list[Picture]:
    """The PNG files of `folder` whose names begin with a key of `captions`, in their order."""
    return [
        Picture(" ".join([caption, *file.stem.split("_")[1:]]), picture(file))
        for start, caption in captions.items()
        for file in sorted(folder.glob(f"{start}*.png"))
    ]


def picture(file: Path) -> str:
    """The content of a PNG file as a data: address, compressed with losses where it is large."""
    content = file.read_bytes()
    if len(content) <= _SMALL_PICTURE:
        return _address("image/png", content)
    smaller = BytesIO()
    with Image.open(file) as opened:
        opened.convert("RGB").save(smaller, "WEBP", quality=90)
    return _address("image/webp", smaller.getvalue())


def next_rows(file: Path) -> list[list[str]]:
    """The header of the list of images to annotate and its first lines; [] without a list."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        rows = islice(csv.reader(stream), _LISTED + 1)
        return [list(map(as_text, row)) for row in rows]


def _without_revision(part: Any) -> Any:
    """A part of a specification without what tells revisions apart: here there is only one."""
    if isinstance(part, list):
        return [_without_revision(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {
        key: _without_revision(value)
        for key, value in part.items()
        if not (key == "strokeDash" and isinstance(value, dict) and value.get("field") == "rev")
    }
    if kept.get("field") == "rev":
        kept["header"] = {"labels": False, "title": None}
    return kept


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
