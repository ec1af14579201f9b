"""`review`: where decisions go, what is left out, and what is refused."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.core.settings import section
from ppl.data.adapters.base import DataSettings, masked_ids
from ppl.review.review import ConflictError, Review
from ppl.station.folder import list_images
from ppl.tools import review as tool
from ppl.tools.review import home_of, review
from tests.pipeline.project import ROOT
from tests.review.project import write_project
from tests.review.shift import write_predictions


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_project(tmp_path / "project", ["a", "b", "c"])
    monkeypatch.chdir(folder)
    return folder


@contextmanager
def running(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, until it is ended; what it printed before the address is read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ppl", "review", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"Open (http\S+)$", line):
            return found[1]
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def test_it_serves_until_ctrl_c_and_says_what_was_decided(project: Path) -> None:
    with running(project, "--reviewer", "Berg, A.") as process:
        url = address(process)
        request = urllib.request.Request(
            f"{url}items/0/decision?decision=wrong&seen=",
            method="POST",
            headers={"Origin": url.rsplit("/", 2)[0]},
        )
        with pytest.raises(urllib.error.HTTPError, match="409"):
            urllib.request.urlopen(request)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "nothing decided; 3 not decided yet" in out


def test_the_page_needs_no_pytorch() -> None:
    script = "import sys, ppl.tools.review; print({'torch', 'dvc', 'scipy'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_of_ones_own_images_all_goes_beside_them(project: Path) -> None:
    home, notes = home_of(None, None)
    root = project / "parts"
    assert (home.decisions, home.masks) == (root / "review/decisions.csv", root / "corrected")
    assert notes == []


def test_of_other_data_and_of_predictions_it_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_project(tmp_path / "tiles", ["a"], data="magnetic_tile"))
    home, _ = home_of(None, None)
    assert (home.folder, home.masks) == (Path("data/review"), Path("data/review/corrected"))
    home, _ = home_of(None, Path("mine"))
    assert (home.folder, home.masks) == (Path("mine"), Path("mine/corrected"))
    home, _ = home_of(tmp_path / "predicted", None)
    assert home.folder == tmp_path / "predicted_review"
    monkeypatch.chdir(tmp_path)
    home, _ = home_of(Path("predicted"), None)
    assert home.folder == tmp_path / "predicted_review"


def test_where_the_data_cannot_be_written_it_goes_elsewhere(project: Path) -> None:
    (project / "parts" / "review").write_text("a file in the way", encoding="utf-8")
    home, [note] = home_of(None, None)
    assert home.folder == Path("data/review")
    assert re.search(r"parts/review cannot be written .*go to data/review instead", note)
    Path("data/review").write_text("this one, too", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be written .*name another folder by --to"):
        home_of(None, None)


REFUSED = [
    ("data/annotate_next/mine", "the pipeline's own"),
    ("data/pseudo/hard", "the pipeline's own"),
    ("parts/masks/mine", "count as yours"),
    ("parts/corrected", "count as yours"),
    ("parts/Images", "count as yours"),
    ("parts", "corrected lies in corrected/ of your data.*name another folder"),
]


@pytest.mark.parametrize(("to", "said"), REFUSED)
def test_no_folder_that_is_overwritten_or_read_as_data_is_taken(
    project: Path, to: str, said: str
) -> None:
    outs = [{"path": "data/pseudo/hard", "md5": "1.dir"}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"x": {"outs": outs}}}), "utf-8")
    for out in (None, project / "predicted"):
        with pytest.raises(InputError, match=said):
            home_of(out, Path(to))
    assert not (project / "parts" / "corrected").exists()


def test_the_results_of_predict_are_no_place_for_decisions(tmp_path: Path) -> None:
    out = write_predictions(tmp_path, ["a.png"])
    for to in (out, out / "masks" / "mine"):
        with pytest.raises(InputError, match="holds the model's results"):
            home_of(out, to)


def shown(monkeypatch: pytest.MonkeyPatch, masks: str = "next") -> list[str]:
    """The images that the page would show."""
    seen: list[Review] = []

    def no_server(reviewing: Review) -> None:
        seen.append(reviewing)
        raise InterruptedError

    monkeypatch.setattr(tool, "open_server", no_server)
    with pytest.raises(InterruptedError):
        review(masks, None, None, "x")
    return [item.name for item in seen[0].work.items]


def test_images_with_a_mask_of_ones_own_are_left_out_but_not_those_decided_here(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(monkeypatch) == ["a", "b", "c"]
    for mask in ("masks/b.BMP", "corrected/c.png"):
        (project / "parts" / mask).parent.mkdir(exist_ok=True)
        (project / "parts" / mask).touch()
    assert shown(monkeypatch) == ["a"]
    (project / "parts" / "corrected" / "c.png").unlink()
    home, _ = home_of(None, None)
    reviewing = Review(tool._masks_of_the_pipeline("next", home), home, "x")
    c = reviewing.work.items[1]
    reviewing.decide(c, "right", reviewing.state(c).seen)
    assert (project / "parts" / "corrected" / "c.png").is_file()
    assert shown(monkeypatch) == ["a", "c"]


def set_data(**keys: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= keys
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


OWNED = [
    ("masks/b.png", ""),
    ("masks/b.PNG", ""),
    ("masks/b_mask.png", "_mask"),
    ("masks/b.tif", "_mask"),
    ("images/b_mask.png", "_mask"),
    ("corrected/b_mask.BMP", "_mask"),
]


@pytest.mark.parametrize(("mask", "suffix"), OWNED)
def test_a_mask_of_the_owner_is_known_by_all_names_that_the_data_know(
    project: Path, monkeypatch: pytest.MonkeyPatch, mask: str, suffix: str
) -> None:
    set_data(mask_suffix=suffix)
    home, _ = home_of(None, None)
    reviewing = Review(tool._masks_of_the_pipeline("next", home), home, "x")
    b = reviewing.work.items[1]
    seen = reviewing.state(b).seen
    (project / "parts" / mask).parent.mkdir(exist_ok=True)
    (project / "parts" / mask).touch()
    with pytest.raises(ConflictError, match="was drawn by somebody"):
        reviewing.decide(b, "right", seen)
    assert not (project / "parts" / "corrected" / "b.png").exists()
    assert shown(monkeypatch) == ["a", "c"]
    assert home.masks_of is not None
    assert {id for id in "abc" if list(home.masks_of(id))} == masked_ids(
        section("data", DataSettings)
    )


def test_what_is_no_mask_hides_no_image(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = home_of(None, None)
    for file in ("masks/a.json", "masks/.b.png", "masks/c_mask.txt"):
        (project / "parts" / file).parent.mkdir(exist_ok=True)
        (project / "parts" / file).touch()
    assert shown(monkeypatch) == ["a", "b", "c"]
    assert home.masks_of is not None
    assert [list(home.masks_of(id)) for id in "abc"] == [[], [], []]


def test_images_that_a_label_calls_good_are_left_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "parts" / "masks").mkdir()
    (project / "parts" / "masks" / "a.png").touch()
    (project / "parts" / "labels.csv").write_text("image,label\nb,good\n", encoding="utf-8")
    assert shown(monkeypatch) == ["c"]


@pytest.mark.parametrize("same", [True, False])
def test_a_mask_that_somebody_took_in_after_a_decision_leaves_its_image_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    home, _ = home_of(None, None)
    reviewing = Review(tool._masks_of_the_pipeline("next", home), home, "x")
    c = reviewing.work.items[2]
    reviewing.decide(c, "right", reviewing.state(c).seen)
    mask = project / "parts" / "corrected" / "c.png"
    content = mask.read_bytes() if same else b"another"
    reviewing.decide(c, "wrong", reviewing.state(c).seen)
    mask.write_bytes(content)
    assert shown(monkeypatch) == ["a", "b"]
    assert mask.read_bytes() == content


def test_what_a_review_of_predictions_writes_is_never_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = write_predictions(tmp_path, ["a.png", "b.png"])
    photos = tmp_path / "photos"

    def decided(reviewing: Review) -> None:
        for decision in ("right", "sound"):
            for item in reviewing.work.items:
                reviewing.decide(item, decision, reviewing.state(item).seen)
        raise InterruptedError

    monkeypatch.setattr(tool, "open_server", decided)
    review_of = photos / "predicted_review"
    with pytest.raises(InterruptedError):
        review("next", out, review_of, "x")
    assert list(review_of.rglob("*.png"))
    listing = list_images([photos], out)
    assert [found.name for found in listing.found] == ["a.png", "b.png"]


def test_lines_that_are_no_decision_are_said_at_the_start(project: Path) -> None:
    file = project / "parts" / "review" / "decisions.csv"
    file.parent.mkdir()
    file.write_text("image,decision,reviewer,time,judged,written\na,wro", encoding="utf-8")
    with running(project) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == (
            f"{file}: 1 line is no whole decision, and not counted\n"
        )


BAD = [
    (["--reviewer", " "], "is no name"),
    (["--predictions", "nowhere"], "holds no results"),
    (["--to", "data/annotate_next"], "the pipeline's own"),
    (["--masks", "pseudo"], "there is no .*run `make repro` first"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_what_a_user_can_mend_is_one_line(project: Path, words: list[str], said: str) -> None:
    with running(project, *words) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert re.fullmatch(rf"Error: .*{said}.*\n", err), err
