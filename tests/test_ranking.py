"""The ranking: the better half is reliable, ties are broken by id, every image is in one half."""

from pathlib import Path

import pytest
import torch

from ppl.image_set import read_image_set, write_index
from ppl.inference import predict
from ppl.network import NetworkSettings, new_network
from ppl.ranking import RankingSettings, score_images, split_by_reliability, write_ids
from ppl.stability import reliability
from tests.conftest import MakeSet, whole

SCORES = {"a": 0.2, "b.1/c d": 0.9, "c": 0.5, "d": 0.5, "e": 0.1}


def test_the_better_half_is_reliable() -> None:
    assert split_by_reliability(SCORES, 0.4) == (["b.1/c d", "c"], ["a", "d", "e"])


def test_of_equal_scores_the_smaller_id_is_reliable() -> None:
    scores = dict.fromkeys(["d", "b", "a", "c"], 0.5)
    assert split_by_reliability(scores, 0.5) == (["a", "b"], ["c", "d"])


def test_the_halves_do_not_depend_on_the_order_of_the_scores() -> None:
    turned = dict(reversed(SCORES.items()))
    assert split_by_reliability(turned, 0.4) == split_by_reliability(SCORES, 0.4)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.5, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("images", [1, 2, 7, 10])
def test_every_image_is_in_one_half_and_none_of_the_reliable_scores_lower(
    fraction: float, images: int
) -> None:
    draws = torch.Generator().manual_seed(images)
    scores = {f"{k:02}": torch.rand(1, generator=draws).item() for k in range(images)}
    reliable, hard = split_by_reliability(scores, fraction)
    assert sorted(reliable + hard) == sorted(scores)
    assert reliable == sorted(reliable)
    assert hard == sorted(hard)
    assert 1 <= len(reliable) < images * fraction + 1
    if hard:
        assert min(scores[id] for id in reliable) >= max(scores[id] for id in hard)


@pytest.mark.parametrize(("images", "fraction", "count"), [(10, 0.3, 3), (10, 0.7, 7), (3, 0.1, 1)])
def test_rounding_of_fractions_adds_no_image(images: int, fraction: float, count: int) -> None:
    scores = {f"{k:02}": k / 10 for k in range(images)}
    assert len(split_by_reliability(scores, fraction)[0]) == count


def test_the_hard_half_may_be_empty_and_so_may_all() -> None:
    assert split_by_reliability(SCORES, 1.0) == (sorted(SCORES), [])
    assert split_by_reliability({}, 0.5) == ([], [])


def test_ids_are_written_one_a_line(tmp_path: Path) -> None:
    write_ids(tmp_path / "deep" / "ids.txt", ["a", "b.1/c d", "ü"])
    assert (tmp_path / "deep" / "ids.txt").read_bytes() == "a\nb.1/c d\nü\n".encode()
    write_ids(tmp_path / "none.txt", [])
    assert (tmp_path / "none.txt").read_bytes() == b""


@pytest.mark.parametrize("use_confidence", [True, False])
def test_scores_are_those_of_single_predictions(
    make_set: MakeSet, network_settings: NetworkSettings, use_confidence: bool
) -> None:
    unlabeled = make_set(["a", "b/x.1", "c"], sizes=[(32, 32), (20, 41), (50, 33)], masks=False)
    snapshots = [new_network(network_settings, 3, seed=seed).eval() for seed in range(3)]
    settings = RankingSettings(reliable_fraction=0.5, use_confidence=use_confidence)
    scores = score_images(snapshots, unlabeled, whole(32, 32), settings)
    assert list(scores) == unlabeled.ids
    single = [predict([snapshot], unlabeled, whole(32, 32), what="one") for snapshot in snapshots]
    for id, *found in zip(unlabeled.ids, *single, strict=True):
        expected = reliability([prob for _, [prob] in found], use_confidence=use_confidence)
        assert scores[id] == pytest.approx(expected, abs=1e-6)
        assert scores[id] == round(scores[id], 8)


def test_a_set_without_images_has_no_scores(
    tmp_path: Path, network_settings: NetworkSettings
) -> None:
    write_index(tmp_path, [])
    settings = RankingSettings(reliable_fraction=0.5, use_confidence=True)
    network = new_network(network_settings, 3, seed=0).eval()
    assert score_images([network] * 3, read_image_set(tmp_path), whole(32, 32), settings) == {}
