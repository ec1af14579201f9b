"""Whatever is done to a model's files, it is refused in one line or predicts as before."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppl.core.errors import InputError
from ppl.inspection.model import load_model, save_model
from ppl.network.network import Origin, new_network, save_network
from tests.inspection.test_model import INFO, LIMITS, NETWORK, RICH, WHOLE

WRONG = [None, [], {}, "x", -1, 0, 1e308, float("nan"), 10**30, True, [[None]], "", 0.5]


def places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if not isinstance(content, dict | list):
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*above, key)
        yield from places(value, (*above, key))


def tampered(text: str, draws: random.Random) -> str:
    """Another value at one place of a JSON, one gone, or one more."""
    content = json.loads(text)
    *above, last = draws.choice(list(places(content)))
    owner = content
    for key in above:
        owner = owner[key]
    how = draws.randrange(3)
    if how == 0:
        owner[last] = draws.choice(WRONG)
    elif how == 1:
        del owner[last]
    elif isinstance(owner, dict):
        owner["added"] = draws.choice(WRONG)
    else:
        owner.append(draws.choice(WRONG))
    return json.dumps(content)


def damaged(content: bytes, draws: random.Random) -> bytes:
    """A bit flipped, or cut short."""
    at = draws.randrange(len(content))
    if draws.random() < 0.5:
        return content[:at]
    return content[:at] + bytes([content[at] ^ (1 << draws.randrange(8))]) + content[at + 1 :]


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_tampered_files_are_refused_or_change_nothing(tmp_path: Path, count: int) -> None:
    trained, folder, draws = tmp_path / "trained", tmp_path / "model", random.Random(count)
    network = new_network(NETWORK, 3, seed=1)
    save_network(trained, network, network.state_dict(), Origin("final", 7))
    save_model(folder, trained, WHOLE, RICH, INFO, LIMITS)
    described, weights = folder / "model.json", folder / "model.safetensors"
    text, content = described.read_text(encoding="utf-8"), weights.read_bytes()
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = load_model(folder).predict(image).probabilities
    found: Counter[str] = Counter()
    for number in range(count):
        of_weights = number % 4 == 3
        described.write_text(text if of_weights else tampered(text, draws), encoding="utf-8")
        weights.write_bytes(damaged(content, draws) if of_weights else content)
        try:
            same = np.array_equal(load_model(folder).predict(image).probabilities, expected)
        except InputError as error:
            found["of several lines" if "\n" in str(error) else "refused"] += 1
        else:
            found["equal" if same else "otherwise"] += 1
    print(dict(found))
    assert found["otherwise"] == found["of several lines"] == 0
    assert found["refused"] > count / 2
