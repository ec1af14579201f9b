"""A model that was not trained: its folder says why, or that it is damaged."""

from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.core.plan import MOST_BYTES, WITHOUT
from ppl.network.absent import NOTE, absent, leave_absent


def test_why_is_read_as_it_was_left(tmp_path: Path) -> None:
    leave_absent(tmp_path / "teacher", WITHOUT)
    assert absent(tmp_path / "teacher") == WITHOUT


def test_a_model_or_nothing_at_all_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    assert absent(tmp_path) is None
    assert absent(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x80",
        b"[]",
        b"null",
        b"{}",
        b'{"why": null}',
        b'{"why": 3}',
        b'{"why": ["a"]}',
        b'{"why": "two\\nlines"}',
        b"[" * 100_000,
        b'{"why": "' + b"x" * MOST_BYTES + b'"}',
    ],
)
def test_a_damaged_note_is_one_line_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NOTE).write_bytes(content)
    with pytest.raises(InputError) as refused:
        absent(tmp_path)
    said = str(refused.value)
    assert said.startswith(str(tmp_path / NOTE))
    assert "\n" not in said
    assert said.endswith("`dvc repro` makes it anew")
