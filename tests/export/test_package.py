"""An exported folder: whole or not at all, true to the project, of use without PyTorch."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from ppl.core.errors import InputError
from ppl.core.onnx_runtimes import Network
from ppl.core.settings import check
from ppl.export import int8, package
from ppl.export.card import card_content
from ppl.export.int8 import Int8, Measured, batches_of, said
from ppl.export.licences import weights_note
from ppl.export.package import ExportSettings, export_model, spread
from ppl.images.pictures import read_pixels, write_indices
from ppl.images.sets import ImageSet, mask_file, write_json
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import TestTimeSettings
from ppl.station.appearance import Appearance, reference_of
from ppl.station.card import card_of, described_digest, read_card
from ppl.station.onnx_predictor import load_onnx
from ppl.station.verdict import verdict_of
from tests.conftest import MakeSet, windows
from tests.export.conftest import INFO, KNOWN, SIZE, model_of, predictor_of
from tests.pipeline.import_closure import import_closure
from tests.pipeline.project import ROOT

SETTINGS = ExportSettings(runtimes=["onnxruntime"], samples=3, int8=None)


@pytest.fixture(autouse=True)
def known_network(of_one_size: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is made once; that it is the same each time is tested elsewhere."""
    monkeypatch.setattr(package, "network_of", lambda model: of_one_size)


@pytest.fixture
def test_set(make_set: MakeSet) -> ImageSet:
    sizes = [(64, 96), (40, 50), (100, 90), (33, 33), (64, 64)]
    return make_set(["a", "line 1/b", "c", "d", "e"], sizes=sizes)


@pytest.fixture
def folder(decided: SegmentationNetwork, test_set: ImageSet, tmp_path: Path) -> Path:
    export_model(model_of(decided), test_set, test_set, KNOWN, SETTINGS, tmp_path / "export")
    return tmp_path / "export"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_two_exports_have_the_same_bytes(
    decided: SegmentationNetwork, test_set: ImageSet, folder: Path, tmp_path: Path
) -> None:
    export_model(model_of(decided), test_set, test_set, KNOWN, SETTINGS, tmp_path / "again")
    assert contents(folder) == contents(tmp_path / "again")
    assert str(tmp_path).encode() not in b"".join(contents(folder).values())


def test_code_is_that_of_the_project_and_all_that_is_imported(folder: Path) -> None:
    copied = {Path(name) for name in contents(folder) if name.startswith("ppl/")}
    for name in copied:
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
        assert import_closure(name, ROOT) <= copied
        assert (name.parent / "__init__.py") in copied


def imports(nodes: list[ast.stmt]) -> set[str]:
    found = set()
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found


def test_code_imports_nothing_that_a_station_lacks(folder: Path) -> None:
    known = {*sys.stdlib_module_names, "ppl", "numpy", "PIL"}
    for name in folder.rglob("*.py"):
        body = ast.parse(name.read_text(encoding="utf-8")).body
        late = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert imports([node for node in body if node not in late]) <= known, name
        assert imports(late) <= {*known, "onnxruntime", "openvino"}, name


def run_check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python predict.py --check` where nothing else of the project's libraries is found."""
    bare = folder / "sitecustomize.py"
    names = ("torch", "torchvision", "scipy", "click", "pydantic", "safetensors", "timm", "onnx")
    bare.write_text(f"import sys\nsys.modules.update(dict.fromkeys({names!r}))\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "predict.py", "--check", *options],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    bare.unlink()
    return done


def test_a_station_can_tell_whether_it_agrees(folder: Path, tmp_path: Path) -> None:
    done = run_check(folder)
    assert done.returncode == 0, done.stderr
    assert "masks and verdicts of all 3 samples are equal" in done.stdout

    file = folder / "samples" / "samples.json"
    samples = json.loads(file.read_text(encoding="utf-8"))
    samples[1]["defective"] = not samples[1]["defective"]
    file.write_text(json.dumps(samples), encoding="utf-8")
    first = samples[0]
    source, target = (folder / "samples" / "images" / s["image"] for s in (samples[2], first))
    shutil.copyfile(source, target)
    done = run_check(folder)
    assert done.returncode == 1
    assert f"{samples[1]['image']}: the verdict is another" in done.stderr
    assert f"{first['image']}: " in done.stderr
    assert "do not use this machine" in done.stderr

    done = run_check(folder, "--runtime", "openvino")
    assert done.returncode == 1
    assert "was not compared with openvino, only with onnxruntime" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def as_predicted(decided: SegmentationNetwork, of_one_size: bytes, test_set: ImageSet) -> ImageSet:
    """Test images whose masks are what the network in floats makes of them: its mIoU is 1."""
    predictor = predictor_of(model_of(decided), of_one_size)
    for entry in test_set.entries:
        [prob] = predictor.probabilities([read_pixels(test_set.image_file(entry))])
        file = mask_file(test_set.folder / "masks", entry.id)
        write_indices(file, verdict_of(prob, predictor.thresholds).mask, predictor.colours)
    return test_set


def test_in_integers_it_is_kept_where_it_loses_little(
    decided: SegmentationNetwork, as_predicted: ImageSet, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    settings = SETTINGS.model_copy(update={"int8": 60.0})
    model = model_of(decided)
    done = export_model(model, as_predicted, as_predicted, KNOWN, settings, folder)
    assert done.int8 is not None
    assert done.int8.kept
    assert done.int8.miou == 1
    assert 0 < done.int8.lost < 60
    assert done.int8.calibrated_on == len(as_predicted)
    assert "predict.py --int8" in said(done.int8)
    assert (folder / "model.int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size

    floats, integers = load_onnx(folder), load_onnx(folder, int8=True)
    assert floats.digest != integers.digest
    images = [read_pixels(as_predicted.image_file(entry)) for entry in as_predicted.entries]
    both = zip(floats.probabilities(images), integers.probabilities(images), strict=True)
    steps = [float(np.abs(one - other).max()) for one, other in both]
    assert 0 < max(steps) < 0.9

    assert run_check(folder).returncode == 0
    shown = run_check(folder, "--int8")
    assert shown.returncode == 0, shown.stderr
    assert "-int8-onnxruntime: masks and verdicts of all 3" in shown.stdout
    text = (folder / "card.md").read_text(encoding="utf-8")
    assert "## In 8-bit integers" in text
    assert "| onnxruntime | " in text

    export_model(model, as_predicted, as_predicted, KNOWN, settings, tmp_path / "again")
    assert contents(folder).keys() == contents(tmp_path / "again").keys()
    for name, content in contents(tmp_path / "again").items():
        assert (folder / name).read_bytes() == content, name

    (folder / "model.int8.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(InputError, match=r"model\.int8\.onnx is not the file"):
        load_onnx(folder, int8=True)
    assert load_onnx(folder).digest == floats.digest


def test_ranges_are_taken_from_all_of_the_images(
    decided: SegmentationNetwork, of_one_size: bytes, make_set: MakeSet
) -> None:
    large = make_set(["a", "b", "c"], sizes=[(640, 960), (64, 96), (300, 96)])
    model = model_of(decided, windows(*SIZE))
    card = card_of(card_content(model, of_one_size, {}, KNOWN))
    images, batches = batches_of(large, card)
    # 100 windows by 8, but no more of one image than of another by much
    assert images == 3
    assert 3 * int8.BATCHES >= len(batches) >= int8.BATCHES
    assert {batch.shape[1:] for batch in batches} == {(*SIZE, 3)}
    assert [len(batch) for batch in batches[-2:]] == [1, 5]


def test_without_a_defect_to_judge_by_integers_are_not_kept(
    decided: SegmentationNetwork, as_predicted: ImageSet, tmp_path: Path
) -> None:
    for entry in as_predicted.entries:
        file = mask_file(as_predicted.folder / "masks", entry.id)
        mask = np.zeros((entry.height, entry.width), dtype=np.uint8)
        write_indices(file, mask, INFO.colours)
    settings = SETTINGS.model_copy(update={"int8": 60.0})
    done = export_model(
        model_of(decided), as_predicted, as_predicted, KNOWN, settings, tmp_path / "export"
    )
    assert done.int8 is not None
    assert not done.int8.kept
    assert "no defect" in said(done.int8)
    assert json.loads((tmp_path / "export/card.json").read_bytes())["int8"]["kept"] is False


def test_in_integers_it_is_not_kept_where_it_loses_more(
    decided: SegmentationNetwork, as_predicted: ImageSet, folder: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"int8": 0.0})
    lost = tmp_path / "lost"
    done = export_model(model_of(decided), as_predicted, as_predicted, KNOWN, settings, lost)
    assert done.int8 is not None
    assert not done.int8.kept
    assert "not kept" in said(done.int8)
    assert "Not kept" in (lost / "card.md").read_text(encoding="utf-8")
    assert contents(lost).keys() == contents(folder).keys()
    assert load_onnx(lost).digest == load_onnx(folder).digest
    for where, why in [(lost, "lost too much"), (folder, "set export.int8")]:
        shown = run_check(where, "--int8")
        assert shown.returncode == 1
        assert why in shown.stderr
        assert "Traceback" not in shown.stderr


def test_what_differs_is_not_exported(
    decided: SegmentationNetwork,
    test_set: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = package.open_network

    def another(content: bytes, runtime: str, what: str) -> Network:
        network = opened(content, runtime, what)
        return lambda images: network(images)[:, [0, 2, 1]]

    monkeypatch.setattr(package, "open_network", another)
    with pytest.raises(InputError, match="test pixels another class than PyTorch"):
        export_model(model_of(decided), test_set, test_set, KNOWN, SETTINGS, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_what_does_not_run_is_not_exported(
    decided: SegmentationNetwork, test_set: ImageSet, tmp_path: Path
) -> None:
    model = model_of(decided, None, TestTimeSettings(scales=[0.5, 1.0], flip=False))
    with pytest.raises(InputError, match=r"(?s)Linknet on 1 images of 48 x 32 pix.*one size"):
        export_model(model, test_set, test_set, KNOWN, SETTINGS, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_what_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"incomplete: {re.escape(name)} is missing"):
        load_onnx(folder)


def test_a_network_beside_another_card_is_refused(folder: Path) -> None:
    file = folder / "model.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx is not the file that card\.json"):
        load_onnx(folder)


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda card: card["thresholds"].update(score=0.1), "was altered"),
        (lambda card: card["classes"].reverse(), "no card of an exported model"),
        (lambda card: card["input"].update(height=32), "was altered"),
        (lambda card: card["prediction"].update(flip=True), "was altered"),
        (lambda card: card.update(format=2), "has format 2"),
        (lambda card: card.pop("onnx"), "no card of an exported model"),
        (lambda card: card.pop("weights"), "no card of an exported model"),
    ],
)
def test_an_altered_card_is_refused(folder: Path, alter: object, told: str) -> None:
    file = folder / "card.json"
    card = json.loads(file.read_text(encoding="utf-8"))
    alter(card)  # type: ignore[operator]
    file.write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_onnx(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format": 1}'])
def test_what_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no card of an exported model"):
        load_onnx(folder)


def test_the_card_tells_people_what_it_tells_programs(
    decided: SegmentationNetwork, folder: Path
) -> None:
    model = model_of(decided)
    card, network = read_card(folder)
    content = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card.digest == model.digest == described_digest(content)
    assert (card.classes, card.thresholds) == (INFO.classes, model.thresholds)
    assert network == (folder / "model.onnx").read_bytes()
    assert content["compared"]["onnxruntime"]["other_pixels"] == 0
    text = (folder / "card.md").read_text(encoding="utf-8")
    for told in (model.digest, content["onnx"], "50.0 (40.0-60.0)", "| dent | 0.4 | 3 |", "0.55"):
        assert told in text
    assert (folder / "requirements.txt").read_text(encoding="utf-8").splitlines() == [
        f"{name}=={version(name)}" for name in ("numpy", "pillow", "onnxruntime")
    ]


def test_samples_are_of_both_verdicts_and_spread() -> None:
    draws = np.random.default_rng(0)
    for _ in range(50):
        called = (draws.random(draws.integers(1, 60)) < draws.random()).tolist()
        count = int(draws.integers(0, 20))
        chosen = spread(called, count)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(count, len(called))
        defective = sum(called[index] for index in chosen)
        rest = len(chosen) - defective
        assert defective >= min(sum(called), count // 2)
        assert rest >= min(len(called) - sum(called), count // 2)


@pytest.mark.parametrize(
    ("described", "licence"),
    [
        ({"encoder": "resnet18", "source": "random"}, "no weights of others"),
        ({"encoder": "resnet18", "source": "imagenet", "sha256": "0"}, "not known here"),
        ({"encoder": "tu-efficientnet_lite0", "source": "imagenet", "sha256": "0"}, "apache-2.0"),
        ({"encoder": "resnet18", "source": "own.pth", "sha256": "0"}, "given by hand"),
    ],
)
def test_the_licence_of_weights_is_told_where_it_is_known(
    tmp_path: Path, described: dict[str, str], licence: str
) -> None:
    write_json(tmp_path / "encoder.json", described)
    note = weights_note(tmp_path)
    assert licence in note["licence"]
    if described["source"] == "imagenet":
        assert note["page"].startswith("https://huggingface.co/")


@pytest.mark.parametrize("runtimes", [[], ["openvino"], ["onnxruntime", "onnxruntime"], ["tvm"]])
def test_settings_take_known_runtimes_and_the_usual_one_among_them(runtimes: list[str]) -> None:
    with pytest.raises(InputError, match="export"):
        check("export", {"runtimes": runtimes, "samples": 1}, ExportSettings)


def test_the_card_knows_how_the_training_images_looked(
    decided: SegmentationNetwork, test_set: ImageSet, tmp_path: Path
) -> None:
    model = model_of(decided)
    model.reference = reference_of([Appearance(100.0 + k, 20.0, 0.25) for k in range(30)])
    export_model(model, test_set, test_set, KNOWN, SETTINGS, tmp_path / "export")
    assert read_card(tmp_path / "export")[0].reference == model.reference
    assert load_onnx(tmp_path / "export").reference == model.reference
    text = (tmp_path / "export/card.md").read_text(encoding="utf-8")
    assert "(30) have brightness 100-129, contrast 20-20, sharpness 0.25-0.25" in text


@pytest.mark.parametrize(
    ("worst", "moved"),
    [
        (0.5, "falls by 10.00 points"),
        (0.6004, "rises by 0.04 points"),
        (0.6, "stays as it was"),
        (0.60001, "stays as it was"),
    ],
)
def test_a_gain_in_integers_is_not_called_a_fall(worst: float, moved: str) -> None:
    measured = {"a": Measured(worst, 3)}
    text = said(Int8(b"", {}, 5, 9, 0.6, measured, most_lost=0.5))
    assert f"test mIoU {moved}, and 3 of 9 verdicts" in text
    assert "by -" not in text
