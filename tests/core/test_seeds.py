"""Every owner of random draws has its own, and they depend on the seed and the owner alone."""

import pytest
import torch

from ppl.core.seeds import Draws, derived_seed, generator, global_draws


def draws(seed: int, *owner: str) -> list[float]:
    return torch.rand(4, generator=generator(seed, *owner)).tolist()


def test_the_same_owner_draws_the_same() -> None:
    assert draws(0, "teacher", "order") == draws(0, "teacher", "order")


def test_owners_and_seeds_draw_differently() -> None:
    owners = [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (-1, "a"), (0,)]
    assert len({tuple(draws(*owner)) for owner in owners}) == len(owners)


def test_seeds_fit_into_63_bits() -> None:
    seeds = [derived_seed(seed, "x") for seed in range(-50, 50)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == 100


def test_a_derived_seed_is_the_same_on_every_machine() -> None:
    assert derived_seed(0, "teacher", "weights") == 7288901430107441326


def test_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    draws(0, "a")
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_that_draw_globally_draw_what_the_seed_says() -> None:
    found = []
    for _ in range(2):
        torch.rand(3)
        with global_draws(0, "teacher", "dropout"):
            found.append(torch.rand(4).tolist())
    assert found[0] == found[1]


def test_the_global_generator_is_put_back_even_after_an_error() -> None:
    before = torch.get_rng_state()
    try:
        with global_draws(0, "a"):
            torch.rand(3)
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_an_owner_hands_out_the_generators_of_its_names() -> None:
    of = Draws(3, "student_1")
    assert of.owner == "student_1"
    assert torch.equal(of("strong").get_state(), generator(3, "student_1", "strong").get_state())
    below = of.below("labeled")
    expected = generator(3, "student_1", "labeled", "order").get_state()
    assert torch.equal(below("order").get_state(), expected)
    assert of.seed("weights") == derived_seed(3, "student_1", "weights")


def test_a_name_has_one_user() -> None:
    of = Draws(0, "teacher")
    of("paste")
    with pytest.raises(AssertionError, match="teacher/paste is drawn from already"):
        of("paste")
    of.below("labeled")("paste")
    with pytest.raises(AssertionError, match="teacher/labeled/paste is drawn from already"):
        of.below("labeled")("paste")


def test_an_owner_goes_on_where_another_stood() -> None:
    first, second = Draws(0, "teacher"), Draws(1, "teacher")
    given = {}
    for of in (first, second):
        given[of] = [of("paste"), of.below("labeled")("order")]
    for drawn in given[first]:
        torch.rand(5, generator=drawn)
    second.load_state_dict(first.state_dict())
    for mine, other in zip(given[first], given[second], strict=True):
        assert torch.rand(3, generator=mine).tolist() == torch.rand(3, generator=other).tolist()


def test_layers_draw_as_their_owner_says() -> None:
    with Draws(0, "teacher").of_layers():
        found = torch.rand(4).tolist()
    with global_draws(0, "teacher", "dropout"):
        assert torch.rand(4).tolist() == found
