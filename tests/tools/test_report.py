"""The report is one file: it loads nothing, runs nothing, and says what is missing or outdated."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.tools.interval_plot import interval_plot
from ppl.tools.report import drawing, next_rows, no_reliability, picture, stale_stages
from ppl.tools.used_settings import used_settings
from tests.pipeline.project import copy_project, edit_params, module, repro

SECTIONS = [
    *("scores", "audit", "training", "confusion", "confidence", "verdicts", "images", "next"),
    "settings",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the project, reproduced on the tiny configuration."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    repro(folder)
    return folder


class Page(HTMLParser):
    """The elements of a page: tags, addresses that it would load, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} runs a script: {name}"
            if name == "src":
                self.sources.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def report(workspace: Path) -> tuple[str, Page]:
    done = module(workspace, "ppl", "report")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"report\.html \(\d+\.\d MB\): open it in a browser\n", done.stdout)
    text = (workspace / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_loads_nothing_and_holds_all_pictures(workspace: Path) -> None:
    text, page = report(workspace)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(", text)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.ids == SECTIONS
    drawn = shown = 0
    for source in page.sources:
        kind, content = source.split(";base64,")
        raw = base64.b64decode(content, validate=True)
        if kind == "data:image/svg+xml":
            tree = ElementTree.fromstring(raw)
            for element in tree.iter():
                assert not any(name.endswith("href") for name in element.attrib)
            drawn += 1
        else:
            assert kind in {"data:image/png", "data:image/webp"}
            Image.open(BytesIO(raw)).load()
            shown += 1
    files = [
        *(workspace / "data" / "overlays").glob("*.png"),
        *(workspace / "data" / "audit" / "pictures").glob("*.png"),
        workspace / "data" / "annotate_next" / "sheet.png",
    ]
    assert drawn == 6
    assert shown == len(files) > 3


def test_the_page_says_the_scores_as_the_terminal_does(workspace: Path) -> None:
    _, page = report(workspace)
    for model in ("copycat", "teacher", "student_1", "final"):
        found = json.loads((workspace / "metrics" / f"{model}.json").read_text(encoding="utf-8"))
        assert f"{100 * found['miou']:.1f} ({100 * found['miou_low']:.1f}-" in page.text
    assert re.search(r"\d+ labeled, \d+ validation, \d+ unlabeled, \d+ test images", page.text)
    assert "labeled_fraction: 1/2" in page.text
    assert "has changed since" not in page.text


def test_results_older_than_the_settings_are_marked(workspace: Path) -> None:
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    edit_params(workspace, {"evaluate": {"extremes": 1}, "split": {"labeled_fraction": "1/4"}})
    try:
        _, page = report(workspace)
    finally:
        (workspace / "params.yaml").write_text(before, encoding="utf-8")
    assert re.search(r"has changed since these results: dvc repro would run .*evaluate", page.text)
    assert "labeled_fraction: 1/2" in page.text, "the settings of the results, not of the file"


def test_a_deleted_file_makes_no_stage_stale() -> None:
    status = {
        "audit": [{"changed deps": {"data/x": "deleted"}}, {"changed outs": {"data/y": "deleted"}}],
        "evaluate": [{"changed deps": {"params.yaml": {"evaluate": "modified"}}}],
        "prepare": [{"changed deps": {"data/x": "deleted", "ppl/data/prepare.py": "modified"}}],
        "train": ["changed command"],
    }
    assert stale_stages(status) == ["evaluate", "prepare", "train"]


def test_a_clone_without_pictures_gets_a_page_that_says_so(workspace: Path) -> None:
    aside = workspace / ".scratch" / "aside"
    for name in ("overlays", "audit", "annotate_next", "prepared"):
        shutil.move(workspace / "data" / name, aside / name)
    try:
        _, page = report(workspace)
    finally:
        for name in ("overlays", "audit", "annotate_next", "prepared"):
            shutil.move(aside / name, workspace / "data" / name)
    assert page.text.count("not in this folder") == 3
    assert len(page.sources) == 6
    assert "has changed since" not in page.text


def test_a_run_without_teacher_has_a_page_that_says_so(workspace: Path) -> None:
    none = '{"absent": "it trains once"}'
    final = json.loads((workspace / "metrics/final.json").read_text(encoding="utf-8"))
    alone = {key: value for key, value in final.items() if not key.startswith("gain")}
    listed = workspace / "data/annotate_next/list.csv"
    header = listed.read_text(encoding="utf-8").replace("reliability,disagreement", "confidence")
    changed = {
        **{f"metrics/{name}.json": none for name in ("teacher", "student_1", "pseudo_masks")},
        "metrics/final.json": json.dumps(alone),
        **{
            f"metrics/plots/{name}.json": "[]"
            for name in ("training_teacher", "training_student_1", "reliability")
        },
        "data/annotate_next/list.csv": header,
    }
    before = {name: (workspace / name).read_text(encoding="utf-8") for name in changed}
    try:
        for name, text in changed.items():
            (workspace / name).write_text(text, encoding="utf-8")
        _, page = report(workspace)
        printed = module(workspace, "ppl", "scores").stdout
    finally:
        for name, text in before.items():
            (workspace / name).write_text(text, encoding="utf-8")
    assert "No teacher, no student_1: it trains once." in page.text
    assert "There are no pseudo-masks: it trains once." in page.text
    assert "the final model is least sure of them; one a part" in page.text
    for word in ("student ", "gain over", "pseudo-mask;", "ranking trusted"):
        assert word not in page.text, word
    # the curves of the final model are drawn, and no reliability
    assert sum(source.startswith("data:image/svg") for source in page.sources) == 5
    assert "no teacher, no student_1: it trains once" in printed
    assert "gain" not in printed


def test_names_of_classes_are_text_not_markup(workspace: Path) -> None:
    models = ("copycat", "teacher", "student_1", "final")
    files = [workspace / "metrics" / f"{model}.json" for model in models]
    before = {file: file.read_text(encoding="utf-8") for file in files}
    try:
        for file, text in before.items():
            file.write_text(text.replace('"pore"', '"<img src=x>"'), encoding="utf-8")
        text, page = report(workspace)
    finally:
        for file, text_before in before.items():
            file.write_text(text_before, encoding="utf-8")
    assert "&lt;img src=x&gt;" in text
    assert all(source.startswith("data:") for source in page.sources)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"absent": "it trains once"}, "There are no pseudo-masks: it trains once."),
        ({"reliable_by_teacher": {"images": 3}}, "No ranking chose between the pseudo-masks"),
        ({"reliable_by_teacher": {"images": 0}}, "No unlabeled image has a mask that was hidden"),
        ({}, "No unlabeled image has a mask that was hidden"),
    ],
)
def test_why_no_reliability_is_drawn(tmp_path: Path, found: dict[str, object], said: str) -> None:
    file = tmp_path / "metrics" / "pseudo_masks.json"
    file.parent.mkdir()
    file.write_text(json.dumps(found), encoding="utf-8")
    assert no_reliability(tmp_path).startswith(said)


def test_without_results_it_says_what_to_run(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    done = module(project, "ppl", "report")
    assert done.returncode != 0
    assert "run `dvc repro` first" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "report.html").exists()


def test_a_lock_without_an_evaluation_is_not_enough() -> None:
    for lock in ("schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n", ""):
        with pytest.raises(InputError, match="run `dvc repro` first"):
            used_settings(lock)


def test_a_large_picture_becomes_smaller_and_stays_the_same_size(tmp_path: Path) -> None:
    noise = Image.effect_noise((700, 700), 90).convert("RGB")
    noise.save(tmp_path / "large.png")
    kind, content = picture(tmp_path / "large.png").split(";base64,")
    raw = base64.b64decode(content)
    assert kind == "data:image/webp"
    assert len(raw) < (tmp_path / "large.png").stat().st_size
    assert Image.open(BytesIO(raw)).size == (700, 700)


def test_a_plot_of_many_points_is_drawn_in_pixels() -> None:
    plot = {
        "data": {"values": [{"x": number} for number in range(5_001)]},
        "mark": "point",
        "encoding": {"x": {"field": "x", "type": "quantitative"}},
    }
    assert drawing(plot).startswith("data:image/png")
    plot["data"] = {"values": [{"x": 1}]}
    assert drawing(plot).startswith("data:image/svg+xml")


def test_the_list_is_cut_and_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    assert next_rows(file) == []
    file.write_text("rank,image\n" + "".join(f"{n},a{n}\n" for n in range(1, 50)), encoding="utf-8")
    rows = next_rows(file)
    assert rows[0] == ["rank", "image"]
    assert rows[-1] == ["20", "a20"]


def test_the_plot_of_intervals_leaves_out_what_is_undefined() -> None:
    found = {
        "miou": 0.5,
        "miou_low": 0.4,
        "miou_high": 0.6,
        "iou": {"background": 0.9, "crack": 0.25, "pore": None},
        "iou_low": {"background": 0.8, "crack": None, "pore": None},
        "iou_high": {"background": 1.0, "crack": None, "pore": None},
        "parts": {"background": 20, "crack": 2, "pore": 0},
        "few_parts": 5,
    }
    rows = interval_plot({"teacher": found, "final": found})["data"]["values"]
    assert [(row["model"], row["class"], row["iou"], row["low"]) for row in rows] == [
        (model, *scores)
        for model in ("teacher", "final")
        for scores in (("mean (mIoU)", 50, 40), ("background", 90, 80), ("crack*", 25, None))
    ]
