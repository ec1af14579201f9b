"""A class that CVAT's labelmap cannot name leaves nothing behind."""

from pathlib import Path

import pytest

from ppl.core.errors import InputError
from ppl.formats import cvat_mask
from ppl.formats.names import ClassNames


@pytest.mark.parametrize("name", ["a:b", "#a"])
def test_a_class_that_a_labelmap_cannot_hold_leaves_no_file(tmp_path: Path, name: str) -> None:
    names = ClassNames(("background", name), ((0, 0, 0), (9, 9, 9)))
    with pytest.raises(InputError, match=f"class {name} holds a character"):
        cvat_mask.write(tmp_path / "out", [], names)
    assert not (tmp_path / "out").exists()
