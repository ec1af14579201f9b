"""Masks to correct are handed out as copies, and a corrected one is never overwritten."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from ppl.core.errors import InputError
from ppl.tools.annotate_next import HANDED_OUT, default_folder, hand_out
from tests.data.test_groups import settings
from tests.pipeline.project import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stage left: two masks, a list and a sheet; the data are the user's own."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": "folder", "root": "my parts", "classes": ["background", "dent"]}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for mask in ("a/x.png", "y.png"):
        (HANDED_OUT / "masks" / mask).parent.mkdir(parents=True, exist_ok=True)
        (HANDED_OUT / "masks" / mask).write_text(f"start {mask}", encoding="utf-8")
    (HANDED_OUT / "list.csv").write_text("rank,mask\n1,a/x.png\n2,y.png\n", encoding="utf-8")
    (HANDED_OUT / "sheet.png").touch()
    return tmp_path


def test_masks_come_under_their_images_paths_with_list_and_sheet(project: Path) -> None:
    said = hand_out(None)
    folder = Path("my parts", "to_correct")
    assert said.startswith(f"{folder}: 4 file(s) copied\n")
    assert "`corrected/`" in said
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {"a/x.png", "y.png", "list.csv", "sheet.png", "handed_out.csv"}
    assert (folder / "a/x.png").read_text(encoding="utf-8") == "start a/x.png"


def test_what_is_there_already_is_left_alone(project: Path) -> None:
    hand_out(Path("mine"))
    Path("mine", "y.png").write_text("corrected", encoding="utf-8")
    Path("mine", "a", "x.png").unlink()
    Path("mine", "list.csv").write_text("of the round before", encoding="utf-8")
    assert "3 file(s) copied, 1 that were there already left alone" in hand_out(Path("mine"))
    assert Path("mine", "y.png").read_text(encoding="utf-8") == "corrected"
    now = Path("mine", "list.csv").read_text(encoding="utf-8")
    assert now == (HANDED_OUT / "list.csv").read_text(encoding="utf-8")


def test_a_list_and_a_sheet_of_somebody_else_are_not_written_over(project: Path) -> None:
    for name in ("list.csv", "sheet.png"):
        theirs = Path("theirs", name)
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text("part,lot\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"theirs/{name} is there already, and did not go out"):
            hand_out(Path("theirs"))
        assert [file.name for file in Path("theirs").iterdir()] == [name]
        assert theirs.read_text(encoding="utf-8") == "part,lot\n"
        theirs.unlink()
    # of a round before there was a list of what went out
    Path("theirs", "list.csv").write_text("rank,image,mask\n1,y,y.png\n", encoding="utf-8")
    Path("theirs", "sheet.png").touch()
    assert "4 file(s) copied" in hand_out(Path("theirs"))


@pytest.mark.parametrize(
    ("name", "said"),
    [("mvtec", "drawn from scratch.*ground_truth/CLASS/NAME_mask"), ("dagm", "They count nowhere")],
)
def test_nobody_is_sent_to_a_folder_that_is_not_read(project: Path, name: str, said: str) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"name": name, "root": "set", "classes": ["background", "dent"]}
    params["data"] |= {} if name == "mvtec" else {"classes": []}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    spoken = hand_out(None)
    assert re.search(said, spoken)
    assert "corrected/" not in spoken
    for folder in ("set", "set/test/dent", "set/train/good", "set/ground_truth/mine"):
        with pytest.raises(InputError, match=f"lies in the data set {name}: name another folder"):
            hand_out(Path(folder))
    assert not Path("set").exists()


def test_half_a_copy_is_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(source: Path, target: Path) -> None:
        target.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", killed)
    with pytest.raises(KeyboardInterrupt):
        hand_out(Path("mine"))
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert "4 file(s) copied\n" in hand_out(Path("mine"))
    assert Path("mine/a/x.png").read_text(encoding="utf-8") == "start a/x.png"
    assert not list(Path("mine").rglob(".*"))


@pytest.mark.parametrize("done", ["corrected/a/x.png", "masks/a/x.BMP"])
def test_images_that_have_a_mask_are_left_out(project: Path, done: str) -> None:
    (Path("my parts") / done).parent.mkdir(parents=True)
    (Path("my parts") / done).touch()
    said = hand_out(None)
    assert "3 file(s) copied, 1 left out whose images have a mask\n" in said
    assert not Path("my parts/to_correct/a").exists()
    assert Path("my parts/to_correct/y.png").exists()


def test_the_datas_own_folders_are_refused(project: Path) -> None:
    for name in ("images", "masks/line 1", "corrected", "Masks"):
        with pytest.raises(InputError, match="would count as yours before anybody looked"):
            hand_out(Path("my parts", name))


def test_the_pipelines_own_folder_is_refused(project: Path) -> None:
    outs = [{"path": "data/pseudo/hard", "md5": "1.dir"}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"x": {"outs": outs}}}), "utf-8")
    for folder in (HANDED_OUT, HANDED_OUT / "masks", Path("data/pseudo/hard/mine")):
        with pytest.raises(InputError, match="the pipeline's own"):
            hand_out(folder)


def test_without_a_list_nothing_is_copied(project: Path) -> None:
    (HANDED_OUT / "masks" / "y.png").unlink()
    with pytest.raises(InputError, match=r"names y\.png, which is not there"):
        hand_out(Path("mine"))
    assert not Path("mine").exists()
    (HANDED_OUT / "list.csv").unlink()
    with pytest.raises(InputError, match="run `make repro` first"):
        hand_out(Path("mine"))


def test_no_folder_that_dvc_owns_is_the_default() -> None:
    assert default_folder(settings(root="/data/mine")) == Path("/data/mine/to_correct")
    for name in ("synthetic", "magnetic_tile"):
        assert default_folder(settings(name)) == Path("data/to_correct")
