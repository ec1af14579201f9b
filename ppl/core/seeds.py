"""Random numbers with an owner: each loader and augmentation draws from its own generator."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class StatefulGenerator:
    """A generator that says where it stands as networks and optimizers do, for a checkpoint."""

    generator: torch.Generator

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["state"])


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
