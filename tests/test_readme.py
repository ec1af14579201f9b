"""README and docs/: short enough to be read, links that lead somewhere, settings that work."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppl.all_settings import check_all

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([README, *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*/README.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def yaml_blocks(page: Path) -> list[dict[str, Any]]:
    """The parsed ```yaml blocks of a page: parts of params.yaml, each section by its name."""
    text = page.read_text(encoding="utf-8")
    return [yaml.safe_load(b) for b in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]


def without_code(page: Path) -> str:
    """The text of a page without its code blocks, fenced or indented, and code in its lines."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"^ {4}.*$", "", text, flags=re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """What a link may name after '#': the headings as GitHub spells them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1_100
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_linked_from_the_readme() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", without_code(README))
    assert {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")} <= set(targets)


def test_the_settings_for_own_images_replace_two_sections_as_they_stand() -> None:
    [block] = yaml_blocks(README)
    assert list(block) == ["data", "split"]
    for section, settings in block.items():
        assert settings.keys() == PARAMS[section].keys(), section
    assert block["data"]["name"] == "folder"
    assert block["data"]["classes"][0] == "background"
    check_all(PARAMS | block)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_a_page_shows_exist_and_are_valid(name: str) -> None:
    for block in yaml_blocks(ROOT / name):
        params = copy.deepcopy(PARAMS)
        for section, settings in block.items():
            assert settings.keys() <= params[section].keys(), section
            params[section] |= settings
        check_all(params)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_functions_that_a_page_names_exist(page: Path) -> None:
    """As `ppl/students/def_up.py: Perturbation`; and each test file by its path."""
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`((?:ppl|stages)/[\w/]+\.py): (\w+)`", text):
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|class) {name}\b", source, flags=re.MULTILINE), (file, name)
    for file in re.findall(r"\b(?:tests|stages|ppl|benchmarks)/[\w/]+\.py\b", text):
        assert "NAME" in file or (ROOT / file).exists(), file


@pytest.mark.parametrize("name", ["params.yaml", "docs/data_cases.md", "docs/your_data.md"])
def test_what_is_read_beside_code_fits_its_columns(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 100] == []


def test_a_week_ends_with_a_commit_of_its_results() -> None:
    week = README.read_text(encoding="utf-8").partition("## A week")[2].partition("\n## ")[0]
    [commands] = re.findall(r"(?:^ {4}.*\n)+", week, flags=re.M)
    assert commands.splitlines()[-1].split("#")[0].split()[:3] == ["git", "commit", "-am"]


@pytest.mark.parametrize(
    "said", ["A new photo needs a line there too", "needs another `--out`", "There are two ways"]
)
def test_your_data_says_what_a_second_week_needs(said: str) -> None:
    assert said in (ROOT / "docs/your_data.md").read_text(encoding="utf-8")
