"""Labels of whole images: good ones are annotated, none contradicts a mask without a word."""

import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppl.core.errors import InputError
from ppl.data.adapters.base import Sample
from ppl.data.image_labels import with_labels
from ppl.data.prepare import SetPaths, write_sets
from ppl.images.files import read_mask
from tests.data.test_scans import SIZE, Parts, parts, warnings

__all__ = ["parts"]

CLASSES = ["background", "scratch", "dent"]


def write_table(root: Path, text: str) -> Path:
    file = root / "labels.csv"
    file.write_bytes(text.encode())
    return file


def samples(raw: Path, *ids: str) -> list[Sample]:
    return [Sample(id, raw / f"images/{id}.png", None, False, None) for id in ids]


def labels(raw: Path, *ids: str) -> dict[str, str | None]:
    found = with_labels(raw, samples(raw, *ids), CLASSES)
    return {sample.id: sample.label and sample.label.name for sample in found}


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr().err.splitlines()
    return [line.removeprefix("prepare: note: ") for line in said if "note:" in line]


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read_as_spreadsheets_leave_it(
    tmp_path: Path, separator: str, end: str, mark: str
) -> None:
    rows = ["image,label,by", "images/a/x.png,Good,me", "a\\y.png, bad,me", "z,Dent,", ",,"]
    rows += ["v.PNG,background,me", "z.png,dent,me"]
    write_table(tmp_path, mark + end.join(rows).replace(",", separator))
    assert labels(tmp_path, "a/x", "a/y", "z", "v", "w") == {
        "a/x": "good",
        "a/y": "bad",
        "z": "dent",
        "v": "good",
        "w": None,
    }


def test_without_a_table_nothing_is_said(tmp_path: Path) -> None:
    assert labels(tmp_path, "a") == {"a": None}


def test_good_images_alone_become_annotated(tmp_path: Path) -> None:
    write_table(tmp_path, "image,label\na,good\nb,bad\nc,dent\n")
    found = with_labels(tmp_path, samples(tmp_path, "a", "b", "c", "d"), CLASSES)
    assert [sample.annotated for sample in found] == [True, False, False, False]
    assert all(sample.mask is None for sample in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label\nq,good\n", r"labels\.csv, line 2: the data set holds no image 'q'"),
        ("image,label\n,good\n", "line 2: the data set holds no image ''"),
        (
            "image,label\na,rust\n",
            "a has the label 'rust': expected one of good, bad, scratch, dent",
        ),
        ("image,label\na,\n", "line 2: image a has the label ''"),
        (
            "image,label\na,good\nb,bad\na.png,dent\n",
            "line 4: image a.png is dent, and good by line 2",
        ),
        ("image;label\na;good\na;bad\n", "line 3: image a is bad, and good by line 2"),
        ("name,class\na,good\n", "first line has to be image,label"),
        ("", r"columns \(none\)"),
        ('image,label\n"a,good\n', "no CSV file"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    write_table(tmp_path, text)
    with pytest.raises(InputError, match=said):
        labels(tmp_path, "a", "b")


def test_a_table_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("image,label\na,good\n".encode("utf-16"))
    with pytest.raises(InputError, match="no UTF-8 text"):
        labels(tmp_path, "a")


def test_good_is_no_class_of_defect(tmp_path: Path) -> None:
    write_table(tmp_path, "image,label\na,good\n")
    with pytest.raises(InputError, match=r"Good is a class of defect .* rename the class"):
        with_labels(tmp_path, samples(tmp_path, "a"), ["background", "Good"])
    [sample] = with_labels(tmp_path, samples(tmp_path, "a"), ["good", "scratch"])
    assert sample.annotated


def test_classes_that_differ_by_capitals_are_told_apart(tmp_path: Path) -> None:
    write_table(tmp_path, "image,label\na,Dent\nb,dent\nc,BAD\nd,Bad\n")
    chosen = samples(tmp_path, "a", "b", "c", "d")
    with pytest.raises(InputError, match="line 4: image c has the label 'BAD'"):
        with_labels(tmp_path, chosen, ["background", "Dent", "dent", "Bad"])
    write_table(tmp_path, "image,label\na,Dent\nb,dent\nc,bad\nd,Bad\n")
    found = with_labels(tmp_path, chosen, ["background", "Dent", "dent", "Bad"])
    assert [sample.label and sample.label.name for sample in found] == [
        "Dent",
        "dent",
        "bad",
        "Bad",
    ]


def test_an_accent_in_a_label_may_be_written_in_two_ways(tmp_path: Path) -> None:
    write_table(tmp_path, "image,label\na," + unicodedata.normalize("NFD", "Öl") + "\n")
    [sample] = with_labels(tmp_path, samples(tmp_path, "a"), ["background", "Öl"])
    assert sample.label is not None
    assert sample.label.name == "Öl"


def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    ids = [f"line {number % 7}/part_{number:06}" for number in range(100_000)]
    write_table(tmp_path, "image,label\n" + "".join(f"{id}.png,good\n" for id in ids))
    all_samples = samples(tmp_path, *ids)
    start = time.perf_counter()
    found = with_labels(tmp_path, all_samples, CLASSES)
    took = time.perf_counter() - start
    assert sum(sample.annotated for sample in found) == 100_000
    assert took < 30, took


def test_good_images_count_with_a_mask_of_zeros(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # im09 is turned on its side by its EXIF orientation: as shown it is 32 high
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = parts.root / "images/im09.png"
    Image.open(turned).save(turned, exif=exif)
    write_table(
        parts.root, "image,label\nim09,good\nim10,good\nim11,bad\nim12,scratch\nim00,good\n"
    )
    plan = parts.run()
    told = capsys.readouterr()
    assert "2 images without a mask are called good: annotated, all background" in told.err
    assert "2 images have a label and no mask (bad 1, scratch 1): they stay unlabeled" in told.err
    assert "warning" not in told.err
    assert "pixels of all masks and of 2 sound images without one in percent: back" in told.out
    assert plan.scans["im09"].pixels == {0: SIZE[0] * SIZE[1]}
    assert {"im11", "im12"} <= set(plan.split.unlabeled)
    assert not {"im09", "im10"} & set(plan.split.unlabeled), "every mask outside test is used"
    out = tmp_path / "out"
    names = ("labeled", "validation", "unlabeled", "hidden", "test")
    write_sets(
        plan,
        SetPaths(
            dataset=out / "d.json", record=out / "s.json", **{name: out / name for name in names}
        ),
    )
    [mask] = [read_mask(file) for file in out.rglob("masks/im09.png")]
    assert mask.shape == (32, 24)
    assert not mask.any()


def test_a_good_image_whose_mask_shows_a_defect_is_refused(parts: Parts) -> None:
    write_table(parts.root, "image,label\nim00,good\nim01.png,good\nim02,good\n")
    said = parts.refused("good by")
    assert len(said.splitlines()) == 2
    assert f"image {parts.root}/images/im01.png is good by {parts.root}/labels.csv, line 3" in said
    assert f"its mask {parts.root}/masks/im01.png shows scratch: correct one of the two" in said
    assert "im02.png shows dent" in said


def test_a_good_image_drawn_white_is_refused_too(parts: Parts) -> None:
    parts.changes["classes"] = ["background", "defect"]
    parts.draw_masks(lambda _, mask: np.minimum(mask, 1) * np.uint8(255))
    write_table(parts.root, "image,label\nim01,good\n")
    parts.refused(r"im01\.png is good by .* shows defect")


def test_a_mask_without_the_labels_class_is_a_warning(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(parts.root, "image,label\nim01,dent\nim02,dent\nim04,bad\nim03,bad\nim00,scratch\n")
    parts.run()
    [said] = warnings(capsys)
    assert (
        "3 masks lack the defect that a label names: im00 (scratch), im01 (dent), im03 (bad)"
        in (said)
    )


def test_images_all_good_teach_nothing(parts: Parts) -> None:
    for mask in (parts.root / "masks").glob("*.png"):
        mask.unlink()
    write_table(parts.root, "image,label\n" + "".join(f"im{n:02},good\n" for n in range(14)))
    parts.refused("the 0 masks and 14 sound images without one hold background alone")
