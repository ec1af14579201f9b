"""What waits for a person."""

from pathlib import Path

import pytest

from ppl.data.adapters.base import DataSettings, load_samples
from ppl.tools import to_annotate
from ppl.tools.to_annotate import ToDo, to_do
from tests.tools.raw_project import RAW, draw_mask, make_project

LIST = Path("data/annotate_next/list.csv")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    data = make_project(tmp_path, monkeypatch.chdir)
    LIST.parent.mkdir(parents=True)
    LIST.write_text("rank,image\n1,u2\n2,u1\n3,u3\n4,gone\n", encoding="utf-8")
    return data


def found(data: DataSettings) -> ToDo:
    return to_do(RAW, data, load_samples(RAW, data))


def test_what_is_listed_stays_until_it_has_a_mask(data: DataSettings) -> None:
    assert found(data).listed == ("u2", "u1", "u3", "gone")
    assert found(data).open == ("u2", "u1", "u3")
    draw_mask("u2", 1, folder="corrected")
    draw_mask("u3", 1)
    assert found(data).open == ("u1",)


def test_masks_to_correct_lie_there_until_they_are_moved(data: DataSettings) -> None:
    for id in ("u2", "u1"):
        draw_mask(id, 1, folder="to_correct")
    draw_mask("sheet", 1, folder="to_correct")
    assert found(data).to_correct == ("u1", "u2")
    assert found(data).done == 0
    draw_mask("u2", 1, folder="corrected")
    assert (found(data).to_correct, found(data).done) == (("u1",), 1)


def test_labels_of_a_published_set_do_not_tell(data: DataSettings) -> None:
    for id in ("u1", "u2", "u3"):
        draw_mask(id, 1)
    published = data.model_copy(update={"name": "synthetic", "classes": []})
    assert to_do(RAW, published, load_samples(RAW, published)).open == ("u2", "u1", "u3")


def test_decisions_and_rescued_masks_are_counted(data: DataSettings) -> None:
    (RAW / "review").mkdir()
    (RAW / "review/decisions.csv").write_text("image,decision\na,b\nc,d\n", encoding="utf-8")
    kept = Path("data/rescued/1/data/pseudo/hard/masks")
    kept.mkdir(parents=True)
    (kept / "u1.png").touch()
    assert (found(data).decisions, found(data).rescued) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"rank\n1\n", b"\xff\xfe", b'rank,image\n"1,u1\n', b"\0"])
def test_a_list_that_is_none_lists_nothing(data: DataSettings, content: bytes) -> None:
    LIST.write_bytes(content)
    assert not found(data).listed
    LIST.unlink()
    assert found(data).listed is None


def test_a_table_that_is_too_large_is_not_read(
    data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_annotate, "_READ_BYTES", 10)
    assert found(data).listed == ()


def test_images_that_went_out_to_a_tool_are_no_masks_to_correct(data: DataSettings) -> None:
    draw_mask("u1", 1, folder="to_correct")
    draw_mask("images/u2", 1, folder="to_correct")
    assert found(data).to_correct == ("u1",)


def test_decisions_that_count_are_counted(data: DataSettings, tmp_path: Path) -> None:
    rows = ["image,decision", "u1,wrong", "u1,undone", "u2,right", "u2,wrong", "u3"]
    (RAW / "review").mkdir()
    (RAW / "review/decisions.csv").write_text("\n".join(rows), encoding="utf-8")
    assert found(data).decisions == 1
    (RAW / "review/decisions.csv").write_text("other\n", encoding="utf-8")
    assert found(data).decisions == 0
    published = data.model_copy(update={"name": "synthetic", "classes": []})
    Path("data/review").mkdir()
    Path("data/review/decisions.csv").write_text("\n".join(rows), encoding="utf-8")
    assert to_do(RAW, published, load_samples(RAW, published)).decisions == 1
