"""Evaluation: counts at own size, pseudo-masks against hidden labels, pictures of fixed names."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ppl.images.files import write_mask
from ppl.images.sets import DatasetInfo, Entry, ImageSet, mask_file, read_image_set, write_index
from ppl.judge.evaluation import (
    EvaluateSettings,
    evaluate_models,
    examples,
    extremes,
    pictures,
    pseudo_mask_metrics,
    pseudo_mask_quality,
    teacher_on_hard_half,
    write_overlays,
)
from ppl.labeling.part_agreement import Photos
from ppl.labeling.pseudo_masks import ONE_LOOK, write_pseudo_masks
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import PLAIN
from ppl.scores.bootstrap import IntervalSettings
from ppl.scores.calibration import CalibrationBins
from ppl.scores.counts import ModelResult
from ppl.scores.defects import DefectCounts
from ppl.scores.image_detection import DetectionCounts
from ppl.scores.metrics import model_metrics
from tests.conftest import whole

INFO = DatasetInfo("made", ("background", "dark", "bright"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)))
SETTINGS = EvaluateSettings(
    min_defect_fraction=0.001,
    false_alarm_rate=0.05,
    defect_overlap=0.25,
    overlays=2,
    extremes=1,
)


class ByBrightness(nn.Module):
    """Dark pixels are class 1, bright ones class 2: right on the images made here."""

    classes = 3

    def __init__(self, *, blind: bool = False) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))
        self.blind = blind

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(dim=1)
        defects = torch.stack([0.25 - grey, grey - 0.75], dim=1) * 100
        if self.blind:
            defects = torch.full_like(defects, -100)
        return torch.cat([torch.zeros_like(grey)[:, None], defects], dim=1)


def make_set(folder: Path) -> ImageSet:
    """Three grey images of 64 x 48: with a dark block, with a bright one, without a defect."""
    entries = []
    for id, value in (("a/dark", 0), ("a/bright", 255), ("b/sound", 128)):
        grey = torch.full((64, 48), 128, dtype=torch.uint8)
        mask = torch.zeros((64, 48), dtype=torch.uint8)
        grey[16:32, 16:32] = value
        mask[16:32, 16:32] = {0: 1, 255: 2, 128: 0}[value]
        file = folder / "images" / f"{id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.numpy()).save(file)
        write_mask(mask_file(folder / "masks", id), mask, INFO.colours)
        entries.append(Entry(id, f"{id}.png", 64, 48))
    write_index(folder, entries)
    return read_image_set(folder)


def metrics(
    result: ModelResult, groups: list[str], teacher: ModelResult | None = None
) -> dict[str, object]:
    return model_metrics(
        result,
        groups,
        INFO.classes,
        IntervalSettings(confidence=0.95, resamples=100, few_parts=2),
        false_alarm_rate=0.05,
        teacher=teacher,
    )


@pytest.fixture
def made(tmp_path: Path) -> ImageSet:
    return make_set(tmp_path / "test")


def test_a_perfect_model_scores_one_and_a_blind_one_misses_every_defect(made: ImageSet) -> None:
    models = {"perfect": ByBrightness(), "blind": ByBrightness(blind=True)}
    results = evaluate_models(models, made, 3, whole(64, 48), SETTINGS)  # type: ignore[arg-type]
    groups = ["one", "two", "two"]
    perfect = metrics(results["perfect"], groups)
    assert perfect["miou"] == 1.0
    assert perfect["image_recall"] == 1.0
    assert perfect["image_false_alarm_rate"] == 0.0
    assert perfect["image_auroc"] == perfect["defect_recall"] == 1.0
    assert perfect["image_miss_rate"] == perfect["false_alarms_per_image"] == 0.0
    assert perfect["parts"] == {"background": 2, "dark": 1, "bright": 1}
    blind = metrics(results["blind"], groups, teacher=results["perfect"])
    assert blind["defect_recall"] == 0.0
    assert blind["gain"] == pytest.approx((1 - 512 / 9216) / 3 - 1, abs=1e-6)
    assert blind["iou"] == {
        "background": pytest.approx(1 - 512 / 9216, abs=1e-6),
        "dark": 0,
        "bright": 0,
    }
    assert blind["image_recall"] == 0.0


def test_every_pixel_of_the_images_own_size_is_counted(made: ImageSet) -> None:
    models = {"any": ByBrightness()}
    results = evaluate_models(models, made, 3, whole(32, 32), SETTINGS)  # type: ignore[arg-type]
    assert int(results["any"].matrix.sum()) == 3 * 64 * 48


def test_pseudo_masks_without_a_hidden_label_are_left_out(made: ImageSet, tmp_path: Path) -> None:
    hidden = made.folder / "masks"
    masks = tmp_path / "pseudo"
    for id in ("a/dark", "a/bright", "nowhere"):
        write_mask(mask_file(masks, id), torch.zeros(64, 48), INFO.colours)
    found = pseudo_mask_quality(masks, hidden, 3)
    assert set(found.miou_of) == {"a/dark", "a/bright"}
    assert int(found.matrix.sum()) == 2 * 64 * 48


def test_ignored_pixels_of_a_pseudo_mask_count_neither_way(made: ImageSet, tmp_path: Path) -> None:
    masks = tmp_path / "pseudo"
    partly = torch.zeros(64, 48)
    partly[16:24] = 255
    partly[24:32, 16:32] = 1
    write_mask(mask_file(masks, "a/dark"), partly, INFO.colours)
    write_mask(mask_file(masks, "a/bright"), torch.full((64, 48), 255), INFO.colours)
    found = pseudo_mask_quality(masks, made.folder / "masks", 3)
    assert found.miou_of["a/dark"] == 1
    assert int(found.matrix.sum()) == (64 - 8) * 48
    metrics = pseudo_mask_metrics({"reliable": found}, INFO)
    assert metrics["reliable"]["miou"] is not None  # type: ignore[index]


def test_without_hidden_labels_the_quality_is_null(made: ImageSet, tmp_path: Path) -> None:
    nothing = pseudo_mask_quality(made.folder / "masks", tmp_path / "no_hidden", 3)
    metrics = pseudo_mask_metrics({"hard": nothing}, INFO)
    assert metrics == {
        "hard": {"images": 0, "miou": None, "iou": dict.fromkeys(INFO.classes)},
    }


def test_the_teacher_is_judged_on_the_images_of_the_hard_half_alone(
    made: ImageSet, tmp_path: Path
) -> None:
    found = teacher_on_hard_half(
        ByBrightness(),  # type: ignore[arg-type]
        Photos(made, ["a/dark"], {}),
        made.folder / "masks",
        3,
        whole(64, 48),
        ONE_LOOK,
    )
    assert found.miou_of == {"a/dark": 1.0}


class Graded(ByBrightness):
    """The brighter the surer of class 2, the darker of class 1; never of background."""

    def forward(self, image: Tensor) -> Tensor:
        grey = image.mean(dim=1)
        return torch.stack([torch.full_like(grey, -9), 2 - 4 * grey, 4 * grey - 2], dim=1)


@pytest.mark.parametrize("changes", [{}, {"ignore_fraction": 0.3}, {"alike": 0.5}])
def test_the_teacher_is_judged_as_the_student_is(tmp_path: Path, changes: dict[str, float]) -> None:
    """Only b has a hidden mask; a votes, and decides with it which pixels are doubtful."""
    entries = []
    ramp = torch.arange(64 * 48).view(64, 48) / (64 * 48)
    for id, contrast in (("a", 0.2), ("b", 1.0)):
        file = tmp_path / "set" / "images" / f"{id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        # darker by so much that votes turn the middle
        grey = (255 * (0.5 + contrast * (ramp - 0.5)) - 40 * (contrast < 1)).clamp(0, 255)
        Image.fromarray(grey.to(torch.uint8).numpy()).save(file)
        entries.append(Entry(id, f"{id}.png", 64, 48))
    write_index(tmp_path / "set", entries)
    photos = Photos(read_image_set(tmp_path / "set"), ["a", "b"], {"a": "p", "b": "p"})
    model: SegmentationNetwork = Graded()  # type: ignore[assignment]
    write_mask(mask_file(tmp_path / "hidden", "b"), torch.ones(64, 48), INFO.colours)
    found = {}
    for name, settings in {"plain": ONE_LOOK, "asked": ONE_LOOK.model_copy(update=changes)}.items():
        write_pseudo_masks(model, photos, whole(64, 48), settings, INFO, tmp_path / name)
        written = pseudo_mask_quality(tmp_path / name, tmp_path / "hidden", 3)
        judged = teacher_on_hard_half(
            model, photos, tmp_path / "hidden", 3, whole(64, 48), settings
        )
        assert list(judged.miou_of) == ["b"]
        assert judged.miou_of == written.miou_of
        assert torch.equal(judged.matrix, written.matrix)
        found[name] = judged.matrix
    assert torch.equal(found["plain"], found["asked"]) == (not changes)


def test_pictures_have_fixed_names_and_show_the_chosen_images(
    made: ImageSet, tmp_path: Path
) -> None:
    models = {"teacher": ByBrightness(), "final": ByBrightness()}
    names = {"overlay_01.png": "a/dark", "best_1.png": "a/bright", "worst_1.png": "a/dark"}
    write_overlays(
        tmp_path / "overlays",
        made,
        names,
        models,  # type: ignore[arg-type]
        whole(64, 48),
        PLAIN,
        INFO,
    )
    assert {file.name for file in (tmp_path / "overlays").iterdir()} == set(names)
    folder = tmp_path / "overlays"
    assert (folder / "overlay_01.png").read_bytes() == (folder / "worst_1.png").read_bytes()
    assert examples(made, 2) == examples(made, 2)


def test_pictures_are_named_by_what_chose_them(made: ImageSet) -> None:
    result = with_quality([50, 90, 10], [True] * 3)
    found = pictures(made, result, SETTINGS)
    first, second = examples(made, 2)
    assert found == {
        "overlay_01.png": first,
        "overlay_02.png": second,
        "best_1.png": made.ids[1],
        "median_1.png": made.ids[0],
        "worst_1.png": made.ids[2],
    }
    assert pictures(made, result, SETTINGS.model_copy(update={"overlays": 0, "extremes": 0})) == {}


def test_zero_pictures_still_leave_the_folder(made: ImageSet, tmp_path: Path) -> None:
    models = {"teacher": ByBrightness(), "final": ByBrightness()}
    write_overlays(tmp_path / "overlays", made, {}, models, whole(64, 48), PLAIN, INFO)  # type: ignore[arg-type]
    assert list((tmp_path / "overlays").iterdir()) == []


def with_quality(right: list[int], defective: list[bool]) -> ModelResult:
    """Images of 100 pixels of class 1, so many of them right."""
    count = len(right)
    matrices = torch.tensor([[[0, 0, 0], [100 - r, r, 0], [0, 0, 0]] for r in right])
    return ModelResult(
        matrices,
        torch.zeros(count, dtype=torch.float64),
        torch.tensor(defective),
        DetectionCounts(),
        DefectCounts.nothing(3),
        CalibrationBins.nothing(3),
        torch.zeros(count, dtype=torch.float64),
    )


def test_extremes_are_the_best_the_middle_and_the_worst_of_the_defective() -> None:
    result = with_quality([50, 90, 10, 70, 30, 0, 100], [True] * 5 + [False] * 2)
    found = extremes(result, list("abcdefg"), 1)
    assert found == {"best": ["b"], "median": ["a"], "worst": ["c"]}
    few = extremes(with_quality([1, 2], [True, True]), ["a", "b"], 2)
    assert few == {"best": [], "median": [], "worst": []}
    sound = extremes(with_quality([1, 2, 3], [False] * 3), list("abc"), 2)
    assert sound == {"best": ["c"], "median": ["b"], "worst": ["a"]}
