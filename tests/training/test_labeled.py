"""A training decodes each of its files once, however it keeps them, and learns the same."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ppl.core.seeds import Draws
from ppl.images import files, pictures
from ppl.images.files import write_mask
from ppl.images.pictures import Opened
from ppl.images.sets import ImageSet, mask_file
from ppl.methods.at_once import OnceImages
from ppl.network.network import NetworkSettings
from ppl.training.labeled import Warn, read_labeled
from ppl.training.loop import Training
from tests.conftest import COLOURS, MakeSet
from tests.methods import test_at_once
from tests.training import test_loop

CPU = torch.device("cpu")

WAYS = {
    "memory": {"PPL_CACHE_GIB": "1"},
    "disk": {"PPL_CACHE_GIB": "0", "PPL_DISK_CACHE_GIB": "1"},
    "anew": {"PPL_CACHE_GIB": "0", "PPL_DISK_CACHE_GIB": "0"},
}

Trained = Callable[[], Training]


@pytest.fixture
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """How often each file was decoded since it was last asked, here and in processes that read."""
    log = tmp_path / "decoded.txt"
    real = pictures.open_picture

    def logged(file: Path, *more: Any) -> Opened:
        with log.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{file.relative_to(tmp_path).as_posix()}\n")
        return real(file, *more)

    def since() -> Counter[str]:
        found = Counter(log.read_text(encoding="utf-8").splitlines() if log.exists() else [])
        log.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(pictures, "open_picture", logged)
    monkeypatch.setattr(files, "open_picture", logged)
    # two that read the same image at the same moment both decode it
    monkeypatch.setenv("PPL_WORKERS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return since


@pytest.fixture
def trainings(
    tmp_path: Path, make_set: MakeSet, network_settings: NetworkSettings
) -> dict[str, Trained]:
    """Short ones, each chosen on validation images of its own."""
    labeled = make_set(["a", "b", "c"], sizes=[(40, 50), (32, 32), (60, 40)])
    seen = make_set(["v", "w"], folder="seen", seed=2)
    bare = make_set(["x", "y", "z"], folder="bare", masks=False, seed=1)
    for id in bare.ids:
        write_mask(mask_file(tmp_path / "pseudo", id), torch.ones(32, 32), COLOURS)

    def once(name: str) -> Trained:
        images = OnceImages(labeled, bare, seen)
        return lambda: test_at_once.trained(name, images, network_settings)

    return {
        "teacher": lambda: test_loop.teacher(labeled, seen, network_settings, iterations=4)[1],
        "student": lambda: test_loop.student(
            labeled, bare, [tmp_path / "pseudo"], network_settings, iterations=4, validation=seen
        ),
        "fixmatch": once("fixmatch"),
        "supervised": once("supervised"),
    }


def expected(which: str) -> Counter[str]:
    """Each file once that such a training has any need of."""
    found = [f"set/{kind}/{id}.png" for kind in ("images", "masks") for id in "abc"]
    found += [f"seen/{kind}/{id}.png" for kind in ("images", "masks") for id in "vw"]
    if which in ("student", "fixmatch"):
        found += [f"bare/images/{id}.png" for id in "xyz"]
    if which == "student":
        found += [f"pseudo/{id}.png" for id in "xyz"]
    return Counter(found)


@pytest.mark.parametrize("which", ["teacher", "student", "fixmatch", "supervised"])
def test_each_file_is_decoded_once_and_the_model_is_the_same(
    which: str,
    trainings: dict[str, Trained],
    decoded: Callable[[], Counter[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = {}
    for way, environment in WAYS.items():
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        kept[way] = trainings[which]().kept
        found = decoded()
        if way == "anew":
            assert found.keys() >= expected(which).keys()
            assert found["set/images/a.png"] > 1, "at the start, and for each crop"
        else:
            assert found == expected(which), way
        assert not list((tmp_path / ".scratch").glob("decoded-*")), "it is gone with the training"
    assert test_loop.same(kept["memory"], kept["disk"])
    assert test_loop.same(kept["memory"], kept["anew"])


def read(labeled: ImageSet, warn: Warn | None) -> None:
    read_labeled(labeled, test_loop.RECIPE, 3, Draws(0, "teacher"), CPU, warn=warn)


def test_what_vanishes_is_told_by_whom_it_concerns_and_costs_no_decoding(
    make_set: MakeSet,
    decoded: Callable[[], Counter[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    labeled = make_set(["a", "b"], sizes=[(200, 32)] * 2)
    mask = torch.zeros(200, 32)
    # at 32 rows every sixth or seventh is left
    mask[1, 5] = 2
    write_mask(mask_file(labeled.folder / "masks", "b"), mask, COLOURS)
    read(labeled, None)
    assert capsys.readouterr().err.count("warning") == 0
    decoded()
    read(labeled, Warn("train_x", ["sound", "scratch", "dent"]))
    assert (
        "train_x: warning: of 1 labeled masks with dent 1 hold none at" in capsys.readouterr().err
    )
    assert decoded() == Counter(
        f"set/{kind}/{id}.png" for kind in ("images", "masks") for id in "ab"
    )


def test_repeats_and_defects_are_those_of_the_masks(make_set: MakeSet) -> None:
    labeled = make_set(["a", "b", "c", "d"])
    masks = {"a": 0, "b": 1, "c": 255, "d": 2}
    for id, value in masks.items():
        write_mask(mask_file(labeled.folder / "masks", id), torch.full((32, 32), value), COLOURS)
    found = read_labeled(labeled, test_loop.RECIPE, 3, Draws(0, "teacher"), CPU)
    assert found.repeats is not None
    assert [factor > 1 for factor in found.repeats] == [False, True, False, True]
    assert list(found.pasting.bank) == [1, 2]
