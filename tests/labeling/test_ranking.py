"""The ranking: the better half is reliable, ties are broken by id, every image is in one half."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from ppl.images.sets import read_image_set, write_index
from ppl.labeling.ranking import (
    DEFECT_FREE,
    PAPER,
    Ranked,
    read_ids,
    read_reliability,
    score_images,
    split_by_reliability,
    strata,
    summary,
    write_ids,
    write_reliability,
)
from ppl.labeling.stability import predicted_defects, reliability
from ppl.network.network import NetworkSettings, new_network
from ppl.network.predict import predict
from tests.conftest import MakeSet, whole

SCORES = {"a": 0.2, "b.1/c d": 0.9, "c": 0.5, "d": 0.5, "e": 0.1}
CLASSES = ["background", "hole", "crack", "stain"]


def halves(
    scores: Mapping[str, float],
    fraction: float,
    defects: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    *,
    per_class: bool = False,
) -> tuple[list[str], list[str]]:
    ranked = {id: Ranked(score, defects.get(id, ())) for id, score in scores.items()}
    kind = {"reliable_fraction": fraction, "per_class": per_class}
    return split_by_reliability(ranked, PAPER.model_copy(update=kind))


def test_the_better_half_is_reliable() -> None:
    assert halves(SCORES, 0.4) == (["b.1/c d", "c"], ["a", "d", "e"])


def test_of_equal_scores_the_smaller_id_is_reliable() -> None:
    scores = dict.fromkeys(["d", "b", "a", "c"], 0.5)
    assert halves(scores, 0.5) == (["a", "b"], ["c", "d"])


def test_the_halves_do_not_depend_on_the_order_of_the_scores() -> None:
    turned = dict(reversed(SCORES.items()))
    assert halves(turned, 0.4) == halves(SCORES, 0.4)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("images", [1, 2, 7, 10])
def test_every_image_is_in_one_half_and_none_of_the_reliable_scores_lower(
    fraction: float, images: int
) -> None:
    draws = torch.Generator().manual_seed(images)
    scores = {f"{k:02}": torch.rand(1, generator=draws).item() for k in range(images)}
    reliable, hard = halves(scores, fraction)
    assert sorted(reliable + hard) == sorted(scores)
    assert reliable == sorted(reliable)
    assert hard == sorted(hard)
    assert 1 <= len(reliable) < images * fraction + 1
    if hard:
        assert min(scores[id] for id in reliable) >= max(scores[id] for id in hard)


@pytest.mark.parametrize(("images", "fraction", "count"), [(10, 0.3, 3), (10, 0.7, 7), (3, 0.1, 1)])
def test_rounding_of_fractions_adds_no_image(images: int, fraction: float, count: int) -> None:
    scores = {f"{k:02}": k / 10 for k in range(images)}
    assert len(halves(scores, fraction)[0]) == count


def test_the_hard_half_may_be_empty_and_so_may_all() -> None:
    assert halves(SCORES, 1.0) == (sorted(SCORES), [])
    assert halves({}, 0.5) == ([], [])


def test_ids_are_written_one_a_line(tmp_path: Path) -> None:
    write_ids(tmp_path / "deep" / "ids.txt", ["a", "b.1/c d", "ü"])
    assert (tmp_path / "deep" / "ids.txt").read_bytes() == "a\nb.1/c d\nü\n".encode()
    write_ids(tmp_path / "none.txt", [])
    assert (tmp_path / "none.txt").read_bytes() == b""


@pytest.mark.parametrize("ids", [[], ["a", "b.1/c d", "a line\u2028 of its own\x0b", "\u00fc"]])
def test_what_is_written_is_read_back(tmp_path: Path, ids: list[str]) -> None:
    ranked = {id: Ranked(1 / (2 + number), (1,)) for number, id in enumerate(ids)}
    write_ids(tmp_path / "ids.txt", ids)
    write_reliability(tmp_path / "scores.json", ranked)
    assert read_ids(tmp_path / "ids.txt") == ids
    found = read_reliability(tmp_path / "scores.json")
    assert found == {id: score for id, (score, _) in ranked.items()}


def test_each_class_and_the_defect_free_images_have_their_share() -> None:
    scores = {f"{k:02}": 1 - k / 100 for k in range(20)}
    defects = {"13": (1,), "14": (1,), "15": (1,), "16": (2,), "17": (2, 1)}
    assert halves(scores, 0.5, defects)[0] == [f"{k:02}" for k in range(10)]
    reliable, hard = halves(scores, 0.5, defects, per_class=True)
    assert [id for id in reliable if id in defects] == ["13", "14", "16"]
    assert sorted(reliable + hard) == sorted(scores)
    # 15 defect-free images, 8 of them; halves are rounded up
    assert len(reliable) == 8 + 3


def test_an_image_of_several_classes_counts_as_its_rarest() -> None:
    ranked = {
        "a": Ranked(0.5, (1, 2)),
        "b": Ranked(0.5, (1, 3)),
        "c": Ranked(0.5, (2, 3)),
        "d": Ranked(0.5, (1,)),
        "e": Ranked(0.5, ()),
    }
    assert strata(ranked) == {"a": 2, "b": 3, "c": 2, "d": 1, "e": DEFECT_FREE}


def said(defects: Mapping[str, tuple[int, ...]], reliable: list[str]) -> str:
    return summary({id: Ranked(0.5, found) for id, found in defects.items()}, reliable, CLASSES)


def test_the_summary_counts_the_classes() -> None:
    text = said({"a": (1,), "b": (2,), "c": (3,), "d": (1,), "e": ()}, ["a", "b", "e"])
    *lines, warning = text.splitlines()
    assert lines == [
        "3 reliable and 2 hard images",
        "  defect-free: 1 of 1",
        "  hole: 1 of 2",
        "  crack: 1 of 1",
        "  stain: 0 of 1",
    ]
    assert warning.startswith("No reliable image shows stain: student 1 could unlearn it.")
    several = said({"a": (1,), "b": (2,), "c": (2, 3), "d": (1,), "e": ()}, ["a", "c", "e"])
    assert several.splitlines()[2:] == ["  hole: 1 of 2", "  crack: 1 of 2", "  stain: 1 of 1"]


def test_a_teacher_that_sees_only_background_is_spoken_of() -> None:
    text = said({"a": (), "b": ()}, ["a"])
    assert "The teacher sees a defect in none of 2 images." in text
    assert "raise train_supervised.iterations" in text


def test_so_are_a_class_that_it_never_sees_and_a_half_without_defects() -> None:
    assert "The teacher labels nothing as crack, stain." in said({"a": (1,), "b": ()}, ["a"])
    text = said({"a": (1,), "b": ()}, ["b"])
    assert "No reliable image shows a defect" in text
    assert "ranking.per_class: true" in text


def test_a_class_seen_only_beside_a_rarer_one_is_seen() -> None:
    text = said({"a": (1, 2), "b": (1, 3), "c": (1, 2), "d": ()}, ["a", "b", "d"])
    assert "  hole: 2 of 3" in text
    assert "labels nothing" not in text


def test_classes_that_no_reliable_image_shows_are_named_beside_unseen_ones() -> None:
    lines = said({"a": (1,), "b": (2,), "c": ()}, ["a", "c"]).splitlines()
    assert "  crack: 0 of 1" in lines
    assert lines[-2].startswith("No reliable image shows crack: student 1 could unlearn it.")
    assert lines[-1].startswith("The teacher labels nothing as stain.")


def test_a_class_seen_only_beside_rarer_ones_is_in_the_reliable_half_too() -> None:
    scores = {"a": 0.1, "b": 0.2, "c": 0.1, "d": 0.9, "e": 0.9, "f": 0.9}
    defects = {"a": (1, 2), "b": (1, 3), "c": (1, 4), "d": (2,), "e": (3,), "f": (4,)}
    assert halves(scores, 0.5, defects) == (["d", "e", "f"], ["a", "b", "c"])
    # class 1 has no stratum; b is the most reliable image of it
    reliable, hard = halves(scores, 0.5, defects, per_class=True)
    assert (reliable, hard) == (["b", "d", "e", "f"], ["a", "c"])


def test_even_the_smallest_fraction_leaves_one_image_reliable() -> None:
    assert halves(SCORES, 1e-12) == (["b.1/c d"], ["a", "c", "d", "e"])


def test_no_unlabeled_image_needs_no_advice() -> None:
    assert said({}, []) == "0 reliable and 0 hard images"


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("use_confidence", [True, False])
def test_scores_are_those_of_single_predictions(
    make_set: MakeSet, network_settings: NetworkSettings, use_confidence: bool, foreground: bool
) -> None:
    unlabeled = make_set(["a", "b/x.1", "c"], sizes=[(32, 32), (20, 41), (50, 33)], masks=False)
    snapshots = [new_network(network_settings, 3, seed=seed).eval() for seed in range(3)]
    kind = {"use_confidence": use_confidence, "foreground": foreground}
    settings = PAPER.model_copy(update=kind)
    scores = score_images(snapshots, unlabeled, whole(32, 32), settings)
    assert list(scores) == unlabeled.ids
    single = [predict([snapshot], unlabeled, whole(32, 32), what="one") for snapshot in snapshots]
    for id, *found in zip(unlabeled.ids, *single, strict=True):
        probabilities = [prob for _, [prob] in found]
        expected = reliability(probabilities, **kind)
        assert scores[id].reliability == pytest.approx(expected, abs=1e-6)
        assert scores[id].reliability == round(scores[id].reliability, 8)
        assert scores[id].defects == predicted_defects(probabilities[-1])


def test_a_set_without_images_has_no_scores(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    write_index(tmp_path, [])
    network = new_network(network_settings, 3, seed=0).eval()
    assert score_images([network] * 3, read_image_set(tmp_path), whole(32, 32), PAPER) == {}
