"""The part of a status that raw data tell: what they hold, what changed, who would be tested."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ppl.core.errors import InputError
from ppl.data.adapters.base import DataSettings, Sample, load_samples
from ppl.data.split_settings import SplitSettings
from ppl.images.sets import DatasetInfo
from ppl.review.decisions import Decisions
from ppl.tools.next_test import (
    Holding,
    Planned,
    holding,
    last_tested,
    moves,
    planned_split,
    words_of_test,
)
from ppl.tools.pending import Pending
from ppl.tools.raw_changes import RawChanges, raw_changes
from ppl.tools.raw_counts import (
    LastSets,
    Parts,
    Values,
    class_counts,
    counted_masks,
    known_parts,
    last_sets,
    mask_values,
    yours,
)
from ppl.tools.scored import scored_here
from ppl.tools.to_annotate import ToDo, to_do
from ppl.tools.wording import Line, counted, shortened

FINAL = Path("metrics", "final.json")


@dataclass(frozen=True)
class RawState:
    """What was found below data.root, and what the last run made of it."""

    data: DataSettings
    split: SplitSettings
    seed: int
    info: DatasetInfo
    stages: Mapping[str, Any]
    """What dvc.lock records."""
    sets: LastSets | None
    samples: Sequence[Sample] = ()
    counted: Sequence[Sample] = ()
    """The samples whose masks may be counted."""
    values: Values | None = None
    """Of their masks; None where reading them takes too long, or one cannot be read."""
    parts: Parts | None = None
    held: Holding | None = None
    todo: ToDo | None = None
    problem: str = ""
    """Why the data cannot be read, or would stop a run."""
    remedy: str = "mend that, then `make status`"
    waits: str = ""
    """Why there are no data yet, where that is in order."""
    changes: RawChanges | None = None
    """Since the last run; None where that is not known."""
    planned: Planned | None = None
    """None where the next run would split as the last one did, or that is not known."""
    stale: bool = field(default=False)
    """Whether the next run would split anew."""

    @property
    def root(self) -> Path:
        return Path(self.data.root)

    def compared(self, found: Pending | None) -> "RawState":
        """With what changed since the last run, and what the next would make of it.

        Args:
            found: what DVC said; None where it was not asked.
        """
        stale = found is None or not self.stages or "prepare" in found.all
        drawn = self.data.name == "synthetic" and found is not None and "synthesize" in found.all
        state = replace(self, stale=stale)
        if not self.samples or self.problem or drawn:
            return state
        if found is not None and not any(_same(path, self.root) for path in found.inputs):
            state = replace(state, changes=RawChanges())
        elif self.stages:
            changes = raw_changes(self.root, self.samples, self.sets, self.stages)
            state = replace(state, changes=changes)
        return state._planned() if stale and self.parts else state

    def _planned(self) -> "RawState":
        assert self.parts is not None
        try:
            planned = planned_split(
                self.root, self.samples, self.parts, self.values, self.data, self.split, self.seed
            )
        except InputError as error:
            return replace(self, problem=_first(error))
        return replace(self, planned=planned)

    def data_lines(self) -> Iterator[Line]:
        """What there is."""
        name = f"{self.root.name} (folder)" if yours(self.data) else self.data.name
        if not self.samples:
            last = f"; {len(self.sets.images):,} images in the last run" if self.sets else ""
            yield "data", f"{name}: {self.waits or self.problem}{last}"
            return
        yield "data", f"{name}: {len(self.samples):,} images, {self._mask_text()}"
        details = list(filter(None, [self._class_text(), self._part_text()]))
        if details:
            yield "", "; ".join(details)
        if self.problem:
            yield "", f"a run would stop: {self.problem}"

    def _mask_text(self) -> str:
        if yours(self.data):
            corrected = sum(sample.corrected for sample in self.counted)
            drawn, bare = (
                len(self.counted) - corrected,
                len(self.samples) - len(self.counted),
            )
            return (
                f"{len(self.counted):,} masks ({drawn:,} drawn, {corrected:,} corrected), "
                f"{bare:,} without"
            )
        if self.sets is None:
            labels = sum(sample.annotated for sample in self.samples)
            return f"{labels:,} published labels, of which a run uses those that `split` says"
        ids = self.sets.ids
        return (
            f"{len(ids['labeled'] | ids['validation']):,} labels to learn from, "
            f"{len(ids['test']):,} to test on, {len(ids['hidden']):,} stay hidden"
        )

    def _class_text(self) -> str:
        """How many masks show each class, or the test parts of the last run's scores that do."""
        if self.values:
            return _counts(class_counts(self.values, self.info.classes))
        if not self.counted or self.problem:
            return ""
        try:
            if scored_here(Path()).why:
                raise ValueError("the scores are of other data")
            found = json.loads(FINAL.read_text(encoding="utf-8"))["parts"]
            shown = [(name, int(found[name])) for name in self.info.classes[1:]]
        except (OSError, ValueError, KeyError, TypeError):
            return "too many masks to count their classes at once"
        return f"of the parts tested last: {_counts(shown)} (too many masks to read at once)"

    def _part_text(self) -> str:
        if self.parts is None or not self.parts.of:
            return ""
        masked = {self.parts.of[sample.id] for sample in self.counted}
        by = "" if self.parts.sure else " by the last run"
        return f"{len(set(self.parts.of.values())):,} parts{by}, {len(masked):,} with a mask"

    def change_texts(self) -> list[str]:
        """What changed of the raw data, a line each for images, masks and other files."""
        changes = self.changes
        if changes is None:
            if self.samples and self.stages and not self.problem and self.stale:
                return ["data: not known, neither data/prepared nor a record of the last run here"]
            return []
        images = [
            *_kind(changes.images_added, "added"),
            *_kind(changes.images_gone, "gone"),
            *_kind(changes.images_replaced, "replaced"),
        ]
        masks = [
            *_kind(changes.masks_added, "added"),
            *_kind(changes.masks_corrected, "corrected and added"),
            *_kind(changes.masks_changed, "changed"),
            *_kind(changes.masks_gone, "gone"),
        ]
        texts = [
            f"{what}: {', '.join(each)}"
            for what, each in (("images", images), ("masks", masks))
            if each
        ]
        if changes.others:
            texts.append(f"other files: {shortened(changes.others)}")
        if not changes.by_content:
            texts.append("by name alone: which files have other content is not known here")
        return texts

    def test_lines(self) -> Iterator[Line]:
        """Whether test is as it was."""
        before = last_tested(self.sets)
        notes = [str(self.held)] if self.held and str(self.held) else []
        if not self.samples or self.problem:
            if before is not None:
                yield "test", f"{len(before):,} images; what the next run would test is not known"
            return
        if self.stale and self.planned is None:
            why = "the pictures come out" if self.data.name == "synthetic" else "photos look alike"
            yield "test", "; ".join([f"not known before a run, which sees how {why}", *notes])
            return
        now = frozenset(self.planned.split.test if self.planned else self._tested())
        if before is None:
            yield "test", "; ".join([f"{len(now):,} images, in the first run", *notes])
            return
        redone = self.changes.redone if self.changes else frozenset[str]()
        text = words_of_test(before, now, redone, ran=self.planned is None)
        guess = self.planned is not None and self.parts is not None and not self.parts.sure
        notes += ["new photos of known parts are not told here"] if guess else []
        yield "test", "; ".join([text, *notes])
        if moved := self._moved():
            yield "", f"other sets: {moved}"

    def _moved(self) -> str:
        """How the other sets change, as far as that is known."""
        if self.sets is None or self.planned is None or not self.planned.exact:
            return ""
        return moves(self.sets.ids, self.planned.split)

    def _tested(self) -> frozenset[str]:
        return self.sets.ids["test"] if self.sets else frozenset()

    def person_lines(self) -> Iterator[Line]:
        """What to annotate, and what waits for a person."""
        todo = self.todo
        if todo is None:
            return
        texts, lying = [], []
        if todo.open and todo.listed:
            none = f"{len(todo.open):,} of {len(todo.listed):,} listed have no mask yet"
            texts.append(f"{none}: {shortened(todo.open)}")
        elif todo.listed:
            texts.append(f"all {len(todo.listed):,} that were listed have a mask")
        if todo.to_correct or todo.done:
            done = f" ({todo.done:,} done)" if todo.done else ""
            lying.append(f"masks to correct in {todo.folder}: {len(todo.to_correct):,}{done}")
        if todo.decisions:
            lying.append(f"images decided in review/decisions.csv: {todo.decisions:,}")
        if todo.rescued:
            lying.append(f"masks edited in place, in data/rescued: {todo.rescued:,}")
        texts += ["; ".join(lying)] if lying else []
        yield from zip(["annotate", *[""] * len(texts)], texts, strict=False)

    def next_command(self) -> str:
        """What is sensible where all is computed."""
        if self.held and self.held.open:
            return "make hold-split"
        if self.todo and self.todo.to_correct:
            return f"correct the masks in {self.todo.folder}, move them into corrected/"
        if self.todo and self.todo.open:
            return "make annotate-next"
        return "nothing is open: add images or masks, then `make repro`"


def raw_state(
    data: DataSettings,
    split: SplitSettings,
    seed: int,
    info: DatasetInfo,
    stages: Mapping[str, Any],
) -> RawState:
    """What lies below data.root; a mistake in it is a problem of the state and raises nothing."""
    state = RawState(data, split, seed, info, stages, last_sets())
    root = state.root
    if data.name == "synthetic" and not root.exists():
        return replace(state, waits="drawn by the first stages of a run")
    if not root.exists() and root.with_name(f"{root.name}.dvc").exists():
        pull = f"dvc pull {root}.dvc"
        return replace(state, problem=f"{root} is not here", remedy=pull)
    try:
        samples = load_samples(root, data)
        state = replace(state, samples=samples, counted=counted_masks(samples, data, state.sets))
        todo = replace(to_do(root, data, samples), decisions=_decided(root))
        state = replace(state, todo=todo)
        state = replace(state, held=holding(samples, data, split))
        state = replace(state, parts=known_parts(root, samples, data, state.sets))
        return replace(state, values=mask_values(state.counted, data))
    except InputError as error:
        return replace(state, problem=_first(error))


def _decided(root: Path) -> int:
    """How many images a reviewer decided on, each once; a table that cannot be read has none."""
    try:
        found = Decisions(root / "review" / "decisions.csv")
    except (InputError, OSError):
        return 0
    return sum(found.current(image) is not None for image in found.images())


def _same(path: str, root: Path) -> bool:
    return Path(path).resolve() == root.resolve()


def _first(error: InputError) -> str:
    """The first line of what a run would say."""
    return str(error).splitlines()[0]


def _counts(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found)


def _kind(ids: Sequence[str], what: str) -> list[str]:
    return [counted(ids, what)] if ids else []
