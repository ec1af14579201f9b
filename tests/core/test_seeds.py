"""Every owner of random draws has its own, and they depend on the seed and the owner alone."""

import torch

from ppl.core.seeds import derived_seed, generator, global_draws


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
