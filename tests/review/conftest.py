"""A review of a small project, on the disk alone."""

from functools import partial
from pathlib import Path

import pytest

from ppl.review.items import Item, to_annotate
from ppl.review.review import Home, Review
from ppl.tools.review import _masks_of
from tests.review.project import write_project

NAMES = ["a", "line 1/b", "c"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", NAMES)


@pytest.fixture
def home(project: Path) -> Home:
    """As for one's own images."""
    parts = project / "parts"
    return Home(parts / "review", parts / "corrected", partial(_masks_of, parts, ""))


@pytest.fixture
def review(project: Path, home: Home) -> Review:
    return Review(to_annotate("next", folder=project), home, "Berg, Anna")


@pytest.fixture
def item(review: Review) -> Item:
    """The first image."""
    return review.work.items[0]
