"""The drawn data set is reproducible, balanced, exactly labelled and shows what it labels."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

import ppl.data.adapters.synthetic as adapter
from ppl.core.errors import InputError
from ppl.core.settings import check
from ppl.data.synthetic import (
    CLASSES,
    COLOURS,
    SyntheticSettings,
    draw_part,
    plan_defects,
    write_parts,
)
from ppl.images.files import read_image, read_mask

SECTION: dict[str, Any] = {
    "images": 40,
    "height": 64,
    "width": 80,
    "size_jitter": 0.25,
    "defective_fraction": 0.4,
    "second_defect_fraction": 0.25,
    "defect_scale": 1.0,
    "contrast": 1.0,
    "noise": 3.0,
}


def settings(**changes: Any) -> SyntheticSettings:
    return SyntheticSettings(**{**SECTION, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.png"))}


def grown(region: Tensor, by: int) -> Tensor:
    return max_pool2d(region[None].float(), 2 * by + 1, stride=1, padding=by)[0] > 0


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seed_0")
    write_parts(folder, settings(), 0)
    return folder


def test_same_seed_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_parts(tmp_path, settings(), 0)
    assert files(tmp_path) == files(written)


def test_another_seed_gives_other_pictures(written: Path, tmp_path: Path) -> None:
    write_parts(tmp_path, settings(), 1)
    before, after = files(written), files(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before if name.startswith("images"))


def test_a_picture_does_not_depend_on_how_many_there_are(written: Path, tmp_path: Path) -> None:
    write_parts(tmp_path, settings(images=27), 0)
    more = files(written)
    assert len(files(tmp_path)) == 2 * 27
    assert all(content == more[name] for name, content in files(tmp_path).items())


@pytest.mark.parametrize("fraction", [0.0, 0.07, 0.4, 1.0])
def test_the_share_of_defective_pictures_is_as_asked(fraction: float) -> None:
    plan = plan_defects(settings(images=500, defective_fraction=fraction), 0)
    assert sum(bool(classes) for classes in plan) == pytest.approx(500 * fraction, abs=1)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_the_share_of_second_defects_is_as_asked(fraction: float) -> None:
    plan = plan_defects(
        settings(images=200, defective_fraction=0.5, second_defect_fraction=fraction), 0
    )
    both = [classes for classes in plan if len(classes) == 2]
    assert len(both) == pytest.approx(100 * fraction, abs=1)
    assert all(first != second for first, second in both)


def test_first_defects_are_balanced_between_the_classes() -> None:
    plan = plan_defects(settings(images=230), 3)
    counts = Counter(classes[0] for classes in plan if classes)
    assert set(counts) == set(range(1, len(CLASSES)))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_masks_fit_their_pictures_and_hold_the_planned_classes(written: Path) -> None:
    plan = plan_defects(settings(), 0)
    sizes = set()
    for index, classes in enumerate(plan):
        name = f"part_{index + 1:04d}.png"
        image, mask = read_image(written / "images" / name), read_mask(written / "masks" / name)
        assert image.shape[1:] == mask.shape
        assert set(mask.unique().tolist()) - {0} == set(classes)
        sizes.add(tuple(mask.shape))
    assert len(sizes) > 10
    assert all(48 <= height <= 80 and 60 <= width <= 100 for height, width in sizes)
    assert {index for classes in plan for index in classes} == set(range(1, len(CLASSES)))


@pytest.mark.parametrize("kind", range(1, len(CLASSES)), ids=CLASSES[1:])
def test_a_defect_changes_the_picture_where_the_mask_says_and_nowhere_else(kind: int) -> None:
    noise = 3.0
    # a pore's lit rim, a scratch's burr and the optics reach this many pixels further; the soft
    # outline of a stain fades over more
    reach = 16 if CLASSES[kind] == "stain" else 4
    for index in range(25):
        part = draw_part(settings(noise=noise), 0, index, (kind,))
        difference = (part.image.float() - part.clean.float()).abs()
        inside = part.mask == kind
        assert difference[inside].mean() > 2 * noise, f"picture {index} hides its defect"
        assert not difference[~grown(inside, reach)].any(), f"picture {index} is changed outside"


def test_the_adapter_reads_the_classes_that_are_drawn() -> None:
    assert (adapter.CLASSES, adapter.COLOURS) == (CLASSES, COLOURS)


def test_a_sound_part_is_its_own_clean_picture() -> None:
    part = draw_part(settings(), 0, 0, ())
    assert torch.equal(part.image, part.clean)
    assert not part.mask.any()


def test_less_contrast_makes_the_same_defect_fainter() -> None:
    strong, weak = (draw_part(settings(contrast=c), 0, 5, (2,)) for c in (1.0, 0.4))
    assert torch.equal(strong.mask, weak.mask)
    changes = [(p.image.float() - p.clean.float()).abs().sum().item() for p in (strong, weak)]
    assert changes[1] < 0.6 * changes[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images", 0),
        ("height", 8),
        ("size_jitter", 0.6),
        ("defective_fraction", 1.1),
        ("second_defect_fraction", -0.1),
        ("contrast", 0.0),
        ("noise", -1.0),
        ("colour", "red"),
    ],
)
def test_a_bad_setting_is_named(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"synthetic.{key}"):
        check("synthetic", {**SECTION, key: value}, SyntheticSettings)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160)])
def test_every_planned_defect_is_in_view_whatever_the_size(height: int, width: int) -> None:
    for index in range(24):
        kind = 1 + index % 4
        part = draw_part(settings(height=height, width=width), 1, index, (kind,))
        assert (part.mask == kind).any(), f"picture {index} shows no {CLASSES[kind]}"
