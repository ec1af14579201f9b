"""The check finds in seconds what would stop a run, with the words of the run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import stages.check_settings
from ppl.__main__ import main
from ppl.core.errors import InputError
from ppl.tools.check import check_contents
from tests.pipeline.project import git
from tests.tools.raw_project import RAW, SETS, draw_image, draw_mask, make_project

IDS = [id for name in SETS for id in SETS[name]]
MASKED = [id for id in IDS if id not in SETS["unlabeled"]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path, monkeypatch.chdir)


def edit(section: str, **changes: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params[section] |= changes
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def emptied() -> None:
    for file in RAW.rglob("*.png"):
        file.unlink()


def without_masks() -> None:
    for file in (RAW / "masks").rglob("*.png"):
        file.unlink()


def groups_of_one() -> None:
    (RAW / "groups.csv").write_text("image,group\na.png,a\n", encoding="utf-8")


def in_colours() -> None:
    for id in MASKED:
        picture = np.zeros((8, 8, 3), dtype=np.uint8)
        picture[2:4, 2:4] = (255, 0, 0)
        Image.fromarray(picture).save(RAW / "masks" / f"{id}.png")


def damaged() -> None:
    (RAW / "images/u3.png").write_bytes(b"none")


def white() -> None:
    edit("data", classes=["scratch", "dent"])
    for id in MASKED:
        draw_mask(id, 255)


def listed() -> None:
    Path("data/lists/val.txt").write_text("images/none.png\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (emptied, r"data/raw/my_parts \(data\.root\) holds no image"),
        (without_masks, r"none of the 9 images has a mask; .* looked for at masks/a\.png"),
        (groups_of_one, r"groups\.csv misses 8 of 9 images"),
        (in_colours, r"6 masks are in colours that name no class, e\.g\. mask .*data\.colours"),
        (damaged, r"images/u3\.png cannot be read"),
        (white, r"data\.classes names no background"),
        (listed, r"val\.txt.*the data set holds no image images/none\.png"),
        (lambda: draw_mask("a", 9), r"masks/a\.png holds .*9"),
        (lambda: edit("split", test_fraction=0.0), "there is no test image"),
        (
            lambda: edit("model", encoder="resnt18"),
            r"no resnt18, did you mean resnet18\?$",
        ),
        (lambda: edit("model", architecture="Unett"), r"no Unett, did you mean Unet\?$"),
        (lambda: edit("model", options={"encoder_depth": 9}), r"cannot be built: .*depth"),
        (lambda: edit("model", encoder_weights="w.pth"), r"w\.pth does not exist"),
    ],
)
def test_what_would_stop_a_run_is_said_in_a_line(spoil: Callable[[], object], said: str) -> None:
    assert check_contents() == []
    spoil()
    with pytest.raises(InputError, match=said) as caught:
        check_contents()
    assert len(str(caught.value).splitlines()) == 1


def test_data_and_network_are_both_named() -> None:
    without_masks()
    edit("model", encoder="resnt18")
    with pytest.raises(InputError, match=r"has a mask[^\n]*\n[^\n]*resnt18"):
        check_contents()


def test_nothing_is_written() -> None:
    before = sorted(Path().rglob("*"))
    check_contents()
    assert sorted(Path().rglob("*")) == before


def test_time_is_bounded_and_said() -> None:
    for number in range(40):
        draw_image(f"more/{number}")
    [note] = check_contents(seconds=-1.0)
    assert note.startswith("note: 0 of 49 images were looked at in -1 seconds")


def test_data_that_the_run_draws_or_fetches_are_not_looked_for() -> None:
    edit("data", root="data/raw/elsewhere")
    assert check_contents() == []
    emptied()
    edit("data", name="synthetic", root=RAW.as_posix(), classes=[])
    assert check_contents() == []


def test_parts_told_by_likeness_are_left_to_the_run() -> None:
    edit("data", groups="content")
    assert check_contents() == []
    without_masks()
    with pytest.raises(InputError, match="none of the 9 images has a mask"):
        check_contents()


def test_a_defect_in_place_of_the_background_is_warned_of() -> None:
    edit("data", classes=["scratch", "dent", "pore"])
    [warning] = check_contents()
    assert warning.startswith("warning: the first of data.classes names the background, so scratch")


def test_what_git_ignores_is_said_by_the_check_and_not_again_by_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(tmp_path, "init", "-q")
    Path(".gitignore").write_text("/data/raw/*\n", encoding="utf-8")
    Path("data/sound").mkdir()
    stages.check_settings.main(out=Path("checked"))
    assert "note" not in capsys.readouterr().err
    done = CliRunner().invoke(main, ["check"])
    assert done.output.count("note: Git ignores data/raw/my_parts") == 1
    assert "in order" in done.output
