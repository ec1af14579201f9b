"""A decision and its mask reach the disk together, and nobody's work is lost or overwritten."""

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.files import read_stored_mask
from ppl.images.pictures import write_indices
from ppl.review import review as module
from ppl.review.decisions import COLUMNS, Decisions
from ppl.review.items import Item, Work, to_annotate
from ppl.review.pictures import digest, read_indices
from ppl.review.review import ConflictError, Home, Review, checked_reviewer
from tests.review.project import COLOURS, write_project

SIZE = (24, 32)


def say(review: Review, item: Item, decision: str, drawn: bytes | None = None) -> None:
    review.decide(item, decision, review.state(item).seen, drawn)


def strokes(value: int = 2) -> bytes:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[3:5, 4:9] = value
    return mask.tobytes()


def saved(home: Home, item: Item) -> Path:
    return home.masks / item.saved_as


def rows(home: Home) -> list[str]:
    return [
        line.split(",")[1] for line in home.decisions.read_text(encoding="utf-8").splitlines()[1:]
    ]


def test_right_writes_the_models_mask_and_its_digest(review: Review, home: Home) -> None:
    item = review.work.items[1]
    say(review, item, "right")
    mask = home.masks / "line 1" / "b.png"
    assert np.array_equal(read_indices(mask), read_indices(item.source))
    stored = read_stored_mask(mask)
    assert stored.palette is not None
    assert stored.palette[:3] == COLOURS
    row = Decisions(home.decisions).current("line 1/b")
    assert row is not None
    assert (row.decision, row.reviewer) == ("right", "Berg, Anna")
    assert row.judged == digest(item.source.read_bytes())
    assert row.written == digest(mask.read_bytes())
    assert row.time.endswith("+00:00")


def test_corrected_writes_what_was_drawn_and_sound_zeros(
    review: Review, home: Home, item: Item
) -> None:
    say(review, item, "corrected", strokes())
    assert read_indices(saved(home, item)).tobytes() == strokes()
    say(review, item, "sound")
    assert read_indices(saved(home, item)).shape == SIZE
    assert not read_indices(saved(home, item)).any()


@pytest.mark.parametrize("decision", ["wrong", "unsure"])
def test_wrong_and_unsure_write_no_mask_and_take_an_earlier_one_away(
    review: Review, home: Home, item: Item, decision: str
) -> None:
    say(review, item, decision)
    assert not saved(home, item).exists()
    say(review, item, "right")
    say(review, item, decision)
    assert not saved(home, item).exists()
    assert rows(home) == [decision, "right", decision]


def test_a_corrected_mask_that_is_replaced_is_kept(review: Review, home: Home, item: Item) -> None:
    say(review, item, "corrected", strokes())
    kept = saved(home, item).read_bytes()
    say(review, item, "wrong")
    assert [file.read_bytes() for file in home.replaced.iterdir()] == [kept]


def test_undo_takes_back_row_and_mask(review: Review, home: Home, item: Item) -> None:
    say(review, item, "right")
    state, note = review.undo(item, review.state(item).seen)
    assert (state.row, note) == (None, "")
    assert not saved(home, item).exists()
    assert rows(home) == ["right", "undone"]
    with pytest.raises(ConflictError, match="no decision"):
        review.undo(item, state.seen)


EARLIER: list[tuple[str, bytes | None]] = [
    ("right", None),
    ("sound", None),
    ("corrected", strokes()),
    ("wrong", None),
]


@pytest.mark.parametrize(("decision", "drawn"), EARLIER)
def test_undo_brings_the_decision_before_and_its_mask_back(
    review: Review, home: Home, item: Item, decision: str, drawn: bytes | None
) -> None:
    say(review, item, decision, drawn)
    before = saved(home, item).read_bytes() if saved(home, item).exists() else None
    say(review, item, "corrected", strokes(1))
    state, _ = review.undo(item, review.state(item).seen)
    assert state.row is not None
    assert state.row.decision == decision
    assert (saved(home, item).read_bytes() if saved(home, item).exists() else None) == before
    state, _ = review.undo(item, state.seen)
    assert state.row is None
    assert not saved(home, item).exists()


def test_undo_leaves_a_mask_that_somebody_edited_since(
    review: Review, home: Home, item: Item
) -> None:
    say(review, item, "right")
    write_indices(saved(home, item), np.ones(SIZE, dtype=np.uint8), COLOURS)
    edited = saved(home, item).read_bytes()
    with pytest.raises(ConflictError, match="edited by somebody: it stays"):
        say(review, item, "wrong")
    state, note = review.undo(item, review.state(item).seen)
    assert state.row is None
    assert "it stays" in note
    assert saved(home, item).read_bytes() == edited


def test_a_mask_of_somebody_else_is_never_overwritten(
    review: Review, home: Home, item: Item
) -> None:
    seen = review.state(item).seen
    write_indices(saved(home, item), np.ones(SIZE, dtype=np.uint8), COLOURS)
    with pytest.raises(ConflictError, match="was drawn or edited by somebody"):
        review.decide(item, "right", seen)
    assert not home.decisions.exists()
    assert read_indices(saved(home, item)).all()


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif"])
def test_an_image_that_was_drawn_from_scratch_meanwhile_gets_no_second_mask(
    project: Path, review: Review, home: Home, item: Item, suffix: str
) -> None:
    seen = review.state(item).seen
    (project / "parts" / "masks").mkdir()
    (project / "parts" / "masks" / f"a{suffix}").touch()
    with pytest.raises(ConflictError, match="was drawn by somebody"):
        review.decide(item, "right", seen)
    assert not saved(home, item).exists()


def test_a_decision_on_what_another_reviewer_decided_is_a_conflict(
    project: Path, home: Home, review: Review, item: Item
) -> None:
    other = Review(to_annotate("next", folder=project), home, "Chen")
    seen = review.state(item).seen
    say(other, item, "wrong")
    with pytest.raises(ConflictError, match="a: Chen said `wrong` at 2"):
        review.decide(item, "right", seen)
    assert rows(home) == ["wrong"]
    say(review, item, "right")
    assert rows(home) == ["wrong", "right"]


def test_an_undo_never_takes_back_what_was_decided_since(
    project: Path, home: Home, review: Review, item: Item
) -> None:
    other = Review(to_annotate("next", folder=project), home, "Chen")
    say(review, item, "right")
    seen = review.state(item).seen
    say(other, item, "sound")
    with pytest.raises(ConflictError, match="Chen said `sound`"):
        review.undo(item, seen)
    assert rows(home) == ["right", "sound"]


def test_a_model_mask_that_changed_since_is_a_conflict(review: Review, item: Item) -> None:
    seen = review.state(item).seen
    write_indices(item.source, np.ones(SIZE, dtype=np.uint8), COLOURS)
    with pytest.raises(ConflictError, match="its mask changed"):
        review.decide(item, "right", seen)


def test_strokes_that_a_conflict_leaves_are_kept(review: Review, home: Home, item: Item) -> None:
    seen = review.state(item).seen
    say(review, item, "wrong")
    with pytest.raises(ConflictError, match=r"your strokes are kept in .*replaced") as raised:
        review.decide(item, "corrected", seen, strokes())
    kept = Path(str(raised.value).rpartition(" kept in ")[2])
    assert read_indices(kept).tobytes() == strokes()


def test_a_mask_of_another_size_is_not_right_but_the_part_may_be_sound(
    review: Review, home: Home, item: Item
) -> None:
    write_indices(item.source, np.zeros((7, 5), dtype=np.uint8), COLOURS)
    with pytest.raises(InputError, match="7 x 5 pixels, the image 24 x 32"):
        say(review, item, "right")
    with pytest.raises(InputError, match="has 35 pixels"):
        say(review, item, "corrected", bytes(35))
    assert not home.decisions.exists()
    say(review, item, "sound")
    assert read_indices(saved(home, item)).shape == SIZE


def test_of_an_image_that_is_gone_no_mask_is_written(
    review: Review, home: Home, item: Item
) -> None:
    item.image.unlink()
    for decision in ("right", "sound"):
        with pytest.raises(InputError, match="not there any more"):
            say(review, item, decision)
    say(review, item, "wrong")
    assert rows(home) == ["wrong"]
    assert not saved(home, item).exists()


def test_a_class_that_is_none_is_refused(review: Review, home: Home, item: Item) -> None:
    with pytest.raises(InputError, match="holds class 3"):
        say(review, item, "corrected", strokes(3))
    assert not home.decisions.exists()


def test_an_open_mask_without_a_defect_is_not_right(review: Review, item: Item) -> None:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[2] = 255
    write_indices(item.source, mask, COLOURS)
    with pytest.raises(InputError, match="leaves pixels open"):
        say(review, item, "right")
    mask[3] = 1
    write_indices(item.source, mask, COLOURS)
    say(review, item, "right")


BROKEN: list[tuple[str, Callable[[Path], object]]] = [
    ("does not exist", lambda file: file.unlink()),
    ("cannot be read", lambda file: file.write_bytes(b"\x89PNG cut")),
    ("expected a palette PNG", lambda file: Image.new("RGB", (32, 24)).save(file)),
    ("expected a palette PNG", lambda file: Image.new("L", (32, 24)).save(file, format="BMP")),
]


@pytest.mark.parametrize(("said", "breaks"), BROKEN)
def test_a_mask_that_cannot_be_read_is_not_right(
    review: Review, home: Home, item: Item, said: str, breaks: Callable[[Path], object]
) -> None:
    breaks(item.source)
    with pytest.raises(InputError, match=said):
        say(review, item, "right")
    say(review, item, "unsure")
    assert rows(home) == ["unsure"]


def test_a_folder_where_the_mask_has_to_go_is_named(review: Review, home: Home, item: Item) -> None:
    saved(home, item).mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder, where a mask has to go"):
        say(review, item, "right")
    assert not home.decisions.exists()


STEPS = [
    ("write_synced", "right"),
    ("append", "right"),
    ("append", "wrong"),
    ("replace", "right"),
    ("replace", "wrong"),
]


@pytest.mark.parametrize(("step", "decision"), STEPS)
def test_a_kill_at_any_moment_leaves_row_and_mask_in_agreement(
    project: Path,
    home: Home,
    review: Review,
    item: Item,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    decision: str,
) -> None:
    """`right` after `wrong`, and `wrong` after `right`."""
    say(review, item, "wrong" if decision == "right" else "right")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if step == "replace":
        monkeypatch.setattr(Review, "_put_in_place", killed)
    elif step == "append":
        monkeypatch.setattr(Decisions, "append", killed)
    else:
        monkeypatch.setattr(module, "write_synced", killed)
    with pytest.raises(KeyboardInterrupt):
        say(review, item, decision)
    monkeypatch.undo()
    again = Review(to_annotate("next", folder=project), home, "x")
    state = again.state(item)
    assert state.row is not None
    assert state.row.decision == (
        decision if step == "replace" else "wrong" if decision == "right" else "right"
    )
    assert saved(home, item).exists() == (state.row.decision == "right")
    assert not state.taken
    assert not list(home.masks.rglob(".*"))


TAKEN_BACK = [("sound", "unsure"), ("right", "wrong"), ("sound", "undone"), ("right", "sound")]


@pytest.mark.parametrize(("first", "second"), TAKEN_BACK)
def test_a_mask_that_a_person_put_there_stays_even_if_a_decision_once_wrote_the_same(
    project: Path, home: Home, review: Review, item: Item, first: str, second: str
) -> None:
    say(review, item, first)
    same = saved(home, item).read_bytes()
    if second == "undone":
        review.undo(item, review.state(item).seen)
    else:
        say(review, item, second)
    saved(home, item).write_bytes(same)
    again = Review(to_annotate("next", folder=project), home, "x")
    assert saved(home, item).read_bytes() == same
    with pytest.raises(ConflictError, match="it stays"):
        say(again, item, "wrong")
    if again.state(item).row is not None:
        again.undo(item, again.state(item).seen)
    assert saved(home, item).read_bytes() == same


@pytest.mark.parametrize("first", ["right", "sound", "corrected"])
@pytest.mark.parametrize("second", ["wrong", "unsure", "undone", "sound", "right"])
def test_every_mask_that_goes_is_kept(
    home: Home, review: Review, item: Item, first: str, second: str
) -> None:
    say(review, item, first, strokes() if first == "corrected" else None)
    was = saved(home, item).read_bytes()
    if second == "undone":
        review.undo(item, review.state(item).seen)
    else:
        say(review, item, second)
    if saved(home, item).exists() and saved(home, item).read_bytes() == was:
        return
    assert (home.replaced / f"{digest(was)}.png").read_bytes() == was


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("first", "second"), [("right", "wrong"), ("right", "sound")])
def test_what_a_person_puts_there_after_a_kill_stays(
    project: Path,
    home: Home,
    review: Review,
    item: Item,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
) -> None:
    say(review, item, first)
    monkeypatch.setattr(Review, "_put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        say(review, item, second)
    monkeypatch.undo()
    write_indices(saved(home, item), np.ones(SIZE, dtype=np.uint8), COLOURS)
    theirs = saved(home, item).read_bytes()
    again = Review(to_annotate("next", folder=project), home, "x")
    assert saved(home, item).read_bytes() == theirs
    assert "edited by somebody" in again.state(item).taken


def test_a_half_mask_of_one_image_never_becomes_that_of_another(
    project: Path, home: Home, review: Review, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sound masks of a size are alike, byte by byte."""
    other = review.work.items[2]
    say(review, other, "sound")
    write_indices(saved(home, other), np.ones(SIZE, dtype=np.uint8), COLOURS)
    edited = saved(home, other).read_bytes()
    monkeypatch.setattr(Decisions, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        say(review, item, "sound")
    monkeypatch.undo()
    Review(to_annotate("next", folder=project), home, "x")
    assert saved(home, other).read_bytes() == edited
    assert not saved(home, item).exists()


def test_another_process_ends_what_a_kill_left_even_of_an_image_that_is_listed_no_more(
    home: Home, review: Review, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = Work(review.work.items[1:], review.work.classes, "")
    running = Review(fewer, home, "Chen")
    monkeypatch.setattr(Review, "_put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        say(review, item, "right")
    monkeypatch.undo()
    assert not saved(home, item).exists()
    running.decided()
    row = Decisions(home.decisions).current(item.name)
    assert row is not None
    assert digest(saved(home, item).read_bytes()) == row.written
    assert not home.begun.exists()


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"image": "a", "saved_as": "../../x.png"}',
    b"[" * 9999,
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_note_that_was_not_written_to_its_end_does_nothing(
    project: Path, home: Home, review: Review, item: Item, content: bytes
) -> None:
    say(review, item, "right")
    was = saved(home, item).read_bytes()
    home.begun.write_bytes(content)
    Review(to_annotate("next", folder=project), home, "x")
    assert saved(home, item).read_bytes() == was
    assert not home.begun.exists()


def test_a_full_disk_leaves_no_trace_of_the_decision(
    review: Review, home: Home, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    seen = review.state(item).seen
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        review.decide(item, "right", seen)
    monkeypatch.undo()
    assert not saved(home, item).exists()
    assert not list(home.masks.rglob(".*"))
    assert review.state(item).seen == seen
    review.decide(item, "right", seen)
    assert rows(home) == ["right"]


def test_a_restart_knows_what_was_decided_and_who_was_last(
    project: Path, home: Home, review: Review
) -> None:
    a, _, c = review.work.items
    say(review, a, "right")
    say(Review(review.work, home, "Chen"), c, "wrong")
    again = Review(to_annotate("next", folder=project), home, "Berg, Anna")
    assert again.decided() == ["right", "", "wrong"]
    assert again.last() == 0
    again.undo(a, again.state(a).seen)
    assert again.last() is None


def _decide_all(
    work: Work, home: Home, name: str, seen: list[str], conflicts: "multiprocessing.Queue[int]"
) -> None:
    review = Review(work, home, name)
    count = 0
    for item, before in zip(work.items, seen, strict=True):
        try:
            review.decide(item, "right" if name == "a" else "sound", before)
        except ConflictError:
            count += 1
    conflicts.put(count)


def test_two_processes_on_one_folder_decide_each_image_once(tmp_path: Path) -> None:
    project = write_project(tmp_path, [f"p{number:02d}" for number in range(30)])
    work = to_annotate("next", folder=project)
    home = Home(project / "review", project / "corrected")
    page = Review(work, home, "x")
    seen = [page.state(item).seen for item in work.items]
    context = multiprocessing.get_context("fork")
    conflicts = context.Queue()
    both = [
        context.Process(target=_decide_all, args=(work, home, name, seen, conflicts))
        for name in "ab"
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert conflicts.get(timeout=5) + conflicts.get(timeout=5) == 30
    assert len(rows(home)) == 30
    lines = home.decisions.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    known = Decisions(home.decisions)
    for item in work.items:
        row = known.current(item.name)
        assert row is not None
        assert digest(saved(home, item).read_bytes()) == row.written


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "a\x00"])
def test_a_reviewer_who_is_no_line_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="--reviewer"):
        checked_reviewer(name)


def test_a_reviewer_may_have_commas_and_quotes(project: Path, home: Home) -> None:
    name = 'Berg, "Anni", O\'Neill; Ö'
    review = Review(to_annotate("next", folder=project), home, name)
    say(review, review.work.items[0], "wrong")
    row = Decisions(home.decisions).current("a")
    assert row is not None
    assert row.reviewer == name
