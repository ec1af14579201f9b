"""Pseudo-masks: one palette PNG an image, at its own size, under its whole id."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ppl.images.files import read_mask
from ppl.images.pictures import IGNORE
from ppl.images.record import SplitRecord, write_split_record
from ppl.images.sets import DatasetInfo, ImageSet, mask_file, masked_ids, write_dataset_info
from ppl.labeling.part_agreement import NOBODY, lone
from ppl.labeling.pseudo_masks import (
    NO_PARTS,
    ONE_LOOK,
    STEPS,
    PseudoLabelSettings,
    doubt_bounds,
    pseudo_label,
    pseudo_masks,
    summary,
    sureness_step,
    write_pseudo_masks,
)
from ppl.network.network import Origin, SegmentationNetwork, save_network
from ppl.network.predict import predict
from tests.conftest import COLOURS, MakeSet, whole

SIZE = whole(32, 32)
PLAIN = ONE_LOOK.model_copy(update={"flip": True})
INFO = DatasetInfo("tiles", ("background", "crack", "stain"), tuple(COLOURS))
IDS = ["a/x", "a/x.1", "a.b/c d", "b/x", "x\u2028y\rz"]


def label_from_files(
    folder: Path,
    images: ImageSet,
    network: SegmentationNetwork,
    chosen: list[str],
    settings: PseudoLabelSettings,
    *,
    parts: dict[str, str],
) -> None:
    """Write into `folder`, the working directory, what the stage reads, and run it: OUT is out/."""
    save_network(folder / "model", network, network.state_dict(), Origin("teacher", 1))
    write_dataset_info(folder / "dataset.json", INFO)
    write_split_record(folder / "split.json", SplitRecord("group" if parts else "image", {}, parts))
    with (folder / "ids.txt").open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{id}\n" for id in chosen)
    sections = {"image": SIZE.model_dump(), "pseudo_label": settings.model_dump()}
    params = {**sections, "inference": {"runtime": "pytorch"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    pseudo_label(
        model=Path("model"),
        unlabeled=images.folder,
        dataset=Path("dataset.json"),
        record=Path("split.json"),
        ids=Path("ids.txt"),
        out=Path("out"),
    )


def test_every_image_gets_the_likeliest_classes_at_its_own_size(
    tmp_path: Path, make_set: MakeSet, network: SegmentationNetwork
) -> None:
    images = make_set(IDS, sizes=[(20 + k, 50 - k) for k in range(5)], masks=False)
    out = tmp_path / "out"
    write_pseudo_masks(network, lone(images), SIZE, PLAIN, INFO, out)
    assert masked_ids(out) == images.ids
    for entry, [prob] in predict([network], images, SIZE, PLAIN, what="test"):
        mask = read_mask(mask_file(out, entry.id))
        assert mask.shape == (entry.height, entry.width)
        assert torch.equal(mask.long(), prob.argmax(dim=0))


def test_pseudo_masks_show_the_colours_of_their_classes(
    tmp_path: Path, make_set: MakeSet, network: SegmentationNetwork
) -> None:
    images = make_set(["a"], masks=False)
    write_pseudo_masks(network, lone(images), SIZE, PLAIN, INFO, tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.mode == "P"
        indices, shown = np.array(image), np.array(image.convert("RGB"))
    assert (shown == np.array(COLOURS)[indices]).all()


def test_only_the_named_images_are_labeled_and_no_mask_of_theirs_is_read(
    tmp_path: Path,
    make_set: MakeSet,
    network: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = make_set(IDS, masks=False)
    chosen = sorted(IDS)[1:]
    monkeypatch.chdir(tmp_path)
    label_from_files(tmp_path, images, network, chosen, PLAIN, parts={})
    assert masked_ids(tmp_path / "out") == chosen


@pytest.mark.parametrize(("alike", "vote"), [(0.8, True), (NOBODY, False)])
def test_photos_of_a_part_vote_if_asked(
    tmp_path: Path,
    make_set: MakeSet,
    network: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
    alike: float,
    vote: bool,
) -> None:
    images = make_set(["a", "b"], sizes=[(40, 40)] * 2, masks=False)
    first, second = (images.image_file(entry) for entry in images.entries)
    with Image.open(first) as image:
        image.point(lambda level: level // 4).save(second)
    monkeypatch.chdir(tmp_path)
    settings = PLAIN.model_copy(update={"alike": alike})
    label_from_files(tmp_path, images, network, ["a", "b"], settings, parts={"a": "p", "b": "p"})
    found = [read_mask(mask_file(tmp_path / "out", id)) for id in ("a", "b")]
    assert torch.equal(*found) == vote


@pytest.mark.parametrize(("alike", "parts"), [(0.8, {}), (0.8, {"a": "p"}), (NOBODY, {})])
def test_who_asks_for_votes_where_no_part_is_known_is_told(
    tmp_path: Path,
    make_set: MakeSet,
    network: SegmentationNetwork,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    alike: float,
    parts: dict[str, str],
) -> None:
    images = make_set(["a"], masks=False)
    monkeypatch.chdir(tmp_path)
    settings = PLAIN.model_copy(update={"alike": alike})
    label_from_files(tmp_path, images, network, ["a"], settings, parts=parts)
    assert (NO_PARTS in capsys.readouterr().out) == (alike < NOBODY and not parts)


def test_no_chosen_image_leaves_an_empty_folder(
    tmp_path: Path, make_set: MakeSet, network: SegmentationNetwork
) -> None:
    nothing = make_set(["a"], masks=False).subset([])
    write_pseudo_masks(network, lone(nothing), SIZE, PLAIN, INFO, tmp_path / "out")
    assert (tmp_path / "out").is_dir()
    assert masked_ids(tmp_path / "out") == []


class Unsure(torch.nn.Module):
    """Sees all three classes, each pixel with another probability."""

    classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grey = image.mean(dim=1)
        return 8 * torch.stack([0.3 - grey, grey - 0.3, image[:, 2] - 0.4], dim=1)


class Surer(Unsure):
    """Sees the same, surer than 0.96 of every pixel."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(image)
        return logits + 4 * (logits == logits.amax(dim=1, keepdim=True))


def doubting(fraction: float) -> PseudoLabelSettings:
    return PLAIN.model_copy(update={"ignore_fraction": fraction})


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_least_sure_pixels_of_each_class_become_255(
    tmp_path: Path, make_set: MakeSet, fraction: float
) -> None:
    network = Unsure()
    images = make_set(IDS, sizes=[(40 + k, 70 - k) for k in range(5)], masks=False)
    write_pseudo_masks(network, lone(images), SIZE, doubting(fraction), INFO, tmp_path / "out")  # type: ignore[arg-type]
    sure: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
    kept: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
    found = predict([network], images, SIZE, PLAIN, what="test")  # type: ignore[list-item]
    for entry, [prob] in found:
        mask = read_mask(mask_file(tmp_path / "out", entry.id))
        likely, predicted = prob.max(dim=0)
        assert torch.equal(mask[mask != IGNORE].long(), predicted[mask != IGNORE])
        for value in range(3):
            sure[value].append(likely[predicted == value])
            kept[value].append(likely[(predicted == value) & (mask != IGNORE)])
    shown = 0
    for value in range(3):
        of_class, of_kept = torch.cat(sure[value]), torch.cat(kept[value])
        if len(of_class) > 100:
            shown += 1
            ignored = 1 - len(of_kept) / len(of_class)
            assert ignored <= fraction
            # a step, here 50 each time that the doubt halves, is taken as a whole
            steps = (-50 * torch.log2(1 - of_class.double())).long()
            shares = [(steps < k).float().mean().item() for k in range(1201)]
            most = max(share for share in shares if share <= fraction)
            assert ignored == pytest.approx(most, abs=2e-3)
            assert len(of_kept) == (of_class >= of_kept.min()).sum()
    assert shown == 3, "all classes"


def test_background_that_is_doubted_teaches_nothing(tmp_path: Path, make_set: MakeSet) -> None:
    network = Unsure()
    images = make_set(IDS[:2], masks=False)
    settings = PLAIN.model_copy(update={"background_from": 0.6})
    write_pseudo_masks(network, lone(images), SIZE, settings, INFO, tmp_path / "out")  # type: ignore[arg-type]
    found = predict([network], images, SIZE, PLAIN, what="test")  # type: ignore[list-item]
    doubted = 0
    for entry, [prob] in found:
        mask = read_mask(mask_file(tmp_path / "out", entry.id)).long()
        likely, predicted = prob.max(dim=0)
        left_out = (predicted == 0) & (likely < 0.6)
        assert torch.equal(mask, predicted.masked_fill(left_out, IGNORE))
        doubted += int(left_out.sum())
    assert doubted > 50
    assert settings.whole.background_from == 0


def test_steps_tell_pixels_apart_that_are_nearly_sure() -> None:
    sure = torch.tensor([0.2, 0.5, 0.99, 0.999, 0.9995, 0.9999, 0.99995, 1 - 2**-23, 1])
    steps = sureness_step(sure).tolist()
    assert steps == sorted(set(steps))
    assert steps[1] == 50
    assert steps[-1] == STEPS - 1


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_of_a_network_that_is_sure_of_nearly_all_as_much_is_ignored(
    make_set: MakeSet, fraction: float
) -> None:
    images = make_set(IDS, sizes=[(40, 70)] * 5, masks=False)
    network: SegmentationNetwork = Surer()  # type: ignore[assignment]
    settings = doubting(fraction)
    masks = pseudo_masks(network, lone(images), SIZE, settings, what="test")
    plain = pseudo_masks(network, lone(images), SIZE, PLAIN, what="test")
    kept, all_pixels = (torch.cat([mask.flatten() for _, mask in of]) for of in (masks, plain))
    for value in range(3):
        ignored = (kept[all_pixels == value] == IGNORE).float().mean().item()
        assert fraction - 0.03 < ignored <= fraction


def test_pixels_that_are_all_equally_sure_are_all_kept(
    tmp_path: Path, make_set: MakeSet, network: SegmentationNetwork
) -> None:
    for parameter in network.parameters():
        parameter.data.zero_()
    images = make_set(["a"], masks=False)
    write_pseudo_masks(network, lone(images), SIZE, doubting(0.5), INFO, tmp_path / "out")
    assert not read_mask(mask_file(tmp_path / "out", "a")).any()


@pytest.mark.parametrize("changes", [{}, {"background_from": 0.7}, {"flip": True}])
def test_images_are_predicted_once_and_masked_as_by_looking_twice(
    make_set: MakeSet, changes: dict[str, object]
) -> None:
    """Held to the obvious way: predict all for the bounds, then all again for the masks."""
    images = make_set(IDS, sizes=[(40 + k, 70 - k) for k in range(5)], masks=False)
    settings = doubting(0.4).model_copy(update=changes)
    passes = 0

    class Counting(Unsure):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            nonlocal passes
            passes += len(image)
            return super().forward(image)

    network: SegmentationNetwork = Counting()  # type: ignore[assignment]
    masks = list(pseudo_masks(network, lone(images), SIZE, settings, what="test"))
    assert passes == len(IDS) * (2 if settings.flip else 1)
    counts = torch.zeros(3, STEPS, dtype=torch.int64)
    probs = [prob for _, [prob] in predict([network], images, SIZE, settings, what="test")]
    for prob in probs:
        sure, predicted = prob.max(dim=0)
        counts.index_put_((predicted, sureness_step(sure)), torch.tensor(1), accumulate=True)
    bounds = doubt_bounds(counts, 0.4)
    assert (bounds > 0).all()
    for prob, (entry, mask), expected in zip(probs, masks, images.entries, strict=True):
        sure, predicted = prob.max(dim=0)
        doubted = sureness_step(sure) < bounds[predicted]
        doubted |= (predicted == 0) & (sure < settings.background_from)
        assert entry == expected
        assert torch.equal(mask.long(), predicted.masked_fill(doubted, IGNORE))
    some = pseudo_masks(network, lone(images), SIZE, settings, what="test", wanted=[IDS[3], IDS[0]])
    whole = {entry.id: mask for entry, mask in masks}
    found = {entry.id: mask for entry, mask in some}
    assert found.keys() == {IDS[3], IDS[0]}
    assert all(torch.equal(mask, whole[id]) for id, mask in found.items())


def test_no_image_has_no_bounds_to_find(
    tmp_path: Path, make_set: MakeSet, network: SegmentationNetwork
) -> None:
    nothing = make_set(["a"], masks=False).subset([])
    assert doubt_bounds(torch.zeros(3, STEPS, dtype=torch.int64), 0.5).tolist() == [0, 0, 0]
    write_pseudo_masks(network, lone(nothing), SIZE, doubting(0.5), INFO, tmp_path / "out")
    assert masked_ids(tmp_path / "out") == []


def test_the_summary_names_the_classes_that_are_held_and_missing() -> None:
    names = ("background", "crack", "stain", "hole")
    text = summary({1: 3, 3: 1}, 7, names)
    assert text.startswith("7 pseudo-masks: crack in 3, hole in 1\n")
    assert "None of these holds stain. " in text
    assert (
        summary({1: 3, 2: 1, 3: 1}, 7, names) == "7 pseudo-masks: crack in 3, stain in 1, hole in 1"
    )
    assert summary({}, 7, names).startswith(
        "7 pseudo-masks: no defect in any\nNone of these holds crack, "
    )
    assert summary({}, 0, names) == "0 pseudo-masks: no defect in any"


def test_images_are_counted_by_the_classes_of_their_masks(
    tmp_path: Path, make_set: MakeSet
) -> None:
    images = make_set(IDS, masks=False)
    found = write_pseudo_masks(Unsure(), lone(images), SIZE, PLAIN, INFO, tmp_path / "out")  # type: ignore[arg-type]
    masks = [read_mask(mask_file(tmp_path / "out", id)) for id in IDS]
    assert found == {c: sum(bool((mask == c).any()) for mask in masks) for c in (1, 2)}
