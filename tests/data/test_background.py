"""The first of a person's classes is the background, by its name or by their word."""

import numpy as np
import pytest

from ppl.data.background import background_warning, names_background
from tests.data.test_scans import Parts, parts

__all__ = ["parts"]


@pytest.mark.parametrize(
    "name", ["background", "Background", "_background_", "no defect", "OK", "Hintergrund", "背景"]
)
def test_a_background_is_known_by_its_name(name: str) -> None:
    assert names_background(name)
    assert background_warning([name, "dent"]) == ""


@pytest.mark.parametrize("name", ["scratch", "dent", "1", "backlash", "-"])
def test_a_defect_in_its_place_is_named_with_the_line_to_write(name: str) -> None:
    said = background_warning([name, "dent"])
    assert f"so {name} is all that masks show as 0" in said
    assert said.endswith(f"write `classes: [background, {name}, dent]`")
    assert background_warning([]) == ""


def test_two_defects_on_black_and_white_masks_are_refused(parts: Parts) -> None:
    parts.changes["classes"] = ["scratch", "dent"]
    parts.draw_masks(lambda _, mask: np.minimum(mask, 1) * np.uint8(255))
    said = parts.refused("data.classes names no background: 0 would be scratch, and 255 dent")
    assert "`classes: [background, scratch, dent]` and masks of 0, 1 and 2" in said
    assert len(said.splitlines()) == 1


def test_masks_of_indices_are_taken_at_their_word_with_a_warning(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.changes["classes"] = ["scratch", "dent"]
    parts.draw_masks(lambda _, mask: np.minimum(mask, 1))
    parts.run()
    said = capsys.readouterr().err
    assert "prepare: warning: the first of data.classes names the background, so scratch" in said
