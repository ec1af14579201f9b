"""Random numbers with an owner: each loader and augmentation draws from its own generator."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch


def derived_seed(seed: int, *owner: str) -> int:
    """A seed in [0, 2**63) that depends on the project's seed and on the owner's name alone.

    So one more draw in one place shifts no draw anywhere else.
    """
    digest = hashlib.blake2b("/".join([str(seed), *owner]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *owner: str) -> torch.Generator:
    """A CPU generator for `owner`, e.g. `generator(0, "train_supervised", "batches")`.

    Draws are made on the CPU on every machine, so that CPU and CUDA runs see the same ones.
    """
    return torch.Generator().manual_seed(derived_seed(seed, *owner))


class Draws:
    """The random draws of one owner, say a training: a generator for each name.

    It remembers what it handed out, so it is what a checkpoint keeps of them.

    Args:
        owner: whose draws they are, and whose part within: ("student_1", "labeled").
    """

    def __init__(self, seed: int, *owner: str) -> None:
        self._seed = seed
        self._owner = owner
        self._given: dict[str, torch.Generator] = {}

    @property
    def owner(self) -> str:
        """Whose draws they are."""
        return self._owner[0]

    def __call__(self, name: str) -> torch.Generator:
        """The generator of `name`, see `generator`; each has one user."""
        key = "/".join([*self._owner, name])
        assert key not in self._given, f"{key} is drawn from already"
        self._given[key] = generator(self._seed, *self._owner, name)
        return self._given[key]

    def seed(self, name: str) -> int:
        """The seed of `name`, for what takes one instead of a generator; not remembered."""
        return derived_seed(self._seed, *self._owner, name)

    def below(self, part: str) -> "Draws":
        """The draws of a part of the owner; what they hand out is remembered here, too."""
        lower = Draws(self._seed, *self._owner, part)
        lower._given = self._given
        return lower

    def of_layers(self) -> AbstractContextManager[None]:
        """Inside, layers that draw globally draw what this owner's seed says."""
        return global_draws(self._seed, *self._owner, "dropout")

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Where each generator stands, by its name."""
        return {key: given.get_state() for key, given in self._given.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on where an owner stood that had handed out the same names."""
        assert state.keys() == self._given.keys(), f"{state.keys()} against {self._given.keys()}"
        for key, given in self._given.items():
            given.set_state(state[key])


@contextmanager
def global_draws(seed: int, *owner: str) -> Iterator[None]:
    """Seed torch's global generators for `owner` inside, and put them back afterwards.

    Dropout layers draw from them and take no generator of their own; unseeded, two trainings
    would differ.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(seed, *owner))
        yield
