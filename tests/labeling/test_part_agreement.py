"""Photos of one part, taken from one place, get the mean of what is seen in each of them."""

import shutil

import pytest
import torch
from PIL import Image

from ppl.core.errors import InputError
from ppl.images.sets import ImageSet
from ppl.labeling.part_agreement import (
    NOBODY,
    Photos,
    VotingSettings,
    lone,
    look_alike,
    predict_by_part,
)
from ppl.network.network import SegmentationNetwork
from ppl.network.predict import at_own_size, predict
from tests.conftest import MakeSet, whole

SIZE = whole(32, 32)
IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def images(make_set: MakeSet) -> ImageSet:
    """a and b are the same picture, and so are c and e."""
    made = make_set(IDS, sizes=[(40, 30)] * 5, masks=False)
    entry = {e.id: made.image_file(e) for e in made.entries}
    shutil.copy(entry["a"], entry["b"])
    shutil.copy(entry["c"], entry["e"])
    return made


def found(
    network: SegmentationNetwork, photos: Photos, alike: float, voters: int = 8
) -> dict[str, torch.Tensor]:
    settings = VotingSettings(scales=[1.0], flip=False, alike=alike, voters=voters)
    return {
        entry.id: prob
        for entry, prob in predict_by_part(network, photos, SIZE, settings, what="test")
    }


def alone(network: SegmentationNetwork, images: ImageSet) -> dict[str, torch.Tensor]:
    return {entry.id: prob for entry, [prob] in predict([network], images, SIZE, what="test")}


def darker(images: ImageSet, id: str, factor: float = 0.6) -> None:
    """The same photo under another lamp: it looks the same to the eye, not to the network."""
    file = next(images.image_file(e) for e in images.entries if e.id == id)
    with Image.open(file) as image:
        image.load()
    image.point(lambda level: int(level * factor)).save(file)


def test_photos_of_a_part_that_look_alike_are_averaged(
    images: ImageSet, network: SegmentationNetwork
) -> None:
    darker(images, "b")
    part_of = {"a": "p", "b": "p", "c": "p", "d": "q", "e": "r"}
    by_itself = alone(network, images)
    both = (by_itself["a"] + by_itself["b"]) / 2
    assert not torch.allclose(by_itself["a"], by_itself["b"], atol=1e-4)
    probs = found(network, Photos(images, images.ids, part_of), 0.9)
    assert sorted(probs) == IDS
    torch.testing.assert_close(probs["a"], both, atol=1e-5, rtol=0)
    torch.testing.assert_close(probs["b"], both, atol=1e-5, rtol=0)
    # c shows the same part from another side; e shows what c shows, but is another part
    for id in ("c", "d", "e"):
        torch.testing.assert_close(probs[id], by_itself[id], atol=1e-5, rtol=0)


def test_photos_vote_that_are_not_labeled_themselves(
    images: ImageSet, network: SegmentationNetwork
) -> None:
    darker(images, "b")
    part_of = {"a": "p", "b": "p", "c": "q", "d": "q", "e": "q"}
    by_itself = alone(network, images)
    probs = found(network, Photos(images, ["a"], part_of), 0.9)
    assert list(probs) == ["a"]
    both = (by_itself["a"] + by_itself["b"]) / 2
    torch.testing.assert_close(probs["a"], both, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["nobody votes", "no part is known"])
def test_else_each_is_labeled_for_itself(
    case: str, images: ImageSet, network: SegmentationNetwork
) -> None:
    part_of = dict.fromkeys(IDS, "p") if case == "nobody votes" else {}
    alike = NOBODY if case == "nobody votes" else 0.5
    probs = found(network, Photos(images, ["b", "d"], part_of), alike)
    by_itself = alone(network, images.subset(["b", "d"]))
    assert list(probs) == ["b", "d"]
    assert all(torch.equal(probs[id], by_itself[id]) for id in probs)


def test_voters_of_other_sizes_are_brought_to_the_photo_s_own(
    make_set: MakeSet, network: SegmentationNetwork
) -> None:
    images = make_set(["a", "b"], sizes=[(40, 30), (60, 50)], masks=False)
    first, second = (images.image_file(entry) for entry in images.entries)
    with Image.open(first) as image:
        image.resize((50, 60), Image.Resampling.BICUBIC).save(second)
    by_itself = alone(network, images)
    probs = found(network, Photos(images, images.ids, {"a": "p", "b": "p"}), 0.5)
    both = (by_itself["b"] + at_own_size(by_itself["a"], (60, 50))) / 2
    assert not torch.allclose(by_itself["b"], both, atol=1e-4)
    torch.testing.assert_close(probs["b"], both, atol=1e-5, rtol=0)
    assert probs["a"].shape[1:] == (40, 30)


def test_of_many_photos_portions_vote(make_set: MakeSet, network: SegmentationNetwork) -> None:
    ids = [f"{k:02}" for k in range(7)]
    images = make_set(ids, sizes=[(20, 20)] * len(ids), masks=False)
    files = [images.image_file(entry) for entry in images.entries]
    for number, file in enumerate(files[1:], start=1):
        shutil.copy(files[0], file)
        darker(images, ids[number], 1 - number / 50)
    by_itself = alone(network, images)
    probs = found(network, Photos(images, ids, dict.fromkeys(ids, "p")), 0.5, voters=3)
    assert sorted(probs) == ids
    for portion in (ids[:3], ids[3:6], ids[6:]):
        mean = torch.stack([by_itself[id] for id in portion]).mean(dim=0)
        for id in portion:
            torch.testing.assert_close(probs[id], mean, atol=1e-5, rtol=0)


def test_a_photo_of_no_part_is_alone_and_a_stranger_is_named(
    images: ImageSet, network: SegmentationNetwork
) -> None:
    darker(images, "b")
    probs = found(network, Photos(images, ["a", "b"], {"c": "p"}), 0.5)
    torch.testing.assert_close(probs["a"], alone(network, images)["a"], atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="holds no image z"):
        found(network, Photos(images, ["z"], {"z": "p"}), 0.5)


def test_processes_share_the_parts(
    images: ImageSet, network: SegmentationNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    darker(images, "b")
    photos = Photos(images, images.ids, {"a": "p", "b": "p", "c": "q", "d": "r", "e": "r"})
    whole_set, shares = found(network, photos, 0.9), []
    monkeypatch.setattr("ppl.core.processes.count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("ppl.core.processes.rank", lambda rank=rank: rank)
        shares.append(found(network, photos, 0.9))
    assert [sorted(share) for share in shares] == [["a", "b", "d", "e"], ["c"]]
    for id, prob in (shares[0] | shares[1]).items():
        torch.testing.assert_close(prob, whole_set[id], atol=1e-5, rtol=0)


def test_likeness_is_of_photos_as_they_lie(make_set: MakeSet) -> None:
    images = make_set(["a", "b", "c", "d", "e"], sizes=[(60, 60)] * 5, masks=False)
    one, dark, turned, *uniform = (images.image_file(entry) for entry in images.entries)
    for file in (dark, turned):
        shutil.copy(one, file)
    darker(images, "b")
    with Image.open(one) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(turned)
        for file in uniform:
            Image.new(image.mode, image.size, 9).save(file)
    yes, no = True, False
    assert look_alike(images, images.entries, 0.9) == [
        [yes, yes, no, no, no],
        [yes, yes, no, no, no],
        [no, no, yes, no, no],
        # a uniform photo is like none, but votes on its own mask
        [no, no, no, yes, no],
        [no, no, no, no, yes],
    ]


def test_nothing_to_label(images: ImageSet, network: SegmentationNetwork) -> None:
    assert found(network, Photos(images, [], dict.fromkeys(IDS, "p")), 0.5) == {}
    assert found(network, lone(images.subset([])), 0.5) == {}
