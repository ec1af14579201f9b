"""The networks that docs/your_data.md lists as tested: the lines to set, read from the page."""

import re
from typing import Any, NamedTuple

import yaml

from ppl.core.settings import check
from ppl.network.network import NetworkSettings
from tests.pipeline.project import ROOT

PAGE = ROOT / "docs/your_data.md"

PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


class Documented(NamedTuple):
    """A network of the page."""

    settings: NetworkSettings
    """With random weights: there is no hub for a test."""
    side: int
    """Pixels of the smallest image, as the table says it."""
    licence: str
    lines: dict[str, Any]
    """Sections of params.yaml, as they stand there."""


def section_text() -> str:
    """What the page says under its heading."""
    return (
        PAGE.read_text(encoding="utf-8").partition("### Tested networks")[2].partition("\n## ")[0]
    )


def documented() -> dict[str, Documented]:
    """Each network by the name that stands in the table and over its lines."""
    text = section_text()
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| ([^|]+) \|$", text, re.M)
    blocks = dict(re.findall(r"^```yaml\nmodel: # ([^\n]*)\n(.*?)^```", text, re.M | re.S))
    assert [name for name, *_ in rows] == list(blocks), "the table and the lines differ"
    return {name: _of(f"model:\n{blocks[name]}", int(side), said) for name, side, said in rows}


def _of(block: str, side: int, licence: str) -> Documented:
    lines = yaml.safe_load(block)
    settings = check("model", PARAMS["model"] | lines["model"], NetworkSettings)
    random = settings.model_copy(update={"encoder_weights": None})
    return Documented(random, side, licence, lines)


NETWORKS = documented()
